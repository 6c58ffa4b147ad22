//! A folder a class: what an image shows is the name of the folder that it lies in.

use std::path::Path;

use crate::{
    config::Task,
    tasks::{
        GroundTruth,
        dataset::{Dataset, LabelledImage, first_labels, folders_in, images_in},
    },
};

/// The images of a folder's folders, each of which is a class.
pub(in crate::tasks) fn read(folder: &Path) -> Result<Dataset, String> {
    let mut images = Vec::new();
    for class in folders_in(folder)? {
        let name = class.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let paths = images_in(&class)?;
        images.extend(paths.into_iter().map(|path| LabelledImage { path, truth: GroundTruth::Class(name.clone()) }));
    }
    if images.is_empty() {
        return Err(format!(
            "{} holds no pictures in folders; a classifier is scored on one folder a class, named like the label",
            folder.display()
        ));
    }
    Ok(Dataset { task: Task::Classify, images, remarks: Vec::new() })
}

/// Whether each folder is one of a model's classes.
pub(in crate::tasks) fn check(data: &Dataset, model: &str, labels: &[String]) -> Result<Option<String>, String> {
    for image in &data.images {
        if let GroundTruth::Class(folder) = &image.truth
            && class_of(folder, labels).is_none()
        {
            return Err(format!(
                "`{folder}` is no label of {model}; folders are named like its labels, or by their numbers: {}",
                first_labels(labels)
            ));
        }
    }
    Ok(None)
}

/// The label that a folder is named like: to the letter, else the only one but for its case, else by number.
pub(super) fn class_of(folder: &str, labels: &[String]) -> Option<usize> {
    let mut alike = labels.iter().enumerate().filter(|(_, label)| label.eq_ignore_ascii_case(folder));
    let only = alike.next().filter(|_| alike.next().is_none()).map(|(class, _)| class);
    let by_number = || folder.parse().ok().filter(|class| *class < labels.len());
    labels.iter().position(|label| label == folder).or(only).or_else(by_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_classes_by_name_or_number() {
        let labels = ["crane", "Crane", "owl", "tit/mouse"].map(str::to_owned);
        let class = |folder: &str| class_of(folder, &labels);
        assert_eq!([class("Crane"), class("OWL"), class("3")], [Some(1), Some(2), Some(3)]);
        assert_eq!([class("CRANE"), class("4"), class("wren")], [None; 3]);
    }
}
