//! The models that are served, and how that changes while the server runs.
//!
//! A model is loaded and probed beside the old one, and then replaces it in one step. A request holds the model that
//! it found, so what is in flight ends on the old one, which goes when the last of those requests has ended. If the
//! new version cannot be served, the old one stays and `trouble` says why.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, Weak},
    thread::JoinHandle,
};

use super::{
    LoadedModel, Loader, Model, ModelError, Selection,
    bounded::{BoundedWork, NotDone},
    catalog,
};
use crate::{
    config::{Config, Task},
    cost::{Account, CpuTime, Ledger},
    error::Error,
    lifecycle::{Lifecycle, LifecycleState},
    telemetry::metrics::Metrics,
};

/// Every model that was seen, by name, and the workers of those that run.
#[derive(Debug)]
pub struct Repository {
    pub(super) config: Arc<Config>,
    lifecycle: Arc<Lifecycle>,
    ledger: Arc<Ledger>,
    metrics: Arc<Metrics>,
    entries: RwLock<BTreeMap<String, Entry>>,
    workers: Mutex<Vec<JoinHandle<()>>>,
    /// Held while a model is loaded or unloaded: one after the other.
    changing: Mutex<()>,
    /// Loads, and looks at the folder, that may hang.
    bounded: BoundedWork,
    /// The same turn, for async callers that must not block a thread.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Models that were replaced, as long as requests hold them.
    retired: Mutex<Vec<Weak<Model>>>,
    /// The model that answers a task where a request names none: the first by name when the server started, so that a new
    /// folder does not change that.
    defaults: OnceLock<Vec<(Task, String)>>,
}

/// What is known about one model's folder.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub serving: Option<Arc<Model>>,
    /// Why the version in the folder is not served.
    pub trouble: Option<String>,
    /// The fingerprint of its folder when it was last loaded, or a load was last tried.
    pub seen: Option<u64>,
}

/// A model of the folder, served or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelStatus {
    /// Its name.
    pub name: String,
    /// The version that is served.
    pub version: Option<String>,
    /// Why the folder's version is not served.
    pub trouble: Option<String>,
}

impl Repository {
    /// An empty one; [`Repository::load_all`] fills it.
    #[must_use]
    pub fn new(config: Arc<Config>, lifecycle: Arc<Lifecycle>, ledger: Arc<Ledger>, metrics: Arc<Metrics>) -> Self {
        Self {
            config,
            lifecycle,
            ledger,
            metrics,
            entries: RwLock::default(),
            workers: Mutex::default(),
            changing: Mutex::default(),
            bounded: BoundedWork::default(),
            turn: Arc::default(),
            retired: Mutex::default(),
            defaults: OnceLock::new(),
        }
    }

    /// Loads the selected models of the folder and probes them; the server is then [`LifecycleState::Ready`]. Blocks.
    ///
    /// # Errors
    /// When a model cannot be served: all that is wrong, each in one sentence.
    pub fn load_all(&self, only: &Selection) -> Result<(), Vec<ModelError>> {
        let _changing = self.changing();
        let loading = self.ledger.track_loading(Account::Warmup, "");
        let seen = catalog::fingerprints(&self.config.models).unwrap_or_default();
        let loader = self.loader().map_err(|error| vec![error])?;
        let (mut wrong, mut loaded) = (Vec::new(), Vec::new());
        for model in loader.load_all(only) {
            model.map_or_else(|error| wrong.push(error), |model| loaded.push(model));
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        for model in loaded {
            let seen = seen.get(&model.model.info.name).copied();
            self.serve(model, seen);
        }
        let tasks = self.models().into_iter().map(|model| (model.info.task, model.info.name.clone()));
        // Only tests load twice.
        let _ = self.defaults.set(tasks.collect());
        drop(loading);
        self.lifecycle.advance(LifecycleState::Ready);
        Ok(())
    }

    /// Loads a model anew, or for the first time, and serves it from then on. Blocks.
    ///
    /// # Errors
    /// [`Error::UnknownModel`] when there is no such folder; [`Error::LoadFailed`] when it cannot be served: what was
    /// served before still is.
    pub fn load(&self, name: &str) -> Result<(), Error> {
        let _changing = self.changing_while_ready()?;
        let folders = self.fingerprints()?;
        let Some(&seen) = folders.get(name) else {
            return Err(Error::UnknownModel { name: name.to_owned(), known: folders.into_keys().collect() });
        };
        self.load_one(name, seen)
    }

    /// Stops serving a model; what is in flight ends. It stays away until it is loaded or its folder changes. Blocks.
    ///
    /// # Errors
    /// [`Error::UnknownModel`] when it is not served.
    pub fn unload(&self, name: &str) -> Result<(), Error> {
        let _changing = self.changing_while_ready()?;
        self.model(name)?;
        tracing::info!(model = name, "unloaded");
        self.change(name, |entry| {
            entry.trouble = Some("it was unloaded".to_owned());
            entry.serving.take()
        });
        Ok(())
    }

    /// Every model of the folder, and every one that is served.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn index(&self) -> Result<Vec<ModelStatus>, Error> {
        let mut statuses: BTreeMap<String, ModelStatus> = BTreeMap::new();
        for name in catalog::names(&self.config.models).map_err(Error::NoFolder)? {
            let trouble = Some("it has not been loaded".to_owned());
            statuses.insert(name.clone(), ModelStatus { name, version: None, trouble });
        }
        for (name, entry) in self.entries().iter() {
            let version = entry.serving.as_ref().map(|model| model.info.version.clone());
            if version.is_some() || statuses.contains_key(name) {
                let status = ModelStatus { name: name.clone(), version, trouble: entry.trouble.clone() };
                statuses.insert(name.clone(), status);
            }
        }
        Ok(statuses.into_values().collect())
    }

    /// Why the version in the folder is not served.
    #[must_use]
    pub fn trouble(&self, name: &str) -> Option<String> {
        self.entries().get(name).and_then(|entry| entry.trouble.clone())
    }

    /// Every model that is served, by name.
    #[must_use]
    pub fn models(&self) -> Vec<Arc<Model>> {
        self.entries().values().filter_map(|entry| entry.serving.clone()).collect()
    }

    /// Whether all models were unloaded, or their folders have gone.
    #[must_use]
    pub fn serves_none(&self) -> bool {
        self.entries().values().all(|entry| entry.serving.is_none())
    }

    /// A model by name.
    ///
    /// # Errors
    /// [`Error::UnknownModel`], which names those there are.
    pub fn model(&self, name: &str) -> Result<Arc<Model>, Error> {
        let serving = self.entries().get(name).and_then(|entry| entry.serving.clone());
        serving.ok_or_else(|| Error::UnknownModel { name: name.to_owned(), known: self.names() })
    }

    /// The model for a task: the first of that task by name when the server started.
    ///
    /// # Errors
    /// [`Error::NoModelForTask`].
    pub fn model_for(&self, task: Task) -> Result<Arc<Model>, Error> {
        let defaults = self.defaults.get().map_or(&[][..], Vec::as_slice);
        let models = self.models();
        let mut defaults = defaults.iter().filter(|(of, _)| *of == task).map(|(_, name)| name);
        let fits = |model: &&Arc<Model>| model.info.task == task;
        let default = defaults.find_map(|name| models.iter().filter(fits).find(|model| model.info.name == *name));
        let model = default.or_else(|| models.iter().find(fits));
        model.cloned().ok_or_else(|| Error::NoModelForTask { task, known: self.names() })
    }

    /// Waits until nobody else changes models, without a thread; others wait until what comes back is dropped.
    pub async fn turn_to_change(&self) -> impl Drop + Send + use<> {
        Arc::clone(&self.turn).lock_owned().await
    }

    /// Ends the workers, and forgets the models. Blocks.
    pub fn close(&self) {
        // Wait for a load in progress; else it would serve a model after the server has closed. One that hangs is given up
        // when the server begins to drain.
        let _changing = self.changing();
        let entries = std::mem::take(&mut *self.entries.write().unwrap_or_else(PoisonError::into_inner));
        // Requests still running have exceeded the grace time.
        entries.values().filter_map(|entry| entry.serving.as_ref()).for_each(|model| model.close(true));
        self.retired().iter().filter_map(Weak::upgrade).for_each(|model| model.close(true));
        let workers = std::mem::take(&mut *self.workers());
        for worker in workers {
            if worker.join().is_err() {
                tracing::error!("a worker thread panicked");
            }
        }
    }

    /// Loads one model of the folder and serves it, while others answer.
    pub(super) fn load_one(&self, name: &str, seen: u64) -> Result<(), Error> {
        let mut loading = self.ledger.track_loading(Account::Reload, name);
        let (config, metrics, device) =
            (Arc::clone(&self.config), Arc::clone(&self.metrics), Arc::clone(&self.ledger.device));
        let only = Selection::model(name);
        let done = self.within_limit(name, move || {
            let began = CpuTime::of_this_thread();
            let loaded = Loader::new(&config, metrics, device).and_then(|loader| {
                let mut loaded = loader.load_all(&only);
                loaded.pop().unwrap_or_else(|| Err(ModelError { model: None, reason: "it has gone".to_owned() }))
            });
            (loaded, CpuTime::of_this_thread() - began)
        });
        let loaded = match done {
            Ok((loaded, cpu)) => {
                loading.add(cpu);
                loaded
            }
            Err(NotDone::GivenUp) => return Err(Error::Closed),
            Err(why) => Err(ModelError { model: None, reason: why.to_string() }),
        };
        drop(loading);
        self.metrics.loaded(name, loaded.is_ok());
        match loaded {
            Ok(loaded) => {
                tracing::info!(model = name, version = loaded.model.info.version, "loaded");
                self.serve(loaded, Some(seen));
                Ok(())
            }
            Err(ModelError { reason, .. }) => {
                let still = self.entries().get(name).and_then(|entry| entry.serving.clone());
                let still = still.map(|model| model.info.version.clone());
                tracing::error!(model = name, still_serving = still, "cannot be loaded: {reason}");
                self.change(name, |entry| {
                    (entry.trouble, entry.seen) = (Some(reason.clone()), Some(seen));
                    None
                });
                Err(Error::LoadFailed { model: name.to_owned(), reason, still_serving: still })
            }
        }
    }

    /// Puts a loaded model in its place.
    fn serve(&self, loaded: LoadedModel, seen: Option<u64>) {
        let mut workers = self.workers();
        workers.retain(|worker| !worker.is_finished());
        workers.extend(loaded.workers);
        drop(workers);
        let model = Arc::new(loaded.model);
        self.change(&model.info.name, |entry| {
            let new = Entry { serving: Some(Arc::clone(&model)), trouble: None, seen };
            std::mem::replace(entry, new).serving
        });
    }

    /// Changes an entry; the model that the change returns is no longer served.
    pub(super) fn change(&self, name: &str, change: impl FnOnce(&mut Entry) -> Option<Arc<Model>>) {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        let old = change(entries.entry(name.to_owned()).or_default());
        drop(entries);
        let mut retired = self.retired();
        retired.retain(|model| model.strong_count() > 0);
        // The workers end when the last request that holds the model has ended.
        retired.extend(old.as_ref().map(Arc::downgrade));
    }

    /// The fingerprint of every model's folder.
    pub(super) fn fingerprints(&self) -> Result<BTreeMap<String, u64>, Error> {
        let folder = self.config.models.clone();
        match self.within_limit("", move || catalog::fingerprints(&folder)) {
            Ok(fingerprints) => fingerprints.map_err(Error::NoFolder),
            Err(NotDone::GivenUp) => Err(Error::Closed),
            Err(why) => Err(Error::NoFolder(format!(
                "the models folder {} cannot be read: {why}",
                self.config.models.display()
            ))),
        }
    }

    /// Does what may hang, within the limit of the settings; it is given up when the server drains.
    fn within_limit<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NotDone> {
        self.bounded.run(name, self.config.loading.timeout, || self.is_draining(), work)
    }

    /// Waits for the turn to change models; refused before models are loaded and while the server shuts down.
    pub(super) fn changing_while_ready(&self) -> Result<MutexGuard<'_, ()>, Error> {
        if self.lifecycle.state() == LifecycleState::Starting {
            return Err(Error::Starting);
        }
        let changing = self.changing();
        if self.is_draining() { Err(Error::Closed) } else { Ok(changing) }
    }

    pub(super) fn is_draining(&self) -> bool {
        self.lifecycle.state() == LifecycleState::Draining
    }

    pub(super) fn entries(&self) -> RwLockReadGuard<'_, BTreeMap<String, Entry>> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn names(&self) -> Vec<String> {
        self.models().iter().map(|model| model.info.name.clone()).collect()
    }

    fn loader(&self) -> Result<Loader<'_>, ModelError> {
        Loader::new(&self.config, Arc::clone(&self.metrics), Arc::clone(&self.ledger.device))
    }

    fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn retired(&self) -> MutexGuard<'_, Vec<Weak<Model>>> {
        self.retired.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn workers(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
