//! Who hears of requests: the metrics, the routing, the capacity.

use super::record::{Observer, Outcome, RequestRecord};
use crate::{routing::Reason, telemetry::metrics::REFUSED_FOR_ROOM};

/// Counts answers in the metrics. Refusals are counted by the front door, from what is really sent.
#[derive(Debug)]
pub(super) struct CountInMetrics;

impl Observer for CountInMetrics {
    fn admitted(&self, record: &RequestRecord) {
        if let (Some(variant), Some(route)) = (record.variant(), record.route) {
            variant.series.routed(route.reason.name());
        }
    }

    fn finished(&self, record: &RequestRecord, outcome: &Outcome<'_>) {
        let Some(variant) = record.variant() else { return };
        match outcome {
            Outcome::Answered(_) => variant.series.answered(record.total, &record.stages),
            Outcome::Failed => variant.series.failed(),
            Outcome::Cancelled => variant.series.cancelled(),
            Outcome::Refused(_) | Outcome::GivenUp => {}
        }
    }
}

/// Tells routing how many images arrive and what answers take. A request that names its variant is not counted as
/// demand, since the router does not choose for it.
#[derive(Debug)]
pub(super) struct LearnDemand;

impl Observer for LearnDemand {
    fn admitted(&self, record: &RequestRecord) {
        self.more_images(record, 1);
    }

    fn more_images(&self, record: &RequestRecord, images: usize) {
        if record.route.is_some_and(|route| route.reason != Reason::Requested) {
            record.model.routing.demand.arrived(images);
        }
    }

    fn finished(&self, record: &RequestRecord, outcome: &Outcome<'_>) {
        let (Some(route), Outcome::Answered(cost)) = (record.route, outcome) else { return };
        let (routing, images) = (&record.model.routing, record.images.max(1));
        if record.typical {
            routing.demand.learn_overhead(record.overhead / images);
            #[expect(clippy::cast_precision_loss, reason = "few")]
            routing.learn_cost(route.variant, cost.usd / images as f64);
        }
        if route.reason != Reason::Requested {
            routing.demand.answered(cost.cpu_seconds);
        }
    }
}

/// Counts what requests ask of this replica: answers, and refusals that another replica would have answered. Who is refused before his body
/// came may not have one, and asks for nothing yet: [`Inference::count_refused_body`](super::Inference::count_refused_body).
#[derive(Debug)]
pub(super) struct TallyLoad;

impl Observer for TallyLoad {
    fn finished(&self, record: &RequestRecord, outcome: &Outcome<'_>) {
        let tally = &record.model.tally;
        match (outcome, record.route) {
            (Outcome::Answered(_), Some(route)) if route.reason == Reason::Load => {
                tally.degraded(record.images, record.overhead);
            }
            (Outcome::Answered(_), Some(route)) => tally.answered(route.variant, record.images, record.overhead),
            (Outcome::Refused(error), _) if record.has_body && is_for_room(error.reason()) => tally.refused_for_room(),
            _ => {}
        }
    }
}

/// Whether a request was refused because this replica is full, so that another one would have answered it.
pub(super) fn is_for_room(reason: &str) -> bool {
    REFUSED_FOR_ROOM.contains(&reason)
}
