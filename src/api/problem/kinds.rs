//! The kinds of problems, which are also the page at `/errors`.

use axum::{http::StatusCode, response::Html};

/// A kind of problem.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::api) struct ProblemKind {
    /// The place on `/errors` where this kind is explained.
    pub slug: &'static str,
    /// The HTTP status of a response with such a problem.
    pub status: StatusCode,
    /// The `reason` in the metrics, of a problem that this room itself has found. An [`Error`](crate::error::Error) brings its own.
    pub reason: &'static str,
    /// What is wrong, in a few words.
    pub title: &'static str,
    /// What a client can do about it.
    pub advice: &'static str,
}

macro_rules! kinds {
    ($($name:ident = $status:ident, $slug:literal, $reason:literal, $title:literal, $advice:literal;)*) => {
        $(
            #[doc = $title]
            pub(in crate::api) static $name: ProblemKind =
                ProblemKind { slug: $slug, status: StatusCode::$status, reason: $reason, title: $title, advice: $advice };
        )*
        /// All kinds of problems.
        pub(in crate::api) static ALL: &[&ProblemKind] = &[$(&$name,)*];
    };
}

kinds! {
    BAD_PARAMETER = BAD_REQUEST, "bad-parameter", "bad_parameter", "A parameter cannot be used",
        "The detail names the parameter and what would be right; /docs lists them all.";
    BAD_BODY = BAD_REQUEST, "bad-body", "bad_body", "The body cannot be read",
        "The detail says where the body is not what its content type says.";
    LOAD_FAILED = BAD_REQUEST, "load-failed", "load_failed", "The model cannot be loaded",
        "The detail says which file does not fit, and what would; what was served before still is.";
    NO_VARIANT = BAD_REQUEST, "no-variant", "no_variant", "No variant meets that limit",
        "The detail says what the limit is and what the best variant has; /v1/models/{model}/frontier shows them all.";
    NO_KEY = UNAUTHORIZED, "no-key", "no_key", "This call needs a key",
        "Send it as `Authorization: Bearer KEY` or `x-api-key: KEY`; the operator makes keys with `ounce key new`.";
    WRONG_KEY = UNAUTHORIZED, "wrong-key", "wrong_key", "The key is not known here",
        "Look whether it is whole and for this server; the operator may have taken it back.";
    EXPIRED_KEY = UNAUTHORIZED, "expired-key", "expired_key", "The key's time is over",
        "Ask the operator for a new one.";
    WRONG_TOKEN = UNAUTHORIZED, "wrong-token", "wrong_token", "The token does not hold",
        "The detail says what is wrong with it: its form, its algorithm, its signature, or one of its claims.";
    EXPIRED_TOKEN = UNAUTHORIZED, "expired-token", "expired_token", "The token's time is over",
        "Ask the identity provider for a new one.";
    LACKING_SCOPE = FORBIDDEN, "lacking-scope", "lacking_scope", "The key does not open this call",
        "The detail names the scope that the call needs, and those that the key or the token has.";
    NOT_LOCAL = FORBIDDEN, "not-local", "not_local", "Only programs on the server's own machine may do this",
        "The detail says why the call is not taken for one of them; the operator lets others in with auth.mode = \"keys\".";
    NO_SUCH_ROUTE = NOT_FOUND, "no-such-route", "no_such_route", "There is nothing at this path",
        "See /docs for what there is.";
    UNKNOWN_MODEL = NOT_FOUND, "unknown-model", "unknown_model", "There is no model of that name",
        "The detail names the models there are; so does /v1/models.";
    UNKNOWN_VERSION = NOT_FOUND, "unknown-version", "unknown_version", "The model has no such version",
        "The detail names the version that is served.";
    NO_MODEL_FOR_TASK = NOT_FOUND, "no-model-for-task", "no_model", "No model answers that question",
        "This server has no model that detects (or classifies).";
    WRONG_METHOD = METHOD_NOT_ALLOWED, "wrong-method", "wrong_method", "The path does not take this method",
        "The Allow header names the methods it takes.";
    SLOW_BODY = REQUEST_TIMEOUT, "slow-body", "body_timeout", "The body did not come in time",
        "Send it faster, or smaller; the operator sets the limit with OUNCE_REQUESTS__BODY_TIMEOUT_MS.";
    TOO_LARGE = PAYLOAD_TOO_LARGE, "too-large", "too_large", "More bytes than the limit",
        "Send a smaller picture; the operator sets the limit with OUNCE_PICTURES__MAX_BYTES.";
    UNSUPPORTED_TYPE = UNSUPPORTED_MEDIA_TYPE, "unsupported-content-type", "content_type", "This kind of body is not taken",
        "Send the picture's bytes as they are, a multipart form with an image part, or JSON with base64.";
    UNSUPPORTED_FORMAT = UNSUPPORTED_MEDIA_TYPE, "unsupported-format", "unsupported_format", "Not a picture format that is read",
        "The detail names the formats that are.";
    BAD_PICTURE = UNPROCESSABLE_ENTITY, "bad-picture", "bad_picture", "The picture cannot be used",
        "It is torn, or over the limits of pixels; the detail says which.";
    QUEUE_FULL = TOO_MANY_REQUESTS, "queue-full", "queue_full", "Too many requests wait for this model",
        "Wait as long as Retry-After says, or ask another replica.";
    OVER_BUDGET = TOO_MANY_REQUESTS, "over-budget", "budget", "The budget is spent",
        "Wait as long as Retry-After says; the operator sets budgets with cost.budget_usd_per_hour and tenants.*.budget_usd_per_hour.";
    RATE_LIMITED = TOO_MANY_REQUESTS, "rate-limited", "rate_limited", "More than this client may ask for",
        "Wait as long as Retry-After says; the detail names the limit, which the operator sets in [limits] and [tenants.NAME].";
    TOO_SLOW = TOO_MANY_REQUESTS, "too-slow", "too_slow", "The answer would come after its deadline",
        "Wait as long as Retry-After says, ask another replica, or give the request more time with deadline_ms.";
    BUSY = TOO_MANY_REQUESTS, "busy", "busy", "The server holds as many requests as it may",
        "Wait as long as Retry-After says, or ask another replica.";
    TOO_MANY_BODIES = TOO_MANY_REQUESTS, "too-many-bodies", "bodies", "Too many bodies of this sender are still coming",
        "Send the bodies that have begun, then try again; the operator sets the bound with OUNCE_BODIES__MAX_COMING.";
    MODEL_FAILED = INTERNAL_SERVER_ERROR, "model-failed", "failed", "The model failed",
        "The server's log has the cause, under the request's id.";
    NO_FOLDER = INTERNAL_SERVER_ERROR, "no-folder", "no_folder", "The model folder cannot be read",
        "The operator sets it with OUNCE_MODELS; the detail says what is wrong with it.";
    PANICKED = INTERNAL_SERVER_ERROR, "internal", "internal", "The server made a mistake",
        "The server's log has the cause, under the request's id.";
    NOT_OFFERED = NOT_IMPLEMENTED, "not-offered", "not_offered", "The method is not offered here",
        "The detail says what to do instead.";
    NOT_READY = SERVICE_UNAVAILABLE, "not-ready", "not_ready", "The server is not ready",
        "Ask again when /readyz says 200.";
    NO_MEMORY = SERVICE_UNAVAILABLE, "no-memory", "memory", "The server has no memory for it now",
        "Wait as long as Retry-After says, or ask another replica; the operator sets the bound with OUNCE_MEMORY__MAX_BYTES.";
    NO_TOKEN_KEYS = SERVICE_UNAVAILABLE, "no-token-keys", "no_token_keys", "Tokens cannot be checked yet",
        "The identity provider's keys have not come; come again, or show a key. The server's log says why.";
    DRAINING = SERVICE_UNAVAILABLE, "draining", "draining", "The server is shutting down",
        "Ask another replica.";
    DEADLINE_PASSED = GATEWAY_TIMEOUT, "deadline-passed", "deadline", "The deadline passed before there was an answer",
        "Give the request more time with deadline_ms, or send fewer at once.";
}

/// The page that explains each kind.
pub(in crate::api) async fn page() -> Html<String> {
    let mut html = String::from(
        "<!doctype html><meta charset=utf-8><title>ounce: errors</title>\
         <style>body{font:16px/1.5 system-ui;max-width:44rem;margin:2rem auto;padding:0 1rem}</style><h1>Errors</h1>",
    );
    for ProblemKind { slug, status, title, advice, .. } in ALL {
        html.push_str(&format!("<h2 id=\"{slug}\">{}: {title}</h2><p>{advice}</p>", status.as_u16()));
    }
    Html(html)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    #[test]
    fn no_two_kinds_share_a_place() {
        let slugs: HashSet<_> = super::ALL.iter().map(|kind| kind.slug).collect();
        assert_eq!(slugs.len(), super::ALL.len());
    }
}
