//! Labelled pictures on disk: YOLO text labels for detectors, a folder a class for classifiers.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::registry::manifest::Task;

const PICTURES: [&str; 9] = ["jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "ppm"];

/// Pictures and what they truly show.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// The pictures, by name.
    pub pictures: Vec<Labelled>,
    /// What was odd about the labels, in words.
    pub remarks: Vec<String>,
}

/// One picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Labelled {
    /// Its file.
    pub path: PathBuf,
    /// What it shows.
    pub truth: Truth,
}

/// What a picture truly shows.
#[derive(Debug, Clone, PartialEq)]
pub enum Truth {
    /// Things and where they are.
    Boxes(Vec<TrueBox>),
    /// One class, by name.
    Class(String),
}

/// A labelled thing: its class number and left, top, right, bottom in 0..=1 of the picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrueBox {
    /// Its class: an index into the model's labels.
    pub class_id: usize,
    /// Left, top, right, bottom.
    pub sides: [f32; 4],
}

impl Dataset {
    /// Reads the labels that such a task is scored with; pictures are not opened.
    ///
    /// # Errors
    /// When the folder is not laid out as the task needs: what was found, and what would be right.
    pub fn read(folder: &Path, task: Task) -> Result<Self, String> {
        let mut data = match task {
            Task::Detect => yolo(folder)?,
            Task::Classify => classes(folder)?,
        };
        data.pictures.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(data)
    }

    /// Keeps `most` pictures, spread evenly over all of them.
    #[must_use]
    pub fn thinned(mut self, most: usize) -> Self {
        let all = self.pictures.len();
        if most < all {
            let kept = (0..most).map(|i| self.pictures[i * all / most].clone()).collect();
            self.pictures = kept;
        }
        self
    }
}

/// `images/` and `labels/` beside each other, or each picture with its `.txt` beside it.
fn yolo(folder: &Path) -> Result<Dataset, String> {
    let (images, labels) = if folder.join("images").is_dir() {
        (folder.join("images"), folder.join("labels"))
    } else {
        (folder.to_owned(), folder.to_owned())
    };
    let (mut pictures, mut missing, mut bad) = (Vec::new(), 0, 0);
    for path in pictures_in(&images)? {
        let label = labels.join(path.file_stem().unwrap_or_default()).with_extension("txt");
        let boxes = if let Ok(text) = fs::read(&label) {
            let (boxes, wrong) = parse(&String::from_utf8_lossy(&text));
            bad += wrong;
            boxes
        } else {
            missing += 1;
            Vec::new()
        };
        pictures.push(Labelled { path, truth: Truth::Boxes(boxes) });
    }
    if pictures.is_empty() || missing == pictures.len() {
        let found = format!("{} pictures and no label file", pictures.len());
        return Err(format!(
            "{} holds {found}; a detector is scored on images/ beside labels/, which holds a .txt file a picture, with \
             a line `class centre-x centre-y width height` a thing, all but the class in 0..1 (YOLO text labels)",
            folder.display()
        ));
    }
    let mut remarks = Vec::new();
    if missing > 0 {
        remarks.push(format!("{missing} pictures without a label file count as empty"));
    }
    if bad > 0 {
        remarks.push(format!("{bad} label lines could not be read and are left out"));
    }
    Ok(Dataset { pictures, remarks })
}

/// The boxes of a label file, and how many of its lines are none. A line with more than four numbers is a polygon, of
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
        _ if numbers.len() >= 6 && numbers.len() % 2 == 0 => {
            let axis = |first: usize| numbers.iter().skip(first).step_by(2).copied();
            let low = |first| axis(first).fold(f32::INFINITY, f32::min);
            let high = |first| axis(first).fold(f32::NEG_INFINITY, f32::max);
            [low(0), low(1), high(0), high(1)]
        }
        _ => return None,
    };
    let sides = sides.map(|side| side.clamp(0.0, 1.0));
    let proper = sides[2] - sides[0] >= 1e-3 && sides[3] - sides[1] >= 1e-3 && class >= 0.0;
    proper.then_some(TrueBox { class_id: class as usize, sides })
}

/// A folder a class.
fn classes(folder: &Path) -> Result<Dataset, String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{} cannot be read: {error}", folder.display()))?;
    let mut folders: Vec<_> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    let mut pictures = Vec::new();
    for class in &folders {
        let name = class.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let paths = pictures_in(class)?;
        pictures.extend(paths.into_iter().map(|path| Labelled { path, truth: Truth::Class(name.clone()) }));
    }
    if pictures.is_empty() {
        return Err(format!(
            "{} holds no pictures in folders; a classifier is scored on one folder a class, named like the label",
            folder.display()
        ));
    }
    Ok(Dataset { pictures, remarks: Vec::new() })
}

fn pictures_in(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{} cannot be read: {error}", folder.display()))?;
    let is_picture = |path: &PathBuf| {
        let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        PICTURES.contains(&extension.as_str()) && path.is_file()
    };
    Ok(entries.flatten().map(|entry| entry.path()).filter(is_picture).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

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
