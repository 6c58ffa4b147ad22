//! Requests of the Open Inference Protocol, for a model with an input of every datatype.

use std::sync::OnceLock;

use bytes::Bytes;

use super::first_line;
use crate::{
    inference::TensorInputs,
    oip::{GrpcTarget, InferRequest, MAX_IMAGES, ModelSignature, OipError, read_grpc_message, read_http_body},
    vision::tensor::{ElementType, Port},
};

/// The largest encoded image in bytes.
const MAX_IMAGE_BYTES: usize = 64;

/// A body that is JSON from its beginning to its end.
pub(super) fn json(bytes: &[u8]) {
    let inputs = inputs();
    read(inputs, bytes, None);
}

/// A body with bytes behind the JSON. The first line is the length of the JSON, as the header says it.
pub(super) fn binary(bytes: &[u8]) {
    let (length, body) = first_line(bytes);
    let length = std::str::from_utf8(length).ok().and_then(|length| length.trim().parse().ok());
    read(inputs(), body, length);
    // Nothing but a tensor is read only for a model with one input.
    read(&inputs()[..1], body, length);
}

fn inputs() -> &'static [Port] {
    static INPUTS: OnceLock<Vec<Port>> = OnceLock::new();
    INPUTS.get_or_init(|| {
        let port = |element: &ElementType| Port {
            name: element.short_name().to_owned(),
            element: *element,
            shape: vec![None, Some(2)],
        };
        let mut ports: Vec<_> = ElementType::ALL.iter().map(port).collect();
        ports.insert(0, Port { name: "x".to_owned(), element: ElementType::F32, shape: vec![None, Some(2)] });
        ports
    })
}

/// A message `ModelInferRequest`.
pub(super) fn grpc(bytes: &[u8]) {
    let message = Bytes::copy_from_slice(bytes);
    // The server finds the model first.
    if GrpcTarget::of(&message).is_err() {
        return;
    }
    for inputs in [inputs(), &inputs()[..1]] {
        hold(inputs, message.len(), |signature| read_grpc_message(signature, &message));
    }
}

fn read(inputs: &[Port], body: &[u8], header_length: Option<usize>) {
    let bytes = Bytes::copy_from_slice(body);
    hold(inputs, body.len(), |signature| read_http_body(signature, &bytes, header_length));
}

/// Reads a request of that length for a model with these inputs.
fn hold(inputs: &[Port], length: usize, read: impl FnOnce(&ModelSignature<'_>) -> Result<InferRequest, OipError>) {
    let output = |name: &str| Port { name: name.to_owned(), element: ElementType::F32, shape: vec![None, Some(2)] };
    let outputs = [output("scores"), output("more")];
    let signature = ModelSignature { inputs, outputs: &outputs, image_input: 0, max_image_bytes: MAX_IMAGE_BYTES };
    match read(&signature) {
        Ok(request) => {
            assert!(request.outputs.iter().all(|wanted| wanted.index < outputs.len()), "{:?}", request.outputs);
            check(&request.inputs, length);
        }
        Err(refusal) => assert!(!refusal.to_string().is_empty()),
    }
}

/// Each element takes at least a byte of the body, so that nothing is larger than its body allows.
fn check(inputs: &TensorInputs, body: usize) {
    let read = match inputs {
        TensorInputs::Tensors(tensors) => {
            tensors.iter().map(|(_, tensor)| tensor.shape().iter().product::<usize>()).sum::<usize>()
        }
        TensorInputs::Images(images) => {
            assert!((1..=MAX_IMAGES).contains(&images.len()), "{} images", images.len());
            assert!(images.iter().all(|image| image.len() <= MAX_IMAGE_BYTES), "an image over the limit");
            images.iter().map(Bytes::len).sum()
        }
    };
    assert!(read <= body, "{read} elements of {body} bytes");
}
