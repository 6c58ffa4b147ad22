//! An open loop: requests go when they are due, whatever the answers do.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use fastrand::Rng;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
};

use super::{BenchTarget, Load, LoadPlan, LoadResult, RunControl, measure::Recorder};

/// No more requests than this wait for answers at once; what is due then is counted as not sent.
pub const MOST_OUTSTANDING: usize = 4096;

/// Sends requests at random moments, `rate_per_s` a second in the mean (Poisson arrivals; the same moments each time),
/// during the warm-up and the duration. Latencies count from when a request was due. Those without an answer at the
/// end are waited for.
///
/// # Errors
/// When the rate is no positive number, or when the system gives no thread.
pub async fn open_loop(
    target: &BenchTarget,
    rate_per_s: f64,
    plan: &LoadPlan,
    watch: &RunControl,
) -> Result<LoadResult, String> {
    if !(rate_per_s.is_finite() && rate_per_s > 0.0) {
        return Err(format!("a rate is a number of requests a second above 0, not {rate_per_s}"));
    }
    let recorder = Arc::new(Recorder::start(Load::Open { rate_per_s }, plan)?);
    let (sender, mut due) = mpsc::unbounded_channel();
    // A thread of its own, since the timers of tokio are no finer than a millisecond.
    let pacer = Pacer { recorder: recorder.clone(), permits: Arc::new(Semaphore::new(MOST_OUTSTANDING)), sender };
    let pace = move || pacer.run(Schedule::new(rate_per_s));
    thread::Builder::new().name("pacer".to_owned()).spawn(pace).map_err(|error| format!("no thread: {error}"))?;
    let mut requests = JoinSet::new();
    let work = async {
        loop {
            tokio::select! {
                next = due.recv() => match next {
                    Some(next) => { requests.spawn(answer(target.clone(), recorder.clone(), next)); }
                    None => break,
                },
                Some(_) = requests.join_next() => {}
            }
        }
        while requests.join_next().await.is_some() {}
    };
    watch.follow(&recorder, work).await;
    Ok(recorder.measured())
}

/// A request that is due since a moment, and its place among those that may be outstanding.
type Due = (Instant, OwnedSemaphorePermit);

async fn answer(target: BenchTarget, recorder: Arc<Recorder>, (due, permit): Due) {
    let sent = Instant::now();
    let outcome = target.send().await;
    recorder.put(due, sent, outcome);
    drop(permit);
}

/// Says when requests are due. Its channel holds no more than there are permits.
struct Pacer {
    recorder: Arc<Recorder>,
    permits: Arc<Semaphore>,
    sender: mpsc::UnboundedSender<Due>,
}

impl Pacer {
    /// Ends with the schedule, or when nobody listens any more.
    fn run(self, schedule: Schedule) {
        for after in schedule {
            let due = self.recorder.begun() + after;
            if due >= self.recorder.until() {
                return;
            }
            loop {
                let left = due.saturating_duration_since(Instant::now());
                if self.sender.is_closed() {
                    return;
                }
                if left.is_zero() {
                    break;
                }
                thread::sleep(left.min(Duration::from_millis(50)));
            }
            match self.permits.clone().try_acquire_owned() {
                Ok(permit) => drop(self.sender.send((due, permit))),
                Err(_) => self.recorder.not_sent(due),
            }
        }
    }
}

/// Moments of Poisson arrivals: what is between two of them is exponentially distributed.
struct Schedule {
    rate_per_s: f64,
    at_seconds: f64,
    random: Rng,
}

impl Schedule {
    fn new(rate_per_s: f64) -> Self {
        Self { rate_per_s, at_seconds: 0.0, random: Rng::with_seed(42) }
    }
}

impl Iterator for Schedule {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        // From 0 to below 1, so that the logarithm is finite.
        self.at_seconds -= (1.0 - self.random.f64()).ln() / self.rate_per_s;
        // What is later than all time is never due.
        Duration::try_from_secs_f64(self.at_seconds).ok().filter(|at| at.as_secs() < 1 << 32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_are_poisson() {
        let moments: Vec<f64> = Schedule::new(50.0).take(20_000).map(|at| at.as_secs_f64()).collect();
        let gaps: Vec<f64> = moments.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        assert!((mean * 50.0 - 1.0).abs() < 0.03, "{mean}");
        // An exponential distribution is as wide as its mean, and 1/e of it lies beyond.
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.05, "{variance}");
        let beyond = gaps.iter().filter(|gap| **gap > mean).count() as f64 / gaps.len() as f64;
        assert!((beyond - (-1f64).exp()).abs() < 0.02, "{beyond}");
        assert_eq!(moments, Schedule::new(50.0).take(20_000).map(|at| at.as_secs_f64()).collect::<Vec<_>>());
    }

    #[test]
    fn a_rate_of_next_to_nothing_ends() {
        assert_eq!(Schedule::new(1e-300).count(), 0);
    }
}
