//! The models that are served, and how that changes while the server runs.
//!
//! A model is loaded and tried out beside the old one, and put in its place by one assignment. A request holds the
//! model that it found, so what is in flight ends on the old one, which goes when the last of those has ended. A new
//! version that cannot be served changes nothing but the reason that is told.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, Weak},
    thread::JoinHandle,
};

use super::{Loaded, Loader, Pipeline, ServedModel};
use crate::{
    cost::Account,
    error::Error,
    lifecycle::LifecycleState,
    manifest::Task,
    models::{self, ModelError},
    telemetry::metrics::Metrics,
};

/// Every model that was seen, by name, and the workers of those that run.
#[derive(Debug, Default)]
pub(super) struct Repository {
    models: RwLock<BTreeMap<String, Entry>>,
    workers: Mutex<Vec<JoinHandle<()>>>,
    /// Held while a model is loaded or unloaded: one after the other.
    changing: Mutex<()>,
    /// The same for those who can wait without a thread.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Models that were replaced, as long as requests hold them.
    retired: Mutex<Vec<Weak<ServedModel>>>,
    /// Who answers a task where a request names no model: the first by name when the server started, so that a new
    /// folder does not change that.
    defaults: OnceLock<Vec<(Task, String)>>,
}

#[derive(Debug, Default)]
struct Entry {
    serving: Option<Arc<ServedModel>>,
    /// Why what lies in its folder is not what is served.
    trouble: Option<String>,
    /// What its folder looked like when it was last loaded, or tried to be.
    seen: Option<u64>,
}

/// A model of the folder, served or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelState {
    /// Its name.
    pub name: String,
    /// The version that is served.
    pub version: Option<String>,
    /// Why the folder's version is not served.
    pub trouble: Option<String>,
}

/// What the model folder looked like at the last look.
#[derive(Debug, Default)]
pub struct LastLook(BTreeMap<String, u64>);

impl Repository {
    fn models(&self) -> RwLockReadGuard<'_, BTreeMap<String, Entry>> {
        self.models.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes an entry; what comes back from the change is no longer served.
    fn change(&self, name: &str, metrics: &Metrics, change: impl FnOnce(&mut Entry) -> Option<Arc<ServedModel>>) {
        let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
        let old = change(models.entry(name.to_owned()).or_default());
        drop(models);
        for variant in old.iter().flat_map(|model| &model.variants) {
            let all = variant.providers.iter().chain(&variant.missing).map(|provider| provider.name());
            metrics.forget_plan(name, &variant.name, all);
        }
        let mut retired = self.retired();
        retired.retain(|model| model.strong_count() > 0);
        // Its last owner ends its workers: the last request that holds it.
        retired.extend(old.as_ref().map(Arc::downgrade));
    }

    fn retired(&self) -> MutexGuard<'_, Vec<Weak<ServedModel>>> {
        self.retired.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn workers(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, loaded: Loaded, seen: Option<u64>, metrics: &Metrics) {
        let mut workers = self.workers();
        workers.retain(|worker| !worker.is_finished());
        workers.extend(loaded.workers);
        drop(workers);
        let name = loaded.model.name.clone();
        let model = Arc::new(loaded.model);
        self.change(&name, metrics, |entry| {
            std::mem::replace(entry, Entry { serving: Some(Arc::clone(&model)), trouble: None, seen }).serving
        });
        for variant in &model.variants {
            metrics.plan(&name, &variant.name, variant.instances, variant.threads);
            for (providers, in_use) in [(&variant.providers, true), (&variant.missing, false)] {
                providers.iter().for_each(|provider| metrics.provider(&name, &variant.name, provider.name(), in_use));
            }
        }
    }
}

impl Pipeline {
    /// Loads every model of the folder (or only that one, or only that variant of it), tries it out, and becomes
    /// [`LifecycleState::Ready`]. Blocks.
    ///
    /// # Errors
    /// When a model cannot be served: all that are wrong, each in one sentence.
    pub fn load(&self, only: Option<&str>, variant: Option<&str>) -> Result<(), Vec<ModelError>> {
        let _changing = self.changing();
        let loading = self.0.ledger.track_loading(Account::Warmup, "");
        let seen = models::fingerprints(&self.config().models).unwrap_or_default();
        let loader = self.loader().map_err(|error| vec![error])?;
        let (mut wrong, mut loaded) = (Vec::new(), Vec::new());
        for model in loader.load_all(only, variant) {
            model.map_or_else(|error| wrong.push(error), |model| loaded.push(model));
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        for model in loaded {
            let seen = seen.get(&model.model.name).copied();
            self.0.repository.serve(model, seen, self.metrics());
        }
        let tasks = self.models().into_iter().map(|model| (model.task, model.name.clone()));
        // Only tests load twice.
        let _ = self.0.repository.defaults.set(tasks.collect());
        drop(loading);
        self.0.lifecycle.advance(LifecycleState::Ready);
        Ok(())
    }

    /// Loads a model anew, or for the first time, and serves it from then on. Blocks.
    ///
    /// # Errors
    /// [`Error::UnknownModel`] when there is no such folder; [`Error::LoadFailed`] when it cannot be served: what was
    /// served before still is.
    pub fn load_model(&self, name: &str) -> Result<(), Error> {
        let _changing = self.changing_while_ready()?;
        let folders = self.folders()?;
        let Some(&seen) = folders.get(name) else {
            return Err(Error::UnknownModel { name: name.to_owned(), known: folders.into_keys().collect() });
        };
        self.load_one(name, seen)
    }

    /// Stops serving a model; what is in flight ends. It stays away until it is loaded or its folder changes. Blocks.
    ///
    /// # Errors
    /// [`Error::UnknownModel`] when it is not served.
    pub fn unload_model(&self, name: &str) -> Result<(), Error> {
        let _changing = self.changing_while_ready()?;
        self.model(name)?;
        tracing::info!(model = name, "unloaded");
        self.0.repository.change(name, self.metrics(), |entry| {
            entry.trouble = Some("it was unloaded".to_owned());
            entry.serving.take()
        });
        Ok(())
    }

    /// Compares the model folder with the last look: what has changed, and then stayed as it is from one look to the
    /// next, is loaded; what has gone is unloaded. Blocks.
    pub fn look_for_changes(&self, last: &mut LastLook) {
        let Ok(_changing) = self.changing_while_ready() else { return };
        let folders = match self.folders() {
            Ok(folders) => folders,
            Err(error) => return tracing::warn!("{error}"),
        };
        for (name, &print) in &folders {
            if self.state() == LifecycleState::Draining {
                return;
            }
            let settled = last.0.get(name) == Some(&print);
            let seen = self.0.repository.models().get(name).and_then(|entry| entry.seen);
            if settled && seen != Some(print) {
                // The reason has been logged, and is told by the index.
                let _ = self.load_one(name, print);
            }
        }
        let gone = |(name, entry): (&String, &Entry)| {
            let gone = entry.serving.is_some() && !folders.contains_key(name) && !last.0.contains_key(name);
            gone.then(|| name.clone())
        };
        let gone: Vec<String> = self.0.repository.models().iter().filter_map(gone).collect();
        for name in gone {
            tracing::warn!(model = name, "its folder has gone; it is no longer served");
            self.0.repository.change(&name, self.metrics(), |entry| std::mem::take(entry).serving);
        }
        last.0 = folders;
    }

    fn load_one(&self, name: &str, seen: u64) -> Result<(), Error> {
        let _loading = self.0.ledger.track_loading(Account::Reload, name);
        let loaded = self.loader().and_then(|loader| {
            let mut loaded = loader.load_all(Some(name), None);
            loaded.pop().unwrap_or_else(|| Err(ModelError { model: None, reason: "it has gone".to_owned() }))
        });
        self.metrics().loaded(name, loaded.is_ok());
        match loaded {
            Ok(loaded) => {
                tracing::info!(model = name, version = loaded.model.version, "loaded");
                self.0.repository.serve(loaded, Some(seen), self.metrics());
                Ok(())
            }
            Err(ModelError { reason, .. }) => {
                let still = self.0.repository.models().get(name).and_then(|entry| entry.serving.clone());
                let still = still.map(|model| model.version.clone());
                tracing::error!(model = name, still_serving = still, "cannot be loaded: {reason}");
                self.0.repository.change(name, self.metrics(), |entry| {
                    (entry.trouble, entry.seen) = (Some(reason.clone()), Some(seen));
                    None
                });
                Err(Error::LoadFailed { model: name.to_owned(), reason, still_serving: still })
            }
        }
    }

    /// Every model of the folder, and every one that is served.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn index(&self) -> Result<Vec<ModelState>, Error> {
        let mut states: BTreeMap<String, ModelState> = BTreeMap::new();
        for name in models::names(&self.config().models).map_err(Error::NoFolder)? {
            let trouble = Some("it has not been loaded".to_owned());
            states.insert(name.clone(), ModelState { name, version: None, trouble });
        }
        for (name, entry) in self.0.repository.models().iter() {
            let version = entry.serving.as_ref().map(|model| model.version.clone());
            if version.is_some() || states.contains_key(name) {
                states.insert(name.clone(), ModelState { name: name.clone(), version, trouble: entry.trouble.clone() });
            }
        }
        Ok(states.into_values().collect())
    }

    /// Why what lies in a model's folder is not what is served.
    #[must_use]
    pub fn trouble(&self, name: &str) -> Option<String> {
        self.0.repository.models().get(name).and_then(|entry| entry.trouble.clone())
    }

    /// Ends the workers, and forgets the models. Blocks.
    pub fn close(&self) {
        // What is being loaded now would be served after the end.
        let _changing = self.changing();
        let models = std::mem::take(&mut *self.0.repository.models.write().unwrap_or_else(PoisonError::into_inner));
        // Requests that are still here are past the grace time.
        models.values().filter_map(|entry| entry.serving.as_ref()).for_each(|model| model.close(true));
        self.0.repository.retired().iter().filter_map(Weak::upgrade).for_each(|model| model.close(true));
        let workers = std::mem::take(&mut *self.0.repository.workers());
        for worker in workers {
            if worker.join().is_err() {
                tracing::error!("a worker thread panicked");
            }
        }
    }

    /// Every model that is served, by name.
    #[must_use]
    pub fn models(&self) -> Vec<Arc<ServedModel>> {
        self.0.repository.models().values().filter_map(|entry| entry.serving.clone()).collect()
    }

    /// A model by name.
    ///
    /// # Errors
    /// [`Error::UnknownModel`], which names those there are.
    pub fn model(&self, name: &str) -> Result<Arc<ServedModel>, Error> {
        let serving = self.0.repository.models().get(name).and_then(|entry| entry.serving.clone());
        serving.ok_or_else(|| {
            let known = self.models().iter().map(|model| model.name.clone()).collect();
            self.refused(Error::UnknownModel { name: name.to_owned(), known })
        })
    }

    /// The model for a task: the named one, or the first of that task by name when the server started.
    ///
    /// # Errors
    /// When there is no such model, or it answers another question.
    pub fn model_for(&self, task: Task, name: Option<&str>) -> Result<Arc<ServedModel>, Error> {
        if let Some(name) = name {
            let model = self.model(name)?;
            return if model.task == task {
                Ok(model)
            } else {
                let why = format!("`{name}` answers {}, not {task}; ask it at /v1/{}", model.task, model.task);
                Err(Error::BadParameter { name: "model".to_owned(), why })
            };
        }
        let defaults = self.0.repository.defaults.get().map_or(&[][..], Vec::as_slice);
        let models = self.models();
        let mut defaults = defaults.iter().filter(|(of, _)| *of == task).map(|(_, name)| name);
        let default = defaults.find_map(|name| models.iter().find(|model| model.name == *name && model.task == task));
        default.or_else(|| models.iter().find(|model| model.task == task)).cloned().ok_or_else(|| {
            let known = models.iter().map(|model| model.name.clone()).collect();
            self.refused(Error::NoModelForTask { task, known })
        })
    }

    /// Waits until nobody else changes models, without a thread; others wait until what comes back is dropped.
    pub async fn turn_to_change(&self) -> impl Drop + Send + use<> {
        Arc::clone(&self.0.repository.turn).lock_owned().await
    }

    fn loader(&self) -> Result<Loader<'_>, ModelError> {
        Loader::new(self.config(), Arc::clone(&self.0.metrics), Arc::clone(&self.0.ledger.device))
    }

    fn folders(&self) -> Result<BTreeMap<String, u64>, Error> {
        models::fingerprints(&self.config().models).map_err(Error::NoFolder)
    }

    fn changing(&self) -> MutexGuard<'_, ()> {
        self.0.repository.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changing_while_ready(&self) -> Result<MutexGuard<'_, ()>, Error> {
        if self.state() == LifecycleState::Starting {
            return Err(Error::Starting);
        }
        let changing = self.changing();
        if self.state() == LifecycleState::Draining { Err(Error::Closed) } else { Ok(changing) }
    }
}
