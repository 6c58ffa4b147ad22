//! How good classes are: accuracy, precision, recall, F1, and the confusion matrix.

use serde::Serialize;

use super::{Class, labels::class_of};
use crate::tasks::ranking::{RankedAnswers, harmonic};

/// A score of a classifier on labelled images. All in 0..=1.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct ClassificationScore {
    /// The share of images whose best class is the true one.
    pub accuracy: f64,
    /// Of two classes: of the second one ("yes"). Of more: the mean over the classes.
    pub precision: f64,
    /// See `precision`.
    pub recall: f64,
    /// See `precision`.
    pub f1: f64,
    /// The labels, in the order of the matrix.
    pub labels: Vec<String>,
    /// How many images, by true class (row) and answered class (column).
    pub confusion: Vec<Vec<usize>>,
    /// Precision at recall 0.00, 0.01 … 1.00 of the second of two classes; of more there is no one curve.
    pub precision_at_recall: Vec<f64>,
}

/// Collects what a classifier said about labelled images.
#[derive(Debug)]
pub struct ClassScorer {
    labels: Vec<String>,
    guesses: Vec<Guess>,
}

/// What an image truly shows, what was answered, and how sure the answer was of the second class.
#[derive(Debug, Clone, Copy)]
struct Guess {
    truth: usize,
    answer: usize,
    yes: f32,
}

impl ClassScorer {
    /// A scorer that has seen nothing yet.
    #[must_use]
    pub(in crate::tasks) fn new(labels: &[String]) -> Self {
        Self { labels: labels.to_vec(), guesses: Vec::new() }
    }

    /// Takes in the classes of one image from that folder.
    pub(in crate::tasks) fn observe(&mut self, classes: &[Class], folder: &str) -> Result<(), String> {
        let (Some(best), Some(truth)) = (classes.first(), class_of(folder, &self.labels)) else {
            return Err("it answers no class: its scores are no numbers".to_owned());
        };
        let yes = classes.iter().find(|class| class.class_id == 1).map_or(0.0, |class| class.score);
        self.guesses.push(Guess { truth, answer: best.class_id, yes });
        Ok(())
    }

    /// The score over all classes.
    #[must_use]
    pub(in crate::tasks) fn score(&self) -> ClassificationScore {
        score(&self.guesses, &self.labels)
    }
}

fn score(guesses: &[Guess], labels: &[String]) -> ClassificationScore {
    // Only classes that occur are worth a row.
    let two = labels.len() == 2;
    let occurring = guesses.iter().flat_map(|guess| [guess.truth, guess.answer]);
    let mut shown: Vec<usize> = if two { vec![0, 1] } else { occurring.collect() };
    shown.sort_unstable();
    shown.dedup();
    let place = |class: usize| shown.binary_search(&class).unwrap_or(0);
    let mut confusion = vec![vec![0; shown.len()]; shown.len()];
    for guess in guesses {
        confusion[place(guess.truth)][place(guess.answer)] += 1;
    }
    let right: usize = (0..shown.len()).map(|class| confusion[class][class]).sum();
    let share = |part: usize, of: usize| part as f64 / of.max(1) as f64;
    let of_class = |class: usize| {
        let said = confusion.iter().map(|row| row[class]).sum();
        let precision = share(confusion[class][class], said);
        let recall = share(confusion[class][class], confusion[class].iter().sum());
        [precision, recall, harmonic(precision, recall)]
    };
    // Of many classes those count that some image truly shows.
    let counted: Vec<usize> = if two {
        vec![1]
    } else {
        (0..shown.len()).filter(|class| confusion[*class].iter().sum::<usize>() > 0).collect()
    };
    let mean =
        |metric: usize| counted.iter().map(|class| of_class(*class)[metric]).sum::<f64>() / counted.len().max(1) as f64;
    let (precision, recall, f1) = (mean(0), mean(1), mean(2));
    ClassificationScore {
        accuracy: share(right, guesses.len()),
        precision,
        recall,
        f1,
        precision_at_recall: if two { precision_at_recall(guesses) } else { Vec::new() },
        labels: shown.iter().map(|class| labels.get(*class).cloned().unwrap_or_default()).collect(),
        confusion,
    }
}

fn precision_at_recall(guesses: &[Guess]) -> Vec<f64> {
    let mut ranked: Vec<_> = guesses.iter().map(|guess| (guess.yes, guess.truth == 1)).collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
    let labelled = ranked.iter().filter(|(_, hit)| *hit).count();
    RankedAnswers { hits: ranked, labelled }.precision_at_recall()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guess(truth: usize, yes: f32) -> Guess {
        Guess { truth, answer: usize::from(yes > 0.5), yes }
    }

    #[test]
    fn of_two_classes_the_second_is_the_yes() {
        let labels = ["no", "yes"].map(str::to_owned);
        let guesses = [guess(1, 0.9), guess(1, 0.6), guess(1, 0.2), guess(0, 0.7), guess(0, 0.1), guess(0, 0.55)];
        let score = score(&guesses, &labels);
        assert_eq!(score.confusion, [[1, 2], [1, 2]]);
        assert!((score.accuracy - 0.5).abs() < 1e-9);
        assert!((score.precision - 0.5).abs() < 1e-9 && (score.recall - 2.0 / 3.0).abs() < 1e-9);
        assert!((score.f1 - 4.0 / 7.0).abs() < 1e-9);
        assert_eq!((score.precision_at_recall[33], score.precision_at_recall[100]), (1.0, 0.6));
    }

    #[test]
    fn of_many_classes_those_that_occur_are_averaged() {
        let labels = ["cat", "dog", "cow", "owl"].map(str::to_owned);
        let sure = |truth, answer: usize| Guess { truth, answer, yes: 0.0 };
        let score = score(&[sure(0, 0), sure(0, 2), sure(1, 1), sure(1, 1)], &labels);
        assert_eq!(score.labels, ["cat", "dog", "cow"]);
        assert_eq!(score.confusion, [[1, 0, 1], [0, 2, 0], [0, 0, 0]]);
        // Nobody showed a cow, so it has no recall that could count.
        assert!((score.recall - 0.75).abs() < 1e-9 && (score.precision - 1.0).abs() < 1e-9, "{score:?}");
    }
}
