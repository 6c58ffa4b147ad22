//! Tensors in, tensors out, for clients of the Open Inference Protocol; encoded images may stand for the image input.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::try_join_all;

use super::{
    Inference,
    admission::Admitted,
    forecast::{Forecast, Forecasts},
    images::ImageInput,
    preprocess::{self, IncomingImage, KeptPixels},
    record::RequestRecord,
    response::{Response, TensorOutputs},
    run::{self, Run},
};
use crate::{
    cost::CpuTime,
    error::Error,
    models::Variant,
    scheduler::job::RunOutput,
    telemetry::{Stage, StageTimes},
    vision::tensor::{Port, Tensor, in_words},
};

/// What a tensor request carries.
#[derive(Debug)]
pub enum TensorInputs {
    /// The graph's inputs by name, in any order.
    Tensors(Vec<(String, Tensor)>),
    /// Encoded images for the image input, as OpenVINO Model Server takes them.
    Images(Vec<Bytes>),
}

/// The outputs of one image, and what it took.
struct ImageRun {
    ran: RunOutput,
    times: StageTimes,
    cpu: CpuTime,
}

impl TensorInputs {
    /// The number of images, at most `max_batch`; more are refused later.
    fn images(&self, variant: &Variant) -> usize {
        match self {
            Self::Images(images) => images.len(),
            Self::Tensors(tensors) if variant.info.batch_axis.is_free() => {
                let rows = tensors.first().and_then(|(_, tensor)| tensor.shape().first()).copied();
                rows.unwrap_or(1).min(variant.info.max_batch)
            }
            Self::Tensors(_) => 1,
        }
    }
}

/// Answers a tensor request.
pub(super) async fn run_tensors(
    mut admitted: Admitted,
    inputs: TensorInputs,
) -> Result<Response<TensorOutputs>, Error> {
    let images = inputs.images(admitted.record.model.variant(admitted.route.variant));
    admitted.record.holds(images);
    admitted.record.typical = matches!(inputs, TensorInputs::Images(_));
    let inference = Arc::clone(&admitted.inference);
    let (named, images) = match inputs {
        TensorInputs::Tensors(named) => (Some(named), Vec::new()),
        TensorInputs::Images(images) => (None, images),
    };
    let incoming = |bytes| IncomingImage::new(&inference, ImageInput::Encoded(bytes));
    let images: Vec<_> = images.into_iter().map(incoming).collect();
    // Each of several has a forecast of its own.
    let work = if let [one] = &images[..] { one.work } else { None };
    match admitted.fresh_forecast(work) {
        Ok(forecast) => admitted.record.forecast = forecast,
        Err(error) => return Err(admitted.record.fail(error)),
    }
    run::run(admitted, async move |run, record| {
        let outputs = match named {
            Some(named) => {
                let inputs = in_order(run, named)?;
                take_pixels(run, &inputs)?;
                let ran = run.queue(inputs).await?;
                record.stages.set(Stage::Queue, ran.queue_time);
                record.stages.set(Stage::Inference, ran.run_time);
                record.batch_size = ran.batch_size;
                ran.outputs
            }
            None => run_images(&inference, run, images, record).await?,
        };
        let names = run.variant().info.outputs.iter().map(|port| port.name.clone());
        Ok(names.zip(outputs).collect())
    })
    .await
}

/// Takes the pixels of ready-made tensors from the client's limits, as if they had come as images.
fn take_pixels(run: &Run, inputs: &[Tensor]) -> Result<(), Error> {
    let Some(allowance) = &run.context.allowance else { return Ok(()) };
    let image = inputs.get(run.variant().preprocessor.image_input());
    let elements = image.map_or(0, |image| image.shape().iter().product::<usize>());
    allowance.pixels(elements as u64 / 3)
}

/// Decodes and queues each image for itself, so that one does not wait for another, and puts the outputs together.
async fn run_images(
    inference: &Inference,
    run: &Run,
    images: Vec<IncomingImage>,
    record: &mut RequestRecord,
) -> Result<Vec<Tensor>, Error> {
    let runs = match <[IncomingImage; 1]>::try_from(images) {
        Ok([image]) => vec![run_image(inference, run, image).await?],
        Err(images) => try_join_all(images.into_iter().map(|image| run_one_of_several(inference, run, image))).await?,
    };
    runs.iter().for_each(|image| account(record, image));
    let outputs = 0..run.variant().info.outputs.len();
    let stacked = outputs.map(|output| {
        let parts: Option<Vec<&Tensor>> = runs.iter().map(|image| image.ran.outputs.get(output)).collect();
        parts.and_then(|parts| Tensor::stack(&parts, 0, None))
    });
    stacked
        .collect::<Option<_>>()
        .ok_or_else(|| misfit(run, "its outputs have another shape for every picture: send one picture a request"))
}

async fn run_image(inference: &Inference, run: &Run, image: IncomingImage) -> Result<ImageRun, Error> {
    let ready = preprocess::preprocess(inference, run, image, KeptPixels::default()).await?;
    // Its room goes with it until the tensors have been run.
    let ran = run.outputs(ready.queued?).await?;
    let mut times = ready.times;
    times.add(Stage::Queue, ran.queue_time);
    times.set(Stage::Inference, ran.run_time);
    Ok(ImageRun { ran, times, cpu: ready.cpu })
}

/// One image of several, with a forecast of its own.
async fn run_one_of_several(inference: &Inference, run: &Run, image: IncomingImage) -> Result<ImageRun, Error> {
    let variant = run.variant();
    let forecast = Forecasts::new(inference, variant, run.context.asker(), image.work).own;
    forecast.check_deadline(&run.model.info.name, run.context.deadline)?;
    let mut compared = Compared { forecast, variant, answered: false };
    let done = run_image(inference, run, image).await;
    compared.answered = done.is_ok();
    done
}

/// Compares the forecast of one image with what became of it, also when it is dropped before it is answered.
struct Compared<'a> {
    forecast: Forecast,
    variant: &'a Variant,
    answered: bool,
}

impl Drop for Compared<'_> {
    fn drop(&mut self) {
        self.forecast.compare(self.variant, self.answered);
    }
}

/// Adds one image to the request's record. Stage times are those of the slowest image.
fn account(record: &mut RequestRecord, image: &ImageRun) {
    record.stages = record.stages.slowest(&image.times);
    record.batch_size = record.batch_size.max(image.ran.batch_size);
    record.overhead += image.cpu;
}

/// The named tensors in the graph's order, each of the type and shape that the graph declares.
fn in_order(run: &Run, mut named: Vec<(String, Tensor)>) -> Result<Vec<Tensor>, Error> {
    let (variant, refuse) = (run.variant(), |what: String| misfit(run, &what));
    let info = &variant.info;
    let mut inputs: Vec<Tensor> = Vec::with_capacity(info.inputs.len());
    for port in &info.inputs {
        let Some(index) = named.iter().position(|(name, _)| *name == port.name) else {
            return Err(refuse(format!("input `{}` is missing", port.name)));
        };
        let (_, tensor) = named.swap_remove(index);
        let sent = format!("{}{:?}", tensor.element().short_name(), tensor.shape());
        if !fits(port, &tensor) {
            return Err(refuse(format!("input `{}` is {sent}", port.name)));
        }
        let rows = tensor.shape().first();
        if info.batch_axis.is_free() && inputs.first().is_some_and(|first| first.shape().first() != rows) {
            return Err(refuse("its inputs have batches of different sizes".to_owned()));
        }
        // A run cannot be stopped once begun, so its rows and its free dimensions are limited.
        let most = info.max_batch;
        if port.shape.first() == Some(&None) && rows.is_some_and(|rows| *rows > most) {
            return Err(refuse(format!("input `{}` is {sent}, but at most {most} rows are run at once", port.name)));
        }
        inputs.push(tensor);
    }
    let (width, height) = variant.preprocessor.input_size();
    let elements = inputs
        .get(variant.preprocessor.image_input())
        .map_or(0, |image| image.shape().iter().skip(1).product::<usize>());
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

fn misfit(run: &Run, what: &str) -> Error {
    let (model, wants) = (&run.model.info.name, in_words(&run.variant().info.inputs));
    Error::BadParameter { name: "inputs".to_owned(), why: format!("{what}; model `{model}` takes {wants}") }
}
