//! Tensors in, tensors out, for Open Inference clients; encoded pictures may stand for the picture input.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::try_join_all;
use tokio::time::timeout_at;

use super::{
    Permit, Pipeline, RequestContext, RequestCost, Route, ServedModel, ServedVariant, Timing, ms,
    pictures::CountedWhenDropped,
};
use crate::{
    cost::{Account, CpuTime, Meter},
    error::Error,
    routing::Reason,
    scheduler::job::RunOutput,
    vision::tensor::{Port, Tensor, in_words},
};

/// Inputs and who runs them.
#[derive(Debug)]
pub struct TensorRequest {
    /// Who answers.
    pub model: Arc<ServedModel>,
    /// With which of its files.
    pub route: Route,
    /// The inputs.
    pub inputs: TensorInputs,
    /// Until when it is wanted, and before whom.
    pub terms: RequestContext,
}

/// What a tensor request carries.
#[derive(Debug)]
pub enum TensorInputs {
    /// The graph's inputs by name, in any order.
    Tensors(Vec<(String, Tensor)>),
    /// Encoded pictures for the picture input, as OpenVINO Model Server takes them.
    Pictures(Vec<Bytes>),
}

impl TensorInputs {
    /// How many pictures that are, as far as they may be run at all.
    fn pictures(&self, variant: &ServedVariant) -> usize {
        match self {
            Self::Pictures(pictures) => pictures.len(),
            Self::Tensors(tensors) if variant.batch_axis.is_free() => {
                let rows = tensors.first().and_then(|(_, tensor)| tensor.shape().first()).copied();
                rows.unwrap_or(1).min(variant.max_batch)
            }
            Self::Tensors(_) => 1,
        }
    }
}

/// Outputs with their circumstances.
#[derive(Debug)]
pub struct TensorAnswer {
    /// Who answered.
    pub model: Arc<ServedModel>,
    /// With which file.
    pub variant: String,
    /// Why with this one.
    pub reason: Reason,
    /// The graph's outputs, in its order.
    pub outputs: Vec<(String, Tensor)>,
    /// Where the time went; of several pictures, the slowest.
    pub timing: Timing,
    /// Jobs in the run that it was part of.
    pub batch_size: usize,
    /// What it cost.
    pub cost: RequestCost,
}

/// The outputs of one or more runs, put together.
#[derive(Default)]
struct Outcome {
    outputs: Vec<Tensor>,
    /// What encoded pictures took beside their runs, together.
    aside: CpuTime,
    timing: Timing,
    batch_size: usize,
}

impl Pipeline {
    /// Runs a graph.
    ///
    /// # Errors
    /// [`Error::BadParameter`] names the input that does not fit and the shape that would; else as
    /// [`Pipeline::answer`].
    pub async fn infer(&self, _permit: &Permit, request: TensorRequest) -> Result<TensorAnswer, Error> {
        let started = Instant::now();
        let TensorRequest { model, route, inputs, terms } = request;
        let deadline = terms.deadline;
        let variant = model.of(route);
        let (pictures, decodes) = (inputs.pictures(variant), matches!(inputs, TensorInputs::Pictures(_)));
        self.more_pictures(&model, route, pictures.saturating_sub(1));
        let meter = self.meter(Account::Request, &model, variant, terms.tenant);
        let mut gone = CountedWhenDropped { metrics: self.metrics(), model: &model.name, armed: true };
        let work = async {
            match inputs {
                TensorInputs::Tensors(named) => run_tensors(&model, variant, named, terms, &meter).await,
                TensorInputs::Pictures(pictures) => self.run_pictures(&model, variant, pictures, terms, &meter).await,
            }
        };
        let result = timeout_at(deadline.at.into(), work).await;
        gone.armed = false;
        let Outcome { outputs, aside, mut timing, batch_size } =
            self.ended(&model, &variant.name, result.unwrap_or_else(|_| Err(deadline.passed())))?;
        let cost = self.settle(&model, route, &meter, (aside, decodes), pictures);
        let total = started.elapsed();
        timing.total_ms = ms(total);
        let stages = [
            ("decode", timing.decode_ms),
            ("preprocess", timing.preprocess_ms),
            ("queue", timing.queue_ms),
            ("inference", timing.inference_ms),
        ];
        for (stage, took_ms) in stages {
            self.metrics().stage(&model.name, stage, Duration::from_secs_f64(took_ms / 1000.0));
        }
        self.metrics().answered(&model.name, &variant.name, total);
        let names = variant.outputs.iter().map(|port| port.name.clone());
        let (outputs, variant) = (names.zip(outputs).collect(), variant.name.clone());
        let (model, reason) = (Arc::clone(&model), route.reason);
        Ok(TensorAnswer { model, variant, reason, outputs, timing, batch_size, cost })
    }

    /// Each picture is decoded and queued for itself, so that one does not wait for another.
    async fn run_pictures(
        &self,
        model: &ServedModel,
        variant: &ServedVariant,
        pictures: Vec<Bytes>,
        terms: RequestContext,
        meter: &Arc<Meter>,
    ) -> Result<Outcome, Error> {
        let each = pictures.into_iter().map(|bytes| async move {
            let promise = self.promise(model, variant, terms)?;
            let (ready, decoding) = self.make_ready(model, variant, bytes, false, terms, meter).await?;
            let (decode, preprocess) = (ready.decode, ready.preprocess);
            let ran = model.run(variant, ready.prepared.inputs, terms, meter).await?;
            promise.kept();
            Ok::<_, Error>((decoding, decode, preprocess, ran))
        });
        let mut rows: Vec<Vec<Tensor>> = Vec::new();
        let mut outcome = Outcome::default();
        for (decoding, decode, preprocess, ran) in try_join_all(each).await? {
            outcome.account(&ran, decoding.waited);
            outcome.aside += decoding.cpu;
            outcome.timing.decode_ms = outcome.timing.decode_ms.max(ms(decode));
            outcome.timing.preprocess_ms = outcome.timing.preprocess_ms.max(ms(preprocess));
            rows.push(ran.outputs);
        }
        outcome.outputs = (0..variant.outputs.len())
            .map(|output| {
                let parts: Option<Vec<&Tensor>> = rows.iter().map(|row| row.get(output)).collect();
                parts.and_then(|parts| Tensor::stack(&parts, 0, None))
            })
            .collect::<Option<_>>()
            .ok_or_else(|| {
                let what = "its outputs have another shape for every picture: send one picture a request";
                misfit(&model.name, &variant.inputs, what)
            })?;
        Ok(outcome)
    }
}

impl Outcome {
    fn account(&mut self, ran: &RunOutput, waited: Duration) {
        self.batch_size = self.batch_size.max(ran.batch_size);
        self.timing.queue_ms = self.timing.queue_ms.max(ms(waited + ran.queue_time));
        self.timing.inference_ms = self.timing.inference_ms.max(ms(ran.run_time));
    }
}

async fn run_tensors(
    model: &ServedModel,
    variant: &ServedVariant,
    named: Vec<(String, Tensor)>,
    terms: RequestContext,
    meter: &Arc<Meter>,
) -> Result<Outcome, Error> {
    let inputs = in_order(model, variant, named)?;
    let ran = model.run(variant, inputs, terms, meter).await?;
    let mut outcome = Outcome::default();
    outcome.account(&ran, Duration::ZERO);
    outcome.outputs = ran.outputs;
    Ok(outcome)
}

/// The named tensors in the graph's order, each of the type and shape that the graph declares.
fn in_order(
    model: &ServedModel,
    variant: &ServedVariant,
    mut named: Vec<(String, Tensor)>,
) -> Result<Vec<Tensor>, Error> {
    let refuse = |what: String| misfit(&model.name, &variant.inputs, &what);
    let mut inputs: Vec<Tensor> = Vec::with_capacity(variant.inputs.len());
    for port in &variant.inputs {
        let Some(index) = named.iter().position(|(name, _)| *name == port.name) else {
            return Err(refuse(format!("input `{}` is missing", port.name)));
        };
        let (_, tensor) = named.swap_remove(index);
        let sent = format!("{}{:?}", tensor.element().short_name(), tensor.shape());
        if !fits(port, &tensor) {
            return Err(refuse(format!("input `{}` is {sent}", port.name)));
        }
        let rows = tensor.shape().first();
        if variant.batch_axis.is_free() && inputs.first().is_some_and(|first| first.shape().first() != rows) {
            return Err(refuse("its inputs have batches of different sizes".to_owned()));
        }
        // One run cannot be stopped, so what it may take is bounded: its rows, and what else the graph leaves free.
        let most = variant.max_batch;
        if port.shape.first() == Some(&None) && rows.is_some_and(|rows| *rows > most) {
            return Err(refuse(format!("input `{}` is {sent}, but at most {most} rows are run at once", port.name)));
        }
        inputs.push(tensor);
    }
    let (width, height) = variant.preparer.input_size();
    let elements = inputs
        .get(variant.preparer.picture_input())
        .map_or(0, |picture| picture.shape().iter().skip(1).product::<usize>());
    if elements > width as usize * height as usize * 3 {
        return Err(refuse(format!("the picture has more than {width}×{height} pixels")));
    }
    match named.first() {
        None => Ok(inputs),
        Some((name, _)) => Err(refuse(format!("it has no input `{name}`"))),
    }
}

fn fits(port: &Port, tensor: &Tensor) -> bool {
    port.element == tensor.element()
        && port.shape.len() == tensor.shape().len()
        && port.shape.iter().zip(tensor.shape()).all(|(want, got)| want.map_or(*got > 0, |want| want == *got))
}

fn misfit(model: &str, inputs: &[Port], what: &str) -> Error {
    let wants = in_words(inputs);
    Error::BadParameter { name: "inputs".to_owned(), why: format!("{what}; model `{model}` takes {wants}") }
}
