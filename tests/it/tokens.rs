//! Tokens of an identity provider: what they open, what is refused, and how its keys come and go.

use std::{fs, sync::atomic::Ordering};

use ounce::auth::{KeyEntry, KeyHash, Scope};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::{
    access::ENDPOINTS,
    harness::{Server, ended, logged, ounce, python, ready, root, series, sum, until},
    issuer::Issuer,
    signing_key::{SigningKey, in_seconds, unsigned},
};

tests![
    a_token_opens_every_endpoint_of_its_scopes_and_no_other,
    tokens_of_every_algorithm_and_of_many_shapes_are_taken,
    what_does_not_hold_is_refused_with_the_reason,
    keys_and_tokens_work_side_by_side,
    the_issuer_changes_its_keys_and_nobody_storms_it,
    an_issuer_that_is_down_locks_nobody_out,
    keys_of_a_file_are_taken_and_taken_again,
    nothing_of_a_token_is_logged,
    tokens_that_a_library_of_python_signs_are_taken,
];

/// A server that takes an issuer's tokens.
struct Guarded {
    server: Server,
    issuer: Issuer,
}

impl Guarded {
    async fn start(issuer: Issuer, more: &[(&str, &str)]) -> Self {
        let fixed = [
            ("OUNCE_AUTH__MODE", "keys"),
            ("OUNCE_AUTH__OIDC__ISSUER", issuer.url.as_str()),
            ("OUNCE_AUTH__OIDC__AUDIENCE", "ounce, ounce-gateway"),
            ("OUNCE_TENANTS__ACME__WEIGHT", "1"),
        ];
        let settings: Vec<_> = fixed.into_iter().chain(more.iter().copied()).collect();
        Self { server: Server::start(&root().join("models"), &settings).await, issuer }
    }

    async fn request(&self, method: &str, path: &str, token: &str) -> Response {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let request = self.server.client.request(method, format!("{}{path}", self.server.url)).bearer_auth(token);
        request.send().await.expect("an answer")
    }

    async fn ask(&self, token: &str) -> u16 {
        self.request("GET", "/v1/models", token).await.status().as_u16()
    }
}

async fn a_token_opens_every_endpoint_of_its_scopes_and_no_other() {
    let key = SigningKey::p256("k");
    let guarded = Guarded::start(Issuer::start(&[&key]).await, &[]).await;
    let token = |scope: &str| key.token(&guarded.issuer.claims(&json!({"scope": scope})));
    let all = Scope::ALL.map(|scope| format!("ounce:{scope}")).join(" ");
    let mut shown = vec![("all", token(&all)), ("none", token("openid admin infer"))];
    shown.extend(Scope::ALL.map(|scope| (scope.name(), token(&format!("profile ounce:{scope}")))));
    for (name, token) in &shown {
        for (method, path, scope, answer) in ENDPOINTS {
            let path = path.replace("{model}", "pedestrian-presence").replace("{version}", "1");
            let response = guarded.request(method, &path, token).await;
            let status = response.status().as_u16();
            match scope {
                Some(scope) if *name != "all" && *name != scope.name() => {
                    let challenge = format!("Bearer error=\"insufficient_scope\", scope=\"ounce:{scope}\"");
                    assert_eq!((status, &*header(&response)), (403, &*challenge), "{method} {path} with {name}");
                }
                _ => assert_eq!(status, answer, "{method} {path} with {name}"),
            }
        }
    }
    let refused: Value = guarded.request("GET", "/metrics", &shown[1].1).await.json().await.expect("JSON");
    assert_eq!(
        refused["detail"],
        "this call needs a token with the scope `ounce:metrics`, and this one opens nothing; ask the identity provider for it"
    );
    let bare = guarded.server.client.get(format!("{}/v1/models", guarded.server.url)).send().await.expect("an answer");
    assert_eq!(header(&bare), "Bearer");
    let bare: Value = bare.json().await.expect("JSON");
    assert_eq!(
        bare["detail"],
        "this call needs a key or a token of the identity provider; send it as `Authorization: Bearer …`"
    );
}

fn header(response: &Response) -> String {
    response.headers().get("www-authenticate").map_or("", |value| value.to_str().expect("text")).to_owned()
}

async fn tokens_of_every_algorithm_and_of_many_shapes_are_taken() {
    let (rsa, p256, p384, ed) =
        (SigningKey::rsa("rsa"), SigningKey::p256("p256"), SigningKey::p384("p384"), SigningKey::ed25519("ed"));
    let guarded = Guarded::start(Issuer::start(&[&rsa, &p256, &p384, &ed]).await, &[]).await;
    let claims = |more: Value| guarded.issuer.claims(&more);
    let plain = claims(json!({}));
    let mut tokens: Vec<_> = [&rsa, &p256, &p384, &ed].map(|key| key.token(&plain)).into();
    let algorithms = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"];
    tokens.extend(algorithms.map(|algorithm| rsa.sign(&json!({"alg": algorithm, "kid": "rsa"}), &plain)));
    // A header that names no key, and one that names places where nobody looks.
    tokens.push(p256.sign(&json!({"alg": "ES256"}), &plain));
    tokens.push(ed.sign(
        &json!({"alg": "EdDSA", "kid": "ed", "jku": "http://127.0.0.1:9/", "x5u": "file:///etc/passwd"}),
        &plain,
    ));
    for more in [
        json!({"aud": ["other", "ounce-gateway"]}),
        json!({"exp": in_seconds(-30), "nbf": in_seconds(30)}),
        json!({"exp": 4_102_444_800.5, "iat": in_seconds(9999)}),
        json!({"scope": null, "scp": ["ounce:infer"], "sub": null}),
        json!({"tenant": "nobody-knows", "groups": vec!["a-group-with-a-long-name"; 400]}),
    ] {
        tokens.push(rsa.token(&claims(more)));
    }
    for token in tokens {
        assert_eq!(guarded.ask(&token).await, 200, "{token}");
    }

    // The tenant of the token pays, and he alone who has an account.
    for tenant in ["acme", "stranger"] {
        let token = ed.token(&claims(json!({"tenant": tenant, "scope": "ounce:infer ounce:metrics"})));
        let image = guarded.server.client.post(format!("{}/v1/detect", guarded.server.url)).bearer_auth(&token);
        assert_eq!(image.body(crate::harness::photo()).send().await.expect("an answer").status(), 200);
        let metrics = guarded.request("GET", "/metrics", &token).await.text().await.expect("text");
        assert!(!metrics.contains("stranger"), "no name of a token becomes a label");
        let acme = sum(&series(&metrics), "ounce_cost_usd_total", &["tenant=\"acme\""]);
        assert!(acme > 0.0, "{metrics}");
    }
}

async fn what_does_not_hold_is_refused_with_the_reason() {
    let (rsa, ec, stranger) = (SigningKey::rsa("rsa"), SigningKey::p256("ec"), SigningKey::p256("ec"));
    let guarded = Guarded::start(Issuer::start(&[&rsa, &ec]).await, &[]).await;
    let good = guarded.issuer.claims(&json!({}));
    let with = |more: Value| rsa.token(&guarded.issuer.claims(&more));
    assert_eq!(guarded.ask(&rsa.token(&good)).await, 200);

    // A secret that everybody knows: the public key, in the forms in which it is found.
    let by_secret = |secret: &[u8]| {
        let message = unsigned(&json!({"alg": "HS256", "kid": "rsa"}), &good);
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
        format!("{message}.{}", url_safe(ring::hmac::sign(&key, message.as_bytes()).as_ref()))
    };
    let jwk = rsa.jwk();
    let (algorithm, malformed) = ("the token is signed by an algorithm", "the token is no signed JWT");
    let (signature, unknown) = ("the token's signature does not hold", "the token is signed by a key (`kid`)");
    let none = |alg: &str| format!("{}.", unsigned(&json!({"alg": alg, "kid": "rsa"}), &good));
    let header = |more: Value| {
        let mut header = json!({"alg": "RS256", "kid": "rsa"});
        header.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        rsa.sign(&header, &good)
    };
    let own_key = || {
        let mut key = stranger.jwk();
        key["kid"] = json!("mine");
        stranger.sign(&json!({"alg": "ES256", "kid": "mine", "jwk": key}), &good)
    };
    let token = rsa.token(&good);
    let (head, rest) = token.split_once('.').expect("parts");
    let (_, tail) = rest.split_once('.').expect("parts");
    let other_claims = unsigned(&json!({}), &guarded.issuer.claims(&json!({"tenant": "acme"})));
    let other_claims = other_claims.split_once('.').expect("parts").1;
    let attacks = [
        ("no algorithm", none("none"), algorithm),
        ("no algorithm, shouted", none("nOnE"), algorithm),
        ("an algorithm without a signature", none("RS256"), signature),
        ("the public key as a secret", by_secret(jwk["n"].as_str().expect("text").as_bytes()), algorithm),
        ("the key set as a secret", by_secret(jwk.to_string().as_bytes()), algorithm),
        ("an empty secret", by_secret(b""), algorithm),
        ("another algorithm than the key's", ec.sign(&json!({"alg": "RS256", "kid": "ec"}), &good), unknown),
        ("a curve that is not taken", rsa.sign(&json!({"alg": "ES512", "kid": "rsa"}), &good), algorithm),
        ("a stranger's key with a known name", stranger.token(&good), signature),
        ("a stranger's key in the header", own_key(), unknown),
        (
            "a key by its address",
            stranger.sign(&json!({"alg": "ES256", "kid": "x", "jku": "http://127.0.0.1:9/"}), &good),
            unknown,
        ),
        ("other claims under a signature", format!("{head}.{other_claims}.{tail}"), signature),
        (
            "ECDSA of zeros",
            format!("{}.{}", unsigned(&json!({"alg": "ES256", "kid": "ec"}), &good), url_safe(&[0; 64])),
            signature,
        ),
        ("what must be known (crit)", header(json!({"crit": ["exp"], "exp": 1})), "the token's header says (`crit`)"),
        ("crit without a name", header(json!({"crit": []})), "the token's header says (`crit`)"),
        ("another form of claims (b64)", header(json!({"b64": false})), malformed),
        ("a name of a key that is none", header(json!({"kid": {"$ne": 1}})), malformed),
        ("a name of a key that is a path", header(json!({"kid": "../../dev/null"})), unknown),
        ("time is over", with(json!({"exp": in_seconds(-120)})), "the token has expired"),
        ("no end", with(json!({"exp": null})), "the token has no claim `exp`"),
        ("an end in words", with(json!({"exp": "4102444800"})), "the token has no claim `exp`"),
        ("an end before the beginning", with(json!({"exp": -1})), "the token has no claim `exp`"),
        ("an endless end", with(json!({"exp": 1e300})), "the token has no claim `exp`"),
        ("not yet", with(json!({"nbf": in_seconds(120)})), "the token does not hold yet"),
        ("not yet, in words", with(json!({"nbf": "soon"})), "the token has no claim `nbf`"),
        ("another audience", with(json!({"aud": "other"})), "the token is for another audience"),
        ("a part of the audience", with(json!({"aud": "ounc"})), "the token is for another audience"),
        ("no audience", with(json!({"aud": null})), "the token has no claim `aud`"),
        ("nobody's audience", with(json!({"aud": []})), "the token is for another audience"),
        ("another issuer", with(json!({"iss": "http://127.0.0.1/realms/a"})), "the token is of another issuer"),
        (
            "an issuer with more",
            with(json!({"iss": format!("{}/", guarded.issuer.url)})),
            "the token is of another issuer",
        ),
        ("no issuer", with(json!({"iss": null})), "the token has no claim `iss`"),
        ("a tenant that is no name", with(json!({"tenant": ["acme"]})), "the token has no claim `tenant`"),
        ("a giant", with(json!({"pad": "x".repeat(20_000)})), "the token has 2"),
        ("an encrypted one", format!("{head}.a.b.c.d"), malformed),
        ("points alone", "..".to_owned(), malformed),
        ("no base64", "é.é.é".replace('é', "!"), malformed),
        ("no JSON", "AAAA.AAAA.AAAA".to_owned(), malformed),
        (
            "a header that says two things",
            format!("{}.{rest}", url_safe(br#"{"alg":"none","alg":"RS256","kid":"rsa"}"#)),
            malformed,
        ),
    ];
    let mut expired = 0.0;
    for (name, token, reason) in &attacks {
        let response = guarded.request("GET", "/v1/models", token).await;
        let (status, challenge) = (response.status(), self::header(&response));
        let problem: Value = response.json().await.expect("JSON");
        let detail = problem["detail"].as_str().expect("text");
        assert!(status == StatusCode::UNAUTHORIZED && detail.starts_with(reason), "{name}: {status} {detail}");
        let quoted = challenge.strip_prefix("Bearer error=\"invalid_token\", error_description=\"");
        let quoted = quoted.and_then(|rest| rest.strip_suffix('"')).expect(&challenge);
        assert!(quoted == detail && quoted.is_ascii() && !quoted.contains(['"', '\\']), "{name}: {challenge}");
        let kind = if *reason == "the token has expired" { "/errors#expired-token" } else { "/errors#wrong-token" };
        assert_eq!(problem["type"], kind, "{name}");
        expired += f64::from(u8::from(kind.contains("expired")));
    }
    // In the other header it is no token, and none is taken from a query.
    let other = guarded.server.client.get(format!("{}/v1/models", guarded.server.url)).header("x-api-key", &token);
    assert_eq!(other.send().await.expect("an answer").status(), 401);
    let query = guarded.server.client.get(format!("{}/v1/models?access_token={token}", guarded.server.url));
    assert_eq!(query.send().await.expect("an answer").status(), 401);
    let metrics = guarded.request("GET", "/metrics", &with(json!({"scope": "ounce:metrics"}))).await;
    let metrics = series(&metrics.text().await.expect("text"));
    assert_eq!(sum(&metrics, "ounce_refused_total", &["reason=\"expired_token\""]), expired);
    assert_eq!(sum(&metrics, "ounce_refused_total", &["reason=\"wrong_token\""]), attacks.len() as f64 - expired);
}

fn url_safe(bytes: &[u8]) -> String {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A file with one key, `the-key`.
fn keys_file() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let (hash, scopes) = (KeyHash::of("the-key"), [Scope::Infer].into_iter().collect());
    let entry = KeyEntry { name: "a".to_owned(), tenant: "acme".to_owned(), scopes, hash, expires: None };
    fs::write(file.path(), entry.to_line()).expect("written");
    file
}

async fn keys_and_tokens_work_side_by_side() {
    let (key, file) = (SigningKey::ed25519("k"), keys_file());
    let settings = [("OUNCE_AUTH__KEYS_FILE", file.path().to_str().expect("text"))];
    let guarded = Guarded::start(Issuer::start(&[&key]).await, &settings).await;
    let (token, wrong) = (key.token(&guarded.issuer.claims(&json!({}))), key.token(&json!({})));
    assert_eq!((guarded.ask("the-key").await, guarded.ask(&token).await, guarded.ask(&wrong).await), (200, 200, 401));
    // A gateway has checked a token of its own, and the client has put its key beside it.
    let both = guarded.server.client.get(format!("{}/v1/models", guarded.server.url));
    assert_eq!(both.bearer_auth(&wrong).header("x-api-key", "the-key").send().await.expect("an answer").status(), 200);
}

async fn the_issuer_changes_its_keys_and_nobody_storms_it() {
    let (old, new) = (SigningKey::p256("old"), SigningKey::p384("new"));
    let guarded = Guarded::start(Issuer::start(&[&old]).await, &[]).await;
    let claims = guarded.issuer.claims(&json!({}));
    assert_eq!(guarded.ask(&old.token(&claims)).await, 200);
    let asked = || guarded.issuer.asked.load(Ordering::Relaxed);
    assert_eq!(asked(), 1, "keys that are there are not asked for");

    // Strangers name keys that nobody has.
    let before = asked();
    for number in 0..300 {
        let token = old.sign(&json!({"alg": "ES256", "kid": format!("none-{number}")}), &claims);
        assert_eq!(guarded.ask(&token).await, 401);
    }
    assert!((asked() - before) * 20 < 300, "{} questions for 300 tokens", asked() - before);

    guarded.issuer.publish(&[&old, &new]);
    until("a token of the new key is taken", async || guarded.ask(&new.token(&claims)).await == 200).await;
    assert_eq!(guarded.ask(&old.token(&claims)).await, 200, "the old key is published, too");
    guarded.issuer.publish(&[&new]);
    let stranger = SigningKey::p256("stranger").token(&claims);
    until("a token of the old key is refused", async || {
        assert_eq!(guarded.ask(&stranger).await, 401);
        guarded.ask(&old.token(&claims)).await == 401
    })
    .await;
    assert_eq!(guarded.ask(&new.token(&claims)).await, 200);
}

async fn an_issuer_that_is_down_locks_nobody_out() {
    let (key, file) = (SigningKey::ed25519("k"), keys_file());
    let issuer = Issuer::start(&[&key]).await;
    issuer.set_down(true);
    // The start waits for nobody, and keys of the file open calls.
    let settings = [("OUNCE_AUTH__KEYS_FILE", file.path().to_str().expect("text"))];
    let guarded = Guarded::start(issuer, &settings).await;
    let token = key.token(&guarded.issuer.claims(&json!({})));
    assert_eq!(guarded.ask("the-key").await, 200);
    let early = guarded.request("GET", "/v1/models", &token).await;
    assert_eq!((early.status().as_u16(), early.headers()["retry-after"].to_str().expect("text")), (503, "5"));
    let early: Value = early.json().await.expect("JSON");
    assert_eq!(early["type"], "/errors#no-token-keys");
    assert_eq!(guarded.ask(&format!("{token}x.")).await, 401, "what can be no token needs no keys to be refused");

    guarded.issuer.set_down(false);
    until("the keys have come", async || guarded.ask(&token).await == 200).await;
    guarded.issuer.set_down(true);
    let fresh = SigningKey::ed25519("fresh").token(&guarded.issuer.claims(&json!({})));
    let refused = || guarded.issuer.refused.load(Ordering::Relaxed);
    let before = refused();
    until("it was asked in vain", async || {
        assert_eq!(guarded.ask(&fresh).await, 401);
        assert_eq!(guarded.ask(&token).await, 200, "the keys that were there are there");
        refused() > before
    })
    .await;
    assert_eq!((guarded.ask(&token).await, guarded.ask("the-key").await), (200, 200));
}

async fn keys_of_a_file_are_taken_and_taken_again() {
    let (old, new) = (SigningKey::p256("k"), SigningKey::p256("k"));
    let file = tempfile::NamedTempFile::new().expect("a file");
    let write = |key: &SigningKey| fs::write(file.path(), json!({"keys": [key.jwk()]}).to_string()).expect("written");
    write(&old);
    let settings = [("OUNCE_AUTH__OIDC__JWKS_FILE", file.path().to_str().expect("text"))];
    let guarded = Guarded::start(Issuer::start(&[]).await, &settings).await;
    let claims = guarded.issuer.claims(&json!({}));
    assert_eq!((guarded.ask(&old.token(&claims)).await, guarded.ask(&new.token(&claims)).await), (200, 401));
    write(&new);
    until("the new key is known", async || guarded.ask(&new.token(&claims)).await == 200).await;
    fs::write(file.path(), "{").expect("written");
    assert_eq!((guarded.ask(&new.token(&claims)).await, guarded.ask(&old.token(&claims)).await), (200, 401));
    assert_eq!(guarded.issuer.asked.load(Ordering::Relaxed), 0);

    for (content, why) in [
        (
            r#"{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}"#,
            "none of its 1 keys can sign tokens: RSA of 2048 bits or more, P-256, P-384 or Ed25519 is wanted",
        ),
        ("<html>", "it is no JSON Web Key Set: {\"keys\": […]} is wanted"),
    ] {
        fs::write(file.path(), content).expect("written");
        let settings = [
            ("OUNCE_AUTH__MODE", "keys"),
            ("OUNCE_AUTH__OIDC__ISSUER", "https://id.example.com"),
            ("OUNCE_AUTH__OIDC__AUDIENCE", "ounce"),
            ("OUNCE_AUTH__OIDC__JWKS_FILE", file.path().to_str().expect("text")),
        ];
        let error = Server::try_start(&root().join("models"), &settings).await.expect_err("refused");
        let shown = error.replace(&file.path().display().to_string(), "FILE");
        assert_eq!(shown, format!("auth.oidc.jwks_file: the keys of FILE cannot be used: {why}"));
    }
}

async fn nothing_of_a_token_is_logged() {
    let key = SigningKey::rsa("s3cr3t-kid");
    let issuer = Issuer::start(&[&key]).await;
    let mut serve = ounce();
    serve.env("OUNCE_MODELS", root().join("models")).args(["serve", "--listen", "127.0.0.1:0", "--log", "trace"]);
    serve.envs([("OUNCE_LOG__FORMAT", "json"), ("OUNCE_ADMIN_LISTEN", ""), ("OUNCE_AUTH__MODE", "keys")]);
    serve.env("OUNCE_AUTH__OIDC__ISSUER", &issuer.url).env("OUNCE_AUTH__OIDC__AUDIENCE", "ounce");
    let (mut server, url, lines) = logged(serve);
    ready(&url).await;
    let client = reqwest::Client::new();
    let all = json!({"scope": "ounce:infer ounce:admin s3cr3t-scope", "tenant": "s3cr3t-tenant"});
    let tokens = [
        key.token(&issuer.claims(&all)),
        key.token(&issuer.claims(&json!({"exp": 1}))),
        key.token(&issuer.claims(&json!({"tenant": ["s3cr3t-tenant"]}))),
        SigningKey::p256("s3cr3t-kid").token(&issuer.claims(&all)),
        SigningKey::p256("s3cr3t-other").token(&issuer.claims(&all)),
    ];
    let mut answers = String::new();
    for token in &tokens {
        for path in ["/v2/repository/index", "/v2/repository/models/pedestrian/unload", "/v1/detect"] {
            let answer = client.post(format!("{url}{path}")).bearer_auth(token).send().await.expect("an answer");
            answers += &format!("{:?}", answer.headers());
            answers += &answer.text().await.expect("text");
        }
    }
    let sent = std::process::Command::new("kill").args(["-TERM", &server.id().to_string()]).status();
    assert!(sent.expect("kill runs").success());
    ended(&mut server).await;
    let lines = lines.join().expect("no panic");
    let audited =
        |line: &&String| line.contains("a call that changes something is let in") && line.contains("(a token)");
    assert_eq!(lines.iter().filter(audited).count(), 1, "who may, and did, is logged");
    for part in tokens.iter().flat_map(|token| token.split('.')).chain(["s3cr3t"]) {
        let found = lines.iter().find(|line| line.contains(part));
        assert!(found.is_none(), "{part} is in the log: {found:?}");
        assert!(!answers.contains(part), "{part} is in an answer");
    }
}

async fn tokens_that_a_library_of_python_signs_are_taken() {
    const SIGN: &str = r#"
import json, sys, jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
claims, keys, tokens = json.loads(sys.argv[1]), [], []
def add(algorithm, key, kind):
    jwk = json.loads(getattr(jwt.algorithms, kind).to_jwk(key.public_key()))
    keys.append(dict(jwk, kid=algorithm, alg=algorithm))
    tokens.append(jwt.encode(claims, key, algorithm=algorithm, headers={"kid": algorithm}))
for algorithm in ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]:
    add(algorithm, rsa.generate_private_key(65537, 2048), "RSAAlgorithm")
add("ES256", ec.generate_private_key(ec.SECP256R1()), "ECAlgorithm")
add("ES384", ec.generate_private_key(ec.SECP384R1()), "ECAlgorithm")
add("EdDSA", ed25519.Ed25519PrivateKey.generate(), "OKPAlgorithm")
print(json.dumps([keys, tokens]))
"#;
    let issuer = Issuer::start(&[]).await;
    let signed = python(&[]).args(["-c", SIGN, &issuer.claims(&json!({})).to_string()]).output().expect("python runs");
    assert!(signed.status.success(), "`make test` installs PyJWT: {}", String::from_utf8_lossy(&signed.stderr));
    let (keys, tokens): (Vec<Value>, Vec<String>) = serde_json::from_slice(&signed.stdout).expect("JSON");
    issuer.publish_all(keys);
    let guarded = Guarded::start(issuer, &[]).await;
    assert_eq!(tokens.len(), 9);
    for token in tokens {
        assert_eq!(guarded.ask(&token).await, 200, "{token}");
    }
}
