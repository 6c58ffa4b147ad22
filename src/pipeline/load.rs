//! From a model's folder to a model that answers: files checked, sessions opened, one blank picture sent through.

use std::{
    path::Path,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::{BatchAxis, ServedModel, ServedVariant};
use crate::{
    batch::{
        queue::Queue,
        worker::{self, Setting},
    },
    config::{Config, Provider},
    engine::{
        Engine,
        library::{self, Library},
        plan::{Plan, usable_cpus},
        session::{Opening, OrtEngine, SharedWeights},
    },
    metrics::Metrics,
    registry::{
        self, ModelError,
        file::{self, Source},
        folder::{ModelFolder, VariantFile},
    },
    vision::{
        answer::ReadOptions,
        decode::{Format, Picture, Pixels},
        outputs::OutputReader,
        prepare::Preparer,
        tensor::Tensor,
    },
};

/// Loads models with the settings of one server.
#[derive(Debug)]
pub struct Loader<'a> {
    config: &'a Config,
    library: Library,
    metrics: Arc<Metrics>,
    cpus: usize,
}

/// A model and the threads that run it.
#[derive(Debug)]
pub struct Loaded {
    /// The model.
    pub model: ServedModel,
    /// Its workers; they end when the model is closed.
    pub workers: Vec<JoinHandle<()>>,
}

/// A variant whose graph is open and whose manifest fits.
struct Opened {
    source: Source,
    weights: SharedWeights,
    first: OrtEngine,
    plan: Plan,
    batch_axis: BatchAxis,
    preparer: Preparer,
    reader: OutputReader,
}

impl<'a> Loader<'a> {
    /// Loads ONNX Runtime.
    ///
    /// # Errors
    /// When there is none, or it is too old.
    pub fn new(config: &'a Config, metrics: Arc<Metrics>) -> Result<Self, ModelError> {
        let library = library::load(&config.runtime).map_err(|reason| ModelError { model: None, reason })?;
        Ok(Self { config, library, metrics, cpus: usable_cpus() })
    }

    /// ONNX Runtime's file.
    #[must_use]
    pub fn library(&self) -> &Path {
        &self.library.path
    }

    /// Loads every model of the folder, or only that one.
    #[must_use]
    pub fn load_all(&self, only: Option<&str>) -> Vec<Result<Loaded, ModelError>> {
        let wrong = |reason: String| vec![Err(ModelError { model: None, reason })];
        let folder = self.config.models.display();
        let mut models = match registry::scan(&self.config.models) {
            Ok(models) => models,
            Err(reason) => return wrong(reason),
        };
        if models.is_empty() {
            let hint = "name another folder with --models or OUNCE_MODELS";
            return wrong(format!("{folder} holds no folder with a model.toml; {hint}"));
        }
        if let Some(name) = only {
            models.retain(|model| {
                model.as_ref().map_or_else(|error| error.model.as_deref(), |model| Some(&model.name)) == Some(name)
            });
            if models.is_empty() {
                return wrong(format!("{folder} holds no model `{name}`"));
            }
        }
        models.into_iter().map(|model| model.and_then(|model| self.load(&model))).collect()
    }

    /// Loads one model: opens its variants, and sends a blank picture through each.
    ///
    /// # Errors
    /// With one sentence that says which file does not fit, and what would.
    pub fn load(&self, folder: &ModelFolder) -> Result<Loaded, ModelError> {
        let fail = |reason: String| ModelError { model: Some(folder.name.clone()), reason };
        let mut opened = Vec::new();
        for variant in &folder.variants {
            let of_file = |reason: String| fail(format!("variant `{}`: {reason}", variant.name));
            opened.push((variant, self.open(folder, variant).map_err(of_file)?));
        }
        let Some((_, default)) = opened.first() else { return Err(fail("it has no variants".to_owned())) };
        let all_free = opened.iter().all(|(_, opened)| opened.batch_axis == BatchAxis::Free);
        let batch_axis = if all_free { BatchAxis::Free } else { BatchAxis::Fixed };
        let asked = folder.manifest.batching.max_batch.get();
        let max_batch = if batch_axis == BatchAxis::Free { asked } else { 1 };
        if max_batch < asked {
            tracing::warn!(
                model = folder.name,
                max_batch = asked,
                "the graph takes one picture a run, so batches are off"
            );
        }
        let max_queue = folder.manifest.batching.max_queue.get();
        let mut model = ServedModel {
            name: folder.name.clone(),
            version: folder.version.clone(),
            task: folder.manifest.task,
            labels: folder.labels.clone(),
            decoding: folder.manifest.output.decode,
            defaults: ReadOptions::from(&folder.manifest.output),
            input_size: default.preparer.input_size(),
            inputs: default.first.inputs.clone(),
            outputs: default.first.outputs.clone(),
            picture_input: default.preparer.picture_input(),
            max_batch,
            max_queue,
            batch_axis,
            variants: Vec::new(),
        };
        let mut workers = Vec::new();
        for (variant, opened) in opened {
            let max_delay = Duration::from_millis(folder.manifest.batching.max_delay_ms);
            let (served, threads) = self.start(&model, max_delay, variant, opened).map_err(fail)?;
            model.variants.push(served);
            workers.extend(threads);
        }
        Ok(Loaded { model, workers })
    }

    fn open(&self, folder: &ModelFolder, variant: &VariantFile) -> Result<Opened, String> {
        let started = Instant::now();
        let source = file::open(variant)?;
        let wanted = folder.manifest.execution.providers.clone().unwrap_or_else(|| self.config.runtime.providers());
        let plan = |providers: &[Provider]| {
            let first = providers.first().copied().unwrap_or(Provider::Cpu);
            Plan::new(&folder.manifest.execution, first, self.cpus)
        };
        let weights = SharedWeights::new();
        let mut first = self.session(&source, &wanted, plan(&wanted), &weights)?;
        // What is really used decides: after a fallback from a GPU there is one session a CPU, not one in all.
        let plan = plan(&first.providers);
        let preparer = Preparer::new(&folder.manifest.input, &first.inputs)?;
        let output = &folder.manifest.output;
        let reader = OutputReader::new(output, folder.labels.len(), preparer.input_size(), &first.outputs)?;
        let batch_axis = try_out(&mut first, &preparer, &reader, &ReadOptions::from(output))?;
        tracing::info!(
            model = folder.name,
            variant = variant.name,
            providers = ?first.providers,
            instances = plan.instances,
            threads = plan.threads,
            took_ms = started.elapsed().as_secs_f64() * 1000.0,
            "opened"
        );
        Ok(Opened { source, weights, first, plan, batch_axis, preparer, reader })
    }

    fn session(
        &self,
        source: &Source,
        providers: &[Provider],
        plan: Plan,
        weights: &SharedWeights,
    ) -> Result<OrtEngine, String> {
        let fallback = self.config.runtime.fallback;
        let opening = Opening { library: &self.library, providers, fallback, threads: plan.threads };
        OrtEngine::open(source, &opening, weights)
    }

    fn start(
        &self,
        model: &ServedModel,
        max_delay: Duration,
        variant: &VariantFile,
        opened: Opened,
    ) -> Result<(ServedVariant, Vec<JoinHandle<()>>), String> {
        let Opened { source, weights, first, plan, preparer, reader, .. } = opened;
        let queue = Arc::new(Queue::new(model.max_queue));
        let (inputs, outputs) = (first.inputs.clone(), first.outputs.clone());
        let providers = first.providers.clone();
        let mut engines = vec![first];
        for _ in 1..plan.instances {
            engines.push(self.session(&source, &providers, plan, &weights)?);
        }
        let setting = Setting {
            model: model.name.clone(),
            max_batch: model.max_batch,
            max_delay,
            threads: plan.threads,
            metrics: Arc::clone(&self.metrics),
        };
        let workers = engines
            .into_iter()
            .map(|engine| worker::start(Arc::clone(&queue), Box::new(engine), setting.clone()))
            .collect::<Result<_, _>>()
            .map_err(|error| format!("no thread for a session: {error}"))?;
        let served = ServedVariant {
            name: variant.name.clone(),
            default: model.variants.is_empty(),
            file: variant.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            size_bytes: std::fs::metadata(&variant.path).map_or(0, |file| file.len()),
            accuracy: variant.accuracy.clone(),
            providers,
            instances: plan.instances,
            threads: plan.threads,
            inputs,
            outputs,
            preparer: Arc::new(preparer),
            reader: Arc::new(reader),
            queue,
        };
        Ok((served, workers))
    }
}

/// A blank picture through the whole graph: what does not fit shows here, not at the first request. Where the graph
/// declares a free batch axis, two of them go through together: only what then comes out in two equal rows shares runs.
fn try_out(
    engine: &mut OrtEngine,
    preparer: &Preparer,
    reader: &OutputReader,
    options: &ReadOptions,
) -> Result<BatchAxis, String> {
    let (width, height) = preparer.input_size();
    let grey = Pixels { width, height, rgb: vec![114; width as usize * height as usize * 3] };
    let blank = Picture { width, height, pixels: grey, format: Format::Png, orientation: 1 };
    let prepared = preparer.prepare(&blank)?;
    let outputs =
        engine.run(&prepared.inputs).map_err(|error| format!("a blank picture fails in the graph: {error}"))?;
    reader.read(&outputs, &prepared.placement, options)?;
    if BatchAxis::declared(&engine.inputs, &engine.outputs) == BatchAxis::Fixed {
        return Ok(BatchAxis::Fixed);
    }
    let twice: Option<Vec<Tensor>> = prepared.inputs.iter().map(|input| Tensor::stack(&[input, input])).collect();
    let both = twice.and_then(|inputs| engine.run(&inputs).ok()).unwrap_or_default();
    let alike = |output: &Tensor| output.shape().first() == Some(&2) && output.row(0) == output.row(1);
    Ok(if !both.is_empty() && both.iter().all(alike) { BatchAxis::Free } else { BatchAxis::Fixed })
}
