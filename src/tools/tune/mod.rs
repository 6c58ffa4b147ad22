//! Finds the cheapest way to serve a model on this machine that keeps a promise: its variants × sessions × threads × decode
//! threads × batch limits, each served for real and asked over a socket.
//!
//! - `space`: what there is to try, and what the latency curve says needs no trial. Pure.
//! - `trial`: one setting, served by this process and loaded until it breaks the promise.
//! - `found`: what came out: a table, a settings file, an image of the frontier.

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

/// What is promised, and how long each load is measured.
#[derive(Debug, Clone, Copy)]
pub struct TuneGoal {
    /// 99 in 100 answers come within it.
    pub slo_p99: Duration,
    /// No variant that is less accurate.
    pub min_accuracy: Option<f64>,
    /// How long each load is measured.
    pub step: Duration,
}

/// What is tried now.
#[derive(Debug, Clone, Copy)]
pub enum TuneProgress<'a> {
    /// A setting: which of how many.
    Trying(&'a Setting, usize, usize),
    /// The best ones again, under a load that does not wait for answers.
    Confirming(&'a Setting),
}

/// Tries settings until all are tried or `watch` is stopped, and says what was found until then.
///
/// # Errors
/// When the model cannot be served, or when no variant is accurate enough.
pub async fn tune(
    subject: &Subject,
    promise: &TuneGoal,
    watch: &RunControl,
    told: impl Fn(TuneProgress<'_>),
) -> Result<TuneReport, String> {
    let cpus = usable_cpus();
    let points = subject.curve().await?;
    let survey = space::survey(&points, promise.slo_p99, promise.min_accuracy)?;
    let mut found = TuneReport::new(subject, promise, survey.pruned.clone());
    // Each variant as it would be served without us, so that the frontier shows all of them; then what may be cheaper.
    let settings = space::settings(&survey, &points, cpus);
    for (place, setting) in settings.iter().enumerate() {
        if watch.is_stopped() {
            break;
        }
        told(TuneProgress::Trying(setting, place, settings.len()));
        let accuracy = survey.accuracy(&setting.variant);
        match subject.serve(setting, accuracy, promise, watch).await {
            Ok(tried) => found.tried.extend(tried),
            // What cannot be served so is no reason to lose the rest.
            Err(why) => found.pruned.push(Pruned { variant: setting.to_string(), why }),
        }
    }
    let failed = found.pruned.get(survey.pruned.len()..).and_then(<[Pruned]>::last);
    if let (true, Some(Pruned { why, .. })) = (found.tried.is_empty(), failed) {
        return Err(why.clone());
    }
    for setting in found.best(3) {
        if watch.is_stopped() {
            break;
        }
        told(TuneProgress::Confirming(&setting.setting));
        match subject.confirm(&setting, promise, watch).await {
            Ok(measured) => measured.into_iter().for_each(|at| found.confirmed(setting.setting.clone(), at)),
            Err(why) => found.pruned.push(Pruned { variant: setting.setting.to_string(), why }),
        }
    }
    found.interrupted = watch.is_stopped();
    Ok(found)
}
