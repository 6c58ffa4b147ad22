//! What routing keeps for one loaded model: the policy, the demand, what load has shed, and what it has learned of each
//! variant.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Instant,
};

use super::{degradation::Degradation, demand::Demand, policy::RoutingPolicy};
use crate::{manifest::VariantId, stats::Ewma};

/// Agreement counts once this many answers were compared.
const ENOUGH_COMPARED: u64 = 30;

/// The routing state of a model. It begins anew when the model is loaded anew.
#[derive(Debug)]
pub struct RoutingState {
    /// What the manifest and the settings say.
    pub policy: RoutingPolicy,
    /// How many requests come, and what their answers take.
    pub demand: Demand,
    /// Which answers are compared with whose; none where the manifest wants no comparison.
    pub shadow: Option<ShadowPolicy>,
    degradation: Mutex<Degradation>,
    /// The number of tiers that are shed, for those who only read it.
    tiers_shed: AtomicUsize,
    variants: Vec<VariantState>,
}

#[derive(Debug, Default)]
struct VariantState {
    /// Dollars an answer, lately.
    usd_per_answer: Ewma,
    /// How far its answers agreed with the shadow's, lately, 0 to 1.
    agreement: Ewma,
    compared: AtomicU64,
}

/// Which answers are computed a second time by the shadow variant, and compared.
#[derive(Debug)]
pub struct ShadowPolicy {
    /// The variant that answers a second time.
    pub variant: VariantId,
    /// One answer in so many is compared.
    every: f64,
    answered: AtomicU64,
    running: Arc<AtomicBool>,
}

/// The turn for one shadow run. A model has one at a time, which bounds memory.
#[derive(Debug)]
pub struct ShadowTurn(Arc<AtomicBool>);

impl RoutingState {
    /// The state of a model with so many variants that has not answered yet.
    #[must_use]
    pub fn new(policy: RoutingPolicy, shadow: Option<ShadowPolicy>, variants: usize, now: Instant) -> Self {
        Self {
            policy,
            demand: Demand::new(now),
            shadow,
            degradation: Mutex::default(),
            tiers_shed: AtomicUsize::new(0),
            variants: (0..variants).map(|_| VariantState::default()).collect(),
        }
    }

    /// The number of tiers that load has shed, the heaviest first.
    #[must_use]
    pub fn tiers_shed(&self) -> usize {
        self.tiers_shed.load(Ordering::Relaxed)
    }

    /// Changes what is shed.
    pub fn degrade<T>(&self, change: impl FnOnce(&mut Degradation) -> T) -> T {
        let mut degradation = self.degradation.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut degradation);
        self.tiers_shed.store(degradation.shed(), Ordering::Relaxed);
        result
    }

    /// Learns what an answer of a variant cost.
    pub fn learn_cost(&self, variant: VariantId, usd: f64) {
        if let Some(state) = self.variants.get(variant.index()) {
            state.usd_per_answer.observe(usd);
        }
    }

    /// Dollars an answer of a variant, lately; none before its first answer.
    #[must_use]
    pub fn usd_per_answer(&self, variant: VariantId) -> Option<f64> {
        self.variants.get(variant.index())?.usd_per_answer.get()
    }

    /// Learns how far an answer of a variant agreed with the shadow's, 0 to 1.
    pub fn learn_agreement(&self, variant: VariantId, agreement: f64) {
        if let Some(state) = self.variants.get(variant.index()) {
            state.agreement.observe(agreement);
            state.compared.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How far a variant agrees with the shadow, 0 to 1; none until enough answers were compared.
    #[must_use]
    pub fn agreement(&self, variant: VariantId) -> Option<f64> {
        let state = self.variants.get(variant.index())?;
        state.agreement.get().filter(|_| state.compared.load(Ordering::Relaxed) >= ENOUGH_COMPARED)
    }

    /// Like [`Self::agreement`], but from the first comparison on.
    #[must_use]
    pub fn agreement_so_far(&self, variant: VariantId) -> Option<f64> {
        self.variants.get(variant.index())?.agreement.get()
    }

    /// Whether a variant is passed over because it agrees too little with the shadow.
    #[must_use]
    pub fn passes_over(&self, variant: VariantId) -> bool {
        let least = self.policy.min_agreement;
        least.zip(self.agreement(variant)).is_some_and(|(least, agreement)| agreement < least)
    }
}

impl ShadowPolicy {
    /// Compares a share of the answers, 0 to 1, with those of a variant; none where the share is 0.
    #[must_use]
    pub fn new(variant: VariantId, share: f64) -> Option<Self> {
        let every = if share > 0.0 { 1.0 / share } else { return None };
        Some(Self { variant, every, answered: AtomicU64::new(0), running: Arc::default() })
    }

    /// A turn, if the next answer is due for comparison and no other comparison is running.
    #[must_use]
    pub fn next(&self) -> Option<ShadowTurn> {
        #[expect(clippy::cast_precision_loss, reason = "2^53 answers are enough")]
        let place = self.answered.fetch_add(1, Ordering::Relaxed) as f64;
        let due = ((place + 1.0) / self.every).floor() > (place / self.every).floor();
        let free = due && !self.running.swap(true, Ordering::AcqRel);
        free.then(|| ShadowTurn(Arc::clone(&self.running)))
    }
}

impl Drop for ShadowTurn {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_answers_is_compared_one_at_a_time() {
        let policy = ShadowPolicy::new(VariantId::new(1), 0.5).expect("a share");
        let turns: Vec<_> = (0..4).map(|_| policy.next()).collect();
        let due: Vec<_> = turns.iter().map(Option::is_some).collect();
        assert_eq!(due, [false, true, false, false], "the first one still runs");
        drop(turns);
        assert_eq!((0..4).filter(|_| policy.next().is_some()).count(), 2);
        assert!(ShadowPolicy::new(VariantId::new(1), 0.0).is_none());
    }

    #[test]
    fn few_comparisons_do_not_count() {
        let policy = RoutingPolicy { min_agreement: Some(0.9), ..RoutingPolicy::default() };
        let state = RoutingState::new(policy, None, 2, Instant::now());
        let variant = VariantId::new(1);
        (0..29).for_each(|_| state.learn_agreement(variant, 0.5));
        assert_eq!((state.agreement(variant), state.passes_over(variant)), (None, false));
        state.learn_agreement(variant, 0.5);
        assert_eq!((state.agreement(variant), state.passes_over(variant)), (Some(0.5), true));
    }
}
