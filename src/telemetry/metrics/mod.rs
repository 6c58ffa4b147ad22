//! The metrics of one server: counters and histograms, incremented as things happen ([`Metrics`], [`VariantSeries`]), and
//! gauges, read off the server's state when somebody scrapes ([`Gauges`]). Each metric is declared once, beside its help text.

mod gauges;
mod series;

use std::sync::{Arc, Weak};

use prometheus::{
    CounterVec, Encoder, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder, core::Collector,
};

pub use self::{
    gauges::{GaugeSource, Gauges},
    series::{BatchSizeSeries, VariantSeries},
};

/// The reasons of refusals that want of room or of time is behind: another replica would have answered.
pub const REFUSED_FOR_ROOM: [&str; 5] = ["busy", "queue_full", "too_slow", "deadline", "memory"];

/// The reasons of refusals that are the server's fault without want of room: it is not there, or it has made a mistake.
const REFUSED_BY_FAULT: [&str; 3] = ["not_ready", "draining", "internal"];

/// Why connections are refused: there are as many as there may be, in all or from one address; one that was silent made room for
/// another; no file was left to open; the client spoke no TLS that the server takes.
const REFUSED_CONNECTIONS: [&str; 5] = ["limit", "address", "evicted", "open_files", "tls"];

/// The counters and histograms of one server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests_total: IntCounterVec,
    request_seconds: HistogramVec,
    stage_seconds: HistogramVec,
    refused_total: IntCounterVec,
    limited_total: IntCounterVec,
    http_responses_total: IntCounterVec,
    grpc_responses_total: IntCounterVec,
    cancelled_total: IntCounterVec,
    batch_size: HistogramVec,
    cost_usd_total: CounterVec,
    energy_joules_total: CounterVec,
    energy_usd_total: CounterVec,
    co2_grams_total: CounterVec,
    routed_total: IntCounterVec,
    router_switches_total: IntCounterVec,
    shadow_runs_total: IntCounterVec,
    model_loads_total: IntCounterVec,
    connections: IntGauge,
    connections_refused_total: IntCounterVec,
}

impl Metrics {
    /// A fresh set, in a registry of its own (so that tests do not meet).
    ///
    /// # Errors
    /// When two metrics have the same name; any test that starts a server would show it.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let seconds: Vec<f64> = (0..35).map(|i| 10e-6 * 1.5f64.powi(i)).collect();
        let histogram = |name: &str, help: &str, buckets: &[f64], labels: &[&str]| {
            registered(&registry, HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels)?)
        };
        let counter = |name: &str, help: &str, labels: &[&str]| {
            registered(&registry, IntCounterVec::new(Opts::new(name, help), labels)?)
        };
        let amount = |name: &str, help: &str, labels: &[&str]| {
            registered(&registry, CounterVec::new(Opts::new(name, help), labels)?)
        };
        let build =
            IntGaugeVec::new(Opts::new("ounce_build_info", "Always 1; the labels say what runs."), &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        registered(&registry, build)?;
        // The names that every dashboard knows: process_cpu_seconds_total, process_resident_memory_bytes and so on.
        #[cfg(target_os = "linux")]
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        if let Some(dropped) = super::log::dropped_lines() {
            registered(&registry, dropped)?;
        }
        let metrics = Self {
            requests_total: counter(
                "ounce_requests_total",
                "Requests by how they ended.",
                &["model", "variant", "outcome"],
            )?,
            request_seconds: histogram(
                "ounce_request_seconds",
                "From the last byte of the picture to the answer.",
                &seconds,
                &["model"],
            )?,
            stage_seconds: histogram(
                "ounce_stage_seconds",
                "A stage of a request's life.",
                &seconds,
                &["model", "stage"],
            )?,
            refused_total: counter("ounce_refused_total", "Requests refused, by reason.", &["model", "reason"])?,
            limited_total: counter(
                "ounce_limited_total",
                "Refusals because a client had used up a limit, by tenant (`default`: an address) and limit.",
                &["tenant", "limit"],
            )?,
            http_responses_total: counter(
                "ounce_http_responses_total",
                "HTTP responses that were sent, by the route's pattern, the method and the status.",
                &["route", "method", "status"],
            )?,
            grpc_responses_total: counter(
                "ounce_grpc_responses_total",
                "Answers of gRPC, each message of a stream for itself, by the route's pattern and the code; as HTTP responses they have status 200.",
                &["route", "code"],
            )?,
            cancelled_total: counter("ounce_cancelled_total", "Requests whose client went away first.", &["model"])?,
            batch_size: histogram(
                "ounce_batch_size",
                "Pictures in a run.",
                &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0],
                &["model"],
            )?,
            model_loads_total: counter(
                "ounce_model_loads_total",
                "Models loaded while the server ran, by how that ended.",
                &["model", "outcome"],
            )?,
            cost_usd_total: amount(
                "ounce_cost_usd_total",
                "Dollars by where they went; all accounts together are the price of the replica.",
                &["account", "model", "variant", "tenant"],
            )?,
            energy_joules_total: amount(
                "ounce_energy_joules_total",
                "What the machine's CPUs and GPU drew; absent where it does not tell.",
                &["source"],
            )?,
            energy_usd_total: amount(
                "ounce_energy_usd_total",
                "That energy at its price; part of no account.",
                &["source"],
            )?,
            co2_grams_total: amount("ounce_co2_grams_total", "The CO2 of that energy.", &["source"])?,
            routed_total: counter(
                "ounce_routed_total",
                "Requests by the variant that the router chose, and why.",
                &["model", "variant", "reason"],
            )?,
            router_switches_total: counter(
                "ounce_router_switches_total",
                "How often load closed heavier variants or opened them again.",
                &["model"],
            )?,
            shadow_runs_total: counter(
                "ounce_shadow_runs_total",
                "Answers that were compared with those of another variant.",
                &["model", "variant", "shadow"],
            )?,
            connections: registered(&registry, IntGauge::new("ounce_connections", "Connections that are open.")?)?,
            connections_refused_total: counter(
                "ounce_connections_refused_total",
                "Connections that were closed for want of room or of TLS, by reason.",
                &["reason"],
            )?,
            registry,
        };
        for reason in REFUSED_CONNECTIONS {
            metrics.connections_refused_total.with_label_values(&[reason]);
        }
        metrics.begin_refusals("");
        metrics.grpc_responses_total.with_label_values(&["/inference.GRPCInferenceService/ModelInfer", "OK"]);
        Ok(metrics)
    }

    /// Reads gauges off this source at every scrape from now on, as long as it lives.
    ///
    /// # Errors
    /// When a gauge has the name of another metric.
    pub fn read_gauges_from(&self, source: Weak<dyn GaugeSource>) -> prometheus::Result<()> {
        self.registry.register(Box::new(gauges::StateCollector::new(source)?))
    }

    /// The time series of a variant. What has not happened yet is told as 0, or nobody would see it begin: a counter's first
    /// value is no increase.
    #[must_use]
    pub fn variant(self: &Arc<Self>, model: &str, variant: &str) -> VariantSeries {
        self.cancelled_total.with_label_values(&[model]);
        self.model_loads_total.with_label_values(&[model, "failed"]);
        self.begin_refusals(model);
        VariantSeries::new(self, model, variant)
    }

    /// Begins the refusals that are the server's fault at 0; `model` is empty for requests whose model is not known.
    fn begin_refusals(&self, model: &str) {
        for reason in REFUSED_FOR_ROOM.into_iter().chain(REFUSED_BY_FAULT) {
            self.refused_total.with_label_values(&[model, reason]);
        }
    }

    /// Adds dollars to an account; `labels` are model, variant and tenant, as far as there are any.
    pub fn spent(&self, account: &'static str, [model, variant, tenant]: [&str; 3], usd: f64) {
        self.cost_usd_total.with_label_values(&[account, model, variant, tenant]).inc_by(usd);
    }

    /// Adds energy that was drawn, what it cost and the CO2 of it, where these are known.
    pub fn energy(&self, source: &'static str, joules: f64, usd: Option<f64>, co2_g: Option<f64>) {
        let add = |metric: &CounterVec, amount: f64| metric.with_label_values(&[source]).inc_by(amount.max(0.0));
        add(&self.energy_joules_total, joules);
        usd.into_iter().for_each(|usd| add(&self.energy_usd_total, usd));
        co2_g.into_iter().for_each(|grams| add(&self.co2_grams_total, grams));
    }

    /// Counts changes of what load has shed.
    pub fn router_switched(&self, model: &str, switches: u64) {
        self.router_switches_total.with_label_values(&[model]).inc_by(switches);
    }

    /// Counts an answer that was compared with that of another variant.
    pub fn compared(&self, model: &str, variant: &str, shadow: &str) {
        self.shadow_runs_total.with_label_values(&[model, variant, shadow]).inc();
    }

    /// Counts a refusal. `model` is the name of a served model or empty, never a name from the wire.
    pub fn refused(&self, model: &str, reason: &str) {
        self.refused_total.with_label_values(&[model, reason]).inc();
    }

    /// Begins the refusals of a tenant that has limits at 0.
    pub fn begin_limited(&self, tenant: &str) {
        for limit in ["requests_per_second", "pixels_per_second", "usd_per_second", "max_in_flight"] {
            self.limited_total.with_label_values(&[tenant, limit]);
        }
    }

    /// Counts a refusal because a limit was used up: whose, and which, by the names of the settings.
    pub fn limited(&self, tenant: &str, limit: &str) {
        self.limited_total.with_label_values(&[tenant, limit]).inc();
    }

    /// Counts a response that was sent: by the pattern of its route (`none` where there was no such path), the method (`_OTHER` for
    /// one that HTTP does not define) and the status.
    pub fn responded(&self, route: &str, method: &str, status: u16) {
        self.http_responses_total.with_label_values(&[route, method, &status.to_string()]).inc();
    }

    /// Counts an answer over gRPC, or one to a message of a stream, by the pattern of its route and its code.
    pub fn grpc_responded(&self, route: &str, code: &str) {
        self.grpc_responses_total.with_label_values(&[route, code]).inc();
    }

    /// Where the sizes of a model's batches are counted.
    #[must_use]
    pub fn batch_sizes(&self, model: &str) -> BatchSizeSeries {
        BatchSizeSeries::new(self, model)
    }

    /// Counts a model that was loaded while the server ran, or could not be.
    pub fn loaded(&self, model: &str, ok: bool) {
        self.model_loads_total.with_label_values(&[model, if ok { "ok" } else { "failed" }]).inc();
    }

    /// Counts a connection that is open from now on.
    pub fn connection_opened(&self) {
        self.connections.inc();
    }

    /// Counts a connection that has ended.
    pub fn connection_closed(&self) {
        self.connections.dec();
    }

    /// Counts a connection that was refused.
    pub fn connection_refused(&self, reason: &str) {
        self.connections_refused_total.with_label_values(&[reason]).inc();
    }

    /// The text format that Prometheus scrapes.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics cannot be rendered");
        }
        String::from_utf8(text).unwrap_or_default()
    }
}

fn registered<C: Collector + Clone + 'static>(registry: &Registry, metric: C) -> prometheus::Result<C> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

#[cfg(test)]
mod tests;
