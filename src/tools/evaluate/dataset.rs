//! Labelled pictures on disk: YOLO text labels for detectors, a folder a class for classifiers.

use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

use crate::manifest::Task;

/// Those that the server reads, and those that it knows and refuses, which are then named.
const PICTURES: [&str; 13] =
    ["jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "gif", "tif", "tiff", "avif", "heic", "heif"];

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

/// `images/` and `labels/` beside each other (below them, folders of the same names), or each picture with its `.txt`
/// beside it.
fn yolo(folder: &Path) -> Result<Dataset, String> {
    let images = Some(folder.join("images")).filter(|images| images.is_dir()).unwrap_or_else(|| folder.to_owned());
    let labels = labels_of(&images);
    let (mut pictures, mut missing, mut bad) = (Vec::new(), 0, 0);
    for path in pictures_in(&images)? {
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
        pictures.push(Labelled { path, truth: Truth::Boxes(boxes) });
    }
    if pictures.is_empty() || missing == pictures.len() {
        let below: Vec<_> = folders_in(&images)?.iter().map(|path| path.display().to_string()).collect();
        let hint = if pictures.is_empty() && !below.is_empty() && images != folder {
            format!("name one of {}", below.join(", "))
        } else {
            "a detector is scored on images/ beside labels/, which holds a .txt file a picture, with a line `class \
             centre-x centre-y width height` a thing, all but the class in 0..1 (YOLO text labels)"
                .to_owned()
        };
        return Err(format!("{} holds {} pictures and no label file; {hint}", images.display(), pictures.len()));
    }
    let mut remarks = Vec::new();
    if missing > 0 {
        remarks.push(format!("{missing} pictures without a label file count as empty"));
    }
    if bad > 0 {
        remarks.push(format!("{bad} label lines are no box or polygon and are left out"));
    }
    Ok(Dataset { pictures, remarks })
}

/// The same path with its last `images` made `labels`; the folder itself where there is none.
fn labels_of(images: &Path) -> PathBuf {
    let parts: Vec<_> = images.components().map(|part| part.as_os_str()).collect();
    let at = parts.iter().rposition(|part| *part == "images");
    parts.iter().enumerate().map(|(i, part)| if Some(i) == at { OsStr::new("labels") } else { part }).collect()
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

/// A folder a class.
fn classes(folder: &Path) -> Result<Dataset, String> {
    let mut pictures = Vec::new();
    for class in folders_in(folder)? {
        let name = class.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let paths = pictures_in(&class)?;
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
    let is_picture = |path: &PathBuf| {
        let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        PICTURES.contains(&extension.as_str()) && !is_hidden(path) && path.is_file()
    };
    Ok(entries(folder)?.into_iter().filter(is_picture).collect())
}

fn folders_in(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let mut folders = entries(folder)?;
    folders.retain(|path| path.is_dir() && !is_hidden(path));
    folders.sort();
    Ok(folders)
}

/// What file managers and archives leave behind.
fn is_hidden(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with('.') || name == "__MACOSX"
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{} cannot be read: {error}", folder.display()))?;
    Ok(entries.flatten().map(|entry| entry.path()).collect())
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
    fn names_may_have_dots_and_a_thinned_set_is_spread_evenly() {
        let folder = tempfile::tempdir().expect("tempdir");
        for i in 0..10 {
            std::fs::write(folder.path().join(format!("{i}_jpg.rf.0a{i}.jpg")), b"").expect("write");
            std::fs::write(folder.path().join(format!("{i}_jpg.rf.0a{i}.txt")), b"0 .5 .5 .1 .1").expect("write");
        }
        std::fs::write(folder.path().join("._hidden.jpg"), b"").expect("write");
        let data = Dataset::read(folder.path(), Task::Detect).expect("read");
        assert_eq!((data.pictures.len(), data.remarks.len()), (10, 0));
        assert!(data.pictures.iter().all(|one| matches!(&one.truth, Truth::Boxes(boxes) if boxes.len() == 1)));
        let few = data.thinned(3);
        let names: Vec<_> = few.pictures.iter().map(|one| one.path.file_name().expect("a name")).collect();
        assert_eq!(names, ["0_jpg.rf.0a0.jpg", "3_jpg.rf.0a3.jpg", "6_jpg.rf.0a6.jpg"]);
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
