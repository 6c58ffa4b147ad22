//! Labelled images on disk, which models are scored with.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::GroundTruth;
use crate::config::Task;

/// The names of image files end in these: formats that the server reads, and formats that it knows and refuses, so that
/// a data set that holds them is told so.
const EXTENSIONS: [&str; 13] =
    ["jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "gif", "tif", "tiff", "avif", "heic", "heif"];

/// Images and what they truly show.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// The task that the labels are for.
    pub task: Task,
    /// The images, by name.
    pub images: Vec<LabelledImage>,
    /// What is odd about the labels, in words.
    pub remarks: Vec<String>,
}

/// One image of a data set.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelledImage {
    /// Its file.
    pub path: PathBuf,
    /// What it shows.
    pub truth: GroundTruth,
}

impl Dataset {
    /// Reads the labels that such a task is scored with; images are not opened.
    ///
    /// # Errors
    /// When the folder is not laid out as the task needs: what was found, and what would be right.
    pub fn read(folder: &Path, task: Task) -> Result<Self, String> {
        let mut data = super::read_labels(task, folder)?;
        data.images.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(data)
    }

    /// Whether a model with these labels can be scored on this data, before anything runs; what is left out is a remark.
    ///
    /// # Errors
    /// When nothing that the model could find is labelled, or a folder is none of its classes.
    pub fn check(&self, model: &str, labels: &[String]) -> Result<Option<String>, String> {
        super::check_labels(self, model, labels)
    }

    /// Keeps `most` images, spread evenly over all of them.
    #[must_use]
    pub fn thinned(mut self, most: usize) -> Self {
        let all = self.images.len();
        if most < all {
            self.images = (0..most).map(|i| self.images[i * all / most].clone()).collect();
        }
        self
    }
}

/// The first few labels, for messages.
pub(super) fn first_labels(labels: &[String]) -> String {
    let few = labels.iter().take(8).cloned().collect::<Vec<_>>().join(", ");
    if labels.len() > 8 { format!("{few}, … ({} in all)", labels.len()) } else { few }
}

/// The image files of a folder.
pub(super) fn images_in(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let is_image = |path: &PathBuf| {
        let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        EXTENSIONS.contains(&extension.as_str()) && !is_hidden(path) && path.is_file()
    };
    Ok(entries(folder)?.into_iter().filter(is_image).collect())
}

/// The folders of a folder, by name.
pub(super) fn folders_in(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let mut folders = entries(folder)?;
    folders.retain(|path| path.is_dir() && !is_hidden(path));
    folders.sort();
    Ok(folders)
}

/// Whether this is one of the hidden files that file managers and archives leave behind.
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
    fn names_may_have_dots_and_a_thinned_set_is_spread_evenly() {
        let folder = tempfile::tempdir().expect("tempdir");
        for i in 0..10 {
            std::fs::write(folder.path().join(format!("{i}_jpg.rf.0a{i}.jpg")), b"").expect("write");
            std::fs::write(folder.path().join(format!("{i}_jpg.rf.0a{i}.txt")), b"0 .5 .5 .1 .1").expect("write");
        }
        std::fs::write(folder.path().join("._hidden.jpg"), b"").expect("write");
        let data = Dataset::read(folder.path(), Task::Detect).expect("read");
        assert_eq!((data.images.len(), data.remarks.len()), (10, 0));
        assert!(data.images.iter().all(|one| matches!(&one.truth, GroundTruth::Boxes(boxes) if boxes.len() == 1)));
        let few = data.thinned(3);
        let names: Vec<_> = few.images.iter().map(|one| one.path.file_name().expect("a name")).collect();
        assert_eq!(names, ["0_jpg.rf.0a0.jpg", "3_jpg.rf.0a3.jpg", "6_jpg.rf.0a6.jpg"]);
    }
}
