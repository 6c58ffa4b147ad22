//! The parameters of a request, of an input or of an output: a few words and numbers by name.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::OipError;
use crate::{config::Objective, routing::policy::VariantPreference, scheduler::job::Priority};

/// Parameters by name.
pub(super) type Parameters = Map<String, Value>;

/// The most bytes of parameters that are read, in either form. As JSON values they take many times the bytes that they were sent in.
pub(super) const MAX_PARAMETERS_BYTES: usize = 64 << 10;

/// The longest `timeout`, in microseconds: ten minutes.
const MAX_TIMEOUT_US: u64 = 600_000_000;

/// What the request wants of the variant that answers.
pub(super) fn preference(parameters: &Parameters) -> Result<VariantPreference, OipError> {
    let number = |name, what, most: f64| {
        optional(parameters, name, what, |value| value.as_f64().filter(|number| (0.0..=most).contains(number)))
    };
    Ok(VariantPreference {
        variant: optional(parameters, "variant", "a name", |value| value.as_str().map(ToOwned::to_owned))?,
        objective: optional(parameters, "objective", "cost, latency or accuracy", |value| {
            Objective::deserialize(value).ok()
        })?,
        min_accuracy: number("min_accuracy", "a number from 0 to 1", 1.0)?,
        max_cost_usd: number("max_cost_usd", "a number of dollars from 0 up", f64::MAX)?,
    })
}

/// `timeout`, in microseconds; 0 stands for none.
pub(super) fn time_budget(parameters: &Parameters) -> Result<Option<Duration>, OipError> {
    let what = "a whole number of microseconds up to 600000000";
    let timeout = optional(parameters, "timeout", what, |value| value.as_u64().filter(|n| *n <= MAX_TIMEOUT_US))?;
    Ok(timeout.filter(|n| *n > 0).map(Duration::from_micros))
}

/// `priority`, as Triton counts: 1 is the highest; 0, and what is no level here (over 10), is the default.
pub(super) fn priority(parameters: &Parameters) -> Result<Priority, OipError> {
    let triton = optional(parameters, "priority", "a whole number", Value::as_u64)?;
    let ours = triton.filter(|n| *n > 0).and_then(|n| 10u8.checked_sub(u8::try_from(n).ok()?));
    Ok(ours.and_then(Priority::new).unwrap_or_default())
}

/// A parameter that is true or false.
pub(super) fn flag(parameters: &Parameters, name: &str) -> Result<Option<bool>, OipError> {
    optional(parameters, name, "true or false", Value::as_bool)
}

/// A parameter that may be left out; `what` says in a refusal what it has to be.
pub(super) fn optional<T>(
    parameters: &Parameters,
    name: &str,
    what: &str,
    read: impl Fn(&Value) -> Option<T>,
) -> Result<Option<T>, OipError> {
    match parameters.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match read(value) {
            Some(value) => Ok(Some(value)),
            None => Err(OipError::parameter(name, format!("is not {what}"))),
        },
    }
}
