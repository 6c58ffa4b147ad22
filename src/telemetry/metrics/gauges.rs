//! Gauges: what the server's state is at the moment of a scrape. They are made anew for each scrape and filled by whoever
//! knows, so that nothing stays of models that are gone and nobody sees them half filled.

use std::{fmt, sync::Weak, time::Duration};

use prometheus::{
    Gauge, GaugeVec, IntGauge, IntGaugeVec, Opts,
    core::{Collector, Desc},
    proto::MetricFamily,
};

/// Knows the state that gauges show.
pub trait GaugeSource: Send + Sync {
    /// Sets the gauges to what is so now.
    fn read(&self, gauges: &Gauges);
}

macro_rules! gauges {
    ($($field:ident: $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        /// The gauges of one scrape.
        #[derive(Debug)]
        pub struct Gauges {
            $($field: $kind,)*
        }

        impl Gauges {
            fn new() -> prometheus::Result<Self> {
                Ok(Self { $($field: gauges!(@new $kind $name [$($label),*] $help)?,)* })
            }

            fn collectors(&self) -> Vec<&dyn Collector> {
                vec![$(&self.$field,)*]
            }
        }
    };
    (@new Gauge $name:literal [] $help:literal) => { Gauge::new($name, $help) };
    (@new IntGauge $name:literal [] $help:literal) => { IntGauge::new($name, $help) };
    (@new $kind:ident $name:literal [$($label:literal),*] $help:literal) => {
        $kind::new(Opts::new($name, $help), &[$($label),*])
    };
}

gauges! {
    queue_depth: IntGaugeVec "ounce_queue_depth" ["model"] "Requests waiting for a worker.";
    instances: IntGaugeVec "ounce_instances" ["model", "variant"] "Sessions side by side, each with a worker.";
    intra_op_threads: IntGaugeVec "ounce_intra_op_threads" ["model", "variant"] "Threads of a session.";
    provider_in_use: IntGaugeVec "ounce_provider_in_use" ["model", "variant", "provider"]
        "Execution providers that were asked for: 1 in use, 0 passed over because it is missing.";
    cpus: IntGaugeVec "ounce_cpus" ["use"] "CPUs by use: those this process may use, threads that decode.";
    memory_bytes: IntGaugeVec "ounce_memory_bytes" ["use"]
        "Memory of requests by use: bodies, all that is taken, the most that may be.";
    coming_bodies: IntGauge "ounce_coming_bodies" [] "Requests whose bodies are still coming.";
    run_seconds: GaugeVec "ounce_run_seconds" ["model", "variant", "batch_size", "percentile"]
        "The latency curve: percentiles of the latest runs of each batch size.";
    router_closed: IntGaugeVec "ounce_router_closed" ["model"]
        "Classes of weight that load has closed, the heaviest first.";
    shadow_agreement_ratio: GaugeVec "ounce_shadow_agreement_ratio" ["model", "variant", "shadow"]
        "How far the latest of them agreed, 0 to 1.";
    cost_usd_per_hour: Gauge "ounce_cost_usd_per_hour" [] "What requests cost, at the rate of the last minute.";
    cost_usd_per_thousand: GaugeVec "ounce_cost_usd_per_thousand" ["model", "variant"]
        "What a thousand answers cost, by the latest ones.";
    price_usd_per_hour: Gauge "ounce_price_usd_per_hour" [] "What this replica costs, used or not.";
    budget_usd_per_hour: GaugeVec "ounce_budget_usd_per_hour" ["tenant"]
        "The most that requests may cost: a tenant's, or the replica's without one; absent where there is none.";
    capacity_cpus: Gauge "ounce_capacity_cpus" [] "CPUs that are paid for, whole or not.";
    headroom_ratio: Gauge "ounce_headroom_ratio" [] "The part of its CPUs that the process left unused just now.";
    load_ratio: Gauge "ounce_load_ratio" []
        "What requests ask of this replica over what it can give within the promise; 1 is full.";
    desired_replicas: Gauge "ounce_desired_replicas" []
        "Replicas like this one that its requests need; the sum over all, rounded up, is how many there should be.";
    capacity_per_second: GaugeVec "ounce_capacity_per_second" ["model"]
        "Answers a second that this replica can give within the promise, if it did nothing else.";
}

impl Gauges {
    /// How many requests of a model wait.
    pub fn waiting(&self, model: &str, requests: usize) {
        self.queue_depth.with_label_values(&[model]).set(count(requests));
    }

    /// The sessions and threads of a variant.
    pub fn sessions(&self, [model, variant]: [&str; 2], instances: usize, threads: usize) {
        self.instances.with_label_values(&[model, variant]).set(count(instances));
        self.intra_op_threads.with_label_values(&[model, variant]).set(count(threads));
    }

    /// Whether an execution provider that was asked for is in use.
    pub fn provider(&self, [model, variant]: [&str; 2], provider: &str, in_use: bool) {
        self.provider_in_use.with_label_values(&[model, variant, provider]).set(i64::from(in_use));
    }

    /// The CPUs that may be used, and the threads that decode.
    pub fn cpus(&self, usable: usize, decode_threads: usize) {
        self.cpus.with_label_values(&["usable"]).set(count(usable));
        self.cpus.with_label_values(&["decode_threads"]).set(count(decode_threads));
    }

    /// The memory of requests, in bytes: bodies, all that is taken, and the most that may be.
    pub fn memory(&self, bodies: usize, used: u64, max: u64) {
        self.memory_bytes.with_label_values(&["bodies"]).set(count(bodies));
        self.memory_bytes.with_label_values(&["used"]).set(i64::try_from(used).unwrap_or(i64::MAX));
        self.memory_bytes.with_label_values(&["max"]).set(i64::try_from(max).unwrap_or(i64::MAX));
    }

    /// The number of requests whose bodies are still coming.
    pub fn coming(&self, bodies: usize) {
        self.coming_bodies.set(count(bodies));
    }

    /// A percentile of the latest runs of a batch size.
    pub fn run_time(&self, [model, variant]: [&str; 2], batch_size: usize, percentile: &str, time: Duration) {
        let labels = [model, variant, &batch_size.to_string(), percentile];
        self.run_seconds.with_label_values(&labels).set(time.as_secs_f64());
    }

    /// The number of tiers of a model that load has shed.
    pub fn tiers_shed(&self, model: &str, tiers: usize) {
        self.router_closed.with_label_values(&[model]).set(count(tiers));
    }

    /// How far a variant agrees with the shadow, 0 to 1.
    pub fn agreement(&self, [model, variant]: [&str; 2], shadow: &str, agreement: f64) {
        self.shadow_agreement_ratio.with_label_values(&[model, variant, shadow]).set(agreement);
    }

    /// What an answer of a variant costs.
    pub fn usd_per_answer(&self, [model, variant]: [&str; 2], usd: f64) {
        self.cost_usd_per_thousand.with_label_values(&[model, variant]).set(usd * 1000.0);
    }

    /// What the replica costs, and the CPUs that it has for that.
    pub fn price(&self, usd_per_hour: f64, cpus: f64) {
        self.price_usd_per_hour.set(usd_per_hour);
        self.capacity_cpus.set(cpus);
    }

    /// The most that a tenant's requests may cost; without a name, all together.
    pub fn budget(&self, tenant: &str, usd_per_hour: f64) {
        self.budget_usd_per_hour.with_label_values(&[tenant]).set(usd_per_hour);
    }

    /// What requests cost now, and the part of the CPUs that is unused.
    pub fn spending(&self, usd_per_hour: f64, headroom: f64) {
        self.cost_usd_per_hour.set(usd_per_hour);
        self.headroom_ratio.set(headroom.clamp(0.0, 1.0));
    }

    /// How full this replica is, and the number of replicas that this asks for.
    pub fn load(&self, load_ratio: f64, desired_replicas: f64) {
        self.load_ratio.set(load_ratio);
        self.desired_replicas.set(desired_replicas);
    }

    /// How many answers of a model this replica can give.
    pub fn capacity(&self, model: &str, per_second: f64) {
        self.capacity_per_second.with_label_values(&[model]).set(per_second);
    }
}

/// Reads the gauges off their source whenever the registry is gathered.
pub(super) struct StateCollector {
    descriptions: Vec<Desc>,
    source: Weak<dyn GaugeSource>,
}

impl StateCollector {
    pub(super) fn new(source: Weak<dyn GaugeSource>) -> prometheus::Result<Self> {
        let gauges = Gauges::new()?;
        let descriptions = gauges.collectors().into_iter().flat_map(Collector::desc).cloned().collect();
        Ok(Self { descriptions, source })
    }
}

impl Collector for StateCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let (Some(source), Ok(gauges)) = (self.source.upgrade(), Gauges::new()) else { return Vec::new() };
        source.read(&gauges);
        gauges.collectors().into_iter().flat_map(Collector::collect).collect()
    }
}

impl fmt::Debug for StateCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateCollector").field("gauges", &self.descriptions.len()).finish_non_exhaustive()
    }
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
