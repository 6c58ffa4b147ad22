//! Two grids with three anchors a cell: `model/detector.py` and `utils/utils.py` of github.com/dog-qiuqiu/Yolo-FastestV2,
//! as its two outputs `[N, H, W, 15 + C]`, or with all cells in one `[n, 15 + C]`.
//!
//! A cell has x, y, w, h for each of the three anchors, then an objectness for each, then a score a class that all three share.
//! All are sigmoids or a softmax already. `cx = (2x − 0.5 + column) · stride`, `width = (2w)² · anchor width`.

use super::{DetectionDecoder, candidates::Candidates};
use crate::{
    manifest::BoxUnit,
    tasks::{
        PostprocessOptions,
        detect::Detection,
        outputs::{OutputPorts, OutputValues, activate::best, ports::fits},
    },
    vision::{bbox::BBox, geometry::Placement},
};

/// How many anchors a cell has.
const ANCHORS: usize = 3;

/// The network has these strides and no others.
const STRIDES: [u32; 2] = [16, 32];

/// Width and height of the anchors of COCO, in input pixels, three a stride.
const COCO_ANCHORS: [[f32; 2]; 2 * ANCHORS] =
    [[12.64, 19.39], [37.88, 51.48], [55.71, 138.31], [126.91, 78.23], [131.57, 214.55], [279.92, 258.87]];

/// Reads Yolo-FastestV2 outputs.
#[derive(Debug, Clone)]
pub(super) struct FastestV2 {
    classes: usize,
    levels: Vec<AnchorGrid>,
    /// Whether the cells of all strides are `[n, 15 + C]`.
    no_batch_axis: bool,
}

/// The grid of one stride, and where its cells lie in the outputs.
#[derive(Debug, Clone)]
struct AnchorGrid {
    index: usize,
    shape: Vec<Option<usize>>,
    /// How many cells come before it in the same output.
    skip: usize,
    columns: usize,
    cells: usize,
    stride: f32,
    anchors: [[f32; 2]; ANCHORS],
}

impl FastestV2 {
    pub(super) fn new(ports: &OutputPorts<'_>, classes: usize, (width, height): (u32, u32)) -> Result<Self, String> {
        let anchors = ports.spec.anchors.unwrap_or(COCO_ANCHORS);
        if !anchors.as_flattened().iter().all(|side| side.is_finite() && *side > 0.0) {
            return Err("output.anchors wants widths and heights above 0, in pixels of the input".to_owned());
        }
        let row = 5 * ANCHORS + classes;
        let sizes = STRIDES.map(|stride| ((height / stride) as usize, (width / stride) as usize));
        let all: usize = sizes.iter().map(|(rows, columns)| rows * columns).sum();
        let whole = [Some(all), Some(row)];
        let one = ports.only(|_, port| fits(&port.shape, &whole));
        let (of_stride, _) = anchors.as_chunks::<ANCHORS>();
        let (mut levels, mut skip) = (Vec::new(), 0);
        for ((stride, (rows, columns)), anchors) in STRIDES.into_iter().zip(sizes).zip(of_stride) {
            let grid = vec![Some(rows), Some(columns), Some(row)];
            let found = match one {
                Some(index) => Some((index, whole.to_vec())),
                None => ports.only(|_, port| fits(&port.shape, &grid)).map(|index| (index, grid)),
            };
            let Some((index, shape)) = found else { break };
            let cells = rows * columns;
            levels.push(AnchorGrid { index, shape, skip, columns, cells, stride: stride as f32, anchors: *anchors });
            skip += if one.is_some() { cells } else { 0 };
        }
        let [(a, b), (c, d)] = sizes;
        if levels.len() != STRIDES.len() {
            return Err(ports.refuse(&format!(
                "one output [{all}, {row}], or two [N, {a}, {b}, {row}] and [N, {c}, {d}, {row}] (the cells of the strides 16 \
                 and 32 on {width}×{height}; 15 + {classes} labels)"
            )));
        }
        let no_batch_axis = one.and_then(|index| ports.outputs.get(index)).is_some_and(|port| port.shape.len() == 2);
        Ok(Self { classes, levels, no_batch_axis })
    }
}

impl DetectionDecoder for FastestV2 {
    fn read(
        &self,
        outputs: &OutputValues<'_>,
        placement: &Placement,
        options: &PostprocessOptions,
    ) -> Result<Vec<Detection>, String> {
        let mut candidates = Candidates::new(options);
        let row = 5 * ANCHORS + self.classes;
        for level in &self.levels {
            let values = outputs.floats(level.index, &level.shape)?;
            for (i, cell) in values.chunks_exact(row).skip(level.skip).take(level.cells).enumerate() {
                let (sides, rest) = cell.split_at(4 * ANCHORS);
                let (objectness, classes) = rest.split_at(ANCHORS);
                let (sides, _) = sides.as_chunks::<4>();
                // A class's score is at most 1, so objectness settles most cells.
                if !objectness.iter().any(|&objectness| candidates.wants(objectness)) {
                    continue;
                }
                let Some((class_id, score)) = best(classes) else { continue };
                for ((&[x, y, w, h], objectness), [width, height]) in sides.iter().zip(objectness).zip(level.anchors) {
                    let centre = |offset: f32, place: usize| (2.0 * offset - 0.5 + place as f32) * level.stride;
                    let (cx, cy) = (centre(x, i % level.columns), centre(y, i / level.columns));
                    let bbox = BBox::centred(cx, cy, (2.0 * w).powi(2) * width, (2.0 * h).powi(2) * height);
                    candidates.push(class_id, objectness * score, bbox);
                }
            }
        }
        Ok(candidates.suppressed(placement, BoxUnit::Input, options))
    }

    fn why_single(&self) -> Option<&'static str> {
        self.no_batch_axis
            .then_some("its cells have no axis of pictures, so that those of several could not be told apart")
    }
}
