//! Shadow runs: some answers are compared with those of another variant, off the critical path and only when the server
//! has nothing else to do.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Deadline, Pipeline, RequestContext, Route, ServedModel, ServedVariant};
use crate::{
    cost::{Account, Tenant},
    error::Error,
    lifecycle::LifecycleState,
    models::folder::ModelFolder,
    routing::Reason,
    scheduler::job::Priority,
    stats::Ewma,
    vision::answer::{PostprocessOptions, Prediction},
};

/// Above this part of the CPUs the server has something else to do.
const BUSY: f64 = 0.5;

/// Boxes that overlap by less are not of the same thing.
const SAME_THING: f32 = 0.5;

/// So many comparisons are needed before they say anything.
const ENOUGH: u64 = 30;

/// How long a shadow run may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How far a variant's answers agreed with the shadow's.
#[derive(Debug, Default)]
pub(super) struct Agreement {
    lately: Ewma,
    compared: AtomicU64,
}

impl Agreement {
    fn observe(&self, agreement: f64) {
        self.lately.observe(agreement);
        self.compared.fetch_add(1, Ordering::Relaxed);
    }

    /// 0 to 1, once enough answers were compared.
    pub(super) fn get(&self) -> Option<f64> {
        self.lately.get().filter(|_| self.compared.load(Ordering::Relaxed) >= ENOUGH)
    }

    /// The same, however few were compared.
    pub(super) fn so_far(&self) -> Option<f64> {
        self.lately.get()
    }
}

/// Which answers are compared with whose.
#[derive(Debug)]
pub(super) struct Shadow {
    pub variant: String,
    /// One in so many.
    every: f64,
    answered: AtomicU64,
    // One at a time, so that what is kept in memory for it is bounded.
    turn: Arc<Semaphore>,
}

impl Shadow {
    /// What the manifest says.
    pub(super) fn new(folder: &ModelFolder) -> Result<Option<Self>, String> {
        let Some(shadow) = &folder.manifest.routing.shadow else { return Ok(None) };
        let names: Vec<_> = folder.variants.iter().map(|variant| &variant.name).collect();
        // Where only one variant is loaded, nothing can be compared.
        if names.len() > 1 && !names.contains(&&shadow.variant) {
            return Err(format!("routing.shadow is \"{}\", but the variants are {names:?}", shadow.variant));
        }
        let share = f64::from(shadow.share.get());
        let every = if share > 0.0 { 1.0 / share } else { return Ok(None) };
        let (variant, turn) = (shadow.variant.clone(), Arc::new(Semaphore::new(1)));
        Ok(Some(Self { variant, every, answered: AtomicU64::new(0), turn }))
    }

    /// Whether the next answer is one to compare, if nobody is at it yet.
    fn next(&self) -> Option<OwnedSemaphorePermit> {
        let place = self.answered.fetch_add(1, Ordering::Relaxed) as f64;
        let due = ((place + 1.0) / self.every).floor() > (place / self.every).floor();
        due.then(|| Arc::clone(&self.turn).try_acquire_owned().ok()).flatten()
    }
}

impl Pipeline {
    /// Answers a picture once more with the shadow variant and compares, if it is this one's turn and there is time.
    ///
    /// Where the shadow itself has answered, the turn is that of a variant which it passed over for disagreeing: so that
    /// one can do better.
    pub(super) fn shadow(
        &self,
        model: &Arc<ServedModel>,
        route: Route,
        (bytes, options): (Bytes, PostprocessOptions),
        answer: &Prediction,
    ) {
        let Some(shadow) = &model.shadow else { return };
        let answered = &model.of(route).name;
        let passed_over = |variant: &&ServedVariant| model.passes_over(variant) && variant.name != shadow.variant;
        let other = if *answered == shadow.variant {
            model.variants.iter().find(passed_over)
        } else {
            model.variants.iter().find(|variant| variant.name == shadow.variant)
        };
        let Some(other) = other.map(|variant| variant.name.clone()) else { return };
        let busy = self.0.decoding.inside() > 0
            || self.0.ledger.cpu_utilization() > BUSY
            || self.state() != LifecycleState::Ready;
        if busy || route.reason == Reason::Requested {
            return;
        }
        let Some(turn) = shadow.next() else { return };
        // What the request has held for its bytes is free again as soon as it is answered.
        let kib = u32::try_from(bytes.len().div_ceil(1024)).unwrap_or(u32::MAX);
        let Ok(room) = Arc::clone(&self.0.body_kib).try_acquire_many_owned(kib) else { return };
        let (pipeline, model, answer) = (self.clone(), Arc::clone(model), answer.clone());
        tokio::spawn(async move {
            let _held = (turn, room);
            if let Err(error) = pipeline.compare(&model, route, &other, (bytes, options), answer).await {
                tracing::debug!(model = model.name, %error, "a shadow run came to nothing");
            }
        });
    }

    async fn compare(
        &self,
        model: &Arc<ServedModel>,
        route: Route,
        other: &str,
        (bytes, options): (Bytes, PostprocessOptions),
        answer: Prediction,
    ) -> Result<(), Error> {
        let Some(second) = model.variants.iter().find(|variant| variant.name == other) else { return Ok(()) };
        let meter = self.meter(Account::Shadow, model, second, Tenant::default());
        let deadline = Deadline::after(Instant::now(), PATIENCE);
        let terms = RequestContext { priority: Priority::LAST, ..RequestContext::until(deadline) };
        let again = self.look_again(model, second, bytes, &options, terms, &meter).await?;
        let (agreement, _) =
            self.on_thread(&self.0.reading, &model.name, Some(&meter), move || agreement(&answer, &again)).await?;
        let first = model.of(route);
        let shadow = model.shadow.as_ref().map_or("", |shadow| shadow.variant.as_str());
        let judged = if first.name == shadow { second } else { first };
        judged.agreement.observe(agreement);
        self.metrics().compared(&model.name, &judged.name, shadow);
        Ok(())
    }
}

/// How far two answers agree: for boxes, twice those that match over all (the F1 of one by the other; 1 where neither
/// found anything), greedily by score, of one class and with an IoU of at least one half; for classes, 1 where the best
/// is the same, else 0.
fn agreement(one: &Prediction, other: &Prediction) -> f64 {
    match (one, other) {
        (Prediction::Detections(one), Prediction::Detections(other)) => {
            let mut free: Vec<_> = other.iter().collect();
            let mut matched = 0;
            for found in one {
                let overlap = |candidate: &&crate::vision::answer::Detection| candidate.bbox.iou(&found.bbox);
                let best = free
                    .iter()
                    .enumerate()
                    .filter(|(_, candidate)| candidate.class_id == found.class_id)
                    .max_by(|a, b| overlap(a.1).total_cmp(&overlap(b.1)));
                if let Some((place, _)) = best.filter(|(_, candidate)| overlap(candidate) >= SAME_THING) {
                    free.swap_remove(place);
                    matched += 1;
                }
            }
            let all = one.len() + other.len();
            #[expect(clippy::cast_precision_loss, reason = "few")]
            if all == 0 { 1.0 } else { 2.0 * f64::from(matched) / all as f64 }
        }
        (Prediction::Classes(one), Prediction::Classes(other)) => {
            let best = |classes: &[crate::vision::answer::Class]| classes.first().map(|class| class.class_id);
            f64::from(u8::from(best(one) == best(other)))
        }
        (Prediction::Detections(_), Prediction::Classes(_)) | (Prediction::Classes(_), Prediction::Detections(_)) => {
            0.0
        }
    }
}
