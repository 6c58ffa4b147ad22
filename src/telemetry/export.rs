//! Spans on their way to a collector: bounded, in batches, never in the way of a request.
//!
//! In go requests that are over, out go their spans over OTLP. The queue, the batches and the thread that sends them are the
//! SDK's [`BatchSpanProcessor`]. Two things that it cannot do are done here by hand:
//!
//! - It drops single spans without telling the program, so that half a request could arrive. Here, spans that wait are
//!   counted: a request whose spans find no room is lost as a whole, counted, and warned of.
//! - It calls its exporter on a thread without a Tokio runtime, where the HTTP client cannot work. The exporter here hands
//!   each batch to the server's runtime.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use opentelemetry::{InstrumentationScope, KeyValue, trace::SpanKind};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    trace::{BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanExporter as _, SpanProcessor},
};
use tokio::{runtime::Handle, task::spawn_blocking};

use super::{
    context::TraceContext,
    request::{RequestSpan, SpanDetails},
};
use crate::config::TelemetryConfig;

/// Spans that wait at most. A request for one image has six; requests that find no room are lost and counted.
const MAX_WAITING_SPANS: usize = 12_288;

/// Spans in one post at most.
const BATCH_SPANS: usize = 384;

/// The time from one post to the next, when no batch becomes full before.
const POST_INTERVAL: Duration = Duration::from_secs(1);

/// How long one try of a post may take, and how long sending the last spans may take when the server ends.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The time from one warning of lost requests to the next.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// Takes the spans of requests; it does nothing unless settings name a collector. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Traces(Option<Arc<SpanQueue>>);

/// Where spans wait for their post.
#[derive(Debug)]
struct SpanQueue {
    processor: BatchSpanProcessor,
    scope: InstrumentationScope,
    counts: Arc<SpanCounts>,
    /// The share of traces that are recorded, of those that begin here.
    sample_ratio: f64,
}

/// What the queue and the exporter at its end count together.
#[derive(Debug, Default)]
struct SpanCounts {
    /// Spans in the queue.
    waiting: AtomicUsize,
    /// Requests whose spans were lost since the last warning.
    lost_requests: AtomicU64,
}

impl Traces {
    /// Whether a request's trace is to be recorded: as its client said; where it said nothing, by the ratio of the
    /// settings, unless it is one that machines send all the time.
    #[must_use]
    pub fn sampled(&self, context: &TraceContext, probe: bool) -> bool {
        match (&self.0, context.parent_id) {
            (_, Some(_)) => context.sampled,
            (Some(queue), None) => !probe && in_share(context.trace_id, queue.sample_ratio),
            (None, None) => false,
        }
    }

    /// Watches a request, when its trace is recorded and there is a collector; only then its span is begun.
    #[must_use]
    pub fn watch(&self, context: &TraceContext, begin: impl FnOnce() -> RequestSpan) -> Option<Watched> {
        let queue = self.0.as_ref().filter(|_| context.sampled)?;
        Some(Watched { queue: Arc::clone(queue), since: Instant::now(), span: Some(Box::new(begin())) })
    }
}

impl SpanQueue {
    /// Puts a request's spans into the queue, all of them or none. It never waits.
    fn put(&self, request: RequestSpan) {
        let spans = request.spans(&self.scope);
        if !self.counts.reserve(spans.len()) {
            self.counts.lost_requests.fetch_add(1, Ordering::Relaxed);
            return;
        }
        spans.into_iter().for_each(|span| self.processor.on_end(span));
    }
}

impl SpanCounts {
    /// Takes room for so many spans, if there is that much. The processor's queue is as long, so it never drops one.
    fn reserve(&self, spans: usize) -> bool {
        let more = |waiting| Some(waiting + spans).filter(|waiting| *waiting <= MAX_WAITING_SPANS);
        self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }
}

/// A request that is under way. Its spans leave when this is dropped: with a status, or without if its client went away.
#[derive(Debug)]
pub struct Watched {
    queue: Arc<SpanQueue>,
    since: Instant,
    span: Option<Box<RequestSpan>>,
}

impl Watched {
    /// What handlers say about the request.
    pub fn told(&mut self) -> Option<&mut SpanDetails> {
        self.span.as_mut().map(|span| &mut span.told)
    }

    /// The request has been answered with this status.
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
        self.queue.put(*span);
    }
}

/// Whether a trace is of the share that is recorded. It depends on the id alone, so every server decides the same.
fn in_share(trace_id: u128, ratio: f64) -> bool {
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "53 bits of the id are enough")]
    let place = ((trace_id as u64) >> 11) as f64 / (1u64 << 53) as f64;
    place < ratio
}

/// A running export, which ends with the server.
#[derive(Debug)]
pub struct Export(Traces);

impl Export {
    /// Starts exporting on this runtime, when settings name a collector. It need not be there yet.
    ///
    /// # Errors
    /// When the endpoint is no URL, or one of OpenTelemetry's variables cannot be used.
    pub fn start(settings: &TelemetryConfig) -> anyhow::Result<Self> {
        let Some(endpoint) = &settings.otlp_endpoint else { return Ok(Self(Traces::default())) };
        let endpoint = endpoint.traces();
        let client = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(&endpoint)
            .with_timeout(TIMEOUT)
            .build();
        let mut client = client.map_err(|error| anyhow::anyhow!("traces cannot be sent to {endpoint}: {error}"))?;
        let version = env!("CARGO_PKG_VERSION");
        let resource = Resource::builder()
            .with_service_name(settings.service_name.clone())
            .with_attribute(KeyValue::new("service.version", version))
            .build();
        client.set_resource(&resource);

        let counts = Arc::new(SpanCounts::default());
        let exporter = RuntimeExporter {
            client: Arc::new(client),
            runtime: Handle::current(),
            endpoint,
            counts: Arc::clone(&counts),
            warned: Mutex::new(None),
        };
        Ok(Self(Traces(Some(Arc::new(SpanQueue {
            processor: processor(exporter),
            scope: InstrumentationScope::builder(env!("CARGO_PKG_NAME")).with_version(version).build(),
            counts,
            sample_ratio: f64::from(settings.otlp_sample_ratio.get()),
        })))))
    }

    /// Where requests leave their spans.
    #[must_use]
    pub fn traces(&self) -> Traces {
        self.0.clone()
    }

    /// Sends the spans that still wait, for some seconds at most.
    pub async fn end(self) {
        let Some(queue) = self.0.0 else { return };
        // The processor blocks the thread that waits for it.
        let sent = spawn_blocking(move || queue.processor.shutdown_with_timeout(TIMEOUT)).await;
        if !matches!(sent, Ok(Ok(()))) {
            tracing::warn!("the last spans could not be exported");
        }
    }
}

fn processor(exporter: RuntimeExporter) -> BatchSpanProcessor {
    let config = BatchConfigBuilder::default()
        .with_max_queue_size(MAX_WAITING_SPANS)
        .with_max_export_batch_size(BATCH_SPANS)
        .with_scheduled_delay(POST_INTERVAL)
        .build();
    BatchSpanProcessor::new(exporter, config)
}

/// Exports batches on the server's runtime, and warns of requests whose spans are lost.
#[derive(Debug)]
struct RuntimeExporter {
    client: Arc<SpanExporter>,
    runtime: Handle,
    endpoint: String,
    counts: Arc<SpanCounts>,
    /// When the last warning was logged.
    warned: Mutex<Option<Instant>>,
}

impl opentelemetry_sdk::trace::SpanExporter for RuntimeExporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.counts.waiting.fetch_sub(batch.len(), Ordering::Relaxed);
        // Each request has one span of this kind.
        let requests = batch.iter().filter(|span| span.span_kind == SpanKind::Server).count() as u64;
        let client = Arc::clone(&self.client);
        let sent = self.runtime.spawn(async move { client.export(batch).await }).await;
        let sent = sent.unwrap_or_else(|error| Err(OTelSdkError::InternalFailure(error.to_string())));
        if sent.is_err() {
            self.counts.lost_requests.fetch_add(requests, Ordering::Relaxed);
        }
        self.warn_of_lost(sent.as_ref().err());
        sent
    }
}

impl RuntimeExporter {
    fn warn_of_lost(&self, error: Option<&OTelSdkError>) {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        let quiet = warned.is_some_and(|warned| warned.elapsed() < WARNING_INTERVAL);
        if quiet || self.counts.lost_requests.load(Ordering::Relaxed) == 0 {
            return;
        }
        let requests = self.counts.lost_requests.swap(0, Ordering::Relaxed);
        let error = error.map_or("more came than could be sent".to_owned(), ToString::to_string);
        tracing::warn!(endpoint = self.endpoint, requests, error, "the spans of some requests are lost");
        *warned = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A queue whose collector is not there.
    fn queue_to_nowhere() -> SpanQueue {
        let client = SpanExporter::builder().with_http().with_endpoint("http://127.0.0.1:9").build().expect("a client");
        let counts = Arc::<SpanCounts>::default();
        let exporter = RuntimeExporter {
            client: Arc::new(client),
            runtime: Handle::current(),
            endpoint: String::new(),
            counts: Arc::clone(&counts),
            warned: Mutex::new(None),
        };
        let scope = InstrumentationScope::builder("test").build();
        SpanQueue { processor: processor(exporter), scope, counts, sample_ratio: 0.0 }
    }

    #[test]
    fn a_request_that_finds_no_room_is_refused_as_a_whole() {
        let counts = SpanCounts::default();
        assert!(counts.reserve(MAX_WAITING_SPANS - 5));
        assert!(!counts.reserve(6), "not even five of six");
        assert!(counts.reserve(5));
        assert!(!counts.reserve(1));
        counts.waiting.fetch_sub(1, Ordering::Relaxed);
        assert!(counts.reserve(1), "what was sent makes room");
    }

    #[test]
    fn a_ratio_takes_its_share_of_traces() {
        let taken = |ratio: f64| (0..1000).filter(|_| in_share(TraceContext::fresh().trace_id, ratio)).count();
        assert_eq!((taken(0.0), taken(1.0)), (0, 1000));
        assert!((300..700).contains(&taken(0.5)), "half of a thousand, give or take");
    }

    #[tokio::test]
    async fn a_client_decides_where_it_says_something() {
        let queue = SpanQueue { sample_ratio: 1.0, ..queue_to_nowhere() };
        let all = Traces(Some(Arc::new(queue)));
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
