//! A number of replicas that follows the load and does not flap.
//!
//! It is told as a fraction, the replicas that *this* replica's requests need: the sum over all replicas, rounded up, is
//! how many there should be, whoever balances the requests between them. It changes only when the load has moved by more
//! than chance explains. Up it is quicker than down: a replica too many costs money, one too few costs answers.

use std::time::Duration;

use super::Asked;

/// A smaller change than this part is none: up (Kubernetes' autoscaler has the same tolerance), and down.
const TOLERANCE: (f64, f64) = (0.1, 0.15);

/// So many standard deviations of random arrivals are no change: up, and down. Down is twice as far and a little, so that
/// what chance brought up is not taken back by chance.
const CHANCE: (f64, f64) = (3.0, 8.0);

/// A rise to the double and a fall by half are changes, whatever chance may do.
const CERTAIN: (f64, f64) = (1.0, 0.5);

/// What was not needed for so long is given up, even if it is little.
const UNNEEDED: Duration = Duration::from_secs(180);

/// Less than this is nothing.
const NOTHING: f64 = 0.01;

/// The number as it is told.
#[derive(Debug, Clone, Copy, Default)]
pub struct Desired {
    told: f64,
    // The most that was needed since, and for how long that is.
    most: f64,
    since: Duration,
}

impl Desired {
    /// The number for what is asked now, `passed` after the last look, where replicas are to be asked for no more than
    /// `target` of what they can give.
    pub fn look(&mut self, asked: &Asked, target: f64, passed: Duration) -> f64 {
        let (need, noise) = (asked.load / target, asked.noise());
        self.most = self.most.max(need);
        self.since += passed;
        let up = self.told * (1.0 + (CHANCE.0 * noise).max(TOLERANCE.0).min(CERTAIN.0));
        let down = self.told * (1.0 - (CHANCE.1 * noise).max(TOLERANCE.1).min(CERTAIN.1));
        if need < NOTHING {
            self.tell(0.0, need);
        } else if need > up || need < down {
            self.tell(need, need);
        } else if self.since >= UNNEEDED {
            self.tell(self.told.min(self.most), need);
        }
        self.told
    }

    fn tell(&mut self, told: f64, need: f64) {
        *self = Self { told, most: need, since: Duration::ZERO };
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, test_runner::TestRng};

    use super::*;

    const TARGET: f64 = 0.8;
    const SECOND: Duration = Duration::from_secs(1);

    /// A replica that can answer so many requests a second.
    struct Replica {
        capacity: f64,
        asked: Asked,
        desired: Desired,
        random: TestRng,
    }

    impl Replica {
        fn new(capacity: f64, random: TestRng) -> Self {
            Self { capacity, asked: Asked::default(), desired: Desired::default(), random }
        }

        /// A second with random arrivals at that rate: what it tells, rounded up.
        fn second(&mut self, rate: f64) -> u32 {
            let mut came = 0.0;
            let mut at = 0.0;
            loop {
                let unit = (self.random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
                at -= (1.0 - unit).ln() / rate;
                if at > 1.0 {
                    break;
                }
                came += 1.0;
            }
            self.asked.came(came, came / self.capacity, SECOND);
            self.desired.look(&self.asked, TARGET, SECOND).ceil() as u32
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        /// Steps up and down: within 30 s it is what the load needs or one more; and in all of ten minutes it never
        /// goes back.
        #[test]
        fn it_follows_within_30_seconds_and_never_flaps(
            seed in any::<[u8; 32]>(),
            capacity in 20.0..200.0f64,
            // Between whole numbers, so that there is one right answer.
            steps in prop::collection::vec(0u32..6, 2..5),
        ) {
            let random = TestRng::from_seed(proptest::test_runner::RngAlgorithm::ChaCha, &seed);
            let mut replica = Replica::new(capacity, random);
            let mut before = 0;
            for step in steps {
                let rate = (f64::from(step) + 0.6) * TARGET * capacity;
                let (needed, up) = (step + 1, step + 1 >= before);
                let told: Vec<u32> = (0..600).map(|_| replica.second(rate)).collect();
                let steady = |pair: &[u32]| if up { pair[0] <= pair[1] } else { pair[0] >= pair[1] };
                prop_assert!(told.windows(2).all(steady), "from {before} to {needed}: {told:?}");
                let close = |told: &u32| (needed..=needed + 1).contains(told);
                prop_assert!(told[30..].iter().all(close), "{needed}: {told:?}");
                before = step + 1;
            }
        }
    }
}
