//! How networks of a family want their pixels, for the keys of `[input]` that a manifest leaves out.

use super::ultralytics::{UltralyticsMetadata, UltralyticsTask};
use crate::{
    config::{Ratio, Task},
    manifest::{Color, Decoding, Fit, InputSection, Manifest, Resize},
};

const ONE_255TH: f32 = 1.0 / 255.0;

/// Grey of the bars around a letterboxed image, as YOLOX and Ultralytics have it.
const GREY: u8 = 114;

/// How Ultralytics' own code feeds a file of its own: `LetterBox` and `classify_transforms` in `ultralytics/data/augment.py`.
pub(super) fn of_file(metadata: &UltralyticsMetadata, manifest: &Manifest) -> InputSection {
    let unit = InputSection { color: Some(Color::Rgb), scale: Some(ONE_255TH), ..InputSection::default() };
    match (metadata.task, manifest.task) {
        (Some(UltralyticsTask::Classify), _) => InputSection {
            fit: Some(Fit::Crop),
            crop_ratio: Some(Ratio::clamped(1.0)),
            resize: Some(Resize::BilinearAntialias),
            ..unit
        },
        // YOLOv5 does not say how its classifiers want their pixels.
        (None, Task::Classify) => InputSection::default(),
        (_, Task::Detect) if !letterboxed(manifest.output.decode) => unit,
        _ => InputSection { fit: Some(Fit::Letterbox), pad: Some(GREY), ..unit },
    }
}

/// Whether Ultralytics letterboxes for such outputs. Its RT-DETR is stretched, so other layouts than those of YOLO say nothing of the fit.
fn letterboxed(decode: Decoding) -> bool {
    !matches!(
        decode,
        Decoding::Yolox
            | Decoding::Nanodet
            | Decoding::NanodetPlus
            | Decoding::Picodet
            | Decoding::Fastestdet
            | Decoding::YoloFastestV2
            | Decoding::Ssd
            | Decoding::BoxesScores
            | Decoding::Detr
            | Decoding::NmsInGraph
    )
}

/// What is usual for networks whose outputs are laid out so; none where nothing is.
pub(super) fn of_family(manifest: &Manifest) -> Option<InputSection> {
    let empty = InputSection::default();
    let output = &manifest.output;
    Some(match output.decode {
        Decoding::Yolov5 | Decoding::Yolov8 | Decoding::End2end | Decoding::Yolov7End2end => InputSection {
            color: Some(Color::Rgb),
            fit: Some(Fit::Letterbox),
            pad: Some(GREY),
            scale: Some(ONE_255TH),
            ..empty
        },
        Decoding::Yolox => InputSection {
            color: Some(Color::Bgr),
            fit: Some(Fit::LetterboxTopLeft),
            pad: Some(GREY),
            scale: Some(1.0),
            ..empty
        },
        // Its configurations differ in the fit.
        Decoding::Nanodet | Decoding::NanodetPlus => InputSection {
            color: Some(Color::Bgr),
            mean: Some([103.53, 116.28, 123.675]),
            std: Some([57.375, 57.12, 58.395]),
            ..empty
        },
        Decoding::Picodet => InputSection {
            color: Some(Color::Rgb),
            scale: Some(ONE_255TH),
            mean: Some([0.485, 0.456, 0.406]),
            std: Some([0.229, 0.224, 0.225]),
            ..empty
        },
        Decoding::Fastestdet | Decoding::YoloFastestV2 => {
            InputSection { color: Some(Color::Bgr), scale: Some(ONE_255TH), ..empty }
        }
        Decoding::Detr => InputSection { color: Some(Color::Rgb), scale: Some(ONE_255TH), ..empty },
        // UltraFace and its relatives.
        Decoding::BoxesScores if output.background.is_some() => {
            InputSection { color: Some(Color::Rgb), mean: Some([127.0; 3]), std: Some([128.0; 3]), ..empty }
        }
        _ => return None,
    })
}
