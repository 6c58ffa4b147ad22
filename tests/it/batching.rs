//! The batcher keeps its promises, in virtual time: the real line and policy, a device and clients that are simulated.

use std::time::Duration;

use ounce::batch::{curve::Curve, job::Priority, policy::Limits};
use proptest::prelude::*;

use crate::simulated::{Arrival, Device, Fate, Random, Story, best_fixed, ounce};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const MINUTES: Duration = Duration::from_secs(600);

fn limits(max_rows: usize) -> Limits {
    Limits { max_rows, buckets: Vec::new(), max_delay: None }
}

/// A device on which batches pay, or one on which they do not.
fn devices() -> impl Strategy<Value = Device> {
    (0u64..30_000, 50u64..5_000).prop_map(|(per_run, per_row)| Device {
        per_run: Duration::from_micros(per_run),
        per_row: Duration::from_micros(per_row),
    })
}

/// Up to 200 requests within a second, each with a deadline, a priority, and perhaps little patience.
fn requests() -> impl Strategy<Value = Vec<Arrival>> {
    let request = (0u64..1_000_000, 1u64..400, 0u8..=9, prop::option::weighted(0.2, 1u64..50));
    prop::collection::vec(request, 1..200).prop_map(|list| {
        let mut arrivals: Vec<_> = list
            .into_iter()
            .map(|(at, deadline, priority, patience)| Arrival {
                at: Duration::from_micros(at),
                deadline: ms(deadline),
                priority: Priority::new(priority).expect("0 to 9"),
                patience: patience.map(ms),
            })
            .collect();
        arrivals.sort_by_key(|arrival| arrival.at);
        arrivals.dedup_by_key(|arrival| arrival.at);
        arrivals
    })
}

fn ran(story: &Story) -> impl Iterator<Item = (usize, Duration, Duration)> {
    story.fates.iter().enumerate().filter_map(|(index, fate)| match fate {
        Fate::Ran { started, ended, .. } => Some((index, *started, *ended)),
        Fate::Refused | Fate::Late | Fate::Gone => None,
    })
}

proptest! {
    #[test]
    fn no_run_is_over_the_maximum_and_nobody_runs_late(
        device in devices(), max in 1usize..40, workers in 1usize..4, arrivals in requests()
    ) {
        let story = ounce(device, workers, &limits(max), 64, device.warmed_up(max), &arrivals);
        prop_assert!(story.runs.iter().all(|rows| (1..=max).contains(rows)), "{:?}", story.runs);
        for (index, started, _) in ran(&story) {
            prop_assert!(started < arrivals[index].at + arrivals[index].deadline, "{index} ran when it was late");
            // That those who have gone are not run, the simulation asserts itself.
        }
    }

    #[test]
    fn who_came_first_goes_first_within_a_priority(
        device in devices(), max in 1usize..40, workers in 1usize..4, arrivals in requests()
    ) {
        let story = ounce(device, workers, &limits(max), 64, device.warmed_up(max), &arrivals);
        for priority in 0..=9 {
            let priority = Priority::new(priority).expect("0 to 9");
            let starts = ran(&story).filter(|(index, ..)| arrivals[*index].priority == priority);
            let starts: Vec<_> = starts.map(|(_, started, _)| started).collect();
            prop_assert!(starts.is_sorted(), "{starts:?}");
        }
    }

    #[test]
    fn nobody_waits_while_a_worker_idles_with_nothing_to_gain(
        per_row in 1u64..20, max in 1usize..40, workers in 1usize..4, arrivals in requests()
    ) {
        // Runs cost nothing beside their rows: no batch can ever gain.
        let device = Device { per_run: Duration::ZERO, per_row: ms(per_row) };
        let story = ounce(device, workers, &limits(max), 64, device.warmed_up(max), &arrivals);
        for (index, started, _) in ran(&story) {
            let waited_from = arrivals[index].at;
            let busy = |at: Duration| ran(&story).filter(|(_, from, to)| *from <= at && at < *to).count();
            if started > waited_from {
                prop_assert!(busy(waited_from) >= workers, "{index} waited from {waited_from:?} to {started:?}");
            }
        }
        prop_assert!(story.runs.iter().all(|rows| *rows == 1), "{:?}", story.runs);
    }

    #[test]
    fn waiting_for_company_never_makes_a_lone_request_late(device in devices(), deadline in 1u64..200) {
        prop_assume!(device.run(2) < ms(deadline));
        // Ten came close together and are done; then one comes, and nobody after it.
        let lone = Duration::from_secs(5);
        let ats = (0..10u32).map(|i| Duration::from_micros(100) * i).chain([lone, lone + Duration::from_micros(50)]);
        let arrivals: Vec<_> = ats
            .map(|at| Arrival { at, deadline: ms(deadline), priority: Priority::default(), patience: None })
            .collect();
        let story = ounce(device, 1, &limits(32), 64, device.warmed_up(32), &arrivals);
        for (arrival, fate) in arrivals.iter().zip(&story.fates).skip(10) {
            let in_time = matches!(fate, Fate::Ran { ended, .. } if *ended <= arrival.at + ms(deadline));
            prop_assert!(in_time || *fate == Fate::Refused, "{fate:?}");
        }
    }

    #[test]
    fn the_lowest_priority_is_served_within_a_bound(per_row in 1u64..8, seed in any::<u64>()) {
        // More comes with the highest priority than can be served, for four seconds; one of the lowest is among them.
        let device = Device { per_run: Duration::ZERO, per_row: ms(per_row) };
        let mut arrivals = Random(seed).arrivals(1.2 * device.capacity(1), 4.0, MINUTES);
        arrivals.iter_mut().for_each(|arrival| arrival.priority = Priority::FIRST);
        let low = arrivals.len() / 4;
        arrivals[low].priority = Priority::LAST;
        let story = ounce(device, 1, &limits(32), 100_000, device.warmed_up(32), &arrivals);
        let Fate::Ran { started, .. } = story.fates[low] else { panic!("it was not served") };
        for (index, other, _) in ran(&story) {
            let much_later = arrivals[index].at > arrivals[low].at + ms(900);
            prop_assert!(!much_later || other > started, "{index} came 900 ms later and went first");
        }
    }
}

/// Loads as parts of what the device can do at most, and the deadlines to try.
const LOADS: [f64; 9] = [0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 1.1, 1.5, 2.0];

#[test]
fn goodput_is_that_of_the_best_fixed_batch_whatever_the_load() {
    const MAX: usize = 32;
    println!("per run + per row, deadline | load | best fixed size | its goodput | ounce | ratio");
    let mut worst = f64::INFINITY;
    for (per_run, per_row, deadline) in [(20_000, 500, 100), (20_000, 200, 60), (5_000, 100, 25), (0, 2_000, 50)] {
        let device = Device { per_run: Duration::from_micros(per_run), per_row: Duration::from_micros(per_row) };
        for load in LOADS {
            let arrivals = Random(7).arrivals(load * device.capacity(MAX), 10.0, ms(deadline));
            let (best, size) = best_fixed(device, MAX, &arrivals);
            let story = ounce(device, 1, &limits(MAX), 256, device.warmed_up(MAX), &arrivals);
            let ours = story.in_time(&arrivals);
            let ratio = ours as f64 / best as f64;
            println!("{per_run} + {per_row} µs, {deadline} ms | {load} | {size} | {best} | {ours} | {ratio:.3}");
            worst = worst.min(ratio);
        }
    }
    assert!(worst >= 0.9, "{worst}");
}

#[test]
fn where_batches_gain_nothing_none_is_made() {
    let device = Device { per_run: Duration::ZERO, per_row: ms(2) };
    let arrivals = Random(1).arrivals(2.0 * device.capacity(1), 5.0, MINUTES);
    let story = ounce(device, 1, &limits(32), 256, Curve::default(), &arrivals);
    // It starts without a warm-up, so it has to try once.
    let batches = story.runs.iter().filter(|rows| **rows > 1).count();
    assert!(batches <= 2, "{:?}", story.runs);
}
