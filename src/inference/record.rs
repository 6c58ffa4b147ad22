//! The record of one request: what it is, what it took, how it ended. It is finished exactly once. Metrics, routing,
//! capacity, forecasts and shadow runs are informed only through observers, never by direct calls on the way.

use std::{
    fmt::Debug,
    sync::{Arc, OnceLock},
    time::Duration,
};

use super::{forecast::Forecast, permit::Permit, shadow::Sample};
use crate::{
    cost::{CpuTime, RequestCost},
    error::Error,
    manifest::VariantId,
    models::{Model, Variant},
    routing::Reason,
    telemetry::StageTimes,
};

/// Hears of requests.
pub(super) trait Observer: Debug + Send + Sync {
    /// A variant was chosen for the request, and its body is there, or it was refused before.
    fn admitted(&self, _record: &RequestRecord) {}

    /// An admitted request turns out to hold `_images` more images than counted so far.
    fn more_images(&self, _record: &RequestRecord, _images: usize) {}

    /// The request has ended.
    fn finished(&self, _record: &RequestRecord, _outcome: &Outcome<'_>) {}
}

/// All observers of a server.
pub(super) type Observers = Arc<[Box<dyn Observer>]>;

/// How a request ended.
#[derive(Debug)]
pub(super) enum Outcome<'a> {
    /// It was answered, at this price.
    Answered(&'a RequestCost),
    /// It was refused, or its deadline passed.
    Refused(&'a Error),
    /// The model failed on it.
    Failed,
    /// Its client went away while it was being answered.
    Cancelled,
    /// The front door gave it up before anything was run, since its body could not be read.
    GivenUp,
}

/// What is known about a request. A record that is dropped unfinished counts as cancelled if it was running, as
/// refused if there was no memory for its body, else as given up.
#[derive(Debug)]
pub(super) struct RequestRecord {
    observers: Observers,
    pub model: Arc<Model>,
    /// The variant that was chosen, and why; none as long as the request only has a place.
    pub route: Option<Route>,
    /// The images that it holds.
    pub images: usize,
    /// The forecast of its answer, once it runs.
    pub forecast: Option<Forecast>,
    pub stages: StageTimes,
    pub total: Duration,
    /// CPU time outside the graph's runs: decoding, preprocessing, postprocessing.
    pub overhead: CpuTime,
    /// Whether routing may learn from what this request took. Not if the image was drawn or the tensors came
    /// ready-made.
    pub typical: bool,
    pub batch_size: usize,
    /// What a shadow run needs, where this answer is one to compare.
    pub sample: Option<Arc<Sample>>,
    progress: Progress,
    /// Whether observers know that it was admitted. A request whose body never came asks for nothing.
    counted: bool,
    /// Whether its body is there.
    pub has_body: bool,
    /// Why there was no room for its body, if there was none.
    no_room: OnceLock<Error>,
}

/// The variant that answers a request, and why.
#[derive(Debug, Clone, Copy)]
pub(super) struct Route {
    pub variant: VariantId,
    pub reason: Reason,
}

/// How far a request has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Reserved,
    Running,
    Finished,
}

impl RequestRecord {
    /// The record of a request that has a place.
    pub(super) fn new(observers: &Observers, model: Arc<Model>) -> Self {
        Self {
            observers: Arc::clone(observers),
            model,
            route: None,
            images: 1,
            forecast: None,
            stages: StageTimes::default(),
            total: Duration::ZERO,
            overhead: CpuTime::default(),
            typical: true,
            batch_size: 0,
            sample: None,
            progress: Progress::Reserved,
            counted: false,
            has_body: false,
            no_room: OnceLock::new(),
        }
    }

    /// The chosen variant.
    pub(super) fn variant(&self) -> Option<&Variant> {
        self.route.map(|route| self.model.variant(route.variant))
    }

    /// A variant was chosen.
    pub(super) fn admit(&mut self, route: Route) {
        self.route = Some(route);
    }

    /// The body is there.
    pub(super) fn arrived(&mut self) {
        self.has_body = true;
        self.tell_admitted();
    }

    fn tell_admitted(&mut self) {
        if self.route.is_some() && !std::mem::replace(&mut self.counted, true) {
            self.observers.iter().for_each(|observer| observer.admitted(self));
        }
    }

    /// The request turns out to hold so many images.
    pub(super) fn holds(&mut self, images: usize) {
        let more = images.saturating_sub(self.images);
        self.images = images;
        if more > 0 {
            self.observers.iter().for_each(|observer| observer.more_images(self, more));
        }
    }

    /// The record of one of several images of the same request.
    pub(super) fn for_image(&self) -> Self {
        let mut record = Self::new(&self.observers, Arc::clone(&self.model));
        record.route = self.route;
        record.counted = self.counted;
        record.has_body = self.has_body;
        record
    }

    /// Takes memory for the body. Where there is none, the request ends as refused, unless it ends otherwise first.
    pub(super) fn hold(&self, permit: &Permit, bytes: usize) -> Result<(), Error> {
        permit.hold(bytes).inspect_err(|error| drop(self.no_room.set(error.clone())))
    }

    /// Work begins: from now on the request is cancelled if it is dropped.
    pub(super) fn begin(&mut self) {
        self.progress = Progress::Running;
    }

    /// The request has ended.
    pub(super) fn finish(mut self, outcome: &Outcome<'_>) {
        self.tell(outcome);
    }

    /// The request has ended with an error.
    pub(super) fn fail(self, error: Error) -> Error {
        match &error {
            Error::ModelFailed { model, cause } => {
                let variant = self.variant().map(|variant| variant.info.name.as_str());
                tracing::error!(model, variant, cause, "a request failed");
                self.finish(&Outcome::Failed);
            }
            _ => self.finish(&Outcome::Refused(&error)),
        }
        error
    }

    fn tell(&mut self, outcome: &Outcome<'_>) {
        if matches!(outcome, Outcome::Refused(_)) {
            self.tell_admitted();
        }
        self.progress = Progress::Finished;
        self.observers.iter().for_each(|observer| observer.finished(self, outcome));
    }
}

impl Drop for RequestRecord {
    fn drop(&mut self) {
        match self.progress {
            Progress::Finished => {}
            Progress::Running => self.tell(&Outcome::Cancelled),
            Progress::Reserved => match self.no_room.take() {
                Some(error) => self.tell(&Outcome::Refused(&error)),
                None => self.tell(&Outcome::GivenUp),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::{
        capacity::Tally,
        models::ModelInfo,
        routing::{RoutingPolicy, RoutingState},
    };

    /// Writes down how requests ended.
    #[derive(Debug, Default, Clone)]
    struct Diary(Arc<Mutex<Vec<String>>>);

    impl Observer for Diary {
        fn finished(&self, _record: &RequestRecord, outcome: &Outcome<'_>) {
            let word = format!("{outcome:?}");
            let word = word.split(['(', ' ']).next().unwrap_or_default().to_owned();
            self.0.lock().expect("no panic").push(word);
        }
    }

    fn record(diary: &Diary) -> RequestRecord {
        let observers: Observers = Arc::new([Box::new(diary.clone()) as Box<dyn Observer>]);
        let routing = RoutingState::new(RoutingPolicy::default(), None, 0, std::time::Instant::now());
        let model = Model { info: ModelInfo::for_tests(), variants: Vec::new(), routing, tally: Tally::new(0) };
        RequestRecord::new(&observers, Arc::new(model))
    }

    #[test]
    fn each_request_ends_exactly_once() {
        let diary = Diary::default();
        let running = || {
            let mut record = record(&diary);
            record.begin();
            record
        };
        running().finish(&Outcome::Failed);
        let error = running().fail(Error::Closed);
        assert_eq!(error, Error::Closed);
        drop(running());
        drop(record(&diary));
        let told = diary.0.lock().expect("no panic").clone();
        assert_eq!(told, ["Failed", "Refused", "Cancelled", "GivenUp"], "its client went away; its body was torn");
    }
}
