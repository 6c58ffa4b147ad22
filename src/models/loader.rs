//! From a model's folder to a model that answers: files checked, sessions opened and probed, workers started.

use std::{path::Path, sync::Arc, thread::JoinHandle, time::Instant};

use super::{
    ModelError, catalog,
    folder::{ModelFolder, VariantFile},
    model::{Model, ModelInfo, Variant, VariantInfo},
    opening::OpenedVariant,
    probe,
};
use crate::{
    capacity::Tally,
    config::{Config, ModelOverrides},
    cost::DeviceClock,
    engine::{
        library::{self, Library},
        thread_plan::usable_cpus,
    },
    manifest::VariantId,
    routing::{RoutingPolicy, RoutingState, state::ShadowPolicy},
    scheduler::{
        queue::Queue,
        worker::{self, WorkerConfig},
    },
    tasks::PostprocessOptions,
    telemetry::metrics::Metrics,
};

/// Loads models with the settings of one server.
#[derive(Debug)]
pub struct Loader<'a> {
    pub(super) config: &'a Config,
    pub(super) library: Library,
    metrics: Arc<Metrics>,
    device: Arc<DeviceClock>,
    pub(super) cpus: usize,
}

/// A model and the threads that run it.
#[derive(Debug)]
pub struct LoadedModel {
    /// The model.
    pub model: Model,
    /// Its workers; they end when the model is closed.
    pub workers: Vec<JoinHandle<()>>,
}

/// Which models are loaded: all, one, or one variant of one.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Only this model.
    pub model: Option<String>,
    /// Only this variant of it.
    pub variant: Option<String>,
}

impl Selection {
    /// Only this model.
    #[must_use]
    pub fn model(name: &str) -> Self {
        Self { model: Some(name.to_owned()), variant: None }
    }
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

    /// Loads the selected models of the folder.
    #[must_use]
    pub fn load_all(&self, only: &Selection) -> Vec<Result<LoadedModel, ModelError>> {
        let folders = match self.select(only) {
            Ok(folders) => folders,
            Err(reason) => return vec![Err(ModelError { model: None, reason })],
        };
        let narrowed = folders.into_iter().map(|folder| match (folder, &only.variant) {
            (Ok(folder), Some(variant)) => folder.only(variant),
            (folder, _) => folder,
        });
        narrowed.map(|folder| folder.and_then(|folder| self.load(&folder))).collect()
    }

    /// The folders of the selected models.
    fn select(&self, only: &Selection) -> Result<Vec<Result<ModelFolder, ModelError>>, String> {
        let shown = self.config.models.display();
        let mut folders = catalog::scan(&self.config.models)?;
        if folders.is_empty() {
            let hint = "name another folder with --models or OUNCE_MODELS";
            return Err(format!("{shown} holds no folder with a model.toml; {hint}"));
        }
        let name = |folder: &Result<ModelFolder, ModelError>| match folder {
            Ok(folder) => Some(folder.name.clone()),
            Err(error) => error.model.clone(),
        };
        match &only.model {
            Some(wanted) => {
                folders.retain(|folder| name(folder).as_ref() == Some(wanted));
                if folders.is_empty() {
                    return Err(format!("{shown} holds no model `{wanted}`"));
                }
            }
            None => {
                let names: Vec<String> = folders.iter().filter_map(name).collect();
                // Where all are loaded, settings for a model that is not there are a typo.
                if let Some(stray) = self.config.model.keys().find(|name| !names.contains(name)) {
                    return Err(format!("settings speak of `model.{stray}`, but {shown} holds {}", names.join(", ")));
                }
            }
        }
        Ok(folders)
    }

    /// Loads one model: opens its variants, probes them, and starts the workers.
    ///
    /// # Errors
    /// With one sentence that says which file does not fit, and what would.
    pub fn load(&self, folder: &ModelFolder) -> Result<LoadedModel, ModelError> {
        let (mut folder, settings) = self.with_settings(folder)?;
        let name = folder.name.clone();
        let fail = |reason: String| ModelError { model: Some(name.clone()), reason };
        let files = folder.variants.clone();
        let mut opened = Vec::new();
        for file in &files {
            let of_file = |reason: String| fail(format!("variant `{}`: {reason}", file.name));
            let variant = self.open(&folder, file).map_err(of_file)?;
            // Where the manifest leaves them out, the labels are those of the default variant's file, and the other files must fit them.
            folder.labels.clone_from(&variant.labels);
            opened.push((file, variant));
        }
        let (folder, settings) = (&folder, &settings);
        let Some((_, default)) = opened.first() else { return Err(fail("it has no variants".to_owned())) };
        let info = model_info(folder, default);
        let routing = routing_state(folder, settings).map_err(fail)?;
        let (mut variants, mut workers) = (Vec::new(), Vec::new());
        for (index, (file, opened)) in opened.into_iter().enumerate() {
            let (variant, threads) = self.start(&info, VariantId::new(index), file, opened).map_err(fail)?;
            variants.push(variant);
            workers.extend(threads);
        }
        let tally = Tally::new(variants.len());
        Ok(LoadedModel { model: Model { info, variants, routing, tally }, workers })
    }

    /// The folder with the operator's overrides applied, and those overrides.
    fn with_settings(&self, folder: &ModelFolder) -> Result<(ModelFolder, ModelOverrides), ModelError> {
        let settings = self.config.model.get(&folder.name).cloned().unwrap_or_default();
        let mut folder = folder.clone();
        let (execution, batching) = (&mut folder.manifest.execution, &mut folder.manifest.batching);
        execution.instances = settings.instances.unwrap_or(execution.instances);
        execution.threads = settings.threads.unwrap_or(execution.threads);
        batching.max_batch = settings.max_batch.unwrap_or(batching.max_batch);
        if let Some(name) = settings.default_variant.as_deref().filter(|name| *name != "auto") {
            // Where only one variant is loaded, it is the default.
            folder = if folder.variants.len() > 1 { folder.with_default(name)? } else { folder };
        }
        Ok((folder, settings))
    }

    /// Opens the other sessions of a variant and starts a worker for each.
    fn start(
        &self,
        model: &ModelInfo,
        id: VariantId,
        file: &VariantFile,
        opened: OpenedVariant,
    ) -> Result<(Variant, Vec<JoinHandle<()>>), String> {
        let info = variant_info(id, file, &opened);
        let mut engines = vec![opened.first];
        for _ in 1..opened.plan.instances {
            let mut session = self.session(&opened.source, &info.providers, opened.plan, &opened.weights)?;
            // The first run of a session, and of each fixed size, is slow, so it is done before requests come.
            probe::warm(&mut session, &opened.preprocessor, &opened.limits)?;
            engines.push(session);
        }
        let limits = opened.limits;
        let queue = Arc::new(Queue::new(model.max_queue, engines.len(), limits.clone(), opened.profile));
        let config = WorkerConfig {
            model: model.name.clone(),
            limits,
            execution_mode: probe::execution_mode(&info.providers, opened.plan),
            pool_cpu_time: opened.pool_cpu_time,
            device: Arc::clone(&self.device),
            batch_sizes: self.metrics.batch_sizes(&model.name),
        };
        let start = |(number, engine)| worker::start(Arc::clone(&queue), number, Box::new(engine), config.clone());
        let workers = engines.into_iter().enumerate().map(start).collect::<Result<_, _>>().map_err(|error| {
            queue.close(true);
            format!("no thread for a session: {error}")
        })?;
        let variant = Variant {
            series: self.metrics.variant(&model.name, &info.name),
            info,
            preprocessor: Arc::new(opened.preprocessor),
            postprocessor: Arc::new(opened.postprocessor),
            queue,
        };
        Ok((variant, workers))
    }
}

fn model_info(folder: &ModelFolder, default: &OpenedVariant) -> ModelInfo {
    ModelInfo {
        name: folder.name.clone(),
        version: folder.version.clone(),
        task: folder.manifest.task,
        labels: folder.labels.clone(),
        decoding: folder.manifest.output.decode,
        defaults: PostprocessOptions::from(&folder.manifest.output),
        input_size: default.preprocessor.input_size(),
        inputs: default.first.inputs.clone(),
        outputs: default.first.outputs.clone(),
        image_input: default.preprocessor.image_input(),
        max_queue: folder.manifest.batching.max_queue.get(),
        metric: common_metric(&folder.variants),
        inferred: default.inferred.clone(),
    }
}

fn variant_info(id: VariantId, file: &VariantFile, opened: &OpenedVariant) -> VariantInfo {
    let providers = opened.first.providers.clone();
    VariantInfo {
        id,
        name: file.name.clone(),
        file: file.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        size_bytes: std::fs::metadata(&file.path).map_or(0, |file| file.len()),
        accuracy: file.accuracy.clone(),
        missing_providers: opened.wanted.iter().copied().filter(|wanted| !providers.contains(wanted)).collect(),
        providers,
        instances: opened.plan.instances,
        threads: opened.plan.threads,
        batch_axis: opened.batch_axis,
        why_fixed: opened.why_fixed.clone(),
        max_batch: opened.limits.max_rows,
        inputs: opened.first.inputs.clone(),
        outputs: opened.first.outputs.clone(),
    }
}

fn routing_state(folder: &ModelFolder, settings: &ModelOverrides) -> Result<RoutingState, String> {
    let variants = &folder.variants;
    let accuracy_known = variants.iter().all(|variant| !variant.accuracy.is_empty());
    let policy = RoutingPolicy::new(&folder.manifest, settings, variants.len(), accuracy_known);
    let shadow = match &folder.manifest.routing.shadow {
        // Where only one variant is loaded, nothing can be compared.
        Some(shadow) if variants.len() > 1 => {
            let Some(index) = variants.iter().position(|variant| variant.name == shadow.variant) else {
                let names: Vec<_> = variants.iter().map(|variant| &variant.name).collect();
                return Err(format!("routing.shadow is \"{}\", but the variants are {names:?}", shadow.variant));
            };
            ShadowPolicy::new(VariantId::new(index), f64::from(shadow.share.get()))
        }
        _ => None,
    };
    Ok(RoutingState::new(policy, shadow, variants.len(), Instant::now()))
}

/// The metric that variants are compared by: the most usual one that all have, else one of the first variant that has
/// any.
fn common_metric(variants: &[VariantFile]) -> Option<String> {
    let usual = ["ap50", "accuracy", "f1"].map(ToOwned::to_owned);
    let first = variants.iter().find(|variant| !variant.accuracy.is_empty())?;
    let names: Vec<_> =
        usual.iter().filter(|name| first.accuracy.contains_key(*name)).chain(first.accuracy.keys()).collect();
    let all_have = |name: &&&String| variants.iter().all(|variant| variant.accuracy.contains_key(**name));
    names.iter().find(all_have).or(names.first()).map(|name| (*name).clone())
}
