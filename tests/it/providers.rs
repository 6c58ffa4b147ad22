//! A provider that was asked for and is not there is never passed over in silence.

use crate::harness::{Server, root};

tests![a_missing_provider_ends_the_start_with_the_ways_out, a_configured_fallback_shows_what_is_really_used];

async fn a_missing_provider_ends_the_start_with_the_ways_out() {
    let models = root().join("models");
    let reason = Server::try_start(&models, &[("OUNCE_RUNTIME__PROVIDERS", "cuda,cpu")]).await.expect_err("refused");
    println!("{reason}");
    for word in ["`cuda` is not available", "OUNCE_RUNTIME__PROVIDERS", "OUNCE_RUNTIME__FALLBACK=warn"] {
        assert!(reason.contains(word), "{word}: {reason}");
    }
}

async fn a_configured_fallback_shows_what_is_really_used() {
    let settings = [("OUNCE_RUNTIME__PROVIDERS", "cuda,cpu"), ("OUNCE_RUNTIME__FALLBACK", "warn")];
    let server = Server::start(&root().join("models"), &settings).await;
    let (_, model) = server.get("/v1/models/pedestrian").await;
    assert_eq!(model["variants"][0]["providers"], serde_json::json!(["cpu"]), "{model}");
}
