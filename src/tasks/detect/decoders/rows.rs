//! Finished boxes as rows of one output; nothing is left to suppress, unless the request itself names an IoU.
//!
//! - `end2end`: `ultralytics/nn/modules/head.py` (`v10Detect`) and `engine/exporter.py` (`NMSModel`) of
//!   github.com/ultralytics/ultralytics: x1, y1, x2, y2, score, class.
//! - `yolov7-end2end`: `models/experimental.py` (`ONNX_ORT`) of github.com/WongKinYiu/yolov7: picture, box, class, score.
//! - `yolo-nas-flat`: the flat predictions of github.com/Deci-AI/super-gradients: picture, box, score, class.
//! - `openvino-ssd`: `DetectionOutput` of github.com/openvinotoolkit/openvino: picture, class, score, box in 0..1.
//! - `mmdeploy`: github.com/open-mmlab/mmdeploy: `dets` of box and score, and `labels` beside them.
//! - `paddle`: github.com/PaddlePaddle/PaddleDetection: class, score, box, and how many rows each picture has.
//!
//! Rows that only fill up a fixed `K` (score 0, or class −1) are left out. A column that cannot be what the decoding says
//! (a class of 0.87, a score of 17) is an error, since then the columns mean something else.

use super::{
    DetectionDecoder,
    candidates::{Candidates, bbox},
};
use crate::{
    manifest::{BoxFormat, BoxUnit, Decoding},
    tasks::{
        PostprocessOptions,
        detect::Detection,
        outputs::{OutputPorts, OutputValues},
    },
    vision::geometry::Placement,
};

/// Scores may exceed 1 by what a quantised network rounds.
const MOST_SCORE: f32 = 1.1;

/// Half-precision and quantised class numbers may be off by a rounding.
const WHOLE: f32 = 0.01;

/// Reads finished boxes of one row each.
#[derive(Debug, Clone)]
pub(super) struct Rows {
    index: usize,
    columns: Columns,
    /// The output with the classes, where they are not in the rows.
    labels_index: Option<usize>,
    /// The output that says how many of the rows count. Without it all of them do.
    count_index: Option<usize>,
    format: BoxFormat,
    unit: BoxUnit,
    why_single: Option<&'static str>,
}

/// What the numbers of a row are.
#[derive(Debug, Clone, Copy)]
struct Columns {
    width: usize,
    /// Where the number of the picture in its run stands.
    picture: Option<usize>,
    /// Where the four numbers of the box begin.
    sides: usize,
    score: usize,
    /// Where the class stands; `None` when another output has it.
    class: Option<usize>,
    /// How many axes the output may have.
    ranks: &'static [usize],
    wants: &'static str,
}

impl Columns {
    fn of(decode: Decoding) -> Self {
        let end2end = Self {
            width: 6,
            picture: None,
            sides: 0,
            score: 4,
            class: Some(5),
            ranks: &[2, 3, 4],
            wants: "one output [N, K, 6] or [K, 6] (x1, y1, x2, y2, score, class)",
        };
        let flat = Self { width: 7, picture: Some(0), sides: 1, ranks: &[2], ..end2end };
        match decode {
            Decoding::Yolov7End2end => Self {
                class: Some(5),
                score: 6,
                wants: "one output [K, 7] (number of the picture, x1, y1, x2, y2, class, score)",
                ..flat
            },
            Decoding::YoloNasFlat => Self {
                score: 5,
                class: Some(6),
                wants: "one output [K, 7] (number of the picture, x1, y1, x2, y2, score, class)",
                ..flat
            },
            Decoding::OpenvinoSsd => Self {
                class: Some(1),
                score: 2,
                sides: 3,
                ranks: &[2, 4],
                wants: "one output [1, 1, K, 7] (number of the picture, class, score, x1, y1, x2, y2 in 0..1)",
                ..flat
            },
            Decoding::Mmdeploy => Self {
                width: 5,
                class: None,
                ranks: &[2, 3],
                wants: "dets [N, K, 5] (x1, y1, x2, y2, score) and whole labels [N, K]",
                ..end2end
            },
            Decoding::Paddle => Self {
                class: Some(0),
                score: 1,
                sides: 2,
                ranks: &[2],
                wants: "rows [K, 6] (class, score, x1, y1, x2, y2) and the number of rows [N]",
                ..end2end
            },
            _ => end2end,
        }
    }

    /// Whether an output of this shape has such rows, of one picture; a shape of no axes is one the graph does not tell.
    fn fit(&self, shape: &[Option<usize>]) -> bool {
        let [before @ .., _, width] = shape else { return shape.is_empty() };
        self.ranks.contains(&shape.len())
            && width.is_none_or(|width| width == self.width)
            && before.iter().all(|dim| dim.is_none_or(|dim| dim == 1))
    }
}

impl Rows {
    pub(super) fn new(ports: &OutputPorts<'_>, labels: usize, input_size: (u32, u32)) -> Result<Self, String> {
        let spec = ports.spec;
        let columns = Columns::of(spec.decode);
        let refuse = || ports.refuse(&format!("{}{}", columns.wants, instead(ports, labels)));
        let named = ports.named(spec.names.boxes.as_ref())?;
        let fitting = named.or_else(|| ports.only(|_, port| !port.is_whole() && columns.fit(&port.shape)));
        let port = |index: usize| ports.outputs.get(index);
        let index =
            fitting.filter(|&index| port(index).is_some_and(|port| columns.fit(&port.shape))).ok_or_else(refuse)?;
        let shape = port(index).map_or(&[][..], |port| &port.shape);
        if spec.decode == Decoding::End2end && is_grid(shape, input_size) {
            return Err(ports.refuse(&format!(
                "{}, but an output with a row for each cell of the grids has boxes before NMS: with one label that is \
                 \"yolov5\" or, raw, \"yolox\"",
                columns.wants
            )));
        }
        let whole_list =
            |index: &usize| ports.fits(*index, &[None]) && port(*index).is_some_and(|port| port.is_whole());
        let labels_index = match columns.class {
            Some(_) => None,
            None => Some(
                ports
                    .named(spec.names.labels.as_ref())?
                    .or_else(|| ports.usual(&["labels"]))
                    .or_else(|| ports.only(|other, port| other != index && port.is_whole()))
                    .filter(whole_list)
                    .ok_or_else(refuse)?,
            ),
        };
        let named_count = ports.named(spec.names.count.as_ref())?;
        let count_index = match spec.decode {
            Decoding::Paddle => {
                named_count.or_else(|| ports.only(|other, port| other != index && port.is_whole() && port.is_one()))
            }
            _ => named_count,
        };
        if count_index.is_some_and(|index| !port(index).is_some_and(|port| port.is_one())) {
            return Err(refuse());
        }
        let unit = match (spec.decode, spec.box_unit) {
            (_, Some(unit)) => unit,
            (Decoding::OpenvinoSsd, None) => BoxUnit::Unit,
            (Decoding::Paddle, None) => {
                return Err(
                    "output.decode = \"paddle\" wants output.box_unit: \"picture\" where the graph is given the \
                            picture's scale (scale_factor), else \"input\""
                        .to_owned(),
                );
            }
            _ => BoxUnit::Input,
        };
        let why_single = (columns.picture.is_some() || spec.decode == Decoding::Paddle || shape.len() == 2)
            .then_some("its rows have no axis of pictures, so that those of several could not be told apart");
        Ok(Self { index, columns, labels_index, count_index, format: spec.box_format, unit, why_single })
    }

    /// The class and the score of a row; `None` where it only fills up.
    fn class_and_score(&self, row: &[f32], beside: Option<f32>) -> Result<Option<(usize, f32)>, String> {
        let Columns { picture, score, class, .. } = self.columns;
        let at = |column: usize| row.get(column).copied().unwrap_or(f32::NAN);
        let wrong = |what: &str, value: f32| {
            let wants = self.columns.wants;
            Err(format!("a row of output {} has the {what} {value}, so its columns are not {wants}", self.index))
        };
        let picture = picture.map_or(0.0, at);
        let (class, score) = (class.map_or(beside.unwrap_or(f32::NAN), at), at(score));
        // What is no number fills up, too.
        let fills_up = picture.is_nan() || picture < 0.0 || score.is_nan() || score <= 0.0;
        if fills_up || !class.is_finite() || class < -0.5 {
            return Ok(None);
        }
        if picture > 0.0 {
            return wrong("picture number", picture);
        }
        if (class - class.round()).abs() > WHOLE {
            return wrong("class", class);
        }
        if score > MOST_SCORE {
            return wrong("score", score);
        }
        Ok(Some((class.round() as usize, score)))
    }
}

impl DetectionDecoder for Rows {
    fn read(
        &self,
        outputs: &OutputValues<'_>,
        placement: &Placement,
        options: &PostprocessOptions,
    ) -> Result<Vec<Detection>, String> {
        let shape: Vec<Option<usize>> = outputs.tensor(self.index)?.shape().iter().copied().map(Some).collect();
        let Columns { width, sides, .. } = self.columns;
        if shape.is_empty() || !self.columns.fit(&shape) {
            let shape = outputs.tensor(self.index)?.shape();
            return Err(format!("output {} came back as {shape:?}; wanted: {}", self.index, self.columns.wants));
        }
        let values = outputs.all(self.index)?;
        let labels = self.labels_index.map(|index| outputs.numbers(index, &[None])).transpose()?;
        let rows = values.len() / width;
        if let Some(labels) = labels.as_ref().filter(|labels| labels.len() != rows) {
            return Err(format!("{rows} boxes came back with {} labels", labels.len()));
        }
        let count = self.count_index.map_or(Ok(rows), |index| outputs.count(index))?;
        let mut candidates = Candidates::new(options);
        for (i, row) in values.chunks_exact(width).take(count).enumerate() {
            let beside = labels.as_ref().and_then(|labels| labels.get(i).copied());
            if let Some((class_id, score)) = self.class_and_score(row, beside)?
                && let Some(&[a, b, c, d]) = row.get(sides..sides + 4)
            {
                candidates.push(class_id, score, bbox([a, b, c, d], self.format));
            }
        }
        Ok(match options.asked_iou {
            Some(_) => candidates.suppressed(placement, self.unit, options),
            None => candidates.sorted(placement, self.unit, options),
        })
    }

    fn why_single(&self) -> Option<&'static str> {
        self.why_single
    }
}

/// Whether there is a row for each cell of the usual strides (for each of three anchors, with YOLOv5).
fn is_grid(shape: &[Option<usize>], (width, height): (u32, u32)) -> bool {
    let [.., Some(rows), _] = *shape else { return false };
    let cells =
        |strides: &[u32]| strides.iter().map(|s| width.div_ceil(*s) as usize * height.div_ceil(*s) as usize).sum();
    [cells(&[8, 16, 32]), cells(&[8, 16, 32, 64])].iter().any(|&cells: &usize| rows == cells || rows == 3 * cells)
}

/// The decoding that such outputs have more likely, as the end of a sentence.
pub(super) fn instead(ports: &OutputPorts<'_>, labels: usize) -> String {
    let [port] = ports.outputs else { return String::new() };
    match *port.shape.as_slice() {
        [_, Some(n), _] if n == 4 + labels => " (this shape is that of \"yolov8\")".to_owned(),
        [_, _, Some(n)] if n == 5 + labels && n > 7 => " (this shape is that of \"yolov5\" or \"yolox\")".to_owned(),
        [.., Some(6)] => " (rows of 6 are those of \"end2end\", or \"paddle\")".to_owned(),
        [_, Some(7)] | [_, _, _, Some(7)] => {
            " (rows of 7 are those of \"yolov7-end2end\", \"yolo-nas-flat\" or \"openvino-ssd\", by their columns)"
                .to_owned()
        }
        [_, rows, Some(n)] if (7..=60).contains(&n) && rows.is_none_or(|rows| rows > n) => {
            format!(
                " (rows of {n} hold more than a box, a score and a class: an angle, a mask, key points or a score a class)"
            )
        }
        _ => String::new(),
    }
}
