//! Errors of requests. They know nothing of HTTP: `api::problem` gives each of them its status.
//!
//! Every message is one sentence for the client, which says what is wrong and what would be right.

use std::time::Duration;

use crate::config::Task;

/// Why a request was not answered.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// A parameter cannot be used.
    #[error("`{name}`: {why}")]
    BadParameter {
        /// Name of the parameter.
        name: String,
        /// What is wrong, and what would be right.
        why: String,
    },
    /// No model has that name.
    #[error("there is no model `{name}`; there {}", list(.known))]
    UnknownModel {
        /// Name that was asked for.
        name: String,
        /// Names of the models that are served.
        known: Vec<String>,
    },
    /// The model does not have that version.
    #[error("model `{model}` has no version `{version}`; it serves version `{serving}`")]
    UnknownVersion {
        /// Name of the model.
        model: String,
        /// Version that was asked for.
        version: String,
        /// Version that is served.
        serving: String,
    },
    /// No model has that task.
    #[error("no model here can {task}; there {}", list(.known))]
    NoModelForTask {
        /// Task that was asked for.
        task: Task,
        /// Names of the models that are served.
        known: Vec<String>,
    },
    /// The body or image has more bytes than the limit.
    #[error("{0}")]
    TooLarge(String),
    /// The image has a format that is not supported.
    #[error("{0}")]
    UnsupportedFormat(String),
    /// The image cannot be decoded, or has more pixels than the limit.
    #[error("{0}")]
    BadImage(String),
    /// The model's queue is full.
    #[error("model `{model}` has {waiting} requests waiting, its limit; try again in {} s", seconds(*.retry_after))]
    QueueFull {
        /// Name of the model.
        model: String,
        /// Number of requests that wait.
        waiting: usize,
        /// Time until a place may be free.
        retry_after: Duration,
    },
    /// The answer is forecast to come after its deadline.
    #[error(
        "model `{model}` would answer in about {expected_ms:.0} ms, which is past the deadline of {deadline_ms} ms; try again \
         in {} s, or give it more time with deadline_ms", seconds(*.retry_after)
    )]
    TooSlow {
        /// Name of the model.
        model: String,
        /// Forecast time until the answer, in milliseconds.
        expected_ms: f64,
        /// Deadline of the request in milliseconds.
        deadline_ms: f64,
        /// Whether the deadline is too short even for an idle server.
        hopeless: bool,
        /// Time until the answer would be fast enough, if no other request came.
        retry_after: Duration,
    },
    /// No variant of the model is accurate or cheap enough for the request.
    #[error("`{name}`: model `{model}`: {why}")]
    NoVariant {
        /// Name of the parameter whose limit no variant meets.
        name: &'static str,
        /// Name of the model.
        model: String,
        /// The limit, and the best that a variant has.
        why: String,
    },
    /// A budget is exhausted.
    #[error(
        "the budget of {} is {usd_per_hour} dollars an hour, and {}", whose(.tenant.as_deref()), when(*.retry_after)
    )]
    OverBudget {
        /// Name of the tenant whose budget it is; none for the budget of the whole replica.
        tenant: Option<String>,
        /// Budget in dollars an hour.
        usd_per_hour: f64,
        /// Time until there is something to spend again; none where the budget is zero.
        retry_after: Option<Duration>,
    },
    /// A client asks for more than it may have.
    #[error("{who} may have {most}, as `{setting}` says; try again in {} s", seconds(*.retry_after))]
    RateLimited {
        /// The tenant or the address.
        who: String,
        /// The limit.
        most: String,
        /// The setting that says so.
        setting: String,
        /// Time until there is something again.
        retry_after: Duration,
    },
    /// The model accepts no more requests, since the server shuts down.
    #[error("the server is shutting down")]
    Closed,
    /// A model's folder cannot be served.
    #[error(
        "model `{model}` cannot be loaded: {reason}{}",
        .still_serving.as_ref().map(|version| format!("; version {version} is still served")).unwrap_or_default()
    )]
    LoadFailed {
        /// Name of the model.
        model: String,
        /// What is wrong and where, and what would be right.
        reason: String,
        /// Version that is still served; none where the model is not served at all.
        still_serving: Option<String>,
    },
    /// The model folder cannot be read.
    #[error("{0}")]
    NoFolder(String),
    /// The server has as many requests in flight as its limit.
    #[error("{in_flight} requests are in flight, the server's limit; try again in {} s", seconds(*.retry_after))]
    Busy {
        /// Number of requests in flight.
        in_flight: usize,
        /// Time until a place may be free.
        retry_after: Duration,
    },
    /// The tenant has as many requests in flight as are left for other tenants.
    #[error(
        "{in_flight} requests of this tenant are in flight, as many as are left for other tenants; try again in {} s \
         (requests.max_in_flight bounds all of them)", seconds(*.retry_after)
    )]
    TenantBusy {
        /// Number of the tenant's requests in flight.
        in_flight: usize,
        /// Time until a place may be free.
        retry_after: Duration,
    },
    /// The bodies of other requests leave too little memory for this request.
    #[error("there is no room for another {bytes} bytes now; try again in {} s", seconds(*.retry_after))]
    NoRoom {
        /// Bytes that the request needs.
        bytes: usize,
        /// Time until there may be room.
        retry_after: Duration,
    },
    /// The sender has as many requests, or as many bytes, coming as are left for others.
    #[error(
        "too many bodies from this sender are still coming; send what has begun, then try again in 1 s (bodies.max_coming \
         and memory.max_bytes bound them)"
    )]
    TooManyBodies,
    /// There is no memory for what the request needs.
    #[error("there is no memory for another {bytes} bytes now; try again in {} s", seconds(*.retry_after))]
    NoMemory {
        /// Bytes that it needs; 0 where nobody knows.
        bytes: u64,
        /// Time until there may be memory.
        retry_after: Duration,
    },
    /// The models are still being loaded.
    #[error("the server is starting and its models are not loaded yet; try again in a second")]
    Starting,
    /// The deadline passed before there was an answer.
    #[error("the deadline of {deadline_ms} ms passed before there was an answer")]
    DeadlinePassed {
        /// Deadline of the request in milliseconds.
        deadline_ms: f64,
        /// Whether the deadline is too short even for an idle server.
        hopeless: bool,
    },
    /// The run failed on this input, or its outputs cannot be read. The cause is logged and not sent to the client.
    #[error("model `{model}` failed on this input; the server's log has the cause")]
    ModelFailed {
        /// Name of the model.
        model: String,
        /// Cause for the log.
        cause: String,
    },
}

impl Error {
    /// The value of the metrics' `reason` label.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::BadParameter { .. } => "bad_parameter",
            Self::UnknownModel { .. } => "unknown_model",
            Self::UnknownVersion { .. } => "unknown_version",
            Self::NoModelForTask { .. } => "no_model",
            Self::TooLarge(_) => "too_large",
            Self::UnsupportedFormat(_) => "unsupported_format",
            Self::BadImage(_) => "bad_picture",
            Self::QueueFull { .. } => "queue_full",
            Self::TooSlow { hopeless: false, .. } => "too_slow",
            // Another replica would not have been in time, either.
            Self::TooSlow { hopeless: true, .. } | Self::DeadlinePassed { hopeless: true, .. } => "too_short",
            Self::NoVariant { .. } => "no_variant",
            Self::OverBudget { .. } => "budget",
            Self::RateLimited { .. } => "rate_limited",
            Self::Closed => "draining",
            Self::LoadFailed { .. } => "load_failed",
            Self::NoFolder(_) => "no_folder",
            Self::Busy { .. } | Self::TenantBusy { .. } | Self::NoRoom { .. } => "busy",
            Self::TooManyBodies => "bodies",
            Self::NoMemory { .. } => "memory",
            Self::Starting => "not_ready",
            Self::DeadlinePassed { hopeless: false, .. } => "deadline",
            Self::ModelFailed { .. } => "failed",
        }
    }
}

/// Whole seconds for `Retry-After`. The least is 1, so that a client does not retry at once.
#[must_use]
pub fn seconds(wait: Duration) -> u64 {
    wait.as_secs_f64().ceil().max(1.0) as u64
}

/// The sentence for an image, or a body of images, with more bytes than the limit.
#[must_use]
pub fn over_image_limit(what: &str, limit: usize) -> String {
    format!("{what}, more than the limit of {limit}; OUNCE_PICTURES__MAX_BYTES sets it")
}

/// Returns `; did you mean …?` where a known word is similar to `word`; else an empty text.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a &'a str>) -> String {
    // The similarity costs time proportional to the product of the lengths, so a client must not choose a long word.
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
