//! How good classes are: accuracy, precision, recall, F1, and the confusion matrix.

use serde::Serialize;

use super::detection::harmonic;

/// A score of a classifier on labelled pictures. All in 0..=1.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct ClassificationScore {
    /// The share of pictures whose best class is the true one.
    pub accuracy: f64,
    /// Of two classes: of the second one ("yes"). Of more: the mean over the classes.
    pub precision: f64,
    /// See `precision`.
    pub recall: f64,
    /// See `precision`.
    pub f1: f64,
    /// The labels, in the order of the matrix.
    pub labels: Vec<String>,
    /// Pictures, by true class (row) and answered class (column).
    pub confusion: Vec<Vec<usize>>,
    /// Precision at recall 0.00, 0.01 … 1.00: of the second of two classes, else of all together.
    pub precision_at_recall: Vec<f64>,
}

/// A picture's true class and the score of every class.
#[derive(Debug, Clone)]
pub(super) struct Guess {
    pub truth: usize,
    pub scores: Vec<f32>,
}

pub(super) fn score(guesses: &[Guess], labels: &[String]) -> ClassificationScore {
    // Only classes that occur are worth a row.
    let answered: Vec<usize> = guesses.iter().map(|guess| best(&guess.scores)).collect();
    let two = labels.len() == 2;
    let mut shown: Vec<usize> = guesses.iter().map(|guess| guess.truth).chain(answered.iter().copied()).collect();
    if two {
        shown = vec![0, 1];
    }
    shown.sort_unstable();
    shown.dedup();
    let place = |class: usize| shown.binary_search(&class).unwrap_or(0);
    let mut confusion = vec![vec![0; shown.len()]; shown.len()];
    for (guess, said) in guesses.iter().zip(&answered) {
        confusion[place(guess.truth)][place(*said)] += 1;
    }
    let right: usize = (0..shown.len()).map(|class| confusion[class][class]).sum();
    let share = |part: usize, of: usize| part as f64 / of.max(1) as f64;
    let of_class = |class: usize| {
        let said = confusion.iter().map(|row| row[class]).sum();
        let precision = share(confusion[class][class], said);
        let recall = share(confusion[class][class], confusion[class].iter().sum());
        [precision, recall, harmonic(precision, recall)]
    };
    // Of many classes those count that some picture truly shows.
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
        precision_at_recall: precision_at_recall(guesses, two),
        labels: shown.iter().map(|class| labels.get(*class).cloned().unwrap_or_default()).collect(),
        confusion,
    }
}

fn best(scores: &[f32]) -> usize {
    let mut best = 0;
    for (class, score) in scores.iter().enumerate() {
        // Of equals the later: a probability of exactly 0.5 is a yes.
        if *score >= scores[best] {
            best = class;
        }
    }
    best
}

fn precision_at_recall(guesses: &[Guess], two: bool) -> Vec<f64> {
    let of = |guess: &Guess| -> Vec<(f32, bool)> {
        let classes = guess.scores.iter().enumerate().filter(|(class, _)| !two || *class == 1);
        classes.map(|(class, score)| (*score, class == guess.truth)).collect()
    };
    let mut ranked: Vec<_> = guesses.iter().flat_map(of).collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
    super::detection::precision_at_recall(ranked)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guess(truth: usize, yes: f32) -> Guess {
        Guess { truth, scores: vec![1.0 - yes, yes] }
    }

    #[test]
    fn of_two_classes_the_second_is_the_yes() {
        let labels = ["no", "yes"].map(str::to_owned);
        let guesses = [guess(1, 0.9), guess(1, 0.6), guess(1, 0.2), guess(0, 0.7), guess(0, 0.1), guess(0, 0.5)];
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
        let sure =
            |truth, said: usize| Guess { truth, scores: (0..4).map(|c| f32::from(u8::from(c == said))).collect() };
        let score = score(&[sure(0, 0), sure(0, 2), sure(1, 1), sure(1, 1)], &labels);
        assert_eq!(score.labels, ["cat", "dog", "cow"]);
        assert_eq!(score.confusion, [[1, 0, 1], [0, 2, 0], [0, 0, 0]]);
        // Nobody showed a cow, so it has no recall that could count.
        assert!((score.recall - 0.75).abs() < 1e-9 && (score.precision - 1.0).abs() < 1e-9, "{score:?}");
    }
}
