//! W3C Trace Context: which trace a request belongs to.
//!
//! In goes the text of a `traceparent` header, out comes a [`TraceContext`] with a new span of ours. The header is read by hand, since OpenTelemetry's own
//! propagator is laxer than the specification: it takes ids that are too short, and a dash at the end of version 00.

use std::fmt;

use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};

/// The length of a version 00 `traceparent`, `00-<32 hex>-<16 hex>-<2 hex>`, in bytes.
const LENGTH: usize = 55;

/// The flag of traces that are recorded, the only one that version 00 defines.
const SAMPLED: u8 = 1;

/// A request's place in a trace: the trace, our span in it, and the client's span above ours.
///
/// ```
/// use ounce::telemetry::TraceContext;
///
/// let client = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let context = TraceContext::continued(client).expect("a valid traceparent");
/// assert_eq!(context.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
/// assert!(context.sampled);
/// // What is passed on has the trace's id and a span of our own.
/// assert!(context.to_string().starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"));
/// assert_ne!(context.to_string().as_bytes(), client);
/// assert_eq!(TraceContext::continued(b"no traceparent"), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace's id, never 0.
    pub trace_id: u128,
    /// The id of our span, never 0.
    pub span_id: u64,
    /// The client's span, when it sent one.
    pub parent_id: Option<u64>,
    /// Whether the trace is recorded: the client's word, or our decision for a trace that begins here.
    pub sampled: bool,
}

impl TraceContext {
    /// A trace that begins here, not sampled yet.
    #[must_use]
    pub fn fresh() -> Self {
        let trace_id = u128::from_be_bytes(RandomIdGenerator::default().new_trace_id().to_bytes());
        Self { trace_id: trace_id.max(1), span_id: new_span_id(), parent_id: None, sampled: false }
    }

    /// The client's trace with a new span in it. `None` when the header is not valid: then a trace begins here.
    #[must_use]
    pub fn continued(traceparent: &[u8]) -> Option<Self> {
        let (head, rest) = traceparent.split_at_checked(LENGTH)?;
        let version = u8::try_from(hex(&head[..2])?).ok()?;
        let more_is_fine = match version {
            0 => rest.is_empty(),
            // Never valid, so that no version can be taken for it.
            0xff => false,
            // What later versions append comes after another dash.
            _ => rest.first().is_none_or(|next| *next == b'-'),
        };
        if !more_is_fine || [2, 35, 52].iter().any(|dash| head[*dash] != b'-') {
            return None;
        }
        let trace_id = hex(&head[3..35]).filter(|id| *id != 0)?;
        let parent_id = hex(&head[36..52]).and_then(|id| u64::try_from(id).ok()).filter(|id| *id != 0)?;
        let flags = u8::try_from(hex(&head[53..])?).ok()?;
        let sampled = flags & SAMPLED != 0;
        Some(Self { trace_id, span_id: new_span_id(), parent_id: Some(parent_id), sampled })
    }

    /// The trace's id as the wire, the log and collectors show it.
    #[must_use]
    pub fn trace_id(&self) -> impl fmt::Display + use<> {
        let id = self.trace_id;
        fmt::from_fn(move |f| write!(f, "{id:032x}"))
    }
}

impl fmt::Display for TraceContext {
    /// Writes a `traceparent` that names our span.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, u8::from(self.sampled))
    }
}

/// A random id for a span, never 0.
pub(super) fn new_span_id() -> u64 {
    u64::from_be_bytes(RandomIdGenerator::default().new_span_id().to_bytes()).max(1)
}

/// Reads hexadecimal digits, 32 at most. Only lower case is valid in a `traceparent`, so neither `from_str_radix` nor a crate for hex will do.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |sum, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(sum << 4 | u128::from(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: u128 = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;
    const PARENT: u64 = 0x00f0_67aa_0ba9_02b7;

    fn read(traceparent: &str) -> Option<(u128, Option<u64>, bool)> {
        TraceContext::continued(traceparent.as_bytes()).map(|c| (c.trace_id, c.parent_id, c.sampled))
    }

    #[test]
    fn the_examples_of_the_specification_are_read() {
        let with_flags = |flags: &str| read(&format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}"));
        assert_eq!(with_flags("01"), Some((TRACE, Some(PARENT), true)));
        assert_eq!(with_flags("00"), Some((TRACE, Some(PARENT), false)));
        assert_eq!(with_flags("ff"), Some((TRACE, Some(PARENT), true)), "unknown flags do not harm");
        assert_eq!(with_flags("02"), Some((TRACE, Some(PARENT), false)));
    }

    #[test]
    fn later_versions_are_read_as_far_as_they_are_known() {
        let known = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        for good in ["01-known", "cc-known", "cc-known-", "cc-known-what-the-future-will-be-like", "fe-known-1"] {
            assert_eq!(read(&good.replace("known", known)), Some((TRACE, Some(PARENT), true)), "{good}");
        }
        for bad in ["00-known-", "00-known-1", "00-known1", "cc-known1", "cc-known.later", "ff-known", "ff-known-1"] {
            assert_eq!(read(&bad.replace("known", known)), None, "{bad}");
        }
    }

    #[test]
    fn what_is_not_valid_begins_a_new_trace() {
        for bad in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00F067AA0BA902B7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0A",
            "0x-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7_01",
            "00-4bf92f3577b34da6a3ce929d0e0e473600f067aa0ba902b7-01--",
            " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-\u{e9}bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let (mut one, other) = (TraceContext::fresh(), TraceContext::fresh());
        one.sampled = true;
        assert_ne!(one.trace_id, other.trace_id);
        let next = TraceContext::continued(one.to_string().as_bytes()).expect("valid");
        assert_eq!((next.trace_id, next.parent_id, next.sampled), (one.trace_id, Some(one.span_id), true));
        assert_ne!(next.span_id, one.span_id);
        let shown = TraceContext { trace_id: 1, span_id: 2, parent_id: None, sampled: false };
        assert_eq!(shown.to_string(), "00-00000000000000000000000000000001-0000000000000002-00");
        assert_eq!(shown.trace_id().to_string(), "00000000000000000000000000000001");
    }
}
