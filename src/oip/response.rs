//! The response to an inference: the model's outputs, as bytes or in JSON, and what they took.

use std::time::Duration;

use serde::{Serialize, Serializer};

use super::{
    RequestedOutput,
    tensor_codec::{self, AsJson},
};
use crate::{
    inference::{Response, TensorOutputs},
    stats::round::{places, significant},
    tasks,
    telemetry::Stage,
    vision::tensor::Tensor,
};

/// A response, before a transport writes it.
#[derive(Debug)]
pub struct InferResponse<'a> {
    /// The model that answered.
    pub model_name: &'a str,
    /// Its version.
    pub model_version: &'a str,
    /// The request's `id`, repeated.
    pub id: Option<&'a str>,
    /// What the answer took.
    pub parameters: ResponseParameters<'a>,
    /// The outputs that were asked for.
    pub outputs: Vec<ResponseOutput<'a>>,
}

/// What an answer took. Clients that do not know these parameters ignore them.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "each is what its name says")]
pub struct ResponseParameters<'a> {
    pub variant: &'a str,
    pub routed: &'static str,
    pub batch_size: usize,
    pub queue_ms: f64,
    pub inference_ms: f64,
    pub total_ms: f64,
    pub cost_usd: f64,
    pub cpu_seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub energy_joules: Option<f64>,
}

/// An output.
#[derive(Debug)]
pub struct ResponseOutput<'a> {
    /// Its name.
    pub name: &'a str,
    /// The protocol's name of the type of its elements.
    pub datatype: &'static str,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Its elements.
    pub contents: OutputContents<'a>,
    /// Whether the client wants it as bytes.
    pub binary: bool,
}

/// The elements of an output.
#[derive(Debug)]
pub enum OutputContents<'a> {
    /// What the graph gave.
    Tensor(&'a Tensor),
    /// The best classes in words, by the classification extension.
    Classes(Vec<String>),
}

/// A response as HTTP sends it.
#[derive(Debug)]
pub struct HttpBody {
    /// The JSON, and behind it the bytes of the outputs that were wanted so.
    pub bytes: Vec<u8>,
    /// The length of the JSON, where there are bytes behind it.
    pub header_length: Option<usize>,
}

impl<'a> InferResponse<'a> {
    /// The response to a request of this id, with these of the model's outputs.
    #[must_use]
    pub fn new(answer: &'a Response<TensorOutputs>, id: Option<&'a str>, wanted: &[RequestedOutput]) -> Self {
        let model = &answer.model.info;
        let labels = tasks::output_labels(model.task, &model.labels);
        let outputs = wanted.iter().filter_map(|wanted| {
            let (name, tensor) = answer.output.get(wanted.index)?;
            Some(ResponseOutput::new(name, tensor, labels, wanted))
        });
        Self {
            model_name: &model.name,
            model_version: &model.version,
            id,
            parameters: ResponseParameters {
                variant: &answer.variant().info.name,
                routed: answer.reason.name(),
                batch_size: answer.batch_size,
                queue_ms: ms(answer.timing.stages.get(Stage::Queue)),
                inference_ms: ms(answer.timing.stages.get(Stage::Inference)),
                total_ms: ms(answer.timing.total),
                cost_usd: significant(answer.cost.usd, 4),
                cpu_seconds: places(answer.cost.cpu_seconds, 6),
                gpu_seconds: answer.cost.gpu_seconds.map(|seconds| places(seconds, 6)),
                energy_joules: answer.cost.energy_joules.map(|joules| significant(joules, 4)),
            },
            outputs: outputs.collect(),
        }
    }

    /// The body of the response over HTTP.
    #[must_use]
    pub fn to_http_body(&self) -> HttpBody {
        let mut tail = Vec::new();
        let outputs = self.outputs.iter().map(|output| SentOutputJson::new(output, &mut tail)).collect();
        let json = ResponseJson {
            model_name: self.model_name,
            model_version: self.model_version,
            id: self.id,
            parameters: &self.parameters,
            outputs,
        };
        let mut bytes = serde_json::to_vec(&json).unwrap_or_default();
        let header_length = self.outputs.iter().any(|output| output.binary).then_some(bytes.len());
        bytes.append(&mut tail);
        HttpBody { bytes, header_length }
    }
}

impl<'a> ResponseOutput<'a> {
    fn new(name: &'a str, tensor: &'a Tensor, labels: &[String], wanted: &RequestedOutput) -> Self {
        let (datatype, shape, contents) = match wanted.classes {
            None => (tensor.element().oip_name(), tensor.shape().to_vec(), OutputContents::Tensor(tensor)),
            Some(most) => {
                let (shape, words) = classes(labels, most, tensor);
                ("BYTES", shape, OutputContents::Classes(words))
            }
        };
        Self { name, datatype, shape, contents, binary: wanted.binary }
    }

    /// Appends the output's elements as bytes, and says how many these are.
    pub fn put_bytes(&self, into: &mut Vec<u8>) -> usize {
        match &self.contents {
            OutputContents::Tensor(tensor) => tensor_codec::put_bytes(tensor, into),
            OutputContents::Classes(words) => words.iter().map(|word| put_word(word, into)).sum(),
        }
    }
}

fn ms(time: Duration) -> f64 {
    places(time.as_secs_f64() * 1e3, 3)
}

#[derive(Serialize)]
struct ResponseJson<'a> {
    model_name: &'a str,
    model_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    parameters: &'a ResponseParameters<'a>,
    outputs: Vec<SentOutputJson<'a>>,
}

#[derive(Serialize)]
struct SentOutputJson<'a> {
    name: &'a str,
    datatype: &'static str,
    shape: &'a [usize],
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<BinaryData>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a OutputContents<'a>>,
}

#[derive(Serialize)]
struct BinaryData {
    binary_data_size: usize,
}

impl<'a> SentOutputJson<'a> {
    /// The output in JSON; where it is wanted as bytes, these go to the tail.
    fn new(output: &'a ResponseOutput<'a>, tail: &mut Vec<u8>) -> Self {
        let (parameters, data) = if output.binary {
            (Some(BinaryData { binary_data_size: output.put_bytes(tail) }), None)
        } else {
            (None, Some(&output.contents))
        };
        Self { name: output.name, datatype: output.datatype, shape: &output.shape, parameters, data }
    }
}

impl Serialize for OutputContents<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Tensor(tensor) => AsJson(tensor).serialize(serializer),
            Self::Classes(words) => words.serialize(serializer),
        }
    }
}

/// The best classes of each row, as `value:index:label`.
fn classes(labels: &[String], most: usize, tensor: &Tensor) -> (Vec<usize>, Vec<String>) {
    let values = tensor_codec::to_f64(tensor);
    // The first dimension is the batch, where there is more than one.
    let rows = if tensor.shape().len() > 1 { tensor.shape().first().copied().unwrap_or(1) } else { 1 };
    let width = values.len().checked_div(rows).unwrap_or(0);
    let most = most.min(width);
    // A single probability is that of the second of two labels ("yes").
    let labels = if width == 1 && labels.len() == 2 { &labels[1..] } else { labels };
    let mut words = Vec::with_capacity(rows * most);
    for row in values.chunks(width.max(1)) {
        let mut order: Vec<usize> = (0..row.len()).collect();
        order.sort_by(|a, b| row[*b].total_cmp(&row[*a]));
        for index in order.into_iter().take(most) {
            let label = labels.get(index).map_or(String::new(), |label| format!(":{label}"));
            words.push(format!("{:.6}:{index}{label}", row[index]));
        }
    }
    let shape = if tensor.shape().len() > 1 { vec![rows, most] } else { vec![most] };
    (shape, words)
}

fn put_word(word: &str, into: &mut Vec<u8>) -> usize {
    let length = u32::try_from(word.len()).unwrap_or(u32::MAX);
    into.extend_from_slice(&length.to_le_bytes());
    into.extend_from_slice(word.as_bytes());
    4 + word.len()
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn classes_are_the_best_of_each_row() {
        let tensor = Tensor::from(array![[0.1f32, 0.7, 0.2], [0.5, 0.25, 0.25]].into_dyn());
        let (shape, words) = classes(&["cat".to_owned(), "dog".to_owned()], 2, &tensor);
        assert_eq!(shape, [2, 2]);
        insta::assert_debug_snapshot!(words, @r#"
        [
            "0.700000:1:dog",
            "0.200000:2",
            "0.500000:0:cat",
            "0.250000:1:dog",
        ]
        "#);
        let (labels, yes) = (["no".to_owned(), "yes".to_owned()], Tensor::from(array![[0.75f32]].into_dyn()));
        assert_eq!(classes(&labels, 2, &yes), (vec![1, 1], vec!["0.750000:0:yes".to_owned()]));
        assert_eq!(classes(&[], 9, &Tensor::from(array![1u8, 3].into_dyn())).1, ["3.000000:1", "1.000000:0"]);
    }

    #[test]
    fn binary_outputs_stand_behind_the_json() {
        let (mut bytes, tensor) = (Vec::new(), Tensor::from(array![[0.25f32, 0.75]].into_dyn()));
        let labels = ["no".to_owned(), "yes".to_owned()];
        let wants = [
            RequestedOutput { index: 0, binary: true, classes: None },
            RequestedOutput { index: 0, binary: true, classes: Some(1) },
            RequestedOutput { index: 0, binary: false, classes: None },
        ];
        let outputs = wants.map(|wanted| ResponseOutput::new("scores", &tensor, &labels, &wanted));
        let outputs: Vec<_> = outputs.iter().map(|output| SentOutputJson::new(output, &mut bytes)).collect();
        insta::assert_snapshot!(serde_json::to_string(&outputs).expect("json"), @r#"[{"name":"scores","datatype":"FP32","shape":[1,2],"parameters":{"binary_data_size":8}},{"name":"scores","datatype":"BYTES","shape":[1,1],"parameters":{"binary_data_size":18}},{"name":"scores","datatype":"FP32","shape":[1,2],"data":[0.25,0.75]}]"#);
        assert_eq!(bytes[..8], [0, 0, 128, 62, 0, 0, 64, 63]);
        assert_eq!(&bytes[8..], b"\x0e\0\0\x000.750000:1:yes");
    }
}
