//! Tokens and keys as the RFCs print them, and key sets as identity providers publish them. tests/it/tokens.rs has a whole one.

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use super::{
    TokenError,
    claims::{ClaimNames, Claims},
    jwks::TokenKeys,
    verifier::{TokenVerifier, looks_like_token},
};
use crate::{
    auth::Denied,
    config::{Layers, TokenIssuer},
};

/// The RSA key of RFC 7515, appendix A.2.
const RSA_N: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";

/// A token that it has signed.
const RS256: &str = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";

/// The Ed25519 key of RFC 8037, appendix A.2, and what it has signed in A.4, which is no JSON.
const ED_X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
const EDDSA: &str = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";

/// The P-256 key of RFC 7515, appendix A.3.
const EC_X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
const EC_Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";

fn keys() -> Value {
    json!({"keys": [
        {"kty": "RSA", "n": RSA_N, "e": "AQAB"},
        {"kty": "OKP", "crv": "Ed25519", "x": ED_X, "kid": "ed"},
        {"kty": "EC", "crv": "P-256", "x": EC_X, "y": EC_Y, "kid": "ec", "use": "sig"},
    ]})
}

fn issuer(variables: &[(&str, &str)]) -> TokenIssuer {
    let fixed = [("MODE", "keys"), ("OIDC__ISSUER", "https://joe"), ("OIDC__AUDIENCE", "ounce")];
    let variables =
        fixed.iter().chain(variables).map(|(name, value)| (format!("OUNCE_AUTH__{name}"), (*value).to_owned()));
    let config = Layers::defaults().and_then(|layers| layers.env(variables)).and_then(|layers| layers.build());
    config.expect("valid").auth.oidc.issuer().expect("an issuer")
}

#[test]
fn signatures_of_the_rfcs_hold_and_others_do_not() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), keys().to_string()).expect("written");
    let verifier =
        TokenVerifier::new(&issuer(&[("OIDC__JWKS_FILE", file.path().to_str().expect("text"))])).expect("keys");
    let fails = |token: &str| match verifier.verify(token).expect_err("refused") {
        Denied::BadToken(why) => why,
        other => unreachable!("{other:?}"),
    };
    // What is in a token is read once its signature holds.
    assert_eq!(fails(RS256), TokenError::Claim("aud".to_owned()));
    assert_eq!(fails(EDDSA), TokenError::Malformed);
    for token in [RS256, EDDSA] {
        let (signed, signature) = token.rsplit_once('.').expect("parts");
        let flipped = if signature.starts_with('A') { 'B' } else { 'A' };
        assert_eq!(fails(&format!("{signed}.{flipped}{}", &signature[1..])), TokenError::Signature);
        assert_eq!(fails(&format!("{signed}.")), TokenError::Signature, "no signature at all");
        assert_eq!(fails(&format!("{token}=")), TokenError::Malformed);
        assert_eq!(fails(&format!("{token}.")), TokenError::Malformed);
        assert_eq!(fails(signed), TokenError::Malformed);
    }
    assert_eq!(fails(&format!("..{}", "x".repeat(16_383))), TokenError::TooLong(16_385));
}

#[test]
fn of_a_key_set_what_signs_tokens_is_kept() {
    let kept = |keys: Value| TokenKeys::parse(json!({"keys": keys}).to_string().as_bytes());
    let all = TokenKeys::parse(keys().to_string().as_bytes()).expect("usable");
    assert_eq!((all.len(), all.unusable), (3, 0));
    let candidates = |kid, algorithm| all.candidates(kid, algorithm).count();
    assert_eq!(candidates(Some("ec"), Algorithm::ES256), 1);
    assert_eq!(candidates(Some("ec"), Algorithm::RS256), 0, "a key signs by its own algorithm only");
    assert_eq!(candidates(Some("other"), Algorithm::PS512), 1, "a key without a name may be the one that is meant");
    assert_eq!(candidates(Some("other"), Algorithm::EdDSA), 0);
    assert_eq!(candidates(None, Algorithm::EdDSA), 1);

    let rsa = |more: Value| {
        let mut key = json!({"kty": "RSA", "n": RSA_N, "e": "AQAB"});
        key.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        key
    };
    for unusable in [
        rsa(json!({"use": "enc"})),
        rsa(json!({"key_ops": ["sign"]})),
        rsa(json!({"alg": "RSA-OAEP"})),
        rsa(json!({"alg": "HS256"})),
        rsa(json!({"alg": "ES256"})),
        rsa(json!({"n": &RSA_N[..171]})),
        rsa(json!({"n": "+"})),
        json!({"kty": "oct", "k": "c2VjcmV0"}),
        json!({"kty": "oct", "k": "c2VjcmV0", "alg": "RS256"}),
        json!({"kty": "OKP", "crv": "X25519", "x": ED_X}),
        json!({"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}),
        json!({"kty": "EC", "crv": "P-521", "x": EC_X, "y": EC_Y}),
        json!({"kty": "EC", "crv": "P-256", "x": EC_X}),
        json!({"kty": "EC", "crv": "secp256k1", "x": EC_X, "y": EC_Y}),
        json!({"kty": "new"}),
        json!(7),
    ] {
        let with = kept(json!([unusable, rsa(json!({"kid": "a", "alg": "RS256", "x5c": ["AA=="], "new": 1}))]))
            .expect("usable");
        assert_eq!((with.len(), with.unusable), (1, 1), "{unusable}");
        assert_eq!(with.candidates(Some("a"), Algorithm::RS512).count(), 0, "it names its algorithm");
        let none = kept(json!([unusable])).expect_err("unusable");
        assert_eq!(
            none,
            "none of its 1 keys can sign tokens: RSA of 2048 bits or more, P-256, P-384 or Ed25519 is wanted"
        );
    }
    for wrong in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[]}"#, "<html>"] {
        assert!(TokenKeys::parse(wrong.as_bytes()).is_err(), "{wrong}");
    }
    let many = kept(Value::Array(vec![rsa(json!({})); 500])).expect("usable");
    assert_eq!((many.len(), many.candidates(None, Algorithm::RS256).count()), (100, 4));
}

#[test]
fn claims_name_the_tenant_and_the_scopes_as_the_settings_say() {
    let claims = |value: Value| -> Claims { serde_json::from_value(value).expect("an object") };
    let names = ClaimNames::new(&issuer(&[]));
    let scopes = |value| names.scopes(&claims(value)).to_string();
    assert_eq!(scopes(json!({"scope": "openid ounce:infer profile ounce:metrics"})), "infer, metrics");
    assert_eq!(scopes(json!({"scp": ["ounce:admin", 7, "ounce:infer x"]})), "infer, admin");
    assert_eq!(scopes(json!({"scp": "ounce:feedback", "scope": "ounce:infer"})), "infer, feedback");
    for nothing in [
        json!({}),
        json!({"scope": "infer admin"}),
        json!({"scope": "ounce: ounce:Infer Ounce:infer"}),
        json!({"scope": 7}),
    ] {
        assert_eq!(scopes(nothing), "");
    }
    let tenant = |value| names.tenant(&claims(value)).map(|tenant| tenant.map(ToOwned::to_owned));
    assert_eq!(tenant(json!({"tenant": "acme"})), Ok(Some("acme".to_owned())));
    assert_eq!(tenant(json!({"tenant": null})), Ok(None));
    assert_eq!(tenant(json!({})), Ok(None));
    for odd in [json!(7), json!(["acme"]), json!(""), json!("a b")] {
        assert_eq!(tenant(json!({"tenant": odd})), Err(TokenError::Claim("tenant".to_owned())));
    }

    let variables = [
        ("OIDC__TENANT_CLAIM", "https://acme.example/tenant"),
        ("OIDC__SCOPE_CLAIMS", "realm_access.roles,permissions"),
        ("OIDC__SCOPE_PREFIX", ""),
    ];
    let names = ClaimNames::new(&issuer(&variables));
    let value = claims(json!({
        "https://acme.example/tenant": "bob", "realm_access": {"roles": ["infer"]}, "permissions": ["metrics", "read:x"], "scope": "admin"
    }));
    assert_eq!(names.tenant(&value), Ok(Some("bob")), "points in a name are part of it");
    assert_eq!(names.scopes(&value).to_string(), "infer, metrics");
}

#[test]
fn tokens_are_told_from_keys_by_their_points() {
    assert!(looks_like_token(RS256) && looks_like_token("..") && looks_like_token("a.b.c.d.e"));
    for key in ["ounce_abc-_", "", "a.b", "a.b.c.d"] {
        assert!(!looks_like_token(key), "{key}");
    }
}
