//! How many replicas a server asks for, in virtual time: requests at random moments, and no clock.

use std::time::{Duration, Instant};

use ounce::{
    capacity::{CapacityEstimator, Footprint, ModelLoad, Tally, VariantLoad},
    cost::{CpuTime, ProcessUsage},
    manifest::VariantId,
};

tests![
    the_number_of_replicas_follows_the_requests,
    the_sum_stays_when_requests_go_to_more_replicas,
    what_no_replica_could_answer_asks_for_none,
    who_is_refused_for_want_of_room_asks_for_more_than_one,
    refusals_are_no_part_of_what_an_answer_takes,
];

const SECOND: Duration = Duration::from_secs(1);

/// The share of a replica's time that is to be asked for, as the setting `scale.target_load` has it.
const TARGET_LOAD: f64 = 0.7;

/// What an answer takes of a CPU for its run, and beside its run.
const RUN: Duration = Duration::from_millis(8);
const BESIDE_RUN: Duration = Duration::from_millis(4);

/// A replica with two CPUs and one model with one variant, that takes a tenth more of the CPUs than it charges to its answers.
struct Replica {
    estimator: CapacityEstimator,
    tally: Tally,
    random: fastrand::Rng,
    now: Instant,
    charged: Duration,
    /// What it takes of the CPUs over what it charges, this second and later.
    takes: f64,
    /// CPU time of the process so far.
    process: Duration,
    /// Requests that were refused in this second, for whatever reason.
    refused: f64,
    /// Answers a second that it says it can give.
    capacity: Option<f64>,
}

impl Replica {
    fn new(seed: u64) -> Self {
        let now = Instant::now();
        Self {
            estimator: CapacityEstimator::new(2.0, now),
            tally: Tally::new(1),
            random: fastrand::Rng::with_seed(seed),
            now,
            charged: Duration::ZERO,
            takes: 1.1,
            process: Duration::ZERO,
            refused: 0.0,
            capacity: None,
        }
    }

    /// How many replicas it asks for after a second in which requests came at random moments at this rate, and were answered.
    fn answers_for_a_second(&mut self, per_second: f64) -> f64 {
        let mut moment = 0.0;
        loop {
            moment -= (1.0 - self.random.f64()).ln() / per_second;
            if moment >= 1.0 {
                return self.a_second_passes();
            }
            self.answers();
        }
    }

    /// As [`Self::answers_for_a_second`], for each of so many seconds.
    fn answers_for(&mut self, seconds: usize, per_second: f64) -> Vec<f64> {
        (0..seconds).map(|_| self.answers_for_a_second(per_second)).collect()
    }

    fn answers(&mut self) {
        self.tally.answered(VariantId::new(0), 1, CpuTime::from(BESIDE_RUN));
        self.charged += RUN + BESIDE_RUN;
        self.process += (RUN + BESIDE_RUN).mul_f64(self.takes);
    }

    fn is_full(&mut self) {
        self.tally.refused_for_room();
        self.refused += 1.0;
    }

    /// How many replicas it asks for at the end of this second.
    fn a_second_passes(&mut self) -> f64 {
        self.now += SECOND;
        let model = ModelLoad {
            asked: self.tally.take(),
            preferred: VariantId::new(0),
            alone: RUN + BESIDE_RUN,
            promised: SECOND,
            variants: vec![VariantLoad {
                footprint: Footprint { instances: 2, threads: 1, on_device: false },
                service_time: RUN,
            }],
        };
        let usage =
            ProcessUsage { process: CpuTime::from(self.process), charged: CpuTime::from(self.charged), loading: false };
        let estimate = self.estimator.update(&[model], std::mem::take(&mut self.refused), usage, self.now);
        self.capacity = estimate.answers_per_second[0];
        estimate.load / TARGET_LOAD
    }

    /// A replica that has answered some requests, and knows what it can give.
    fn that_knows_itself(seed: u64) -> (Self, f64) {
        let mut this = Self::new(seed);
        assert_eq!(this.a_second_passes(), 0.0, "nobody has come");
        assert_eq!(this.capacity, None);
        this.answers_for(60, 20.0);
        let capacity = this.capacity.expect("it has answered");
        (this, capacity)
    }
}

fn the_number_of_replicas_follows_the_requests() {
    let (mut replica, capacity) = Replica::that_knows_itself(1);
    // Two CPUs, and 12 ms and a tenth of one for each answer; short of all of it, so that the promise is kept.
    assert!((140.0..2000.0 / 13.2).contains(&capacity), "{capacity}");
    for needed in [2.0, 1.0, 3.0, 1.0] {
        let per_second = (needed - 0.5) * TARGET_LOAD * capacity;
        let asked: Vec<f64> = replica.answers_for(600, per_second).into_iter().map(f64::ceil).collect();
        let (at_first, then) = asked.split_at(30);
        println!("{per_second:.1} requests/s: {needed} replicas; {at_first:?}");
        assert!(
            then.iter().all(|asked| *asked == needed),
            "{needed} within half a minute, and there it stays: {then:?}"
        );
        assert!(
            at_first.is_sorted() || at_first.is_sorted_by(|a, b| a >= b),
            "on the way it does not turn: {at_first:?}"
        );
    }
}

fn the_sum_stays_when_requests_go_to_more_replicas() {
    let (mut first, capacity) = Replica::that_knows_itself(2);
    let per_second = 2.5 * TARGET_LOAD * capacity;
    first.answers_for(60, per_second);
    // What an autoscaler does with it: it starts two more, and a balancer gives each a third.
    let mut fleet = [first, Replica::new(3), Replica::new(4)];
    for second in 0..120 {
        let asked: f64 = fleet.iter_mut().map(|replica| replica.answers_for_a_second(per_second / 3.0)).sum();
        assert_eq!(asked.ceil(), 3.0, "{asked} in second {second}");
    }
}

fn what_no_replica_could_answer_asks_for_none() {
    let mut replica = Replica::new(5);
    for _ in 0..60 {
        // Bad images, unknown variants, deadlines that even an idle replica misses.
        replica.refused = 1000.0;
        assert_eq!(replica.a_second_passes(), 0.0);
    }
}

fn who_is_refused_for_want_of_room_asks_for_more_than_one() {
    let (mut replica, _) = Replica::that_knows_itself(6);
    let mut asked = 0.0;
    for _ in 0..60 {
        (0..10).for_each(|_| replica.answers());
        (0..20).for_each(|_| replica.is_full());
        asked = replica.a_second_passes();
    }
    // It is full with a third of those who come.
    assert!((asked * TARGET_LOAD - 3.0).abs() < 0.01, "{asked}");
    // And when they have gone, for none.
    (0..60).for_each(|_| asked = replica.a_second_passes());
    assert!(asked < 0.01, "{asked}");
}

fn refusals_are_no_part_of_what_an_answer_takes() {
    let (mut replica, capacity) = Replica::that_knows_itself(7);
    let settled = |capacity: f64, other: f64| (capacity / other - 1.0).abs() < 0.02;
    // Names of models that do not exist take as much of the CPUs as the answers.
    replica.takes = 2.0;
    for _ in 0..60 {
        replica.refused = 1000.0;
        replica.answers_for_a_second(20.0);
    }
    let refusing = replica.capacity.expect("it answers");
    assert!(settled(refusing, capacity), "{capacity} → {refusing}");
    // Where nobody is refused, the answers take it.
    replica.answers_for(60, 20.0);
    let costly = replica.capacity.expect("it answers");
    assert!(costly < 0.7 * capacity, "{capacity} → {costly}");
}
