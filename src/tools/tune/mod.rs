//! Finds the cheapest way to serve a model on this machine within a latency goal.
//!
//! It searches variants × sessions × threads × decode threads × batch limits. Each setting is served for real and loaded
//! over a socket. A [`Subject`] and a [`TuneGoal`] go in, and a [`TuneReport`] comes out.
//!
//! - `space`: the settings to try, without those that the latency profile rules out. It is pure.
//! - `trial`: one setting, served by this process and loaded until it misses the goal.
//! - `report`: the result as a table, a settings file and a chart of the frontier.

mod report;
mod space;
mod trial;

use std::time::Duration;

pub use self::{
    report::{Chosen, TuneReport},
    space::{Pruned, Setting},
    trial::{Measurement, SettingResult, Subject},
};
use crate::{engine::thread_plan::usable_cpus, tools::bench::RunControl};

/// The goal of the search, and how long each load is measured.
#[derive(Debug, Clone, Copy)]
pub struct TuneGoal {
    /// Latency that 99 in 100 answers must not exceed.
    pub slo_p99: Duration,
    /// Least accuracy of a variant.
    pub min_accuracy: Option<f64>,
    /// Time for which each load is measured.
    pub step: Duration,
}

/// Progress of the search.
#[derive(Debug, Clone, Copy)]
pub enum TuneProgress<'a> {
    /// A setting is being tried.
    Trying {
        /// The setting.
        setting: &'a Setting,
        /// Its index.
        index: usize,
        /// Number of settings.
        count: usize,
    },
    /// One of the best settings is tried again, under a load that does not wait for answers.
    Confirming(&'a Setting),
}

/// Tries settings until all are tried or `control` stops the search, and returns the results so far.
///
/// # Errors
/// The model cannot be served, or no variant is accurate enough.
pub async fn tune(
    subject: &Subject,
    goal: &TuneGoal,
    control: &RunControl,
    progress: impl Fn(TuneProgress<'_>),
) -> Result<TuneReport, String> {
    let cpus = usable_cpus();
    let points = subject.curve().await?;
    let space = space::search_space(&points, goal.slo_p99, goal.min_accuracy)?;
    let mut found = TuneReport::new(subject, goal, space.pruned.clone());
    // Each variant is tried once with the default thread plan, so that the frontier shows all of them.
    let settings = space::settings(&space, &points, cpus);
    for (index, setting) in settings.iter().enumerate() {
        if control.is_stopped() {
            break;
        }
        progress(TuneProgress::Trying { setting, index, count: settings.len() });
        let accuracy = space.accuracy(&setting.variant);
        match subject.serve(setting, accuracy, goal, control).await {
            Ok(tried) => found.tried.extend(tried),
            // A setting that cannot be served must not end the search.
            Err(why) => found.pruned.push(Pruned { variant: setting.to_string(), why }),
        }
    }
    let failed = found.pruned.get(space.pruned.len()..).and_then(<[Pruned]>::last);
    if let (true, Some(Pruned { why, .. })) = (found.tried.is_empty(), failed) {
        return Err(why.clone());
    }
    for setting in found.best(3) {
        if control.is_stopped() {
            break;
        }
        progress(TuneProgress::Confirming(&setting.setting));
        match subject.confirm(&setting, goal, control).await {
            Ok(measured) => measured.into_iter().for_each(|at| found.confirmed(setting.setting.clone(), at)),
            Err(why) => found.pruned.push(Pruned { variant: setting.setting.to_string(), why }),
        }
    }
    found.interrupted = control.is_stopped();
    Ok(found)
}
