//! What holds for a model in the end: its manifest is held against what its file says of itself, and takes values from there, or those
//! that are usual for its decoding, where it is silent.
//!
//! In: the manifest, the file's metadata, the graph's inputs. Out: the [`InputSpec`] and the labels, with the list of what was
//! [inferred](InferredSetting), so that nothing is guessed in silence. What contradicts the file is refused.

use std::num::NonZeroU32;

use serde::Serialize;

use super::{
    folder::ModelFolder,
    model::InferredSetting,
    presets,
    ultralytics::{UltralyticsMetadata, UltralyticsTask},
};
use crate::{
    config::Task,
    manifest::{Activation, Decoding, InputSection, InputSpec, Manifest},
    vision::tensor::{ElementType, Port},
};

/// The input and the labels of a model, settled.
#[derive(Debug)]
pub(super) struct Settled {
    pub input: InputSpec,
    pub labels: Vec<String>,
    pub inferred: Vec<InferredSetting>,
}

/// Settles what the manifest leaves open.
///
/// # Errors
/// With one sentence: what contradicts the file, or what neither the manifest nor the file says.
pub(super) fn settle(
    folder: &ModelFolder,
    metadata: Option<&UltralyticsMetadata>,
    inputs: &[Port],
) -> Result<Settled, String> {
    let manifest = &folder.manifest;
    let mut inferred = Vec::new();
    if let Some(metadata) = metadata {
        contradictions(metadata, manifest)?;
    }
    let labels = labels(folder, metadata, &mut inferred)?;
    let image = inputs.iter().find(|port| port.shape.len() == 4);
    let is_float = image.is_some_and(|port| matches!(port.element, ElementType::F32 | ElementType::F16));
    let said = &manifest.input;
    let of_file = metadata.map(|metadata| {
        let mut preset = presets::of_file(metadata, manifest);
        preset.size = image.and_then(|port| free_size(metadata, port));
        (preset, metadata.origin())
    });
    let preset = of_file.filter(|(preset, _)| *preset != InputSection::default()).or_else(|| {
        let preset = presets::of_family(manifest).filter(|preset| is_float && belongs(said, preset))?;
        Some((preset, format!("usual for `{}`", in_toml(manifest.output.decode).trim_matches('"'))))
    });
    let mut filled = said.clone();
    if let Some((mut preset, origin)) = preset {
        if !is_float {
            // A graph that takes bytes normalises them itself.
            (preset.scale, preset.mean, preset.std) = (None, None, None);
        }
        warn_of_other_values(&folder.name, said, &preset, &origin);
        fill(&mut filled, &preset, &origin, &mut inferred);
    }
    if is_float && !filled.says_normalisation() {
        tracing::warn!(
            model = folder.name,
            "the manifest says none of input.scale, input.mean and input.std, so the graph gets pixels of 0 to 255; write \
             `scale = 1` if that is right"
        );
    }
    if let (Some(stride), Some(size)) = (metadata.and_then(|metadata| metadata.stride), said.size)
        && let [width, height] = size.map(NonZeroU32::get)
        && (width % stride.get() != 0 || height % stride.get() != 0)
    {
        return Err(format!(
            "input.size is [{width}, {height}], but the file's stride is {stride}: give multiples of it"
        ));
    }
    Ok(Settled { input: filled.into(), labels, inferred })
}

/// Refuses a manifest that the file contradicts.
fn contradictions(metadata: &UltralyticsMetadata, manifest: &Manifest) -> Result<(), String> {
    let decode = in_toml(manifest.output.decode);
    if let Some(task) = metadata.task {
        let name = task.name();
        let (served, decode) = match task {
            UltralyticsTask::Detect => (Task::Detect, "yolov8"),
            UltralyticsTask::Classify => (Task::Classify, "softmax"),
            UltralyticsTask::Segment | UltralyticsTask::Pose | UltralyticsTask::Obb => {
                return Err(format!(
                    "the file says that it is an Ultralytics `{name}` model; ounce serves detect and classify: export a model of \
                     one of these tasks"
                ));
            }
        };
        if served != manifest.task {
            return Err(format!(
                "task is \"{}\", but the file says that it is an Ultralytics `{name}` model: write task = \"{name}\" and \
                 output.decode = \"{decode}\"",
                manifest.task
            ));
        }
    }
    let output = &manifest.output;
    let applies_softmax = output.decode == Decoding::Logits && output.activation != Some(Activation::None);
    if metadata.task == Some(UltralyticsTask::Classify) && applies_softmax {
        return Err(
            "output.decode is \"logits\", but an Ultralytics `classify` model answers probabilities already: write \
                    output.decode = \"softmax\""
                .to_owned(),
        );
    }
    let before_nms = matches!(
        output.decode,
        Decoding::Yolox
            | Decoding::Yolov5
            | Decoding::Yolov8
            | Decoding::Nanodet
            | Decoding::NanodetPlus
            | Decoding::Picodet
            | Decoding::Fastestdet
            | Decoding::YoloFastestV2
    );
    match metadata.end_to_end {
        Some(key) if before_nms => Err(format!(
            "output.decode is {decode}, which reads boxes before NMS, but the file says that its outputs are boxes after it \
             ({key}): take `decode = \"end2end\"`"
        )),
        _ => Ok(()),
    }
}

/// The manifest's labels, else the file's.
fn labels(
    folder: &ModelFolder,
    metadata: Option<&UltralyticsMetadata>,
    inferred: &mut Vec<InferredSetting>,
) -> Result<Vec<String>, String> {
    let named = metadata.and_then(|metadata| Some((metadata.names.as_ref()?, metadata.origin())));
    match named {
        Some((names, origin)) if folder.labels.is_empty() => {
            let value = format!("the file's {} names", names.len());
            inferred.push(InferredSetting { key: "labels", value, origin });
            Ok(names.clone())
        }
        None if folder.labels.is_empty() => {
            Err("the manifest has no labels, and the file names no classes: give labels = \
                                                 \"names.txt\", a file with a name a line, or a list"
                .to_owned())
        }
        Some((names, _)) if names.len() != folder.labels.len() => Err(format!(
            "there are {} names in labels, but the file names {} classes: give as many, or leave labels out to take the file's names",
            folder.labels.len(),
            names.len()
        )),
        _ => Ok(folder.labels.clone()),
    }
}

/// The size that the file names, where the graph leaves one of its sides free. A side that the graph fixes stays.
fn free_size(metadata: &UltralyticsMetadata, port: &Port) -> Option<[NonZeroU32; 2]> {
    let &[_, _, height, width] = port.shape.as_slice() else { return None };
    let [file_width, file_height] = metadata.size?;
    let side = |graph: Option<usize>, file| graph.map_or(Some(file), |side| NonZeroU32::new(u32::try_from(side).ok()?));
    let size = [side(width, file_width)?, side(height, file_height)?];
    (height.is_none() || width.is_none()).then_some(size)
}

/// Whether a manifest can be of the family that its decoding is usual for. One that says how its pixels become numbers says all of it, and
/// one with another colour or fit is of another family.
fn belongs(said: &InputSection, family: &InputSection) -> bool {
    fn agrees<T: Copy + PartialEq>(said: Option<T>, family: Option<T>) -> bool {
        said.is_none() || family.is_none() || said == family
    }
    !said.says_normalisation() && agrees(said.color, family.color) && agrees(said.fit, family.fit)
}

/// Says loudly where the manifest differs from what the file was trained with. The manifest holds.
fn warn_of_other_values(model: &str, said: &InputSection, preset: &InputSection, origin: &str) {
    let mut keys = Vec::new();
    if said.color.is_some() && preset.color.is_some() && said.color != preset.color {
        keys.push("color");
    }
    if said.fit.is_some() && preset.fit.is_some() && said.fit != preset.fit {
        keys.push("fit");
    }
    if said.says_normalisation() && preset.says_normalisation() && normalisation(said) != normalisation(preset) {
        keys.push("scale, mean, std");
    }
    if !keys.is_empty() {
        let keys = keys.join(", ");
        tracing::warn!(
            model,
            "the manifest's [input] {keys} differ from what is right for the file ({origin}); the manifest holds"
        );
    }
}

/// What black and white become in each channel, rounded to thousandths.
fn normalisation(section: &InputSection) -> [[i64; 2]; 3] {
    let spec = InputSpec::from(section.clone());
    #[expect(clippy::cast_possible_truncation, reason = "a rounded comparison")]
    [0, 1, 2].map(|channel| {
        [0.0, 255.0].map(|pixel| {
            let value = (pixel * spec.scale - spec.mean[channel]) / spec.std[channel];
            (value * 1000.0).round() as i64
        })
    })
}

/// Fills in what the manifest leaves out, and lists it. Scale, mean and std are one thing: who says one of them says all.
fn fill(filled: &mut InputSection, preset: &InputSection, origin: &str, inferred: &mut Vec<InferredSetting>) {
    let normalised = filled.says_normalisation();
    let mut took = |key, value: String| inferred.push(InferredSetting { key, value, origin: origin.to_owned() });
    macro_rules! take {
        ($($field:ident if $open:expr;)*) => {$(
            if filled.$field.is_none() && $open && let Some(value) = preset.$field {
                took(concat!("input.", stringify!($field)), in_toml(value));
                filled.$field = Some(value);
            }
        )*};
    }
    let fits = filled.fit.is_none() || filled.fit == preset.fit;
    take! {
        size if true;
        color if true;
        fit if true;
        crop_ratio if fits;
        resize if fits;
        pad if fits;
        scale if !normalised;
        mean if !normalised;
        std if !normalised;
    }
}

/// A value as a manifest has it.
fn in_toml(value: impl Serialize) -> String {
    serde_json::to_string(&value).unwrap_or_default()
}

#[cfg(test)]
mod tests;
