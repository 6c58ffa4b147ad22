//! The accounts of the ledger.

/// An account of the ledger: what money is spent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Account {
    /// Requests that were answered. It is the sum of the costs in the answers.
    Request,
    /// Requests that took work but were not answered: bad images, passed deadlines, clients that went away.
    Unanswered,
    /// Shadow runs, which compare variants.
    Shadow,
    /// Models that are loaded before the first request.
    Warmup,
    /// Models that are loaded while others answer.
    Reload,
    /// CPU time of the process that is on no other account.
    Overhead,
    /// CPU time and GPU time that the process did not use.
    Idle,
}

impl Account {
    /// The value of the metrics' `account` label.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Unanswered => "unanswered",
            Self::Shadow => "shadow",
            Self::Warmup => "warmup",
            Self::Reload => "reload",
            Self::Overhead => "overhead",
            Self::Idle => "idle",
        }
    }
}
