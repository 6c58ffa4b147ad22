//! Resized RGB pixels become the numbers that a network wants; each pixel is read and written once.
//!
//! A channel's value depends on nothing but its byte, so `(pixel · scale − mean) / std`, the rounding and the element
//! type are all folded into a table of 256 entries a channel.

use half::f16;
use ndarray::{ArrayD, IxDyn};

use super::ports::ImagePort;
use crate::{
    manifest::{Color, InputSpec, Layout},
    vision::tensor::{ElementType, Tensor},
};

/// An image at its new size, and where it lies on the network's input.
#[derive(Debug)]
pub(super) struct ResizedImage<'a> {
    /// `size.0 · size.1 · 3` bytes.
    pub(super) rgb: &'a [u8],
    pub(super) size: (u32, u32),
    pub(super) offset: (u32, u32),
}

/// The network's value for each byte, by channel.
type Tables<T> = Vec<[T; 256]>;

#[derive(Debug, Clone)]
enum ValueTables {
    F32(Tables<f32>),
    F16(Tables<f16>),
    U8(Tables<u8>),
    I8(Tables<i8>),
}

/// Writes images into tensors of one shape and type.
#[derive(Debug, Clone)]
pub(super) struct Filler {
    tables: ValueTables,
    layout: Layout,
    /// For each channel of the network, its place in an RGB pixel.
    order: [usize; 3],
    size: (usize, usize),
    pad: u8,
}

impl Filler {
    pub(super) fn new(spec: &InputSpec, input: &ImagePort) -> Result<Self, String> {
        let numbers = [spec.scale].into_iter().chain(spec.mean).chain(spec.std);
        if !numbers.into_iter().all(f32::is_finite) || spec.std.contains(&0.0) {
            return Err("input.scale, mean and std must be finite, and std not 0".to_owned());
        }
        let value = |channel: usize, byte: u8| (f32::from(byte) * spec.scale - spec.mean[channel]) / spec.std[channel];
        let channels = input.channels;
        let tables = match input.element {
            ElementType::F16 => ValueTables::F16(tables(channels, |c, b| f16::from_f32(value(c, b)))),
            // Casts saturate; rounding is to even at halves, as in ONNX's QuantizeLinear.
            ElementType::U8 => ValueTables::U8(tables(channels, |c, b| value(c, b).round_ties_even() as u8)),
            ElementType::I8 => ValueTables::I8(tables(channels, |c, b| value(c, b).round_ties_even() as i8)),
            _ => ValueTables::F32(tables(channels, value)),
        };
        let order = match spec.color {
            Color::Rgb => [0, 1, 2],
            Color::Bgr => [2, 1, 0],
        };
        let size = (input.size.0 as usize, input.size.1 as usize);
        Ok(Self { tables, layout: input.layout, order, size, pad: spec.pad })
    }

    pub(super) fn fill(&self, resized: &ResizedImage<'_>) -> Result<Tensor, String> {
        Ok(match &self.tables {
            ValueTables::F32(tables) => self.array(tables, resized)?.into(),
            ValueTables::F16(tables) => self.array(tables, resized)?.into(),
            ValueTables::U8(tables) => self.array(tables, resized)?.into(),
            ValueTables::I8(tables) => self.array(tables, resized)?.into(),
        })
    }

    fn array<T: Copy + Default>(&self, tables: &Tables<T>, resized: &ResizedImage<'_>) -> Result<ArrayD<T>, String> {
        let (width, height) = self.size;
        let channels = tables.len();
        let mut values = vec![T::default(); width * height * channels];
        match self.layout {
            Layout::Nchw => self.planes(tables, resized, &mut values),
            Layout::Nhwc => self.interleaved(tables, resized, &mut values),
        }
        let shape = match self.layout {
            Layout::Nchw => [1, channels, height, width],
            Layout::Nhwc => [1, height, width, channels],
        };
        ArrayD::from_shape_vec(IxDyn(&shape), values).map_err(|error| error.to_string())
    }

    fn planes<T: Copy>(&self, tables: &Tables<T>, resized: &ResizedImage<'_>, values: &mut [T]) {
        let (width, height) = self.size;
        let mut planes: Vec<&mut [T]> = values.chunks_exact_mut(width * height).collect();
        if self.has_bars(resized) {
            planes.iter_mut().zip(tables).for_each(|(plane, table)| plane.fill(table[usize::from(self.pad)]));
        }
        for (y, row) in rows(resized).enumerate() {
            let start = (resized.offset.1 as usize + y) * width + resized.offset.0 as usize;
            let spans = start..start + resized.size.0 as usize;
            match (planes.as_mut_slice(), tables.as_slice()) {
                ([a, b, c], [ta, tb, tc]) => {
                    let [ia, ib, ic] = self.order;
                    let (a, b, c) = (&mut a[spans.clone()], &mut b[spans.clone()], &mut c[spans]);
                    for (pixel, ((a, b), c)) in row.iter().zip(a.iter_mut().zip(b).zip(c)) {
                        (*a, *b, *c) =
                            (ta[usize::from(pixel[ia])], tb[usize::from(pixel[ib])], tc[usize::from(pixel[ic])]);
                    }
                }
                ([plane], [table]) => {
                    for (pixel, value) in row.iter().zip(&mut plane[spans]) {
                        *value = table[usize::from(grey(*pixel))];
                    }
                }
                _ => {}
            }
        }
    }

    fn interleaved<T: Copy>(&self, tables: &Tables<T>, resized: &ResizedImage<'_>, values: &mut [T]) {
        let channels = tables.len();
        if self.has_bars(resized) {
            for pixel in values.chunks_exact_mut(channels) {
                pixel.iter_mut().zip(tables).for_each(|(value, table)| *value = table[usize::from(self.pad)]);
            }
        }
        let row_length = self.size.0 * channels;
        let from = resized.offset.0 as usize * channels;
        let lines = values.chunks_exact_mut(row_length).skip(resized.offset.1 as usize);
        for (line, row) in lines.zip(rows(resized)) {
            let pixels = line[from..].chunks_exact_mut(channels).zip(row);
            match tables.as_slice() {
                [ta, tb, tc] => {
                    let [ia, ib, ic] = self.order;
                    for (value, pixel) in pixels {
                        value[0] = ta[usize::from(pixel[ia])];
                        value[1] = tb[usize::from(pixel[ib])];
                        value[2] = tc[usize::from(pixel[ic])];
                    }
                }
                [table] => pixels.for_each(|(value, pixel)| value[0] = table[usize::from(grey(*pixel))]),
                _ => {}
            }
        }
    }

    fn has_bars(&self, resized: &ResizedImage<'_>) -> bool {
        (resized.size.0 as usize, resized.size.1 as usize) != self.size
    }
}

fn tables<T>(channels: usize, value: impl Fn(usize, u8) -> T) -> Tables<T> {
    // A table has an entry for every byte, so the cast cannot cut.
    (0..channels).map(|channel| std::array::from_fn(|byte| value(channel, byte as u8))).collect()
}

fn rows<'a>(resized: &ResizedImage<'a>) -> impl Iterator<Item = &'a [[u8; 3]]> + use<'a> {
    resized.rgb.as_chunks::<3>().0.chunks_exact(resized.size.0 as usize).take(resized.size.1 as usize)
}

/// Pillow's `convert("L")`: ITU-R 601 weights in 16 bits.
fn grey([r, g, b]: [u8; 3]) -> u8 {
    ((u32::from(r) * 19_595 + u32::from(g) * 38_470 + u32::from(b) * 7_471 + 0x8000) >> 16) as u8
}
