//! One output with an anchor a row (YOLOX, YOLOv5) or a column (YOLOv8).
//!
//! - `yolox`: `demo/ONNXRuntime` and `yolox/utils/demo_utils.py` of github.com/Megvii-BaseDetection/YOLOX. Rows of
//!   x, y, w, h, objectness, classes; the grids of the strides follow each other, row-major.
//!   `cx = (x + column) · stride`, `w = e^w · stride`; objectness and classes are sigmoids already.
//! - `yolov5`: `models/yolo.py` (`Detect`) of github.com/ultralytics/yolov5. Rows of cx, cy, w, h in input pixels,
//!   objectness, classes.
//! - `yolov8`: `ultralytics/nn/modules/head.py` (`Detect`) of github.com/ultralytics/ultralytics. The same without
//!   objectness, transposed: a column an anchor.

use super::{DetectionDecoder, candidates::Candidates, rows::instead};
use crate::{
    manifest::{BoxUnit, Decoding},
    tasks::{
        PostprocessOptions,
        detect::Detection,
        outputs::{OutputPorts, OutputValues, activate::best},
    },
    vision::{bbox::BBox, geometry::Placement},
};

/// Reads YOLOX, YOLOv5 and YOLOv8 outputs.
#[derive(Debug, Clone)]
pub(super) struct Yolo {
    index: usize,
    classes: usize,
    anchors: Anchors,
}

/// How the anchors lie in the output, and what their boxes are counted in.
#[derive(Debug, Clone)]
enum Anchors {
    /// A row an anchor, with raw offsets from these cells of the grids (`yolox`).
    Grid(Vec<GridCell>),
    /// A row an anchor, with boxes in input pixels (`yolov5`).
    Rows,
    /// A column an anchor, with boxes in input pixels (`yolov8`).
    Columns,
}

/// A cell of one stride's grid.
#[derive(Debug, Clone, Copy)]
struct GridCell {
    column: f32,
    row: f32,
    stride: f32,
}

impl Yolo {
    pub(super) fn new(ports: &OutputPorts<'_>, classes: usize, (width, height): (u32, u32)) -> Result<Self, String> {
        let (anchors, wanted, wants) = match ports.spec.decode {
            Decoding::Yolox => {
                let strides = &ports.spec.strides;
                let cells: Vec<GridCell> =
                    strides.iter().flat_map(|s| cells(width / s.get(), height / s.get(), s.get())).collect();
                let (n, row) = (cells.len(), 5 + classes);
                let wants = format!(
                    "one output [N, {n}, {row}] (the cells of the strides {strides:?} on {width}×{height}; 5 + {classes} labels)"
                );
                (Anchors::Grid(cells), [Some(n), Some(row)], wants)
            }
            Decoding::Yolov8 => {
                let column = 4 + classes;
                (Anchors::Columns, [Some(column), None], format!("one output [N, {column}, n] (4 + {classes} labels)"))
            }
            _ => {
                let row = 5 + classes;
                (Anchors::Rows, [None, Some(row)], format!("one output [N, n, {row}] (5 + {classes} labels)"))
            }
        };
        // Rows of raw offsets would look like decoded ones, so YOLOX gets no advice.
        let instead = if matches!(anchors, Anchors::Grid(_)) { String::new() } else { instead(ports, classes) };
        Ok(Self { index: ports.single(&wanted, &(wants + &instead))?, classes, anchors })
    }
}

impl DetectionDecoder for Yolo {
    fn read(
        &self,
        outputs: &OutputValues<'_>,
        placement: &Placement,
        options: &PostprocessOptions,
    ) -> Result<Vec<Detection>, String> {
        let row = 5 + self.classes;
        let mut candidates = Candidates::new(options);
        match &self.anchors {
            Anchors::Grid(cells) => {
                let values = outputs.floats(self.index, &[Some(cells.len()), Some(row)])?;
                read_rows(&values, row, &mut candidates, |i, [x, y, w, h]| {
                    let GridCell { column, row, stride } = cells.get(i).copied()?;
                    let (cx, cy) = ((x + column) * stride, (y + row) * stride);
                    Some(BBox::centred(cx, cy, w.exp() * stride, h.exp() * stride))
                });
            }
            Anchors::Rows => {
                let values = outputs.floats(self.index, &[None, Some(row)])?;
                read_rows(&values, row, &mut candidates, |_, [cx, cy, w, h]| Some(BBox::centred(cx, cy, w, h)));
            }
            Anchors::Columns => {
                let values = outputs.floats(self.index, &[Some(4 + self.classes), None])?;
                read_columns(&values, self.classes, &mut candidates);
            }
        }
        Ok(candidates.suppressed(placement, BoxUnit::Input, options))
    }
}

fn cells(columns: u32, rows: u32, stride: u32) -> impl Iterator<Item = GridCell> {
    let cell = move |row: u32, column: u32| GridCell { column: column as f32, row: row as f32, stride: stride as f32 };
    (0..rows).flat_map(move |row| (0..columns).map(move |column| cell(row, column)))
}

/// A class's score is at most 1, so an objectness below the threshold settles a row without a look at its classes.
fn read_rows(values: &[f32], row: usize, candidates: &mut Candidates, bbox: impl Fn(usize, [f32; 4]) -> Option<BBox>) {
    for (i, anchor) in values.chunks_exact(row).enumerate() {
        let &[x, y, w, h, objectness, ref classes @ ..] = anchor else { continue };
        if !candidates.wants(objectness) {
            continue;
        }
        let Some((class_id, score)) = best(classes) else { continue };
        if candidates.wants(objectness * score)
            && let Some(bbox) = bbox(i, [x, y, w, h])
        {
            candidates.push(class_id, objectness * score, bbox);
        }
    }
}

/// Goes class by class, because that is how the numbers lie in memory.
fn read_columns(values: &[f32], classes: usize, candidates: &mut Candidates) {
    let n = values.len() / (4 + classes);
    if n == 0 {
        return;
    }
    let (sides, scores) = values.split_at(4 * n);
    let mut best = vec![(0, f32::NEG_INFINITY); n];
    for (class_id, of_class) in scores.chunks_exact(n).enumerate() {
        for (best, &score) in best.iter_mut().zip(of_class) {
            if score > best.1 {
                *best = (class_id, score);
            }
        }
    }
    for (i, (class_id, score)) in best.into_iter().enumerate() {
        if candidates.wants(score) {
            let [cx, cy, w, h] = [0, 1, 2, 3].map(|side| sides[side * n + i]);
            candidates.push(class_id, score, BBox::centred(cx, cy, w, h));
        }
    }
}
