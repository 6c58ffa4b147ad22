//! A class output and a distance distribution for each stride: `nanodet/model/head/nanodet_head.py` of
//! github.com/RangiLyu/nanodet (and the six-output export of github.com/Kazuhito00/NanoDet-ONNX-Sample).
//!
//! Each of an anchor's four distances (left, top, right, bottom) is a softmax over bins; its expectation times the
//! stride is counted from the cell's centre, `(column + 0.5) · stride − 0.5`. Classes are sigmoids already.
//!
//! `picodet`: `ppdet/modeling/heads/pico_head.py` of github.com/PaddlePaddle/PaddleDetection, exported without its
//! post-process. The same, but a cell's centre is `(column + 0.5) · stride`.

use super::{DetectionDecoder, candidates::Candidates};
use crate::{
    manifest::{BoxUnit, Decoding},
    tasks::{
        PostprocessOptions,
        detect::Detection,
        outputs::{
            OutputPorts, OutputValues,
            activate::{best, expectation},
            ports::fits,
        },
    },
    vision::{bbox::BBox, geometry::Placement},
};

/// Reads NanoDet outputs.
#[derive(Debug, Clone)]
pub(super) struct Nanodet {
    classes: usize,
    /// What is added to the middle of a cell, in pixels.
    offset: f32,
    levels: Vec<StrideOutputs>,
}

/// The grid of one stride, and the places of its two outputs.
#[derive(Debug, Clone)]
struct StrideOutputs {
    stride: f32,
    columns: usize,
    cells: usize,
    class_index: usize,
    distance_index: usize,
}

impl Nanodet {
    pub(super) fn new(ports: &OutputPorts<'_>, classes: usize, (width, height): (u32, u32)) -> Result<Self, String> {
        let strides = ports.spec.strides.len();
        let offset = if ports.spec.decode == Decoding::Picodet { 0.0 } else { -0.5 };
        if ports.spec.decode == Decoding::Picodet && ports.outputs.len() != 2 * strides {
            return Err(ports.refuse(&format!(
                "two outputs a stride, so {} for output.strides, which has {strides} (PicoDet has the strides 8, 16, 32, 64)",
                2 * strides
            )));
        }
        let levels = ports.spec.strides.iter().map(|stride| {
            let stride = stride.get();
            let (columns, rows) = (width.div_ceil(stride) as usize, height.div_ceil(stride) as usize);
            let cells = columns * rows;
            let (class_index, distance_index) = pair(ports, classes, stride, cells)?;
            Ok(StrideOutputs { stride: stride as f32, columns, cells, class_index, distance_index })
        });
        Ok(Self { classes, offset, levels: levels.collect::<Result<_, String>>()? })
    }
}

impl DetectionDecoder for Nanodet {
    fn read(
        &self,
        outputs: &OutputValues<'_>,
        placement: &Placement,
        options: &PostprocessOptions,
    ) -> Result<Vec<Detection>, String> {
        let mut candidates = Candidates::new(options);
        for level in &self.levels {
            let classes = outputs.floats(level.class_index, &[Some(level.cells), Some(self.classes)])?;
            let distances = outputs.floats(level.distance_index, &[Some(level.cells), None])?;
            let per_cell = distances.len() / level.cells.max(1);
            if per_cell == 0 || !per_cell.is_multiple_of(4) {
                return Err(format!(
                    "output {} has {per_cell} numbers a cell, not four sides of bins",
                    level.distance_index
                ));
            }
            let anchors = classes.chunks_exact(self.classes).zip(distances.chunks_exact(per_cell)).enumerate();
            for (i, (classes, distances)) in anchors {
                let Some((class_id, score)) = best(classes).filter(|(_, score)| candidates.wants(*score)) else {
                    continue;
                };
                candidates.push(class_id, score, level.bbox(i, distances, self.offset));
            }
        }
        Ok(candidates.suppressed(placement, BoxUnit::Input, options))
    }
}

impl StrideOutputs {
    fn bbox(&self, cell: usize, distances: &[f32], offset: f32) -> BBox {
        let centre = |place: usize| (place as f32 + 0.5) * self.stride + offset;
        let (cx, cy) = (centre(cell % self.columns), centre(cell / self.columns));
        box_around((cx, cy), self.stride, distances)
    }
}

/// The box whose sides are as far from a point as `distances` say: as many bins for each of left, top, right and bottom, whose
/// expectation counts in strides.
pub(super) fn box_around((x, y): (f32, f32), stride: f32, distances: &[f32]) -> BBox {
    let bins = distances.len() / 4;
    let [left, top, right, bottom] =
        [0, 1, 2, 3].map(|side| expectation(&distances[side * bins..(side + 1) * bins]) * stride);
    BBox { x1: x - left, y1: y - top, x2: x + right, y2: y + bottom }
}

/// The outputs of one stride: by names that end in the stride, else by their shapes.
fn pair(ports: &OutputPorts<'_>, classes: usize, stride: u32, cells: usize) -> Result<(usize, usize), String> {
    let named = |word: &str| {
        let end = format!("_{stride}");
        ports.only(|_, port| port.name.contains(word) && port.name.ends_with(&end))
    };
    let class_shape = [Some(cells), Some(classes)];
    let class = named("cls").or_else(|| ports.only(|_, port| fits(&port.shape, &class_shape)));
    let distance = named("dis").or_else(|| {
        ports.only(|index, port| {
            Some(index) != class && four_sides(port.shape.last()) && fits(&port.shape, &[Some(cells), None])
        })
    });
    let class = class.filter(|&index| ports.fits(index, &class_shape));
    let distance = distance.filter(|&index| {
        ports.fits(index, &[Some(cells), None])
            && four_sides(ports.outputs.get(index).and_then(|port| port.shape.last()))
    });
    class.zip(distance).ok_or_else(|| {
        ports.refuse(&format!(
            "for the stride {stride} an output [N, {cells}, {classes}] (a score a label) and one [N, {cells}, 4 · bins], \
             found by names such as cls_pred_stride_{stride} and dis_pred_stride_{stride} or by their shapes"
        ))
    })
}

fn four_sides(last: Option<&Option<usize>>) -> bool {
    last.is_none_or(|dim| dim.is_none_or(|n| n > 0 && n.is_multiple_of(4)))
}
