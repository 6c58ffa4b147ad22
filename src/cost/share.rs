//! The share of the machine that a tenant has while others wait, too.

/// Whose work something is, and how much of the machine is theirs while others wait, too.
///
/// Work of one flow is served in its own order, and flows are served by their weights (see
/// [`crate::scheduler::fair_queue`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FairShare {
    flow: usize,
    thousandths: u32,
}

impl FairShare {
    /// A flow by its number, with a weight that is cut to 0.001 to 1,000.
    #[must_use]
    pub fn new(flow: usize, weight: f64) -> Self {
        Self { flow, thousandths: (weight * 1e3).round().clamp(1.0, 1e6) as u32 }
    }

    /// The number of the flow.
    #[must_use]
    pub fn flow(self) -> usize {
        self.flow
    }

    /// Its weight in thousandths, at least 1.
    #[must_use]
    pub fn thousandths(self) -> u32 {
        self.thousandths
    }
}

impl Default for FairShare {
    /// The share of everybody who is not in the settings.
    fn default() -> Self {
        Self::new(0, 1.0)
    }
}
