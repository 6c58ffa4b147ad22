//! Hand-made outputs, for the tests of decoders.

use ndarray::{ArrayD, IxDyn};

use super::{PostprocessOptions, Postprocessor, Prediction};
use crate::{
    manifest::{Fit, OutputSpec},
    vision::{
        geometry::{Placement, ResizePlan},
        tensor::{Port, Tensor},
    },
};

/// A graph's output: its declaration and what came back.
#[derive(Debug)]
pub(super) struct TestOutput {
    pub(super) port: Port,
    pub(super) tensor: Tensor,
}

pub(super) fn output<T>(name: &str, shape: &[usize], values: Vec<T>) -> TestOutput
where
    Tensor: From<ArrayD<T>>,
{
    let tensor = Tensor::from(ArrayD::from_shape_vec(IxDyn(shape), values).expect("as many values as the shape says"));
    let shape = shape.iter().copied().map(Some).collect();
    let port = Port { name: name.to_owned(), element: tensor.element(), shape };
    TestOutput { port, tensor }
}

/// The network's input is 32×32, stretched from an image of 64×32.
pub(super) const INPUT: (u32, u32) = (32, 32);

pub(super) fn reader(
    toml: &str,
    labels: usize,
    outputs: &[TestOutput],
) -> Result<(Postprocessor, PostprocessOptions), String> {
    let spec: OutputSpec = toml::from_str(toml).expect("a valid output table");
    let ports: Vec<Port> = outputs.iter().map(|output| output.port.clone()).collect();
    Postprocessor::new(&spec, labels, INPUT, &ports).map(|reader| (reader, PostprocessOptions::from(&spec)))
}

pub(super) fn read(toml: &str, labels: usize, outputs: &[TestOutput]) -> Prediction {
    let (reader, options) = reader(toml, labels, outputs).expect("fits");
    let tensors: Vec<Tensor> = outputs.iter().map(|output| output.tensor.clone()).collect();
    reader.read(&tensors, &placement(), &options).expect("reads")
}

/// Where that image lies on the network's input.
pub(super) fn placement() -> Placement {
    ResizePlan::new(Fit::Stretch, 1.0, (64, 32), INPUT).placement
}
