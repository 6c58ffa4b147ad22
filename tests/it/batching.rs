//! The batcher keeps its promises, in virtual time: the real line and policy, a device and clients that are simulated.

use std::{collections::BTreeSet, time::Duration};

use ounce::cost::FairShare;
use ounce::scheduler::{
    job::Priority,
    latency_profile::{LatencyProfile, RunTiming},
    policy::BatchLimits,
};
use proptest::prelude::*;

use crate::simulated::{Arrival, Device, Fate, Random, Story, best_fixed, ounce};

tests![
    no_run_is_over_the_maximum_and_nobody_runs_late,
    who_came_first_goes_first_within_a_priority,
    nobody_waits_while_a_worker_idles_with_nothing_to_gain,
    waiting_for_company_that_does_not_come_makes_nobody_late,
    the_lowest_priority_is_served_within_a_bound,
    a_tenant_that_floods_makes_another_wait_for_no_more_than_the_run_that_goes_on,
    where_it_pays_a_free_worker_waits_for_company_unless_it_is_forbidden,
    goodput_is_that_of_the_best_fixed_batch_whatever_the_load,
    a_curve_that_begins_wrong_mends_itself,
    where_batches_gain_nothing_none_is_made
];

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const fn us(us: u64) -> Duration {
    Duration::from_micros(us)
}

const MINUTES: Duration = Duration::from_secs(600);

fn any_size_up_to(max_rows: usize) -> BatchLimits {
    BatchLimits { max_rows, buckets: Vec::new(), max_delay: None }
}

/// Any size, or only powers of two; with and without a limit to waiting.
fn limits() -> impl Strategy<Value = BatchLimits> {
    (4usize..40, any::<bool>(), prop::option::of(0u64..20)).prop_map(|(max, fixed, delay)| {
        let powers = (0..).map(|power| 1 << power).take_while(|size| *size < max).chain([max]);
        let buckets = if fixed { powers.collect() } else { Vec::new() };
        BatchLimits { max_rows: max, buckets, max_delay: delay.map(ms) }
    })
}

/// A device on which batches pay, or one on which they do not.
fn devices() -> impl Strategy<Value = Device> {
    (0u64..30_000, 50u64..5_000).prop_map(|(per_run, per_row)| Device { per_run: us(per_run), per_row: us(per_row) })
}

/// Up to 200 requests within a second, each with a deadline, a priority, up to 4 rows, and perhaps little patience.
fn requests() -> impl Strategy<Value = Vec<Arrival>> {
    let request = (0u64..1_000_000, 1u64..400, 0u8..=9, 1usize..=4, prop::option::weighted(0.2, 1u64..50));
    prop::collection::vec(request, 1..200).prop_map(|list| {
        let mut arrivals: Vec<_> = list
            .into_iter()
            .map(|(at, deadline, priority, rows, patience)| Arrival {
                at: us(at),
                deadline: ms(deadline),
                priority: Priority::new(priority).expect("0 to 9"),
                share: FairShare::default(),
                rows,
                patience: patience.map(ms),
            })
            .collect();
        arrivals.sort_by_key(|arrival| arrival.at);
        arrivals.dedup_by_key(|arrival| arrival.at);
        arrivals
    })
}

/// One request of one row.
fn request(at: Duration, deadline: Duration) -> Arrival {
    Arrival { at, deadline, priority: Priority::default(), share: FairShare::default(), rows: 1, patience: None }
}

/// Those that ran: their place, their run, its start and end.
fn ran(story: &Story) -> impl Iterator<Item = (usize, usize, Duration, Duration)> {
    story.fates.iter().enumerate().filter_map(|(index, fate)| match fate {
        Fate::RunOutput { run, started, ended } => Some((index, *run, *started, *ended)),
        Fate::Refused | Fate::Late | Fate::Gone => None,
    })
}

proptest! {
    fn no_run_is_over_the_maximum_and_nobody_runs_late(
        device in devices(), limits in limits(), workers in 1usize..4, arrivals in requests()
    ) {
        let story = ounce(device, workers, &limits, 64, device.warmed_up(limits.max_rows), &arrivals);
        for rows in &story.runs {
            prop_assert!((1..=limits.max_rows).contains(rows), "{:?}", story.runs);
            prop_assert!(limits.buckets.is_empty() || limits.buckets.contains(rows), "{:?}", story.runs);
        }
        for (index, _, started, _) in ran(&story) {
            prop_assert!(started < arrivals[index].at + arrivals[index].deadline, "{index} ran when it was late");
            // That those who have gone are not run, the simulation asserts itself.
        }
    }

    fn who_came_first_goes_first_within_a_priority(
        device in devices(), limits in limits(), workers in 1usize..4, arrivals in requests()
    ) {
        let story = ounce(device, workers, &limits, 64, device.warmed_up(limits.max_rows), &arrivals);
        for priority in 0..=9 {
            let priority = Priority::new(priority).expect("0 to 9");
            let starts = ran(&story).filter(|(index, ..)| arrivals[*index].priority == priority);
            let starts: Vec<_> = starts.map(|(_, _, started, _)| started).collect();
            prop_assert!(starts.is_sorted(), "{starts:?}");
        }
    }

    fn nobody_waits_while_a_worker_idles_with_nothing_to_gain(
        per_row in 1u64..20, limits in limits(), workers in 1usize..4, arrivals in requests()
    ) {
        // Runs cost nothing beside their rows: no batch can ever gain.
        let limits = BatchLimits { buckets: Vec::new(), ..limits };
        let device = Device { per_run: Duration::ZERO, per_row: ms(per_row) };
        let story = ounce(device, workers, &limits, 64, device.warmed_up(limits.max_rows), &arrivals);
        let runs: Vec<_> = ran(&story).collect();
        let busy = |at: Duration| {
            let going = runs.iter().filter(|(_, _, from, to)| *from <= at && at < *to);
            going.map(|(_, run, ..)| run).collect::<BTreeSet<_>>().len()
        };
        for (index, _, started, _) in &runs {
            let arrived = arrivals[*index].at;
            // Who is busy changes when a run ends.
            let moments = runs.iter().map(|(.., ended)| *ended).filter(|at| arrived < *at && at < started);
            for at in moments.chain((arrived < *started).then_some(arrived)) {
                prop_assert!(busy(at) >= workers, "{index} waited from {arrived:?} to {started:?}, idle at {at:?}");
            }
        }
    }

    fn waiting_for_company_that_does_not_come_makes_nobody_late(
        device in devices(), gap in 100u64..5_000, count in 2u32..32, spare in 1u64..50
    ) {
        // (Fewer than 32: then a larger size is tried, which may cost somebody.)
        // They come one after the other, so that waiting may pay; then nobody comes any more.
        // Time enough for the run that is going on, and for one's own: only waiting could make anybody late.
        let deadline = 3 * device.run(64) + ms(spare);
        let arrivals: Vec<_> = (0..count).map(|i| request(us(gap) * i, deadline)).collect();
        let story = ounce(device, 1, &any_size_up_to(32), 64, device.warmed_up(32), &arrivals);
        prop_assert!(!matches!(story.fates[0], Fate::Refused | Fate::Late), "{:?}", story.fates);
        for (arrival, fate) in arrivals.iter().zip(&story.fates) {
            let in_time = matches!(fate, Fate::RunOutput { ended, .. } if *ended <= arrival.at + arrival.deadline);
            prop_assert!(in_time || *fate == Fate::Refused, "{fate:?}");
        }
    }

}

proptest! {
    // Each is a long story.
    #![proptest_config(ProptestConfig::with_cases(32))]

    fn the_lowest_priority_is_served_within_a_bound(per_row in 1u64..8, seed in any::<u64>()) {
        // More comes with the highest priority than can be served, for four seconds; one of the lowest is among them.
        let device = Device { per_run: Duration::ZERO, per_row: ms(per_row) };
        let mut arrivals = Random::new(seed).arrivals(1.2 * device.capacity(1), 4.0, MINUTES);
        arrivals.iter_mut().for_each(|arrival| arrival.priority = Priority::FIRST);
        let low = arrivals.len() / 4;
        arrivals[low].priority = Priority::LAST;
        let story = ounce(device, 1, &any_size_up_to(32), 100_000, device.warmed_up(32), &arrivals);
        let Fate::RunOutput { started, .. } = story.fates[low] else { panic!("it was not served") };
        for (index, _, other, _) in ran(&story) {
            let much_later = arrivals[index].at > arrivals[low].at + ms(900);
            prop_assert!(!much_later || other >= started, "{index} came 900 ms later and went first");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    fn a_tenant_that_floods_makes_another_wait_for_no_more_than_the_run_that_goes_on(
        device in devices(), workers in 1usize..4, seed in any::<u64>()
    ) {
        // One comes with three times what can be served, all of the highest priority; another now and then, of the lowest.
        let flood = 3.0 * workers as f64 * device.capacity(32);
        let mut arrivals = Random::new(seed).arrivals(flood, (2_000.0 / flood).min(2.0), MINUTES);
        arrivals.iter_mut().for_each(|arrival| arrival.priority = Priority::FIRST);
        let other = FairShare::new(1, 1.0);
        arrivals.iter_mut().skip(100).step_by(97).for_each(|arrival| {
            (arrival.share, arrival.priority) = (other, Priority::LAST);
        });
        let story = ounce(device, workers, &any_size_up_to(32), 64, device.warmed_up(32), &arrivals);
        for (arrival, fate) in arrivals.iter().zip(&story.fates).filter(|(arrival, _)| arrival.share == other) {
            let Fate::RunOutput { started, .. } = fate else { panic!("{fate:?}: a full queue has a place for it") };
            let waited = *started - arrival.at;
            prop_assert!(waited <= device.run(32) + device.run(1), "it waited {waited:?}");
        }
    }
}

const GPU: Device = Device { per_run: ms(20), per_row: us(500) };

fn where_it_pays_a_free_worker_waits_for_company_unless_it_is_forbidden() {
    // Some come close together, so that after some runs only one or two are there, and others to be expected.
    let arrivals = Random::new(1).arrivals(200.0, 10.0, MINUTES);
    let story =
        |max_delay| ounce(GPU, 1, &BatchLimits { max_delay, ..any_size_up_to(32) }, 64, GPU.warmed_up(32), &arrivals);
    let (waiting, at_once) = (story(None).runs, story(Some(Duration::ZERO)).runs);
    assert!(waiting.len() < at_once.len(), "{} {}", waiting.len(), at_once.len());
}

/// Loads as parts of what the device can do at most.
const LOADS: [f64; 9] = [0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 1.1, 1.5, 2.0];
const MAX: usize = 32;

fn goodput_against_the_best(device: Device, deadline: Duration, curve: &LatencyProfile, name: &str) -> f64 {
    let mut worst = f64::INFINITY;
    for load in LOADS {
        let arrivals = Random::new(7).arrivals(load * device.capacity(MAX), 10.0, deadline);
        let (best, size) = best_fixed(device, MAX, &arrivals);
        let ours = ounce(device, 1, &any_size_up_to(MAX), 256, curve.clone(), &arrivals).in_time(&arrivals);
        let ratio = ours as f64 / best as f64;
        println!("{name} | {load} | {size} | {best} | {ours} | {ratio:.3}");
        worst = worst.min(ratio);
    }
    worst
}

fn goodput_is_that_of_the_best_fixed_batch_whatever_the_load() {
    println!("per run + per row, deadline | load | best fixed size | its answers in time | ounce's | ratio");
    for (per_run, per_row, deadline) in [(20_000, 500, 100), (20_000, 200, 60), (5_000, 100, 25), (0, 2_000, 50)] {
        let device = Device { per_run: us(per_run), per_row: us(per_row) };
        let name = format!("{per_run} + {per_row} µs, {deadline} ms");
        let worst = goodput_against_the_best(device, ms(deadline), &device.warmed_up(MAX), &name);
        assert!(worst >= 0.9, "{name}: {worst}");
    }
}

fn a_curve_that_begins_wrong_mends_itself() {
    println!("what the warm-up measured | load | requests, second half | in time | of what the device can do at most");
    let measured = |factor: &mut dyn FnMut(usize) -> f64| {
        let mut curve = LatencyProfile::default();
        for rows in [1, 2, 4, 8, 16, 32] {
            let wall = GPU.run(rows).mul_f64(factor(rows));
            curve.record(rows, RunTiming { wall, service_time: wall });
        }
        curve
    };
    let mut random = Random::new(3);
    let noisy = measured(&mut |_| 0.7 + 0.6 * random.unit());
    let large_is_slow = measured(&mut |rows| if rows >= 16 { 3.0 } else { 1.0 });
    for (name, curve) in
        [("±30 %", noisy), ("16 and 32 three times too slow", large_is_slow), ("nothing", LatencyProfile::default())]
    {
        for load in [0.05, 0.4, 0.8, 1.1, 2.0] {
            let half = Duration::from_secs(20);
            let arrivals = Random::new(7).arrivals(load * GPU.capacity(MAX), 2.0 * half.as_secs_f64(), ms(100));
            let story = ounce(GPU, 1, &any_size_up_to(MAX), 256, curve.clone(), &arrivals);
            let first = arrivals.partition_point(|arrival| arrival.at < half);
            let second = &arrivals[first..];
            let in_time = Story { fates: story.fates[first..].to_vec(), runs: Vec::new() }.in_time(second);
            let most = (second.len() as f64).min(GPU.capacity(MAX) * half.as_secs_f64());
            println!("{name} | {load} | {} | {in_time} | {:.3}", second.len(), in_time as f64 / most);
            assert!(in_time as f64 >= 0.9 * most, "{name} at {load}: {in_time} of {most}");
        }
    }
}

fn where_batches_gain_nothing_none_is_made() {
    let device = Device { per_run: Duration::ZERO, per_row: ms(2) };
    let arrivals = Random::new(1).arrivals(2.0 * device.capacity(1), 5.0, MINUTES);
    let story = ounce(device, 1, &any_size_up_to(32), 256, LatencyProfile::default(), &arrivals);
    // It starts without a warm-up, so it has to try; and one run in 32 tries again.
    let batches = story.runs.iter().filter(|rows| **rows > 1).count();
    assert!(batches <= 2 + story.runs.len() / 32, "{:?}", story.runs);
}
