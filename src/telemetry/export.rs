//! Spans on their way to a collector: bounded, in batches, never in the way of a request.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::{Resource, trace::SpanExporter as _};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

use super::{
    context::TraceContext,
    request::{RequestSpan, SpanDetails},
};
use crate::config::TelemetryConfig;

/// Requests whose spans wait at most; more are lost and counted.
const WAITING: usize = 2048;

/// Requests in one post at most: so few that encoding them does not hold up the thread's other work.
const BATCH: usize = 64;

/// How long the first of a batch waits for others.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a try may take and when the last one of a post begins; and how long the last posts may take at the end.
const PATIENCE: Duration = Duration::from_secs(5);

/// The time from one warning to the next.
const QUIET: Duration = Duration::from_secs(60);

/// Takes the spans of requests; off unless settings name a collector. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Traces(Option<Line>);

#[derive(Debug, Clone)]
struct Line {
    to: mpsc::Sender<Message>,
    lost: Arc<AtomicU64>,
    ratio: f64,
}

#[derive(Debug)]
enum Message {
    Request(Box<RequestSpan>),
    End,
}

impl Traces {
    /// Whether a request's trace is to be recorded: as its client said; where it said nothing, by the ratio of the
    /// settings, unless it is one that machines send all the time.
    #[must_use]
    pub fn sampled(&self, context: &TraceContext, probe: bool) -> bool {
        match (&self.0, context.parent_id) {
            (_, Some(_)) => context.sampled,
            (Some(line), None) => !probe && in_share(context.trace_id, line.ratio),
            (None, None) => false,
        }
    }

    /// Watches a request, when its trace is recorded and there is a collector; only then its span is begun.
    #[must_use]
    pub fn watch(&self, context: &TraceContext, begin: impl FnOnce() -> RequestSpan) -> Option<Watched> {
        let line = self.0.as_ref().filter(|_| context.sampled)?;
        Some(Watched { line: line.clone(), since: Instant::now(), span: Some(Box::new(begin())) })
    }
}

/// A request that is under way. Its span leaves when this is dropped: with a status, or without if its client went away.
#[derive(Debug)]
pub struct Watched {
    line: Line,
    since: Instant,
    span: Option<Box<RequestSpan>>,
}

impl Watched {
    /// What handlers say about it.
    pub fn told(&mut self) -> Option<&mut SpanDetails> {
        self.span.as_mut().map(|span| &mut span.told)
    }

    /// Its answer is there.
    pub fn answered(mut self, status: u16) {
        if let Some(span) = &mut self.span {
            span.status = Some(status);
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let Some(mut span) = self.span.take() else { return };
        span.took = self.since.elapsed();
        // When too many wait, it is lost; nobody ever waits here.
        if self.line.to.try_send(Message::Request(span)).is_err() {
            self.line.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Whether a trace is of the share that is recorded: the same everywhere, since it hangs on nothing but the id.
fn in_share(trace_id: u128, ratio: f64) -> bool {
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "53 bits of the id are enough")]
    let place = ((trace_id as u64) >> 11) as f64 / (1u64 << 53) as f64;
    place < ratio
}

/// A running export.
#[derive(Debug)]
pub struct Export {
    traces: Traces,
    task: Option<JoinHandle<()>>,
}

impl Export {
    /// Starts exporting on this runtime, when settings name a collector. It need not be there yet.
    ///
    /// # Errors
    /// When the endpoint is no URL, or one of OpenTelemetry's variables cannot be used.
    pub fn start(settings: &TelemetryConfig) -> anyhow::Result<Self> {
        let Some(endpoint) = &settings.otlp_endpoint else {
            return Ok(Self { traces: Traces::default(), task: None });
        };
        let endpoint = endpoint.traces();
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(&endpoint)
            .with_timeout(PATIENCE)
            .build();
        let mut exporter = exporter.map_err(|error| anyhow::anyhow!("traces cannot be sent to {endpoint}: {error}"))?;
        let version = env!("CARGO_PKG_VERSION");
        let resource = Resource::builder()
            .with_service_name(settings.service_name.clone())
            .with_attribute(KeyValue::new("service.version", version))
            .build();
        exporter.set_resource(&resource);

        let (to, inbox) = mpsc::channel(WAITING);
        let lost = Arc::new(AtomicU64::new(0));
        let post = Post {
            exporter,
            scope: InstrumentationScope::builder(env!("CARGO_PKG_NAME")).with_version(version).build(),
            endpoint,
            lost: Arc::clone(&lost),
            warned: None,
        };
        let ratio = f64::from(settings.otlp_sample_ratio.get());
        Ok(Self { traces: Traces(Some(Line { to, lost, ratio })), task: Some(tokio::spawn(post.run(inbox))) })
    }

    /// Where requests leave their spans.
    #[must_use]
    pub fn traces(&self) -> Traces {
        self.traces.clone()
    }

    /// Sends what still waits, for some seconds at most.
    pub async fn end(self) {
        let (Some(line), Some(task)) = (self.traces.0, self.task) else { return };
        let stop = task.abort_handle();
        let sent = async {
            // It fails when the task has ended, and then there is nothing to wait for.
            let _ = line.to.send(Message::End).await;
            task.await.is_ok()
        };
        if !timeout(PATIENCE, sent).await.unwrap_or(false) {
            stop.abort();
            tracing::warn!("the last spans could not be exported");
        }
    }
}

/// The far end of the line.
#[derive(Debug)]
struct Post {
    exporter: SpanExporter,
    scope: InstrumentationScope,
    endpoint: String,
    lost: Arc<AtomicU64>,
    warned: Option<Instant>,
}

impl Post {
    async fn run(mut self, mut inbox: mpsc::Receiver<Message>) {
        let mut open = true;
        while open {
            let mut batch = Vec::new();
            open = one_more(&mut inbox, &mut batch).await;
            let fill = async {
                while open && batch.len() < BATCH {
                    open = one_more(&mut inbox, &mut batch).await;
                }
            };
            // Whether it is full or not, it is time.
            let _ = timeout(PAUSE, fill).await;
            if !batch.is_empty() {
                self.send(batch).await;
            }
        }
    }

    async fn send(&mut self, batch: Vec<RequestSpan>) {
        let requests = batch.len() as u64;
        let spans = batch.into_iter().flat_map(|request| request.spans(&self.scope)).collect();
        let error = match self.exporter.export(spans).await {
            Ok(()) => None,
            Err(error) => {
                self.lost.fetch_add(requests, Ordering::Relaxed);
                Some(error.to_string())
            }
        };
        let quiet = self.warned.is_some_and(|warned| warned.elapsed() < QUIET);
        if !quiet && self.lost.load(Ordering::Relaxed) > 0 {
            let requests = self.lost.swap(0, Ordering::Relaxed);
            let error = error.unwrap_or_else(|| "more came than could be sent".to_owned());
            tracing::warn!(endpoint = self.endpoint, requests, error, "the spans of some requests are lost");
            self.warned = Some(Instant::now());
        }
    }
}

/// Waits for a request; `false` when there will be no more.
async fn one_more(inbox: &mut mpsc::Receiver<Message>, batch: &mut Vec<RequestSpan>) -> bool {
    match inbox.recv().await {
        Some(Message::Request(request)) => {
            batch.push(*request);
            true
        }
        Some(Message::End) | None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_takes_its_share_of_traces() {
        let taken = |ratio: f64| (0..1000).filter(|_| in_share(TraceContext::fresh().trace_id, ratio)).count();
        assert_eq!((taken(0.0), taken(1.0)), (0, 1000));
        assert!((300..700).contains(&taken(0.5)), "half of a thousand, give or take");
    }

    #[test]
    fn a_client_decides_where_it_says_something() {
        let (to, _inbox) = mpsc::channel(1);
        let all = Traces(Some(Line { to, lost: Arc::default(), ratio: 1.0 }));
        let theirs = |sampled| TraceContext { parent_id: Some(1), sampled, ..TraceContext::fresh() };
        assert!(!all.sampled(&theirs(false), false));
        assert!(all.sampled(&theirs(true), true), "a probe, too, when its client asks for it");
        assert!(all.sampled(&TraceContext::fresh(), false) && !all.sampled(&TraceContext::fresh(), true));
        let off = Traces::default();
        assert!(off.sampled(&theirs(true), false), "passed on as it came");
        assert!(!off.sampled(&TraceContext::fresh(), false));
        assert!(off.watch(&theirs(true), || unreachable!("no span is begun")).is_none());
    }
}
