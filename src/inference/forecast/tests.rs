//! A replica under a CPU quota, in virtual time: what is let in by the forecast is answered in time, and nearly all of the
//! capacity is used.

use std::collections::VecDeque;

use super::*;
use crate::{inference::pace::DrainPace, scheduler::forecast_errors::ForecastErrors};

const PERIOD: f64 = 0.1;
const DECODING: f64 = 0.004;
const RUN: f64 = 0.006;
const ANSWER: f64 = DECODING + RUN;
const SLO: Duration = Duration::from_millis(500);

/// A thread whose group gets a part of every period and is stopped for the rest of it.
struct Throttled {
    quota: f64,
    time: f64,
    used: f64,
}

impl Throttled {
    /// When work is done that comes at `now` and takes so many CPU seconds.
    fn work(&mut self, now: f64, mut cpu_seconds: f64) -> f64 {
        if now > self.time {
            self.go_to(now);
        }
        while cpu_seconds > 1e-9 {
            let end = ((self.time / PERIOD).floor() + 1.0) * PERIOD;
            let can = cpu_seconds.min((self.quota * PERIOD - self.used).max(0.0)).min(end - self.time);
            (self.time, self.used, cpu_seconds) = (self.time + can, self.used + can, cpu_seconds - can);
            if cpu_seconds > 1e-9 {
                (self.time, self.used) = (end + 1e-9, 0.0);
            }
        }
        self.time
    }

    fn go_to(&mut self, time: f64) {
        if (time / PERIOD).floor() > (self.time / PERIOD).floor() {
            self.used = 0.0;
        }
        self.time = time;
    }
}

/// Sends `load` times the capacity for 30 seconds: the goodput as a part of the capacity, and the part of those let in that
/// are answered in time.
fn story(cpus: f64, load: f64) -> (f64, f64) {
    let (start, mut random) = (Instant::now(), fastrand::Rng::with_seed(7));
    let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
    let pause = Duration::from_millis(100).mul_f64(1.0 - cpus);
    let (pace, mut errors) = (DrainPace::new(cpus, pause, 1), ForecastErrors::default());
    let mut cpu = Throttled { quota: cpus, time: 0.0, used: 0.0 };
    // When those let in end, and how much later that is than forecast.
    let mut going: VecDeque<(f64, Duration)> = VecDeque::new();
    let (mut now, mut let_in, mut in_time) = (0.0, 0.0, 0.0);
    while now < 30.0 {
        now -= (1.0 - random.f64()).ln() * ANSWER / cpus / load;
        while let Some((end, late_by)) = going.pop_front_if(|(end, _)| *end <= now) {
            errors.record(late_by, at(end));
            pace.answered(ANSWER, going.len(), at(end));
        }
        let ahead = u32::try_from(going.len()).expect("few");
        let work_ahead = Duration::from_secs_f64(DECODING) * ahead;
        let run = Duration::from_secs_f64(RUN);
        let queue = WaitEstimate {
            if_queued_now: run,
            behind_upcoming: run * (ahead + 1),
            margin: errors.margin(at(now)),
            rows_ahead: 0,
            upcoming: going.len(),
            running: 0,
            has_room: true,
            needs_probe: false,
        };
        let decoding = WorkEstimate { expected: Duration::from_secs_f64(DECODING), least: Duration::ZERO };
        let work = Work { decoding, run: RUN, pace: pace.get(), pause };
        let pool = PoolWait { wait: work_ahead, work_ahead, ahead: going.len() };
        let forecast = Forecast::new(work, pool, queue, going.is_empty(), at(now));
        if forecast.is_late(SLO) {
            continue;
        }
        let end = cpu.work(now, ANSWER);
        let took = Duration::from_secs_f64(end - now);
        let_in += 1.0;
        in_time += f64::from(u8::from(took <= SLO));
        going.push_back((end, took.saturating_sub(forecast.expected)));
    }
    (in_time / 30.0 / (cpus / ANSWER), in_time / let_in)
}

#[test]
fn under_a_quota_who_is_let_in_is_answered_in_time_and_the_capacity_is_used() {
    for cpus in [0.2, 0.5, 1.0] {
        for load in [0.5, 1.0, 1.4, 2.0] {
            let (goodput, kept) = story(cpus, load);
            println!("{cpus} CPUs, load {load}: goodput {goodput:.2} of capacity, {kept:.3} in time");
            assert!(kept >= 0.99, "{kept} at {cpus} CPUs and load {load}");
            let least = if load > 1.0 { 0.9 } else { 0.85 * load };
            assert!(goodput >= least, "{goodput} at {cpus} CPUs and load {load}");
        }
    }
}
