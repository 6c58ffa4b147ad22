//! Measures what it costs to check a token of an identity provider, by algorithm, and beside it a key: `cargo bench --bench tokens`.

#[path = "../tests/it/signing_key.rs"]
mod signing_key;

use std::time::{Instant, SystemTime};

use ounce::{
    auth::{Authenticator, Credentials, KeyEntry, KeyHash, Scope},
    config::Layers,
};
use serde_json::json;
use signing_key::{SigningKey, in_seconds};

const REPEATED: u32 = 20_000;

fn main() {
    let keys = [SigningKey::rsa("a"), SigningKey::p256("b"), SigningKey::p384("c"), SigningKey::ed25519("d")];
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let jwks = json!({"keys": keys.iter().map(SigningKey::jwk).collect::<Vec<_>>()});
    std::fs::write(path("jwks.json"), jwks.to_string()).expect("written");
    let (hash, scopes) = (KeyHash::of("ounce_key"), [Scope::Infer].into_iter().collect());
    let entry = KeyEntry { name: "a".to_owned(), tenant: "acme".to_owned(), scopes, hash, expires: None };
    std::fs::write(path("keys.jsonl"), entry.to_line()).expect("written");
    let settings = [
        ("OUNCE_AUTH__MODE", "keys".to_owned()),
        ("OUNCE_AUTH__KEYS_FILE", path("keys.jsonl").display().to_string()),
        ("OUNCE_AUTH__OIDC__ISSUER", "https://id.example.com".to_owned()),
        ("OUNCE_AUTH__OIDC__AUDIENCE", "ounce".to_owned()),
        ("OUNCE_AUTH__OIDC__JWKS_FILE", path("jwks.json").display().to_string()),
    ];
    let settings = settings.map(|(name, value)| (name.to_owned(), value));
    let config = Layers::defaults().and_then(|layers| layers.env(settings)).and_then(|layers| layers.build());
    let authenticator = Authenticator::new(&mut config.expect("valid")).expect("usable");
    let measure = |name: &str, shown: &str| {
        let shown = Credentials { keys: [Some(shown), None], ..Credentials::default() };
        let now = SystemTime::now();
        let began = Instant::now();
        for _ in 0..REPEATED {
            assert!(authenticator.identify(std::hint::black_box(&shown), now).is_ok());
        }
        println!("{name}: {:.1} µs", began.elapsed().as_secs_f64() * 1e6 / f64::from(REPEATED));
    };
    measure("a key", "ounce_key");
    let claims = json!({"iss": "https://id.example.com", "aud": "ounce", "exp": in_seconds(3600), "scope": "openid ounce:infer",
        "tenant": "acme", "sub": "7e0e4d4e-2f4d-4d8c-9a1c-8f1b8a0c2a51", "azp": "a-client", "iat": in_seconds(0)});
    for (name, key) in ["RS256, 2048 bits", "ES256", "ES384", "EdDSA"].into_iter().zip(&keys) {
        measure(name, &key.token(&claims));
    }
}
