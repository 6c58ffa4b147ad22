//! A score a class: the heads of ImageNet classifiers (github.com/pytorch/vision, `logits`;
//! github.com/google-coral/test_data, `softmax` with a background class first) and of yes-or-no networks
//! (github.com/mlcommons/tiny).
//!
//! Shapes are `[C]`, `[N, C]` or `[N, C, 1, 1]`.

use super::Class;
use crate::{
    manifest::{Activation, Decoding},
    tasks::outputs::{OutputPorts, OutputValues, activate::activate},
};

/// Reads class scores.
#[derive(Debug, Clone)]
pub(in crate::tasks) struct ClassDecoder {
    index: usize,
    labels: usize,
    activation: Activation,
}

impl ClassDecoder {
    /// The decoder for this graph's outputs; refuses outputs that do not fit, with the shapes it wants.
    pub(in crate::tasks) fn new(ports: &OutputPorts<'_>, labels: usize) -> Result<Self, String> {
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

    /// One image's classes, best first, at most `most`.
    pub(in crate::tasks) fn read(&self, outputs: &OutputValues<'_>, most: usize) -> Result<Vec<Class>, String> {
        let mut scores = outputs.all(self.index)?.into_owned();
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
    let order = |a: &Class, b: &Class| b.score.total_cmp(&a.score).then(a.class_id.cmp(&b.class_id));
    let classes = scores.iter().enumerate().map(|(class_id, &score)| Class { class_id, score });
    let mut classes: Vec<Class> = classes.filter(|class| class.score.is_finite()).collect();
    if most < classes.len() {
        classes.select_nth_unstable_by(most, order);
        classes.truncate(most);
    }
    classes.sort_by(order);
    classes
}

#[cfg(test)]
mod tests {
    use crate::{
        manifest::OutputSpec,
        tasks::{
            PostprocessOptions, Postprocessor, Prediction,
            classify::Class,
            testing::{INPUT, TestOutput, output, placement, read, reader},
        },
        vision::tensor::{ElementType, Port, Tensor},
    };

    fn classes(toml: &str, labels: usize, output: TestOutput) -> Vec<(usize, f32)> {
        match read(toml, labels, &[output]) {
            Prediction::Classes(classes) => {
                classes.iter().map(|&Class { class_id, score }| (class_id, score)).collect()
            }
            Prediction::Detections(_) => panic!("detections"),
        }
    }

    #[test]
    fn scores_that_are_no_numbers_are_left_out() {
        assert_eq!(
            classes("decode = 'softmax'", 3, output("p", &[1, 3], vec![f32::NAN, 0.5, 0.2])),
            [(1, 0.5), (2, 0.2)]
        );
    }

    #[test]
    fn integer_outputs_are_dequantised() {
        let quantised = output("p", &[1, 2], vec![-128i8, 127]);
        assert_eq!(
            classes("decode = 'softmax'\nscale = 0.00390625\nzero_point = -128", 2, quantised),
            [(1, 0.99609375), (0, 0.0)]
        );
    }

    #[test]
    fn class_scores_in_all_their_shapes() {
        for shape in [&[3][..], &[1, 3], &[1, 3, 1, 1]] {
            let candidates = classes("decode = 'softmax'\ntop_k = 2", 3, output("p", shape, vec![0.2f32, 0.1, 0.7]));
            assert_eq!(candidates, [(2, 0.7), (0, 0.2)]);
        }
        let candidates = classes("decode = 'logits'", 2, output("l", &[1, 2], vec![0.0f32, 0.0]));
        assert_eq!(candidates, [(0, 0.5), (1, 0.5)]);
        let candidates = classes("decode = 'logits'\nactivation = 'sigmoid'", 2, output("l", &[1, 1], vec![0.0f32]));
        assert_eq!(candidates, [(0, 0.5), (1, 0.5)]);
        let candidates = classes("decode = 'sigmoid'", 2, output("p", &[1, 1], vec![0.75f32]));
        assert_eq!(candidates, [(1, 0.75), (0, 0.25)]);
        let candidates = classes("decode = 'sigmoid'", 3, output("p", &[1, 3], vec![0.9f32, 0.8, 0.1]));
        assert_eq!(candidates, [(0, 0.9), (1, 0.8), (2, 0.1)]);
    }

    #[test]
    fn misfits_are_refused_with_both_shapes() {
        let one = |shape: &[usize]| [output("out", shape, vec![0.0f32; shape.iter().product()])];
        let cases = [
            ("decode = 'softmax'", 1000, &[1, 1001], "a score for each of the 1000 labels"),
            ("decode = 'softmax'", 2, &[1, 1], "one output [N, 2]"),
            ("decode = 'softmax'", 0, &[1, 1], "no labels"),
        ];
        for (toml, labels, shape, reason) in cases {
            let said = reader(toml, labels, &one(shape)).expect_err("refused");
            assert!(said.contains(reason) && (labels == 0 || said.contains("the graph has: out f32[1, ")), "{said}");
        }
    }

    #[test]
    fn free_dimensions_are_checked_when_outputs_come() {
        let free = Port { name: "p".to_owned(), element: ElementType::F32, shape: vec![None, None] };
        let spec: OutputSpec = toml::from_str("decode = 'softmax'").expect("valid");
        let reader = Postprocessor::new(&spec, 3, INPUT, &[free]).expect("may fit");
        let read = |outputs: &[Tensor]| reader.read(outputs, &placement(), &PostprocessOptions::from(&spec));
        assert!(read(&[output("p", &[1, 3], vec![0.0f32; 3]).tensor]).is_ok());
        assert_eq!(
            read(&[output("p", &[1, 4], vec![0.0f32; 4]).tensor]),
            Err("4 scores came back for 3 labels".to_owned())
        );
        assert_eq!(read(&[]), Err("output 0 is missing: 0 came back".to_owned()));
    }
}
