//! Shadow runs: some answers are compared with those of another variant, off the critical path and only when the server has
//! nothing else to do. The image is not decoded a second time.

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use super::{
    Inference,
    call::{Deadline, RequestContext},
    images::{ImageInput, Postprocessed, postprocess},
    preprocess::{IncomingImage, KeptPixels, preprocess},
    record::{Observer, Outcome, RequestRecord, Route},
    run::Run,
};
use crate::{
    cost::{Account, FairShare, Tenant},
    error::Error,
    lifecycle::LifecycleState,
    manifest::VariantId,
    models::Model,
    routing::{Reason, ShadowTurn},
    scheduler::job::Priority,
    tasks::{PostprocessOptions, Prediction},
    vision::decode::DecodedImage,
};

/// Above this CPU utilisation no shadow run starts.
const BUSY: f64 = 0.5;

/// How long a shadow run may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The right to compare one answer with that of another variant.
#[derive(Debug)]
pub(super) struct Ticket {
    other: VariantId,
    _turn: ShadowTurn,
}

/// An answer that is to be compared.
#[derive(Debug)]
pub(super) struct Sample {
    pub ticket: Ticket,
    pub image: Arc<DecodedImage>,
    pub options: PostprocessOptions,
    pub prediction: Prediction,
}

/// A ticket if this answer is to be compared and the server is idle. It is compared with the shadow variant. If the
/// shadow itself answers, it is compared with a variant passed over for low agreement, so that this one can recover.
pub(super) fn ticket(inference: &Inference, model: &Model, route: Route) -> Option<Ticket> {
    let routing = &model.routing;
    let shadow = routing.shadow.as_ref()?;
    let passed_over = |id: &VariantId| *id != shadow.variant && routing.passes_over(*id);
    let other = match route.variant == shadow.variant {
        true => model.variants.iter().map(|variant| variant.info.id).find(passed_over)?,
        false => shadow.variant,
    };
    let busy = inference.decoding.in_flight() > 0
        || inference.ledger.cpu_utilization() > BUSY
        || inference.lifecycle.state() != LifecycleState::Ready;
    if busy || route.reason == Reason::Requested {
        return None;
    }
    shadow.next().map(|turn| Ticket { other, _turn: turn })
}

/// Runs sampled images again with another variant and compares the two answers.
#[derive(Debug)]
pub(super) struct Shadow(pub Weak<Inference>);

impl Observer for Shadow {
    fn finished(&self, record: &RequestRecord, outcome: &Outcome<'_>) {
        let (Some(sample), Some(route), Outcome::Answered(_)) = (&record.sample, record.route, outcome) else { return };
        let Some(inference) = self.0.upgrade() else { return };
        // What the request has held for its bytes is free again as soon as it is answered.
        let Some(room) = inference.gate.memory.try_take(sample.image.pixels.rgb.len() as u64) else { return };
        let (sample, model) = (Arc::clone(sample), Arc::clone(&record.model));
        tokio::spawn(async move {
            let _room = room;
            if let Err(error) = compare(&inference, &model, route.variant, &sample).await {
                tracing::debug!(model = model.info.name, %error, "a shadow run came to nothing");
            }
        });
    }
}

async fn compare(
    inference: &Arc<Inference>,
    model: &Arc<Model>,
    answered_by: VariantId,
    sample: &Sample,
) -> Result<(), Error> {
    let other = sample.ticket.other;
    let deadline = Deadline::after(Instant::now(), PATIENCE);
    let share = FairShare::default();
    let context =
        RequestContext { deadline, priority: Priority::LAST, tenant: Tenant::default(), share, allowance: None };
    let run = Run::new(&inference.ledger, Account::Shadow, model, other, context);
    let image = IncomingImage::new(inference, ImageInput::Decoded(Arc::clone(&sample.image)));
    let ready = preprocess(inference, &run, image, KeptPixels::default()).await?;
    let ran = run.outputs(ready.queued?).await?;
    let again = postprocess(&run, ran.outputs, ready.placement, sample.options, None);
    let first = sample.prediction.clone();
    let work = move || again().map(|Postprocessed { prediction, .. }| first.agreement(&prediction));
    let (done, _) = inference.postprocessing.run(Some(&run.meter), work).await.map_err(|cause| run.failed(cause))?;
    let agreement = done.map_err(|cause| run.failed(cause))?;
    let Some(shadow) = model.routing.shadow.as_ref().map(|shadow| shadow.variant) else { return Ok(()) };
    let judged = if answered_by == shadow { other } else { answered_by };
    model.routing.learn_agreement(judged, agreement);
    let name = |id| model.variant(id).info.name.as_str();
    inference.metrics.compared(&model.info.name, name(judged), name(shadow));
    Ok(())
}
