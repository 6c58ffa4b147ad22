//! Shrinks an image: each new pixel is the mean of the pixels that it covers, where parts of pixels count in part, as in
//! OpenCV's `INTER_AREA`.
//!
//! `fast_image_resize` has no such filter: its (and Pillow's) box takes a pixel wholly or not at all, which differs by
//! several grey levels unless an image shrinks by a whole factor.

/// An image's RGB bytes, and the part of it that is used.
#[derive(Debug)]
pub(super) struct SourcePixels<'a> {
    pub(super) rgb: &'a [u8],
    pub(super) width: usize,
    pub(super) height: usize,
    /// Left, top, width and height of that part, in pixels.
    pub(super) part: [f64; 4],
}

/// The source pixels that one pixel covers along one axis.
#[derive(Debug)]
struct Cover {
    first: usize,
    /// How much each pixel from `first` on counts; they add up to 1.
    weights: Vec<f32>,
}

/// Shrinks RGB pixels to this width and height; rows are averaged before columns.
pub(super) fn shrink(source: &SourcePixels<'_>, width: usize, height: usize) -> Vec<u8> {
    let [left, top, part_width, part_height] = source.part;
    let columns = covers(source.width, left, part_width, width);
    let row_length = source.width * 3;
    let mut mean = vec![0.0f32; row_length];
    let mut shrunk = Vec::with_capacity(width * height * 3);
    for rows in covers(source.height, top, part_height, height) {
        mean.fill(0.0);
        let lines = source.rgb.chunks_exact(row_length).skip(rows.first);
        for (line, &weight) in lines.zip(&rows.weights) {
            mean.iter_mut().zip(line).for_each(|(mean, &byte)| *mean += weight * f32::from(byte));
        }
        let (pixels, _) = mean.as_chunks::<3>();
        for column in &columns {
            let mut sum = [0.0f32; 3];
            for (pixel, &weight) in pixels.iter().skip(column.first).zip(&column.weights) {
                sum.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += weight * value);
            }
            shrunk.extend(sum.map(|value| value.round_ties_even() as u8));
        }
    }
    shrunk
}

/// Cuts `extent` pixels from `start` on into `count` even pieces, and says what each covers of `length` pixels.
fn covers(length: usize, start: f64, extent: f64, count: usize) -> Vec<Cover> {
    let step = extent / count as f64;
    let piece = |i: usize| {
        let from = start + i as f64 * step;
        let to = (from + step).min(length as f64);
        // The casts saturate; a rounding error of a billionth of a pixel must not add a neighbour.
        let first = ((from + 1e-9) as usize).min(length - 1);
        let end = ((to - 1e-9).ceil() as usize).clamp(first + 1, length);
        let part = |at: usize| (to.min(at as f64 + 1.0) - from.max(at as f64)).max(0.0) as f32;
        let mut weights: Vec<f32> = (first..end).map(part).collect();
        let sum: f32 = weights.iter().sum();
        weights.iter_mut().for_each(|weight| *weight /= sum);
        Cover { first, weights }
    };
    (0..count).map(piece).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parts_of_pixels_count_in_part() {
        // cv2.resize(np.uint8([[0, 100, 200]]), (2, 1), interpolation=cv2.INTER_AREA) == [[33, 167]]
        let row: Vec<u8> = [0, 100, 200].into_iter().flat_map(|v| [v; 3]).collect();
        let source = SourcePixels { rgb: &row, width: 3, height: 1, part: [0.0, 0.0, 3.0, 1.0] };
        assert_eq!(shrink(&source, 2, 1), [33, 33, 33, 167, 167, 167]);
    }

    proptest! {
        #[test]
        fn weights_are_a_mean_of_pixels_inside(
            length in 1usize..3000, start in 0.0f64..0.9, extent in 0.01f64..1.0, count in 1usize..700
        ) {
            let (from, whole) = (start * length as f64, length as f64);
            for cover in covers(length, from, (extent * whole).min(whole - from), count) {
                prop_assert!(cover.first + cover.weights.len() <= length);
                prop_assert!((cover.weights.iter().sum::<f32>() - 1.0).abs() < 1e-3);
            }
        }
    }
}
