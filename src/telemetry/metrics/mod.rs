//! Every metric, declared once; a field's name is the metric's, its help text stands beside it.

use std::time::Duration;

use prometheus::{
    CounterVec, Encoder, Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry,
    TextEncoder, core::Collector,
};

/// The metrics of one server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests_total: IntCounterVec,
    request_seconds: HistogramVec,
    stage_seconds: HistogramVec,
    refused_total: IntCounterVec,
    cancelled_total: IntCounterVec,
    batch_size: HistogramVec,
    queue_depth: IntGaugeVec,
    cost_usd_total: CounterVec,
    cost_usd_per_hour: Gauge,
    cost_usd_per_thousand: GaugeVec,
    price_usd_per_hour: Gauge,
    budget_usd_per_hour: GaugeVec,
    capacity_cpus: Gauge,
    headroom_ratio: Gauge,
    load_ratio: Gauge,
    desired_replicas: Gauge,
    capacity_per_second: GaugeVec,
    energy_joules_total: CounterVec,
    energy_usd_total: CounterVec,
    co2_grams_total: CounterVec,
    run_seconds: GaugeVec,
    routed_total: IntCounterVec,
    router_switches_total: IntCounterVec,
    router_closed: IntGaugeVec,
    shadow_runs_total: IntCounterVec,
    shadow_agreement_ratio: GaugeVec,
    instances: IntGaugeVec,
    intra_op_threads: IntGaugeVec,
    provider_in_use: IntGaugeVec,
    cpus: IntGaugeVec,
    model_loads_total: IntCounterVec,
}

impl Metrics {
    /// A fresh set, in a registry of its own (so that tests do not meet).
    ///
    /// # Errors
    /// When two metrics have one name; any test that starts a server would show it.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let seconds: Vec<f64> = (0..35).map(|i| 10e-6 * 1.5f64.powi(i)).collect();
        let histogram = |name: &str, help: &str, buckets: &[f64], labels: &[&str]| {
            registered(&registry, HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels)?)
        };
        let counter = |name: &str, help: &str, labels: &[&str]| {
            registered(&registry, IntCounterVec::new(Opts::new(name, help), labels)?)
        };
        let gauge = |name: &str, help: &str, labels: &[&str]| {
            registered(&registry, IntGaugeVec::new(Opts::new(name, help), labels)?)
        };
        let amount = |name: &str, help: &str, labels: &[&str]| {
            registered(&registry, CounterVec::new(Opts::new(name, help), labels)?)
        };
        let reading = |name: &str, help: &str, labels: &[&str]| {
            registered(&registry, GaugeVec::new(Opts::new(name, help), labels)?)
        };
        let rate = |name: &str, help: &str| registered(&registry, Gauge::new(name, help)?);
        let build =
            IntGaugeVec::new(Opts::new("ounce_build_info", "Always 1; the labels say what runs."), &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        registered(&registry, build)?;
        // The names that every dashboard knows: process_cpu_seconds_total, process_resident_memory_bytes and so on.
        #[cfg(target_os = "linux")]
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        Ok(Self {
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
            cancelled_total: counter("ounce_cancelled_total", "Requests whose client went away first.", &["model"])?,
            batch_size: histogram(
                "ounce_batch_size",
                "Pictures in a run.",
                &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0],
                &["model"],
            )?,
            queue_depth: gauge("ounce_queue_depth", "Requests waiting for a worker.", &["model"])?,
            instances: gauge("ounce_instances", "Sessions side by side, each with a worker.", &["model", "variant"])?,
            intra_op_threads: gauge("ounce_intra_op_threads", "Threads of a session.", &["model", "variant"])?,
            provider_in_use: gauge(
                "ounce_provider_in_use",
                "Execution providers that were asked for: 1 in use, 0 passed over because it is missing.",
                &["model", "variant", "provider"],
            )?,
            cpus: gauge("ounce_cpus", "CPUs by use: those this process may use, threads that decode.", &["use"])?,
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
            cost_usd_per_hour: rate("ounce_cost_usd_per_hour", "What requests cost, at the rate of the last minute.")?,
            cost_usd_per_thousand: reading(
                "ounce_cost_usd_per_thousand",
                "What a thousand answers cost, by the latest ones.",
                &["model", "variant"],
            )?,
            price_usd_per_hour: rate("ounce_price_usd_per_hour", "What this replica costs, used or not.")?,
            budget_usd_per_hour: reading(
                "ounce_budget_usd_per_hour",
                "The most that requests may cost: a tenant's, or the replica's without one; absent where there is none.",
                &["tenant"],
            )?,
            capacity_cpus: rate("ounce_capacity_cpus", "CPUs that are paid for, whole or not.")?,
            headroom_ratio: rate(
                "ounce_headroom_ratio",
                "The part of its CPUs that the process left unused just now.",
            )?,
            load_ratio: rate(
                "ounce_load_ratio",
                "What requests ask of this replica over what it can give within the promise; 1 is full.",
            )?,
            desired_replicas: rate(
                "ounce_desired_replicas",
                "Replicas like this one that its requests need; the sum over all, rounded up, is how many there should be.",
            )?,
            capacity_per_second: reading(
                "ounce_capacity_per_second",
                "Answers a second that this replica can give within the promise, if it did nothing else.",
                &["model"],
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
            run_seconds: reading(
                "ounce_run_seconds",
                "The latency curve: percentiles of the latest runs of each batch size.",
                &["model", "variant", "batch_size", "percentile"],
            )?,
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
            router_closed: gauge(
                "ounce_router_closed",
                "Classes of weight that load has closed, the heaviest first.",
                &["model"],
            )?,
            shadow_runs_total: counter(
                "ounce_shadow_runs_total",
                "Answers that were compared with those of another variant.",
                &["model", "variant", "shadow"],
            )?,
            shadow_agreement_ratio: reading(
                "ounce_shadow_agreement_ratio",
                "How far the latest of them agreed, 0 to 1.",
                &["model", "variant", "shadow"],
            )?,
            registry,
        })
    }

    /// A request that was answered.
    pub fn answered(&self, model: &str, variant: &str, took: Duration) {
        self.requests_total.with_label_values(&[model, variant, "ok"]).inc();
        self.request_seconds.with_label_values(&[model]).observe(took.as_secs_f64());
    }

    /// Dollars on an account; `labels` are model, variant and tenant, as far as there are any.
    pub fn spent(&self, account: &'static str, [model, variant, tenant]: [&str; 3], usd: f64) {
        self.cost_usd_total.with_label_values(&[account, model, variant, tenant]).inc_by(usd);
    }

    /// What the replica costs, and the CPUs that it has for that.
    pub fn price(&self, usd_per_hour: f64, cpus: f64) {
        self.price_usd_per_hour.set(usd_per_hour);
        self.capacity_cpus.set(cpus);
    }

    /// The most that a tenant's requests may cost, or all together.
    pub fn budget(&self, tenant: &str, usd_per_hour: f64) {
        self.budget_usd_per_hour.with_label_values(&[tenant]).set(usd_per_hour);
    }

    /// What requests cost now, and the part of the CPUs that is unused.
    pub fn rates(&self, usd_per_hour: f64, headroom: f64) {
        self.cost_usd_per_hour.set(usd_per_hour);
        self.headroom_ratio.set(headroom.clamp(0.0, 1.0));
    }

    /// What an answer of a variant costs.
    pub fn costs(&self, model: &str, variant: &str, usd: f64) {
        self.cost_usd_per_thousand.with_label_values(&[model, variant]).set(usd * 1000.0);
    }

    /// Energy that was drawn, what it cost and the CO2 of it, where these are known.
    pub fn energy(&self, source: &'static str, joules: f64, usd: Option<f64>, co2_g: Option<f64>) {
        let add = |metric: &CounterVec, amount: f64| metric.with_label_values(&[source]).inc_by(amount.max(0.0));
        add(&self.energy_joules_total, joules);
        usd.into_iter().for_each(|usd| add(&self.energy_usd_total, usd));
        co2_g.into_iter().for_each(|grams| add(&self.co2_grams_total, grams));
    }

    /// Forgets what is read off models when somebody asks, so that nothing stays of those that are gone.
    pub fn forget_readings(&self) {
        self.run_seconds.reset();
        self.cost_usd_per_thousand.reset();
        self.shadow_agreement_ratio.reset();
    }

    /// A point of a latency curve: its percentiles, each with its label.
    pub fn curve(&self, model: &str, variant: &str, batch_size: usize, percentiles: &[(&str, Duration)]) {
        for (percentile, time) in percentiles {
            let labels = [model, variant, &batch_size.to_string(), percentile];
            self.run_seconds.with_label_values(&labels).set(time.as_secs_f64());
        }
    }

    /// The router chose.
    pub fn routed(&self, model: &str, variant: &str, reason: &'static str) {
        self.routed_total.with_label_values(&[model, variant, reason]).inc();
    }

    /// So many classes of weight are closed now, after so many changes more.
    pub fn closed(&self, model: &str, classes: usize, switches: u64) {
        self.router_closed.with_label_values(&[model]).set(count(classes));
        self.router_switches_total.with_label_values(&[model]).inc_by(switches);
    }

    /// An answer was compared with that of another variant.
    pub fn compared(&self, model: &str, variant: &str, shadow: &str) {
        self.shadow_runs_total.with_label_values(&[model, variant, shadow]).inc();
    }

    /// So far the latest of them agreed.
    pub fn agrees(&self, model: &str, variant: &str, shadow: &str, agreement: f64) {
        self.shadow_agreement_ratio.with_label_values(&[model, variant, shadow]).set(agreement);
    }

    /// A request that failed for a reason that is ours.
    pub fn failed(&self, model: &str, variant: &str) {
        self.requests_total.with_label_values(&[model, variant, "error"]).inc();
    }

    /// A request that was refused: `model` is a name from the folder or empty, never one from the wire.
    pub fn refused(&self, model: &str, reason: &'static str) {
        self.refused_total.with_label_values(&[model, reason]).inc();
    }

    /// A request whose client went away before its turn.
    pub fn cancelled(&self, model: &str) {
        self.cancelled_total.with_label_values(&[model]).inc();
    }

    /// One stage of a request.
    pub fn stage(&self, model: &str, stage: &'static str, took: Duration) {
        self.stage_seconds.with_label_values(&[model, stage]).observe(took.as_secs_f64());
    }

    /// One run of a graph.
    pub fn ran(&self, model: &str, batch_size: usize) {
        #[expect(clippy::cast_precision_loss, reason = "a batch is small")]
        self.batch_size.with_label_values(&[model]).observe(batch_size as f64);
    }

    /// How many requests wait.
    pub fn waiting(&self, model: &str, depth: usize) {
        self.queue_depth.with_label_values(&[model]).set(count(depth));
    }

    /// How many sessions and threads a variant has.
    pub fn plan(&self, model: &str, variant: &str, instances: usize, threads: usize) {
        self.begin_at_zero(model, variant);
        self.instances.with_label_values(&[model, variant]).set(count(instances));
        self.intra_op_threads.with_label_values(&[model, variant]).set(count(threads));
    }

    /// Whether an execution provider that was asked for is in use.
    pub fn provider(&self, model: &str, variant: &str, provider: &str, in_use: bool) {
        self.provider_in_use.with_label_values(&[model, variant, provider]).set(i64::from(in_use));
    }

    /// A model was loaded while the server ran, or could not be.
    pub fn loaded(&self, model: &str, ok: bool) {
        self.model_loads_total.with_label_values(&[model, if ok { "ok" } else { "failed" }]).inc();
    }

    /// A variant is no longer served.
    pub fn forget_plan(&self, model: &str, variant: &str, providers: impl Iterator<Item = &'static str>) {
        // What is not there needs no removal.
        let _ = self.instances.remove_label_values(&[model, variant]);
        let _ = self.intra_op_threads.remove_label_values(&[model, variant]);
        for provider in providers {
            let _ = self.provider_in_use.remove_label_values(&[model, variant, provider]);
        }
        let _ = self.queue_depth.remove_label_values(&[model]);
        let _ = self.router_closed.remove_label_values(&[model]);
    }

    /// CPUs that may be used, and threads that decode.
    pub fn cpus(&self, usable: usize, decode: usize) {
        self.cpus.with_label_values(&["usable"]).set(count(usable));
        self.cpus.with_label_values(&["decode_threads"]).set(count(decode));
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

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn registered<C: Collector + Clone + 'static>(registry: &Registry, metric: C) -> prometheus::Result<C> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

mod scale;
#[cfg(test)]
mod tests;
