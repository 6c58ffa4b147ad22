//! The body of an inference response.

use axum::{
    Json,
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use serde::{Serialize, Serializer};

use super::{
    elements::{self, AsJson},
    request::Wanted,
};
use crate::{
    api::{
        round::{places, significant},
        wire,
    },
    inference::{Tensor, TensorAnswer},
    tasks,
};

/// Where the JSON ends and the bytes begin.
pub(super) const HEADER_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

#[derive(Debug, Serialize)]
struct Body<'a> {
    model_name: &'a str,
    model_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    parameters: Circumstances<'a>,
    outputs: Vec<Output<'a>>,
}

/// What it took, as parameters, where clients that do not know them ignore them.
#[derive(Debug, Serialize)]
struct Circumstances<'a> {
    variant: &'a str,
    routed: &'static str,
    batch_size: usize,
    queue_ms: f64,
    inference_ms: f64,
    total_ms: f64,
    cost_usd: f64,
    cpu_seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    gpu_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    energy_joules: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Output<'a> {
    name: &'a str,
    datatype: &'static str,
    shape: Vec<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Binary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Data<'a>>,
}

#[derive(Debug, Serialize)]
struct Binary {
    binary_data_size: usize,
}

#[derive(Debug)]
enum Data<'a> {
    Numbers(AsJson<'a>),
    Words(Vec<String>),
}

impl Serialize for Data<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Numbers(numbers) => numbers.serialize(serializer),
            Self::Words(words) => words.serialize(serializer),
        }
    }
}

/// Writes an answer: JSON, with the bytes of the outputs that were wanted so behind it.
pub(super) fn write(answer: &TensorAnswer, id: Option<&str>, wanted: &[Wanted]) -> Response {
    let mut bytes = Vec::new();
    let outputs = wanted
        .iter()
        .filter_map(|wanted| answer.outputs.get(wanted.index).map(|(name, tensor)| (wanted, name, tensor)))
        .map(|(wanted, name, tensor)| {
            output(tasks::output_labels(answer.model.task, &answer.model.labels), wanted, name, tensor, &mut bytes)
        })
        .collect();
    let body = Body {
        model_name: &answer.model.name,
        model_version: &answer.model.version,
        id,
        parameters: Circumstances {
            variant: &answer.variant,
            routed: answer.reason.name(),
            batch_size: answer.batch_size,
            queue_ms: places(answer.timing.queue_ms, 3),
            inference_ms: places(answer.timing.inference_ms, 3),
            total_ms: places(answer.timing.total_ms, 3),
            cost_usd: significant(answer.cost.usd, 4),
            cpu_seconds: places(answer.cost.cpu_seconds, 6),
            gpu_seconds: answer.cost.gpu_seconds.map(|seconds| places(seconds, 6)),
            energy_joules: answer.cost.energy_joules.map(|joules| significant(joules, 4)),
        },
        outputs,
    };
    let timing = wire::server_timing(&answer.timing, Some(&answer.cost));
    if wanted.iter().all(|wanted| !wanted.binary) {
        return (timing, Json(body)).into_response();
    }
    let mut whole = serde_json::to_vec(&body).unwrap_or_default();
    let framing = [
        (HEADER_LENGTH, HeaderValue::from(whole.len())),
        (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
    ];
    whole.append(&mut bytes);
    (timing, framing, whole).into_response()
}

fn output<'a>(
    labels: &[String],
    wanted: &Wanted,
    name: &'a str,
    tensor: &'a Tensor,
    bytes: &mut Vec<u8>,
) -> Output<'a> {
    let (datatype, shape, words) = match wanted.classes {
        None => (tensor.element().oip_name(), tensor.shape().to_vec(), None),
        Some(most) => {
            let (shape, words) = classes(labels, most, tensor);
            ("BYTES", shape, Some(words))
        }
    };
    if !wanted.binary {
        let data = words.map_or(Data::Numbers(AsJson(tensor)), Data::Words);
        return Output { name, datatype, shape, parameters: None, data: Some(data) };
    }
    let binary_data_size = match words {
        None => elements::put_bytes(tensor, bytes),
        Some(words) => words.iter().map(|word| put_word(word, bytes)).sum(),
    };
    Output { name, datatype, shape, parameters: Some(Binary { binary_data_size }), data: None }
}

/// The best classes of each row, as `value:index:label`.
fn classes(labels: &[String], most: usize, tensor: &Tensor) -> (Vec<usize>, Vec<String>) {
    let values = elements::to_f64(tensor);
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
            Wanted { index: 0, binary: true, classes: None },
            Wanted { index: 0, binary: true, classes: Some(1) },
            Wanted { index: 0, binary: false, classes: None },
        ];
        let outputs: Vec<_> =
            wants.iter().map(|wanted| output(&labels, wanted, "scores", &tensor, &mut bytes)).collect();
        insta::assert_snapshot!(serde_json::to_string(&outputs).expect("json"), @r#"[{"name":"scores","datatype":"FP32","shape":[1,2],"parameters":{"binary_data_size":8}},{"name":"scores","datatype":"BYTES","shape":[1,1],"parameters":{"binary_data_size":18}},{"name":"scores","datatype":"FP32","shape":[1,2],"data":[0.25,0.75]}]"#);
        assert_eq!(bytes[..8], [0, 0, 128, 62, 0, 0, 64, 63]);
        assert_eq!(&bytes[8..], b"\x0e\0\0\x000.750000:1:yes");
    }
}
