//! An identity provider that tests make: it serves what OpenID Connect Discovery says, changes its keys when it is told to, and counts
//! who asks.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use axum::{Json, Router, http::StatusCode, response::IntoResponse, routing::get};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{
    harness::serve_routes,
    signing_key::{SigningKey, in_seconds},
};

/// An identity provider.
pub(crate) struct Issuer {
    pub(crate) url: String,
    /// How often its keys were asked for.
    pub(crate) asked: Arc<AtomicUsize>,
    /// How often it did not answer, since it was down.
    pub(crate) refused: Arc<AtomicUsize>,
    keys: Arc<Mutex<Vec<Value>>>,
    down: Arc<AtomicBool>,
}

impl Issuer {
    /// Starts it with these keys, or down.
    pub(crate) async fn start(keys: &[&SigningKey]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/realms/a", listener.local_addr().expect("bound"));
        let issuer =
            Self { url, asked: Arc::default(), refused: Arc::default(), keys: Arc::default(), down: Arc::default() };
        issuer.publish(keys);
        let (keys, asked, down) = (Arc::clone(&issuer.keys), Arc::clone(&issuer.asked), Arc::clone(&issuer.down));
        let discovery = json!({"issuer": issuer.url, "jwks_uri": format!("{}/certs", issuer.url), "more": [1]});
        let refused = Arc::clone(&issuer.refused);
        let unless_down = move |document: Value| match down.load(Ordering::Relaxed) {
            true => {
                refused.fetch_add(1, Ordering::Relaxed);
                StatusCode::SERVICE_UNAVAILABLE.into_response()
            }
            false => Json(document).into_response(),
        };
        let discover = {
            let unless_down = unless_down.clone();
            move || std::future::ready(unless_down(discovery.clone()))
        };
        let certs = move || {
            asked.fetch_add(1, Ordering::Relaxed);
            std::future::ready(unless_down(json!({"keys": *keys.lock().expect("a lock")})))
        };
        let app = Router::new().route("/realms/a/.well-known/openid-configuration", get(discover));
        let app = app.route("/realms/a/certs", get(certs));
        serve_routes(listener, app);
        issuer
    }

    /// Publishes these keys and no others.
    pub(crate) fn publish(&self, keys: &[&SigningKey]) {
        self.publish_all(keys.iter().map(|key| key.jwk()).collect());
    }

    /// The same, for keys that somebody else has made.
    pub(crate) fn publish_all(&self, keys: Vec<Value>) {
        *self.keys.lock().expect("a lock") = keys;
    }

    /// Answers no more, or again.
    pub(crate) fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::Relaxed);
    }

    /// Claims of a token for the tests' audience, with these in their place.
    pub(crate) fn claims(&self, more: &Value) -> Value {
        let mut claims = json!({"iss": self.url, "aud": "ounce", "exp": in_seconds(300), "sub": "s3cr3t-subject", "scope": "openid ounce:infer"});
        let object = claims.as_object_mut().expect("an object");
        for (name, value) in more.as_object().expect("an object") {
            match value {
                Value::Null => object.remove(name),
                value => object.insert(name.clone(), value.clone()),
            };
        }
        claims
    }
}
