//! What a front door asks for: which model, for whom, until when.

use std::time::{Duration, Instant};

use crate::{
    config::Task, cost::Tenant, error::Error, limits::Allowance, routing::policy::VariantPreference,
    scheduler::job::Priority,
};

/// The model that a request is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The model of that name; with a task, it has to answer that.
    Model {
        /// Its name.
        name: String,
        /// The task that it has to answer, if any.
        task: Option<Task>,
    },
    /// The default model for a task.
    Task(Task),
}

/// What kind of input a request brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputKind {
    /// So many encoded images, which are decoded first. A front door that reads the body after the admission says 1.
    Images(usize),
    /// Tensors, which are run as they are.
    Tensors,
}

/// How a request wants to be answered.
#[derive(Debug, Clone)]
pub struct Terms {
    /// What is wanted of the variant that answers.
    pub preference: VariantPreference,
    /// When the answer stops being wanted.
    pub deadline: Deadline,
    /// Which of several waiting requests goes first.
    pub priority: Priority,
    /// What the request brings.
    pub input: InputKind,
}

impl Terms {
    /// The terms of a request for an image that wants nothing in particular.
    #[must_use]
    pub fn image(deadline: Deadline) -> Self {
        let (preference, priority) = (VariantPreference::default(), Priority::default());
        Self { preference, deadline, priority, input: InputKind::Images(1) }
    }
}

/// When an answer stops being wanted.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    /// The time by which the answer is wanted.
    pub at: Instant,
    /// The time that the request had from its arrival.
    pub budget: Duration,
}

impl Deadline {
    /// `budget` after the request was received.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use ounce::inference::Deadline;
    ///
    /// let deadline = Deadline::after(Instant::now(), Duration::from_secs(30));
    /// assert!(deadline.left() > Duration::from_secs(29));
    /// ```
    #[must_use]
    pub fn after(received: Instant, budget: Duration) -> Self {
        Self { at: received + budget, budget }
    }

    /// The time that is left; zero once it has passed.
    #[must_use]
    pub fn left(self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    /// The refusal of a request whose deadline has passed. `alone` is how long its answer takes when no other request is in
    /// its way.
    pub(super) fn exceeded(self, alone: Duration) -> Error {
        Error::DeadlinePassed { deadline_ms: self.budget.as_secs_f64() * 1e3, hopeless: self.budget < alone }
    }
}

/// What stays the same from a request's admission to its answer.
#[derive(Debug, Clone)]
pub(super) struct RequestContext {
    pub deadline: Deadline,
    pub priority: Priority,
    pub tenant: Tenant,
    /// What the request may use of its client's limits, where there are any.
    pub allowance: Option<Allowance>,
}
