//! One output with a row for each cell of all strides: `nanodet/model/head/nanodet_plus_head.py` of
//! github.com/RangiLyu/nanodet.
//!
//! A row has a score a class (sigmoids already), then eight bins for each of left, top, right and bottom. A distance is the
//! expectation of the softmax over its bins times the stride, counted from the cell's corner, `column · stride`.

use super::{DetectionDecoder, candidates::Candidates, nanodet::box_around};
use crate::{
    manifest::BoxUnit,
    tasks::{
        PostprocessOptions,
        detect::Detection,
        outputs::{OutputPorts, OutputValues, activate::best},
    },
    vision::geometry::Placement,
};

/// All models of the repository have so many (`reg_max` of 7).
const BINS: usize = 8;

/// Reads NanoDet-Plus outputs.
#[derive(Debug, Clone)]
pub(super) struct NanodetPlus {
    index: usize,
    classes: usize,
    corners: Vec<CellCorner>,
}

/// Where the distances of a row are counted from.
#[derive(Debug, Clone, Copy)]
struct CellCorner {
    x: f32,
    y: f32,
    stride: f32,
}

impl NanodetPlus {
    pub(super) fn new(ports: &OutputPorts<'_>, classes: usize, (width, height): (u32, u32)) -> Result<Self, String> {
        let strides = &ports.spec.strides;
        let corners: Vec<CellCorner> = strides
            .iter()
            .flat_map(|stride| {
                let stride = stride.get();
                let corner = move |row, column| CellCorner {
                    x: (column * stride) as f32,
                    y: (row * stride) as f32,
                    stride: stride as f32,
                };
                (0..height.div_ceil(stride))
                    .flat_map(move |row| (0..width.div_ceil(stride)).map(move |column| corner(row, column)))
            })
            .collect();
        let (n, row) = (corners.len(), classes + 4 * BINS);
        let wants = format!(
            "one output [N, {n}, {row}] (the cells of output.strides {strides:?} on {width}×{height}, of which NanoDet-Plus \
             has 8, 16, 32, 64; {classes} labels + 4 · {BINS} bins)"
        );
        Ok(Self { index: ports.single(&[Some(n), Some(row)], &wants)?, classes, corners })
    }
}

impl DetectionDecoder for NanodetPlus {
    fn read(
        &self,
        outputs: &OutputValues<'_>,
        placement: &Placement,
        options: &PostprocessOptions,
    ) -> Result<Vec<Detection>, String> {
        let row = self.classes + 4 * BINS;
        let values = outputs.floats(self.index, &[Some(self.corners.len()), Some(row)])?;
        let mut candidates = Candidates::new(options);
        for (values, corner) in values.chunks_exact(row).zip(&self.corners) {
            let (classes, bins) = values.split_at(self.classes);
            let Some((class_id, score)) = best(classes).filter(|(_, score)| candidates.wants(*score)) else { continue };
            let CellCorner { x, y, stride } = *corner;
            candidates.push(class_id, score, box_around((x, y), stride, bins));
        }
        Ok(candidates.suppressed(placement, BoxUnit::Input, options))
    }
}
