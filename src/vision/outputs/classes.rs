//! A score a class: the heads of ImageNet classifiers (github.com/pytorch/vision, `logits`;
//! github.com/google-coral/test_data, `softmax` with a background class first) and of yes-or-no networks
//! (github.com/mlcommons/tiny).
//!
//! Shapes are `[C]`, `[N, C]` or `[N, C, 1, 1]`.

use super::{
    activate::activate,
    ports::Ports,
    values::{Quantisation, output, widened},
};
use crate::{
    manifest::{Activation, Decoding},
    vision::{answer::Class, tensor::Tensor},
};

/// Reads class scores.
#[derive(Debug, Clone)]
pub(super) struct Classes {
    index: usize,
    labels: usize,
    activation: Activation,
}

impl Classes {
    pub(super) fn new(ports: &Ports<'_>, labels: usize) -> Result<Self, String> {
        let activation = match ports.spec.decode {
            Decoding::Logits => ports.spec.activation.unwrap_or(Activation::Softmax),
            _ => Activation::None,
        };
        // Where each class stands alone, one number can answer for two labels.
        let alone = ports.spec.decode == Decoding::Sigmoid || activation == Activation::Sigmoid;
        let may_be = |count: usize| count == labels || (alone && labels == 2 && count == 1);
        let index = ports
            .named(ports.spec.names.scores.as_ref())?
            .or_else(|| ports.only(|_, port| class_count(&port.shape).is_some_and(|count| count.is_none_or(may_be))));
        let count = index.and_then(|index| ports.outputs.get(index)).and_then(|port| class_count(&port.shape));
        match (index, count) {
            (Some(index), Some(count)) if count.is_none_or(may_be) => Ok(Self { index, labels, activation }),
            _ => Err(ports.refuse(&format!(
                "one output [N, {labels}] (a score for each of the {labels} labels; a network with one more often has a \
                 background class first, which needs a label too)"
            ))),
        }
    }

    pub(super) fn read(
        &self,
        outputs: &[Tensor],
        quantisation: Quantisation,
        most: usize,
    ) -> Result<Vec<Class>, String> {
        let mut scores = widened(output(outputs, self.index)?, quantisation).into_owned();
        activate(&mut scores, self.activation);
        let scores = match scores.as_slice() {
            &[yes] if self.labels == 2 => vec![1.0 - yes, yes],
            _ => scores,
        };
        if scores.len() != self.labels {
            return Err(format!("{} scores came back for {} labels", scores.len(), self.labels));
        }
        Ok(top(&scores, most))
    }
}

/// The number of classes if the shape tells it (`Some(None)` if it is free), `None` if this is no class output.
fn class_count(shape: &[Option<usize>]) -> Option<Option<usize>> {
    match shape {
        [] => Some(None),
        [count] => Some(*count),
        [None | Some(1), rest @ ..] => Some(rest.iter().copied().product::<Option<usize>>()),
        _ => None,
    }
}

fn top(scores: &[f32], most: usize) -> Vec<Class> {
    let best_first = |a: &Class, b: &Class| b.score.total_cmp(&a.score).then(a.class_id.cmp(&b.class_id));
    let classes = scores.iter().enumerate().map(|(class_id, &score)| Class { class_id, score });
    let mut classes: Vec<Class> = classes.filter(|class| class.score.is_finite()).collect();
    if most < classes.len() {
        classes.select_nth_unstable_by(most, best_first);
        classes.truncate(most);
    }
    classes.sort_by(best_first);
    classes
}
