//! What a load showed, while it runs and in the end.
//!
//! Counts and latencies are of the requests that were due after the warm-up, whenever their answers come. Rates are of
//! the answers that came between the end of the warm-up and the end of the load: what is answered after the load has
//! gone says nothing about how many a second can be.

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

/// More names than this are counted as one: a server may make up a new one for each answer.
const MOST_NAMES: usize = 32;

/// What one load showed.
#[derive(Debug, Clone, Serialize)]
pub struct LoadResult {
    /// The load.
    #[serde(flatten)]
    pub load: Load,
    /// For how long it was measured; less than planned where it was stopped.
    pub seconds: f64,
    /// Requests whose end is known.
    pub sent: u64,
    /// Requests that were due while too many were outstanding: never sent.
    pub not_sent: u64,
    /// Of those sent: 2xx.
    pub answered: u64,
    /// Of those sent: 429 and 503.
    pub refused: u64,
    /// Of those sent: 504.
    pub late: u64,
    /// Of those sent: all others, by status or by what went wrong.
    pub errors: BTreeMap<String, u64>,
    /// The first answer that was not 2xx, in words.
    pub first_error: Option<String>,
    /// Answers that came, a second.
    pub answers_per_s: f64,
    /// Answers that came within the SLO, a second.
    pub goodput_per_s: f64,
    /// Milliseconds within which half the answers came; from when they were due to their last byte.
    pub p50_ms: Option<f64>,
    /// Nine of ten.
    pub p90_ms: Option<f64>,
    /// 99 of a hundred.
    pub p99_ms: Option<f64>,
    /// 999 of a thousand.
    pub p99_9_ms: Option<f64>,
    /// All.
    pub max_ms: Option<f64>,
    /// Dollars for a million answers, by what those that tell it tell.
    pub usd_per_million: Option<f64>,
    /// Answers by the variant that they name.
    pub variants: BTreeMap<String, u64>,
    /// Milliseconds after which 99 of a hundred requests were sent when they were due; open loops only.
    pub send_lag_p99_ms: Option<f64>,
    /// Was that more than a tenth of the SLO? Then the client's own slowness is in these latencies.
    pub client_was_limit: bool,
}

/// Takes down what becomes of requests.
#[derive(Debug)]
pub(super) struct Recorder {
    load: Load,
    begun: Instant,
    /// The end of the warm-up.
    from: Instant,
    until: Instant,
    slo: Duration,
    state: Mutex<RecorderState>,
}

#[derive(Debug)]
struct RecorderState {
    stopped: Option<Instant>,
    /// Those of the warm-up, too.
    answers: u64,
    not_sent: u64,
    answered: u64,
    refused: u64,
    late: u64,
    errors: BTreeMap<String, u64>,
    first_error: Option<String>,
    /// Answers that came in the measured time, and those of them within the SLO.
    came: u64,
    came_in_time: u64,
    usd: f64,
    told_usd: u64,
    variants: BTreeMap<String, u64>,
    latency: LatencyHistogram,
    lag: LatencyHistogram,
}

/// How times are spread, to a thousandth of each, in memory that does not grow with their number.
#[derive(Debug)]
struct LatencyHistogram {
    micros: Histogram<u64>,
    longest: Duration,
}

impl LatencyHistogram {
    fn new() -> Result<Self, String> {
        // From a microsecond to an hour.
        let micros = Histogram::new_with_bounds(1, 3_600_000_000, 3).map_err(|error| error.to_string())?;
        Ok(Self { micros, longest: Duration::ZERO })
    }

    fn put(&mut self, took: Duration) {
        self.micros.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        self.longest = self.longest.max(took);
    }

    /// Milliseconds within which a share of them lies.
    fn within_ms(&self, share: f64) -> Option<f64> {
        // The histogram answers with the end of a class, which may lie above all that was seen.
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
            came: 0,
            came_in_time: 0,
            usd: 0.0,
            told_usd: 0,
            variants: BTreeMap::new(),
            latency: LatencyHistogram::new()?,
            lag: LatencyHistogram::new()?,
        };
        Ok(Self { load, begun, from, until: from + plan.duration, slo: plan.slo_p99, state: Mutex::new(state) })
    }

    /// When the load began.
    pub fn begun(&self) -> Instant {
        self.begun
    }

    /// When it ends.
    pub fn until(&self) -> Instant {
        self.until
    }

    pub fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    /// The load ends now.
    pub fn stop(&self) {
        self.state().stopped = Some(Instant::now());
    }

    /// A request was due and could not be sent.
    pub fn not_sent(&self, due: Instant) {
        self.state().not_sent += u64::from(due >= self.from);
    }

    /// What became of a request that was due, and sent perhaps later.
    pub fn put(&self, due: Instant, sent: Instant, outcome: SendOutcome) {
        let mut state = self.state();
        let took = outcome.done.duration_since(due);
        let answered = outcome.fate == ResponseKind::Answered;
        state.answers += u64::from(answered);
        if answered && outcome.done >= self.from && outcome.done < self.until {
            state.came += 1;
            state.came_in_time += u64::from(took <= self.slo);
        }
        if due < self.from {
            return;
        }
        state.lag.put(sent.duration_since(due));
        match outcome.fate {
            ResponseKind::Answered => {
                state.answered += 1;
                state.latency.put(took);
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
            state.told_usd += 1;
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
        let send_lag_p99_ms = state.lag.within_ms(0.99).filter(|_| open);
        let mean_usd = state.usd / state.told_usd as f64;
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
            answers_per_s: per_s(state.came),
            goodput_per_s: per_s(state.came_in_time),
            p50_ms: state.latency.within_ms(0.5),
            p90_ms: state.latency.within_ms(0.9),
            p99_ms: state.latency.within_ms(0.99),
            p99_9_ms: state.latency.within_ms(0.999),
            max_ms: state.latency.within_ms(1.0),
            usd_per_million: (state.told_usd > 0).then(|| places(mean_usd * 1e6, 6)),
            variants: state.variants.clone(),
            send_lag_p99_ms,
            client_was_limit: send_lag_p99_ms.is_some_and(|ms| ms > self.slo.as_secs_f64() * 1e3 / 10.0),
        }
    }

    fn state(&self) -> MutexGuard<'_, RecorderState> {
        // Counts are whole, whoever has panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn count(counts: &mut BTreeMap<String, u64>, name: String) {
    let name = if counts.len() < MOST_NAMES || counts.contains_key(&name) { name } else { "others".to_owned() };
    *counts.entry(name).or_default() += 1;
}

/// Rounded to so many decimal places.
fn places(value: f64, decimals: i32) -> f64 {
    let scale = 10f64.powi(decimals);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(fate: ResponseKind, done: Instant) -> SendOutcome {
        let why = (fate != ResponseKind::Answered).then(|| format!("{fate:?}"));
        SendOutcome { fate, done, variant: Some("int8".to_owned()), usd: Some(2e-7), why }
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
            recorder.put(due, due, outcome(ResponseKind::Answered, due + ms * took));
        }
        let warm_up = from - ms;
        recorder.put(warm_up, warm_up, outcome(ResponseKind::Answered, warm_up + ms * 5000));
        let measured = recorder.measured();
        assert_eq!((measured.sent, measured.answered, measured.send_lag_p99_ms), (1000, 1000, None));
        let near = |ms: Option<f64>, wanted: f64| assert!((ms.expect("some") / wanted - 1.0).abs() < 2e-3, "{ms:?}");
        near(measured.p50_ms, 500.0);
        near(measured.p90_ms, 900.0);
        near(measured.p99_ms, 990.0);
        near(measured.p99_9_ms, 999.0);
        assert_eq!(measured.max_ms, Some(1000.0));
        // The one of the warm-up came in the measured time.
        assert_eq!((measured.answers_per_s, measured.goodput_per_s), (100.1, 10.0));
        assert_eq!(measured.usd_per_million, Some(0.2));
        assert_eq!(measured.variants["int8"], 1000);
    }

    #[test]
    fn each_fate_is_counted_and_the_lag_of_the_client_told() {
        let recorder = recorder(Load::Open { rate_per_s: 5.0 });
        let (due, ms) = (recorder.from, Duration::from_millis(1));
        let fates = [
            ResponseKind::Refused,
            ResponseKind::Late,
            ResponseKind::Status(500),
            ResponseKind::Failed("gone".to_owned()),
            ResponseKind::Failed("gone".to_owned()),
        ];
        for fate in fates {
            recorder.put(due, due + ms * 11, outcome(fate, due + ms * 12));
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
        assert_eq!((counts.len(), counts["others"]), (MOST_NAMES + 1, 100 - MOST_NAMES as u64));
    }
}
