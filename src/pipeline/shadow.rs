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

use super::{Deadline, Pipeline, ServedModel, ServedVariant, Terms};
use crate::{
    batch::job::Priority,
    cost::{Account, Tenant},
    registry::folder::ModelFolder,
    vision::answer::{Answer, ReadOptions},
};

/// Above this part of the CPUs the server has something else to do.
const BUSY: f64 = 0.5;

/// Boxes that overlap by less are not of the same thing.
const SAME_THING: f32 = 0.5;

/// How long a shadow run may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which answers are compared with whose.
#[derive(Debug)]
pub(super) struct Shadow {
    variant: String,
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
    pub(super) fn shadow(
        &self,
        model: &Arc<ServedModel>,
        variant: &ServedVariant,
        (bytes, options): (Bytes, ReadOptions),
        answer: &Answer,
    ) {
        let Some(shadow) = &model.shadow else { return };
        let Some(place) = model.variants.iter().position(|other| other.name == shadow.variant) else { return };
        if variant.name == shadow.variant || self.0.decoding.inside() > 0 || self.0.ledger.busy() > BUSY {
            return;
        }
        let Some(turn) = shadow.next() else { return };
        let (pipeline, model, answer) = (self.clone(), Arc::clone(model), answer.clone());
        let answered_by = variant.name.clone();
        tokio::spawn(async move {
            let _turn = turn;
            let second = &model.variants[place];
            let meter = pipeline.meter(Account::Shadow, &model, second, Tenant::default());
            let deadline = Deadline::after(Instant::now(), PATIENCE);
            let terms = Terms { priority: Priority::LAST, ..Terms::until(deadline) };
            match pipeline.look_again(&model, second, bytes, &options, terms, &meter).await {
                Ok(again) => {
                    let agreement = agreement(&answer, &again);
                    let first = model.variants.iter().find(|variant| variant.name == answered_by);
                    let lately = first.map(|first| {
                        first.agreement.learn(agreement);
                        first.agreement.get().unwrap_or(agreement)
                    });
                    let lately = lately.unwrap_or(agreement);
                    pipeline.metrics().compared(&model.name, &answered_by, &second.name, lately);
                }
                Err(error) => tracing::debug!(model = model.name, %error, "a shadow run came to nothing"),
            }
        });
    }
}

/// How far two answers agree: for boxes, twice those that match over all (the F1 of one by the other; 1 where neither
/// found anything), greedily by score, of one class and with an IoU of at least one half; for classes, 1 where the best
/// is the same, else 0.
fn agreement(one: &Answer, other: &Answer) -> f64 {
    match (one, other) {
        (Answer::Detections(one), Answer::Detections(other)) => {
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
        (Answer::Classes(one), Answer::Classes(other)) => {
            let best = |classes: &[crate::vision::answer::Class]| classes.first().map(|class| class.class_id);
            f64::from(u8::from(best(one) == best(other)))
        }
        (Answer::Detections(_), Answer::Classes(_)) | (Answer::Classes(_), Answer::Detections(_)) => 0.0,
    }
}
