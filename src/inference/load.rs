//! From a model's folder to a model that answers: files checked, sessions opened and tried out, workers started.

use std::{
    path::Path,
    sync::{Arc, atomic::AtomicU64},
    thread::JoinHandle,
    time::Instant,
};

use super::{
    BatchAxis, ServedModel, ServedVariant,
    promise::ForecastErrors,
    route::Routing,
    shadow::{Agreement, Shadow},
    stage::InFlight,
    traffic::Traffic,
    trial::{self, execution_mode, limits},
};
use crate::{
    config::{Auto, Config, ModelOverrides, Provider},
    cost::DeviceClock,
    engine::{
        free_axis,
        library::{self, Library},
        session::{Opening, OrtEngine, SharedWeights},
        thread_plan::{ThreadPlan, usable_cpus},
    },
    models::{
        self, ModelError,
        file::{self, Source},
        folder::{ModelFolder, VariantFile},
    },
    scheduler::{
        latency_profile::LatencyProfile,
        policy::BatchLimits,
        pool_cpu_time::PoolCpuTime,
        queue::Queue,
        worker::{self, WorkerConfig},
    },
    stats::Ewma,
    telemetry::metrics::Metrics,
    vision::{answer::PostprocessOptions, outputs::Postprocessor, prepare::Preprocessor},
};

/// Loads models with the settings of one server.
#[derive(Debug)]
pub struct Loader<'a> {
    config: &'a Config,
    library: Library,
    metrics: Arc<Metrics>,
    device: Arc<DeviceClock>,
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

/// A variant whose graph is open, fits its manifest, and was tried out.
struct Opened {
    source: Source,
    wanted: Vec<Provider>,
    weights: SharedWeights,
    first: OrtEngine,
    plan: ThreadPlan,
    batch_axis: BatchAxis,
    why_fixed: Option<String>,
    preparer: Preprocessor,
    reader: Postprocessor,
    limits: BatchLimits,
    curve: LatencyProfile,
    pool_cpu_time: PoolCpuTime,
}

impl<'a> Loader<'a> {
    /// Loads ONNX Runtime.
    ///
    /// # Errors
    /// When there is none, or it is too old.
    pub fn new(config: &'a Config, metrics: Arc<Metrics>, device: Arc<DeviceClock>) -> Result<Self, ModelError> {
        let library = library::load(&config.runtime).map_err(|reason| ModelError { model: None, reason })?;
        Ok(Self { config, library, metrics, device, cpus: usable_cpus() })
    }

    /// ONNX Runtime's file.
    #[must_use]
    pub fn library(&self) -> &Path {
        &self.library.path
    }

    /// Loads every model of the folder, or only that one, or only that variant of it.
    #[must_use]
    pub fn load_all(&self, only: Option<&str>, variant: Option<&str>) -> Vec<Result<Loaded, ModelError>> {
        let wrong = |reason: String| vec![Err(ModelError { model: None, reason })];
        let folder = self.config.models.display();
        let mut models = match models::scan(&self.config.models) {
            Ok(models) => models,
            Err(reason) => return wrong(reason),
        };
        if models.is_empty() {
            let hint = "name another folder with --models or OUNCE_MODELS";
            return wrong(format!("{folder} holds no folder with a model.toml; {hint}"));
        }
        let names: Vec<&str> = models
            .iter()
            .filter_map(|model| model.as_ref().map_or_else(|error| error.model.as_deref(), |model| Some(&model.name)))
            .collect();
        // Where all are loaded, settings for one that is not there are a slip of the pen.
        if let Some(stray) = self.config.model.keys().find(|name| only.is_none() && !names.contains(&name.as_str())) {
            return wrong(format!("settings speak of `model.{stray}`, but {folder} holds {}", names.join(", ")));
        }
        if let Some(name) = only {
            models.retain(|model| {
                model.as_ref().map_or_else(|error| error.model.as_deref(), |model| Some(&model.name)) == Some(name)
            });
            if models.is_empty() {
                return wrong(format!("{folder} holds no model `{name}`"));
            }
        }
        let narrowed = models.into_iter().map(|model| match (model, variant) {
            (Ok(model), Some(variant)) => model.only(variant),
            (model, _) => model,
        });
        narrowed.map(|model| model.and_then(|model| self.load(&model))).collect()
    }

    /// Loads one model: opens its variants, tries them out, and starts the workers.
    ///
    /// # Errors
    /// With one sentence that says which file does not fit, and what would.
    pub fn load(&self, folder: &ModelFolder) -> Result<Loaded, ModelError> {
        let (folder, settings) = &self.decided(folder)?;
        let fail = |reason: String| ModelError { model: Some(folder.name.clone()), reason };
        let mut opened = Vec::new();
        for variant in &folder.variants {
            let of_file = |reason: String| fail(format!("variant `{}`: {reason}", variant.name));
            opened.push((variant, self.open(folder, variant).map_err(of_file)?));
        }
        let Some((_, default)) = opened.first() else { return Err(fail("it has no variants".to_owned())) };
        let mut model = ServedModel {
            name: folder.name.clone(),
            version: folder.version.clone(),
            task: folder.manifest.task,
            labels: folder.labels.clone(),
            decoding: folder.manifest.output.decode,
            defaults: PostprocessOptions::from(&folder.manifest.output),
            input_size: default.preparer.input_size(),
            inputs: default.first.inputs.clone(),
            outputs: default.first.outputs.clone(),
            picture_input: default.preparer.picture_input(),
            max_queue: folder.manifest.batching.max_queue.get(),
            variants: Vec::new(),
            routing: Routing::new(folder, settings),
            metric: metric(&folder.variants),
            shadow: Shadow::new(folder).map_err(fail)?,
            traffic: Traffic::default(),
        };
        let mut workers = Vec::new();
        for (variant, opened) in opened {
            let (served, threads) = self.start(&model, variant, opened).map_err(fail)?;
            model.variants.push(served);
            workers.extend(threads);
        }
        Ok(Loaded { model, workers })
    }

    /// The folder as the operator's settings have it, and those.
    fn decided(&self, folder: &ModelFolder) -> Result<(ModelFolder, ModelOverrides), ModelError> {
        let settings = self.config.model.get(&folder.name).cloned().unwrap_or_default();
        let mut folder = folder.clone();
        let (execution, batching) = (&mut folder.manifest.execution, &mut folder.manifest.batching);
        execution.instances = settings.instances.unwrap_or(execution.instances);
        execution.threads = settings.threads.unwrap_or(execution.threads);
        batching.max_batch = settings.max_batch.unwrap_or(batching.max_batch);
        if let Some(name) = settings.default_variant.as_deref().filter(|name| *name != "auto") {
            // Where only one variant is loaded, it is the one.
            folder = if folder.variants.len() > 1 { folder.with_default(name)? } else { folder };
        }
        Ok((folder, settings))
    }

    fn open(&self, folder: &ModelFolder, variant: &VariantFile) -> Result<Opened, String> {
        let started = Instant::now();
        let mut source = file::open(variant)?;
        let manifest = &folder.manifest;
        let wanted = manifest.execution.providers.clone().unwrap_or_else(|| self.config.runtime.providers());
        let plan = |providers: &[Provider]| {
            let first = providers.first().copied().unwrap_or(Provider::Cpu);
            ThreadPlan::new(&manifest.execution, first, self.cpus)
        };
        let mut weights = SharedWeights::new();
        let mut first = self.session(&source, &wanted, plan(&wanted), &weights)?;
        // What is really used decides: after a fallback from a GPU there is one session a CPU, not one in all.
        let plan = plan(&first.providers);
        let preparer = Preprocessor::new(&manifest.input, &first.inputs)?;
        let output = &manifest.output;
        let reader = Postprocessor::new(output, folder.labels.len(), preparer.input_size(), &first.outputs)?;
        trial::fits(&mut first, &preparer, &reader, &PostprocessOptions::from(output))?;

        let asked = manifest.batching.max_batch.or(trial::DEFAULT_MAX_BATCH);
        let declared = BatchAxis::declared(&first.inputs, &first.outputs).is_free();
        let as_it_is = if declared {
            let declares = |why| format!("the graph declares a free batch axis, but {why}");
            trial::takes_batches(&mut first, None, &preparer).map_err(declares)
        } else {
            Err("its batch axis is fixed at one picture".to_owned())
        };
        let (batch_axis, why_fixed) = match as_it_is {
            Ok(()) => (BatchAxis::Free, None),
            Err(why) if asked == 1 => (BatchAxis::Fixed, Some(why)),
            Err(why) => {
                // Weights are packed for one graph, so the freed one has its own.
                let packed = SharedWeights::new();
                match self.freed(&source, &mut first, &preparer, plan, &packed) {
                    Ok((freed, session)) => {
                        (source, first, weights) = (freed, session, packed);
                        (BatchAxis::Freed, None)
                    }
                    Err(also) => (BatchAxis::Fixed, Some(format!("{why}, and cannot be freed: {also}"))),
                }
            }
        };
        let mut limits = limits(&manifest.batching, batch_axis, &first.providers)?;
        let execution_mode = execution_mode(&first.providers, plan);
        let (curve, pool_cpu_time) = trial::measure(&mut first, &preparer, &mut limits, execution_mode)?;
        let unexpected = declared || manifest.batching.max_batch != Auto::Auto;
        if let Some(why) = why_fixed.as_deref().filter(|_| unexpected && asked > 1) {
            tracing::warn!(model = folder.name, variant = variant.name, "batches are off: {why}");
        }
        tracing::info!(
            model = folder.name,
            variant = variant.name,
            providers = ?first.providers,
            instances = plan.instances,
            threads = plan.threads,
            batch_axis = ?batch_axis,
            run_ms = curve.p50(1).as_secs_f64() * 1000.0,
            took_ms = started.elapsed().as_secs_f64() * 1000.0,
            "opened"
        );
        Ok(Opened {
            source,
            wanted,
            weights,
            first,
            plan,
            batch_axis,
            why_fixed,
            preparer,
            reader,
            limits,
            curve,
            pool_cpu_time,
        })
    }

    /// The graph with its batch axis freed, if it then gives the same as `original` does.
    fn freed(
        &self,
        source: &Source,
        original: &mut OrtEngine,
        preparer: &Preprocessor,
        plan: ThreadPlan,
        weights: &SharedWeights,
    ) -> Result<(Source, OrtEngine), String> {
        let freed = match source {
            Source::Bytes(bytes) => free_axis::free(bytes)?,
            Source::Path(path) => {
                let bytes =
                    std::fs::read(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
                free_axis::free(&bytes)?
            }
        };
        let freed = Source::Bytes(freed);
        let mut session = self.session(&freed, &original.providers, plan, weights)?;
        if !BatchAxis::declared(&session.inputs, &session.outputs).is_free() {
            return Err("an input or output has no batch axis".to_owned());
        }
        trial::takes_batches(original, Some(&mut session), preparer)?;
        Ok((freed, session))
    }

    fn session(
        &self,
        source: &Source,
        providers: &[Provider],
        plan: ThreadPlan,
        weights: &SharedWeights,
    ) -> Result<OrtEngine, String> {
        let fallback = self.config.runtime.fallback;
        let engine_cache = &self.config.runtime.engine_cache;
        let opening = Opening { library: &self.library, providers, fallback, engine_cache, threads: plan.threads };
        OrtEngine::open(source, &opening, weights)
    }

    fn start(
        &self,
        model: &ServedModel,
        variant: &VariantFile,
        opened: Opened,
    ) -> Result<(ServedVariant, Vec<JoinHandle<()>>), String> {
        let Opened {
            source,
            wanted,
            weights,
            first,
            plan,
            batch_axis,
            why_fixed,
            preparer,
            reader,
            limits,
            curve,
            pool_cpu_time,
        } = opened;
        let (inputs, outputs) = (first.inputs.clone(), first.outputs.clone());
        let providers = first.providers.clone();
        let mut engines = vec![first];
        for _ in 1..plan.instances {
            let mut session = self.session(&source, &providers, plan, &weights)?;
            // The first run of a session, and of a fixed size in it, is slow; no request shall be it.
            trial::warm(&mut session, &preparer, &limits)?;
            engines.push(session);
        }
        let queue = Arc::new(Queue::new(model.max_queue, engines.len(), limits.clone(), curve));
        let setting = WorkerConfig {
            model: model.name.clone(),
            limits: limits.clone(),
            execution_mode: execution_mode(&providers, plan),
            pool_cpu_time,
            device: Arc::clone(&self.device),
            metrics: Arc::clone(&self.metrics),
        };
        let start = |(number, engine)| worker::start(Arc::clone(&queue), number, Box::new(engine), setting.clone());
        let workers = engines.into_iter().enumerate().map(start).collect::<Result<_, _>>().map_err(|error| {
            queue.close(true);
            format!("no thread for a session: {error}")
        })?;
        let served = ServedVariant {
            name: variant.name.clone(),
            default: model.variants.is_empty(),
            file: variant.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            size_bytes: std::fs::metadata(&variant.path).map_or(0, |file| file.len()),
            accuracy: variant.accuracy.clone(),
            missing: wanted.into_iter().filter(|provider| !providers.contains(provider)).collect(),
            providers,
            instances: plan.instances,
            threads: plan.threads,
            batch_axis,
            why_fixed,
            max_batch: limits.max_rows,
            inputs,
            outputs,
            preparer: Arc::new(preparer),
            reader: Arc::new(reader),
            queue,
            decoding: InFlight::default(),
            surprises: ForecastErrors::default(),
            typical_usd: Ewma::default(),
            asked: AtomicU64::new(0),
            agreement: Agreement::default(),
        };
        Ok((served, workers))
    }
}

/// The metric by which variants can be compared: of those that all have, the one that is asked for most; else one of the
/// first variant's.
fn metric(variants: &[VariantFile]) -> Option<String> {
    let usual = ["ap50", "accuracy", "f1"].map(ToOwned::to_owned);
    let first = variants.iter().find(|variant| !variant.accuracy.is_empty())?;
    let names: Vec<_> =
        usual.iter().filter(|name| first.accuracy.contains_key(*name)).chain(first.accuracy.keys()).collect();
    let all_have = |name: &&&String| variants.iter().all(|variant| variant.accuracy.contains_key(**name));
    names.iter().find(all_have).or(names.first()).map(|name| (*name).clone())
}
