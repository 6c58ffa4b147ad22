//! Measures a load: takes in the outcome of each request, and returns counts, rates and latencies.
//!
//! Counts and latencies are of the requests that were due after the warm-up, whenever their answers come. Rates are of
//! the answers that arrive between the end of the warm-up and the end of the load, since answers that arrive later say
//! nothing about how many a second the server can give.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::{
    BenchProgress, Load, LoadPlan,
    send::{ResponseKind, SendOutcome},
};
use crate::stats::round::places;

/// Largest number of names that are counted apart, since a server may make up a new one for each answer.
const MAX_NAMES: usize = 32;

/// Measurements of one load.
#[derive(Debug, Clone, Serialize)]
pub struct LoadResult {
    /// The load that was measured.
    #[serde(flatten)]
    pub load: Load,
    /// Measured time in seconds. It is shorter than planned where the load was stopped.
    pub seconds: f64,
    /// Number of requests that were sent and have ended.
    pub sent: u64,
    /// Number of requests that were not sent, since too many were in flight when they were due.
    pub not_sent: u64,
    /// Number of answers with a status of 2xx.
    pub answered: u64,
    /// Number of answers with a status of 429 or 503.
    pub refused: u64,
    /// Number of answers with a status of 504.
    pub late: u64,
    /// Number of other results, by status or by the reason why there is no answer.
    pub errors: BTreeMap<String, u64>,
    /// The first answer whose status was not 2xx, in words.
    pub first_error: Option<String>,
    /// Answers a second.
    pub answers_per_s: f64,
    /// Answers within the SLO a second.
    pub goodput_per_s: f64,
    /// Median latency in milliseconds, from when a request was due to the last byte of its answer.
    pub p50_ms: Option<f64>,
    /// Latency that nine of ten answers did not exceed.
    pub p90_ms: Option<f64>,
    /// Latency that 99 of a hundred answers did not exceed.
    pub p99_ms: Option<f64>,
    /// Latency that 999 of a thousand answers did not exceed.
    pub p99_9_ms: Option<f64>,
    /// Largest latency.
    pub max_ms: Option<f64>,
    /// Dollars for a million answers, from the cost that answers name.
    pub usd_per_million: Option<f64>,
    /// Number of answers by the variant that they name.
    pub variants: BTreeMap<String, u64>,
    /// Delay in milliseconds from when a request was due to when it was sent, which 99 of a hundred requests did not
    /// exceed. It is measured for open loops only.
    pub send_lag_p99_ms: Option<f64>,
    /// Whether that delay was more than a tenth of the SLO. Then the latencies include the slowness of the client itself.
    pub client_was_limit: bool,
}

/// Collects the outcomes of a load's requests.
#[derive(Debug)]
pub(super) struct Recorder {
    load: Load,
    begun: Instant,
    /// End of the warm-up.
    from: Instant,
    until: Instant,
    slo: Duration,
    state: Mutex<RecorderState>,
}

#[derive(Debug)]
struct RecorderState {
    stopped: Option<Instant>,
    /// Number of answers, including the warm-up.
    answers: u64,
    not_sent: u64,
    answered: u64,
    refused: u64,
    late: u64,
    errors: BTreeMap<String, u64>,
    first_error: Option<String>,
    /// Number of answers that arrived in the measured time.
    arrived: u64,
    /// Number of these within the SLO.
    arrived_in_time: u64,
    /// Sum of the costs that answers name.
    usd: f64,
    /// Number of answers that name a cost.
    with_usd: u64,
    variants: BTreeMap<String, u64>,
    latency: LatencyHistogram,
    lag: LatencyHistogram,
}

/// Histogram of durations with a precision of 0.1 %, whose memory does not grow with their number.
#[derive(Debug)]
struct LatencyHistogram {
    micros: Histogram<u64>,
    longest: Duration,
}

impl LatencyHistogram {
    fn new() -> Result<Self, String> {
        // It covers one microsecond to one hour.
        let micros = Histogram::new_with_bounds(1, 3_600_000_000, 3).map_err(|error| error.to_string())?;
        Ok(Self { micros, longest: Duration::ZERO })
    }

    fn record(&mut self, took: Duration) {
        self.micros.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        self.longest = self.longest.max(took);
    }

    /// The duration in milliseconds that a share (0 to 1) of all durations does not exceed; none where there are none.
    fn quantile_ms(&self, share: f64) -> Option<f64> {
        // The histogram returns the upper end of a class, which may lie above the largest duration.
        let micros = self.micros.value_at_quantile(share) as f64;
        (!self.micros.is_empty()).then(|| places((micros / 1e3).min(self.longest.as_secs_f64() * 1e3), 3))
    }
}

impl Recorder {
    pub fn start(load: Load, plan: &LoadPlan) -> Result<Self, String> {
        let begun = Instant::now();
        let from = begun + plan.warmup;
        let state = RecorderState {
            stopped: None,
            answers: 0,
            not_sent: 0,
            answered: 0,
            refused: 0,
            late: 0,
            errors: BTreeMap::new(),
            first_error: None,
            arrived: 0,
            arrived_in_time: 0,
            usd: 0.0,
            with_usd: 0,
            variants: BTreeMap::new(),
            latency: LatencyHistogram::new()?,
            lag: LatencyHistogram::new()?,
        };
        Ok(Self { load, begun, from, until: from + plan.duration, slo: plan.slo_p99, state: Mutex::new(state) })
    }

    /// The start of the load.
    pub fn begun(&self) -> Instant {
        self.begun
    }

    /// The planned end of the load.
    pub fn until(&self) -> Instant {
        self.until
    }

    pub fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    /// Ends the load now.
    pub fn stop(&self) {
        self.state().stopped = Some(Instant::now());
    }

    /// Counts a request that was due and could not be sent.
    pub fn not_sent(&self, due: Instant) {
        self.state().not_sent += u64::from(due >= self.from);
    }

    /// Takes in the outcome of a request that was due at one time and sent at the same time or later.
    pub fn record(&self, due: Instant, sent: Instant, outcome: SendOutcome) {
        let mut state = self.state();
        let took = outcome.done.duration_since(due);
        let answered = outcome.kind == ResponseKind::Answered;
        state.answers += u64::from(answered);
        if answered && outcome.done >= self.from && outcome.done < self.until {
            state.arrived += 1;
            state.arrived_in_time += u64::from(took <= self.slo);
        }
        if due < self.from {
            return;
        }
        state.lag.record(sent.duration_since(due));
        match outcome.kind {
            ResponseKind::Answered => {
                state.answered += 1;
                state.latency.record(took);
            }
            ResponseKind::Refused => state.refused += 1,
            ResponseKind::Late => state.late += 1,
            ResponseKind::Status(status) => count(&mut state.errors, status.to_string()),
            ResponseKind::Failed(why) => count(&mut state.errors, why),
        }
        if !answered {
            state.first_error = state.first_error.take().or(outcome.why);
            return;
        }
        if let Some(usd) = outcome.usd {
            state.usd += usd;
            state.with_usd += 1;
        }
        if let Some(variant) = outcome.variant {
            count(&mut state.variants, variant);
        }
    }

    pub fn progress(&self, step: usize) -> BenchProgress {
        let (elapsed, total) = (self.begun.elapsed(), self.until - self.begun);
        BenchProgress { step, load: self.load, elapsed: elapsed.min(total), total, answered: self.state().answers }
    }

    pub fn measured(&self) -> LoadResult {
        let state = self.state();
        let until = state.stopped.map_or(self.until, |stopped| stopped.min(self.until));
        let seconds = until.saturating_duration_since(self.from).as_secs_f64();
        let per_s = |count: u64| if seconds > 0.0 { places(count as f64 / seconds, 2) } else { 0.0 };
        let open = matches!(self.load, Load::Open { .. });
        let send_lag_p99_ms = state.lag.quantile_ms(0.99).filter(|_| open);
        let mean_usd = state.usd / state.with_usd as f64;
        LoadResult {
            load: self.load,
            seconds: places(seconds, 3),
            sent: state.answered + state.refused + state.late + state.errors.values().sum::<u64>(),
            not_sent: state.not_sent,
            answered: state.answered,
            refused: state.refused,
            late: state.late,
            errors: state.errors.clone(),
            first_error: state.first_error.clone(),
            answers_per_s: per_s(state.arrived),
            goodput_per_s: per_s(state.arrived_in_time),
            p50_ms: state.latency.quantile_ms(0.5),
            p90_ms: state.latency.quantile_ms(0.9),
            p99_ms: state.latency.quantile_ms(0.99),
            p99_9_ms: state.latency.quantile_ms(0.999),
            max_ms: state.latency.quantile_ms(1.0),
            usd_per_million: (state.with_usd > 0).then(|| places(mean_usd * 1e6, 6)),
            variants: state.variants.clone(),
            send_lag_p99_ms,
            client_was_limit: send_lag_p99_ms.is_some_and(|ms| ms > self.slo.as_secs_f64() * 1e3 / 10.0),
        }
    }

    fn state(&self) -> MutexGuard<'_, RecorderState> {
        // A panic cannot leave the counts half changed, so poison means nothing here.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn count(counts: &mut BTreeMap<String, u64>, name: String) {
    let name = if counts.len() < MAX_NAMES || counts.contains_key(&name) { name } else { "others".to_owned() };
    *counts.entry(name).or_default() += 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(kind: ResponseKind, done: Instant) -> SendOutcome {
        let why = (kind != ResponseKind::Answered).then(|| format!("{kind:?}"));
        SendOutcome { kind, done, variant: Some("int8".to_owned()), usd: Some(2e-7), why }
    }

    fn recorder(load: Load) -> Recorder {
        let second = Duration::from_secs(1);
        Recorder::start(load, &LoadPlan { warmup: second, duration: second * 10, slo_p99: second / 10 })
            .expect("memory")
    }

    #[test]
    fn quantiles_are_of_what_was_due_after_the_warm_up() {
        let recorder = recorder(Load::Closed { connections: 1 });
        let (from, ms) = (recorder.from, Duration::from_millis(1));
        for took in 1..=1000 {
            let due = from + ms * took;
            recorder.record(due, due, outcome(ResponseKind::Answered, due + ms * took));
        }
        let warm_up = from - ms;
        recorder.record(warm_up, warm_up, outcome(ResponseKind::Answered, warm_up + ms * 5000));
        let measured = recorder.measured();
        assert_eq!((measured.sent, measured.answered, measured.send_lag_p99_ms), (1000, 1000, None));
        let near = |ms: Option<f64>, wanted: f64| assert!((ms.expect("some") / wanted - 1.0).abs() < 2e-3, "{ms:?}");
        near(measured.p50_ms, 500.0);
        near(measured.p90_ms, 900.0);
        near(measured.p99_ms, 990.0);
        near(measured.p99_9_ms, 999.0);
        assert_eq!(measured.max_ms, Some(1000.0));
        // The answer to the request of the warm-up arrived in the measured time.
        assert_eq!((measured.answers_per_s, measured.goodput_per_s), (100.1, 10.0));
        assert_eq!(measured.usd_per_million, Some(0.2));
        assert_eq!(measured.variants["int8"], 1000);
    }

    #[test]
    fn each_result_is_counted_and_the_lag_of_the_client_measured() {
        let recorder = recorder(Load::Open { rate_per_s: 5.0 });
        let (due, ms) = (recorder.from, Duration::from_millis(1));
        let kinds = [
            ResponseKind::Refused,
            ResponseKind::Late,
            ResponseKind::Status(500),
            ResponseKind::Failed("gone".to_owned()),
            ResponseKind::Failed("gone".to_owned()),
        ];
        for kind in kinds {
            recorder.record(due, due + ms * 11, outcome(kind, due + ms * 12));
        }
        recorder.not_sent(due);
        recorder.not_sent(due - ms);
        let measured = recorder.measured();
        assert_eq!((measured.sent, measured.not_sent, measured.answered), (5, 1, 0));
        assert_eq!((measured.refused, measured.late), (1, 1));
        assert_eq!(measured.errors.into_iter().collect::<Vec<_>>(), [("500".to_owned(), 1), ("gone".to_owned(), 2)]);
        assert_eq!(measured.first_error.as_deref(), Some("Refused"));
        assert_eq!((measured.p50_ms, measured.usd_per_million), (None, None));
        assert_eq!(measured.send_lag_p99_ms, Some(11.0));
        assert!(measured.client_was_limit, "11 ms are more than a tenth of 100");
    }

    #[test]
    fn names_are_bounded() {
        let mut counts = BTreeMap::new();
        (0..100).for_each(|name| count(&mut counts, name.to_string()));
        assert_eq!((counts.len(), counts["others"]), (MAX_NAMES + 1, 100 - MAX_NAMES as u64));
    }
}
