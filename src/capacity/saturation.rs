//! What "full" means: the utilisation above which queues break the promise, although the machine is not yet fully
//! busy.

use std::time::Duration;

/// The share of answers that may be late.
const LATE: f64 = 0.01;

/// If less than half of the time could be used, the promise is too short for this machine, and more replicas would not
/// help.
const LEAST: f64 = 0.5;

/// The part of a replica's time, 0.5 to 1, that can be asked of it while 99 in 100 wait no longer than `slack`, the promise
/// without what an answer takes alone. `demand` is the time of the whole replica that one answer takes, in seconds.
///
/// Requests come at random moments and find a queue in which others are ahead. In the single-server queue with times as
/// varied as their mean (M/M/1), the share ρ·exp(-(1 - ρ)·t/s) waits longer than t (Kleinrock, Queueing Systems I, 1975,
/// 5.7). Answers that take more alike times, and several sessions side by side, wait less: so this errs to the safe side.
#[must_use]
pub fn saturation(slack: Duration, demand: f64) -> f64 {
    if demand <= 0.0 {
        return 1.0;
    }
    let times = slack.as_secs_f64() / demand;
    let late = |rho: f64| rho * (-(1.0 - rho) * times).exp();
    // It grows with ρ: halve the interval until it is known to a thousandth.
    let (mut low, mut high) = (LEAST, 1.0);
    for _ in 0..10 {
        let middle = f64::midpoint(low, high);
        if late(middle) > LATE { high = middle } else { low = middle }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_promise_can_be_kept_nearly_to_the_end_and_a_short_one_not() {
        let of = |slack_ms, demand_ms: f64| saturation(Duration::from_millis(slack_ms), demand_ms / 1e3);
        assert!(of(30_000, 2.5) > 0.99);
        assert!((0.85..0.90).contains(&of(95, 2.6)), "{}", of(95, 2.6));
        assert!((0.70..0.80).contains(&of(47, 2.6)), "{}", of(47, 2.6));
        assert!((of(0, 2.6) - LEAST).abs() < 0.01, "no number of replicas keeps that");
        assert!((of(10, 0.0) - 1.0).abs() < 0.01, "nothing is known yet");
    }

    /// A queue with one server, exponential times and random arrivals, as Lindley's recursion has it: at `full`, no more
    /// than about one in a hundred waits longer than the slack.
    #[test]
    fn at_full_the_promise_holds() {
        let mut random = fastrand::Rng::with_seed(0);
        let mut exponential = |mean: f64| -mean * (1.0 - random.f64()).ln();
        for (slack_ms, demand_ms) in [(20, 2.0), (47, 2.6), (60, 4.0), (50, 1.0)] {
            let (slack, demand) = (Duration::from_millis(slack_ms), demand_ms / 1e3);
            let rho = saturation(slack, demand);
            let (mut wait, mut late) = (0.0f64, 0u32);
            const ANSWERS: u32 = 1_000_000;
            for _ in 0..ANSWERS {
                late += u32::from(wait > slack.as_secs_f64());
                wait = (wait + exponential(demand) - exponential(demand / rho)).max(0.0);
            }
            let late = f64::from(late) / f64::from(ANSWERS);
            assert!((0.007..0.013).contains(&late), "{late} late at {rho} of {slack_ms} ms, {demand_ms} ms");
        }
    }
}
