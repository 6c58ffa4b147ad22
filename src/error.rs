//! What can go wrong with a request, free of HTTP: `api::problem` gives each kind its HTTP status.
//!
//! Every message is one sentence that a client may read: what was wrong, and what would be right.

use std::time::Duration;

use crate::config::Task;

/// Why a request was not answered.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// A parameter that cannot be used.
    #[error("`{name}`: {why}")]
    BadParameter {
        /// The parameter's name.
        name: String,
        /// What is wrong, and what would be right.
        why: String,
    },
    /// No model of that name.
    #[error("there is no model `{name}`; there {}", list(.known))]
    UnknownModel {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// No such version of a model.
    #[error("model `{model}` has no version `{version}`; it serves version `{serving}`")]
    UnknownVersion {
        /// The model.
        model: String,
        /// The version asked for.
        version: String,
        /// The version there is.
        serving: String,
    },
    /// No model answers that question.
    #[error("no model here can {task}; there {}", list(.known))]
    NoModelForTask {
        /// The question.
        task: Task,
        /// The names there are.
        known: Vec<String>,
    },
    /// More bytes than the limit.
    #[error("{0}")]
    TooLarge(String),
    /// Not a format that is read.
    #[error("{0}")]
    UnsupportedFormat(String),
    /// A picture that cannot be decoded, or is over the pixel limit.
    #[error("{0}")]
    BadPicture(String),
    /// The model's queue is full.
    #[error("model `{model}` has {waiting} requests waiting, its limit; try again in {} s", seconds(*.retry_after))]
    QueueFull {
        /// The model.
        model: String,
        /// How many wait.
        waiting: usize,
        /// When a place may be free.
        retry_after: Duration,
    },
    /// By what runs cost here, the answer would come after its deadline.
    #[error(
        "model `{model}` would answer in about {expected_ms:.0} ms, which is past the deadline of {deadline_ms} ms; try again \
         in {} s, or give it more time with deadline_ms", seconds(*.retry_after)
    )]
    TooSlow {
        /// The model.
        model: String,
        /// How long the answer would take from now on.
        expected_ms: f64,
        /// The deadline that the request had.
        deadline_ms: f64,
        /// Is it too short even for a server that has nothing else to do?
        hopeless: bool,
        /// When it would be fast enough, if nobody else came.
        retry_after: Duration,
    },
    /// No variant of a model is accurate or cheap enough for what the request wants.
    #[error("`{name}`: model `{model}`: {why}")]
    NoVariant {
        /// The parameter whose limit nobody meets.
        name: &'static str,
        /// The model.
        model: String,
        /// The limit, and what there is.
        why: String,
    },
    /// A budget leaves nothing to spend.
    #[error(
        "the budget of {} is {usd_per_hour} dollars an hour, and {}", whose(.tenant.as_deref()), when(*.retry_after)
    )]
    OverBudget {
        /// The tenant whose budget it is; none for the whole replica's.
        tenant: Option<String>,
        /// The budget.
        usd_per_hour: f64,
        /// When there will be something to spend; never where the budget is zero.
        retry_after: Option<Duration>,
    },
    /// The model takes no more requests, since the server ends.
    #[error("the server is shutting down")]
    Closed,
    /// What lies in a model's folder cannot be served.
    #[error(
        "model `{model}` cannot be loaded: {reason}{}",
        .still_serving.as_ref().map(|version| format!("; version {version} is still served")).unwrap_or_default()
    )]
    LoadFailed {
        /// The model.
        model: String,
        /// What is wrong, where, and what would be right.
        reason: String,
        /// The version that is served all the same.
        still_serving: Option<String>,
    },
    /// The model folder cannot be read.
    #[error("{0}")]
    NoFolder(String),
    /// More requests are held than the server's limit.
    #[error("{in_flight} requests are in flight, the server's limit; try again in {} s", seconds(*.retry_after))]
    Busy {
        /// How many are held.
        in_flight: usize,
        /// When a place may be free.
        retry_after: Duration,
    },
    /// The bodies of other requests leave too little memory for this one.
    #[error("there is no room for another {bytes} bytes now; try again in {} s", seconds(*.retry_after))]
    NoRoom {
        /// What the request needs.
        bytes: usize,
        /// When there may be room.
        retry_after: Duration,
    },
    /// Models are still being loaded.
    #[error("the server is starting and its models are not loaded yet; try again in a second")]
    Starting,
    /// The deadline passed before the answer was there.
    #[error("the deadline of {deadline_ms} ms passed before there was an answer")]
    DeadlinePassed {
        /// The deadline that the request had.
        deadline_ms: f64,
        /// Whether it is too short even for a server that has nothing else to do.
        hopeless: bool,
    },
    /// The graph failed on this input, or gave what cannot be read. The cause is logged, not told.
    #[error("model `{model}` failed on this input; the server's log has the cause")]
    ModelFailed {
        /// The model.
        model: String,
        /// The cause, for the log.
        cause: String,
    },
}

impl Error {
    /// The kind in one word, as metrics label it.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::BadParameter { .. } => "bad_parameter",
            Self::UnknownModel { .. } => "unknown_model",
            Self::UnknownVersion { .. } => "unknown_version",
            Self::NoModelForTask { .. } => "no_model",
            Self::TooLarge(_) => "too_large",
            Self::UnsupportedFormat(_) => "unsupported_format",
            Self::BadPicture(_) => "bad_picture",
            Self::QueueFull { .. } => "queue_full",
            Self::TooSlow { hopeless: false, .. } => "too_slow",
            // Another replica would not have been in time, either.
            Self::TooSlow { hopeless: true, .. } | Self::DeadlinePassed { hopeless: true, .. } => "too_short",
            Self::NoVariant { .. } => "no_variant",
            Self::OverBudget { .. } => "budget",
            Self::Closed => "draining",
            Self::LoadFailed { .. } => "load_failed",
            Self::NoFolder(_) => "no_folder",
            Self::Busy { .. } | Self::NoRoom { .. } => "busy",
            Self::Starting => "not_ready",
            Self::DeadlinePassed { hopeless: false, .. } => "deadline",
            Self::ModelFailed { .. } => "failed",
        }
    }
}

/// Whole seconds, as `Retry-After` wants them; 0 would be an invitation to hammer.
#[must_use]
pub fn seconds(wait: Duration) -> u64 {
    wait.as_secs_f64().ceil().max(1.0) as u64
}

/// The sentence about bytes of an image, or of a body made of images, that are more than the operator's limit.
#[must_use]
pub fn over_image_limit(what: &str, limit: usize) -> String {
    format!("{what}, more than the limit of {limit}; OUNCE_PICTURES__MAX_BYTES sets it")
}

/// `; did you mean …?`, when a known word is close to the one that came; else nothing.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a &'a str>) -> String {
    // Similarity costs the product of the lengths: nobody gets to choose that at leisure.
    if word.len() > 64 {
        return String::new();
    }
    let lower = word.to_lowercase();
    let best = known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&lower, &name.to_lowercase()), *name))
        .max_by(|(a, _), (b, _)| a.total_cmp(b));
    match best {
        Some((likeness, name)) if likeness > 0.8 => format!("; did you mean `{name}`?"),
        _ => String::new(),
    }
}

fn whose(tenant: Option<&str>) -> String {
    tenant.map_or_else(|| "this server".to_owned(), |tenant| format!("tenant `{tenant}`"))
}

fn when(retry_after: Option<Duration>) -> String {
    let again = |wait| format!("it is spent; try again in {} s", seconds(wait));
    retry_after.map_or_else(|| "that allows no request at all".to_owned(), again)
}

fn list(names: &[String]) -> String {
    match names {
        [] => "is none at all".to_owned(),
        [one] => format!("is `{one}`"),
        many => format!("are `{}`", many.join("`, `")),
    }
}
