//! Opens the file of one variant: a session whose graph fits the manifest, with a batch axis that was tried, and what its
//! runs take on this machine.

use std::time::Instant;

use super::{
    file,
    folder::{ModelFolder, VariantFile},
    loader::Loader,
    model::{BatchAxis, InferredSetting},
    probe,
    settle::{Settled, settle},
    ultralytics::UltralyticsMetadata,
};
use crate::{
    config::{Auto, Provider},
    engine::{
        free_axis,
        session::{GraphSource, Opening, OrtEngine, SharedWeights},
        thread_plan::ThreadPlan,
    },
    scheduler::{latency_profile::LatencyProfile, policy::BatchLimits, pool_cpu_time::PoolCpuTime},
    tasks::{PostprocessOptions, Postprocessor},
    vision::prepare::Preprocessor,
};

/// A variant whose graph is open, fits its manifest, and was probed.
pub(super) struct OpenedVariant {
    pub source: GraphSource,
    /// The execution providers that were asked for.
    pub wanted: Vec<Provider>,
    pub weights: SharedWeights,
    pub first: OrtEngine,
    pub plan: ThreadPlan,
    pub batch_axis: BatchAxis,
    pub why_fixed: Option<String>,
    pub preprocessor: Preprocessor,
    pub postprocessor: Postprocessor,
    pub limits: BatchLimits,
    pub profile: LatencyProfile,
    pub pool_cpu_time: PoolCpuTime,
    pub labels: Vec<String>,
    /// What the manifest leaves out and was taken from elsewhere.
    pub inferred: Vec<InferredSetting>,
}

/// The session that will serve, after its batch axis was tried.
struct Batchable {
    source: GraphSource,
    session: OrtEngine,
    weights: SharedWeights,
    axis: BatchAxis,
    why_fixed: Option<String>,
}

impl Loader<'_> {
    /// Opens a variant's file.
    ///
    /// # Errors
    /// With one sentence: what does not fit, and what would.
    pub(super) fn open(&self, folder: &ModelFolder, file: &VariantFile) -> Result<OpenedVariant, String> {
        let started = Instant::now();
        let source = file::open(file, self.config.loading.max_bytes.get())?;
        let manifest = &folder.manifest;
        let wanted = manifest.execution.providers.clone().unwrap_or_else(|| self.config.runtime.providers());
        let plan = |providers: &[Provider]| {
            let first = providers.first().copied().unwrap_or(Provider::Cpu);
            ThreadPlan::new(&manifest.execution, first, self.cpus)
        };
        let weights = SharedWeights::new();
        let mut session = self.session(&source, &wanted, plan(&wanted), &weights)?;
        // The plan follows the providers in use: after a fallback from GPU to CPU there is one session for each CPU.
        let plan = plan(&session.providers);
        let metadata = UltralyticsMetadata::read(&session.metadata());
        let Settled { input, labels, inferred } = settle(folder, metadata.as_ref(), &session.inputs)?;
        let preprocessor = Preprocessor::new(&input, &session.inputs)?;
        let output = &manifest.output;
        let postprocessor = Postprocessor::new(output, labels.len(), preprocessor.input_size(), &session.outputs)?;
        probe::fits(&mut session, &preprocessor, &postprocessor, &PostprocessOptions::from(output))?;

        let asked = manifest.batching.max_batch.or(probe::DEFAULT_MAX_BATCH);
        let declared = BatchAxis::declared(&session.inputs, &session.outputs).is_free();
        let unbatched = Batchable { source, session, weights, axis: BatchAxis::Fixed, why_fixed: None };
        let Batchable { source, mut session, weights, axis, why_fixed } = match postprocessor.why_single() {
            // A trial could only show that the rows of these three images can be told apart.
            Some(why) => Batchable { why_fixed: Some(why.to_owned()), ..unbatched },
            None => self.try_batches(unbatched, &preprocessor, plan, asked)?,
        };
        let mut limits = probe::limits(&manifest.batching, axis, &session.providers)?;
        let execution_mode = probe::execution_mode(&session.providers, plan);
        let (profile, pool_cpu_time) = probe::measure(&mut session, &preprocessor, &mut limits, execution_mode)?;
        let unexpected = declared || manifest.batching.max_batch != Auto::Auto;
        if let Some(why) = why_fixed.as_deref().filter(|_| unexpected && asked > 1) {
            tracing::warn!(model = folder.name, variant = file.name, "batches are off: {why}");
        }
        tracing::info!(
            model = folder.name,
            variant = file.name,
            providers = ?session.providers,
            instances = plan.instances,
            threads = plan.threads,
            batch_axis = ?axis,
            inferred = (!inferred.is_empty()).then(|| InferredSetting::in_words(&inferred)),
            run_ms = profile.p50(1).as_secs_f64() * 1000.0,
            took_ms = started.elapsed().as_secs_f64() * 1000.0,
            "opened"
        );
        Ok(OpenedVariant {
            source,
            wanted,
            weights,
            first: session,
            plan,
            batch_axis: axis,
            why_fixed,
            preprocessor,
            postprocessor,
            limits,
            profile,
            pool_cpu_time,
            labels,
            inferred,
        })
    }

    /// Whether images can share a run of the graph, as it is or with its batch axis freed.
    fn try_batches(
        &self,
        mut it: Batchable,
        preprocessor: &Preprocessor,
        plan: ThreadPlan,
        max_batch: usize,
    ) -> Result<Batchable, String> {
        let as_it_is = if BatchAxis::declared(&it.session.inputs, &it.session.outputs).is_free() {
            probe::takes_batches(&mut it.session, None, preprocessor)
                .map_err(|why| format!("the graph declares a free batch axis, but {why}"))
        } else {
            Err("its batch axis is fixed at one picture".to_owned())
        };
        let why = match as_it_is {
            Ok(()) => return Ok(Batchable { axis: BatchAxis::Free, ..it }),
            Err(why) if max_batch == 1 => return Ok(Batchable { why_fixed: Some(why), ..it }),
            Err(why) => why,
        };
        // Weights are packed for one graph, so the freed one has its own.
        let weights = SharedWeights::new();
        match self.freed(&it.source, &mut it.session, preprocessor, plan, &weights) {
            Ok((source, session)) => {
                Ok(Batchable { source, session, weights, axis: BatchAxis::Freed, why_fixed: None })
            }
            Err(also) => Ok(Batchable { why_fixed: Some(format!("{why}, and cannot be freed: {also}")), ..it }),
        }
    }

    /// The graph with its batch axis freed, if its outputs equal those of `original`.
    fn freed(
        &self,
        source: &GraphSource,
        original: &mut OrtEngine,
        preprocessor: &Preprocessor,
        plan: ThreadPlan,
        weights: &SharedWeights,
    ) -> Result<(GraphSource, OrtEngine), String> {
        let freed = match source {
            GraphSource::Bytes(bytes) => free_axis::free(bytes)?,
            GraphSource::Path(path) => free_axis::free(&file::read(path, self.config.loading.max_bytes.get())?)?,
        };
        let freed = GraphSource::Bytes(freed);
        let mut session = self.session(&freed, &original.providers, plan, weights)?;
        if !BatchAxis::declared(&session.inputs, &session.outputs).is_free() {
            return Err("an input or output has no batch axis".to_owned());
        }
        probe::takes_batches(original, Some(&mut session), preprocessor)?;
        Ok((freed, session))
    }

    /// Opens a session.
    pub(super) fn session(
        &self,
        source: &GraphSource,
        providers: &[Provider],
        plan: ThreadPlan,
        weights: &SharedWeights,
    ) -> Result<OrtEngine, String> {
        let fallback = self.config.runtime.fallback;
        let engine_cache = &self.config.runtime.engine_cache;
        let opening = Opening { library: &self.library, providers, fallback, engine_cache, threads: plan.threads };
        OrtEngine::open(source, &opening, weights)
    }
}
