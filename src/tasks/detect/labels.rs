//! YOLO text labels: a file an image, a line a thing.

use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    config::Task,
    tasks::{
        GroundTruth,
        dataset::{Dataset, LabelledImage, first_labels, folders_in, images_in},
    },
};

/// A labelled thing: its class number and left, top, right, bottom in 0..=1 of the image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrueBox {
    /// Its class: an index into the model's labels.
    pub class_id: usize,
    /// Left, top, right, bottom.
    pub sides: [f32; 4],
}

/// `images/` and `labels/` beside each other (below them, folders of the same names), or each image with its `.txt`
/// beside it.
pub(in crate::tasks) fn read(folder: &Path) -> Result<Dataset, String> {
    let images = Some(folder.join("images")).filter(|images| images.is_dir()).unwrap_or_else(|| folder.to_owned());
    let labels = labels_of(&images);
    let (mut labelled, mut missing, mut bad) = (Vec::new(), 0, 0);
    for path in images_in(&images)? {
        let mut name = path.file_stem().unwrap_or_default().to_owned();
        name.push(".txt");
        let boxes = match fs::read(labels.join(&name)) {
            Ok(text) => {
                let (boxes, wrong) = parse(&String::from_utf8_lossy(&text));
                bad += wrong;
                boxes
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                missing += 1;
                Vec::new()
            }
            Err(error) => return Err(format!("{} cannot be read: {error}", labels.join(&name).display())),
        };
        labelled.push(LabelledImage { path, truth: GroundTruth::Boxes(boxes) });
    }
    if labelled.is_empty() || missing == labelled.len() {
        let below: Vec<_> = folders_in(&images)?.iter().map(|path| path.display().to_string()).collect();
        let hint = if labelled.is_empty() && !below.is_empty() && images != folder {
            format!("name one of {}", below.join(", "))
        } else {
            "a detector is scored on images/ beside labels/, which holds a .txt file a picture, with a line `class \
             centre-x centre-y width height` a thing, all but the class in 0..1 (YOLO text labels)"
                .to_owned()
        };
        return Err(format!("{} holds {} pictures and no label file; {hint}", images.display(), labelled.len()));
    }
    let mut remarks = Vec::new();
    if missing > 0 {
        remarks.push(format!("{missing} pictures without a label file count as empty"));
    }
    if bad > 0 {
        remarks.push(format!("{bad} label lines are no box or polygon and are left out"));
    }
    Ok(Dataset { task: Task::Detect, images: labelled, remarks })
}

/// The same path with its last `images` made `labels`; the folder itself where there is none.
fn labels_of(images: &Path) -> PathBuf {
    let parts: Vec<_> = images.components().map(|part| part.as_os_str()).collect();
    let at = parts.iter().rposition(|part| *part == "images");
    parts.iter().enumerate().map(|(i, part)| if Some(i) == at { OsStr::new("labels") } else { part }).collect()
}

/// The boxes of a label file, and how many of its lines hold none. A line with more than four numbers is a polygon, of
/// which the bounding box is taken.
fn parse(text: &str) -> (Vec<TrueBox>, usize) {
    let (mut boxes, mut bad) = (Vec::new(), 0);
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        match parse_line(line) {
            Some(found) => boxes.push(found),
            None => bad += 1,
        }
    }
    (boxes, bad)
}

fn parse_line(line: &str) -> Option<TrueBox> {
    let mut words = line.split_whitespace();
    let class: f32 = words.next()?.parse().ok()?;
    let numbers: Vec<f32> =
        words.map(|word| word.parse().ok().filter(|n: &f32| n.is_finite())).collect::<Option<_>>()?;
    let sides = match numbers[..] {
        [cx, cy, w, h] => [cx - w / 2.0, cy - h / 2.0, cx + w / 2.0, cy + h / 2.0],
        _ if numbers.len() >= 6 && numbers.len().is_multiple_of(2) => {
            let axis = |first: usize| numbers.iter().skip(first).step_by(2).copied();
            let low = |first| axis(first).fold(f32::INFINITY, f32::min);
            let high = |first| axis(first).fold(f32::NEG_INFINITY, f32::max);
            [low(0), low(1), high(0), high(1)]
        }
        _ => return None,
    };
    let sides = sides.map(|side| side.clamp(0.0, 1.0));
    let proper = sides[2] > sides[0] && sides[3] > sides[1] && class >= 0.0;
    proper.then_some(TrueBox { class_id: class as usize, sides })
}

/// Whether a model can find any of the labelled things; how many it cannot find is a remark.
pub(in crate::tasks) fn check(data: &Dataset, model: &str, labels: &[String]) -> Result<Option<String>, String> {
    let (mut boxes, mut foreign) = (0, 0);
    for image in &data.images {
        if let GroundTruth::Boxes(things) = &image.truth {
            foreign += things.iter().filter(|thing| thing.class_id >= labels.len()).count();
            boxes += things.len();
        }
    }
    let known = format!("the {} that {model} has: {}", labels.len(), first_labels(labels));
    if foreign == boxes {
        return Err(format!("none of the {boxes} labelled boxes is of a class of {known}"));
    }
    Ok((foreign > 0)
        .then(|| format!("{foreign} of {boxes} labelled boxes are left out: their class is none of {known}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_lie_where_yolo_looks_for_them() {
        let labels = |images: &str| labels_of(Path::new(images)).display().to_string();
        assert_eq!(labels("data/images"), "data/labels");
        assert_eq!(labels("/data/images/train2017"), "/data/labels/train2017");
        assert_eq!(labels("data/flat"), "data/flat");
    }

    #[test]
    fn boxes_of_classes_that_a_model_lacks_are_told() {
        let thing = |class_id| TrueBox { class_id, sides: [0.0, 0.0, 1.0, 1.0] };
        let data = |boxes: &[TrueBox]| Dataset {
            task: Task::Detect,
            images: vec![LabelledImage { path: "a.png".into(), truth: GroundTruth::Boxes(boxes.to_vec()) }],
            remarks: Vec::new(),
        };
        let check = |boxes: &[TrueBox]| data(boxes).check("mine", &["person".to_owned()]);
        assert_eq!(check(&[thing(0)]), Ok(None));
        assert!(check(&[thing(0), thing(1)]).is_ok_and(|remark| remark.is_some_and(|it| it.starts_with("1 of 2"))));
        assert!(check(&[thing(5)]).is_err() && check(&[]).is_err());
    }

    #[test]
    fn label_lines_are_boxes_polygons_or_counted_as_bad() {
        let (boxes, bad) =
            parse("0 0.5 0.5 0.2 0.4\n\n3 0.1 0.2 0.3 0.2 0.2 0.6\n0 0.5 0.5 0 0.4\nperson 1 2 3 4\n0 1 2");
        assert_eq!(bad, 3);
        assert_eq!(boxes.len(), 2);
        assert_eq!(boxes[1], TrueBox { class_id: 3, sides: [0.1, 0.2, 0.3, 0.6] });
        let close = boxes[0].sides.iter().zip([0.4, 0.3, 0.6, 0.7]).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(close && boxes[0].class_id == 0, "{boxes:?}");
    }
}
