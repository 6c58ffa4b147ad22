//! What the claims of a token that holds say of its tenant and scopes.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::TokenError;
use crate::{
    auth::{Scope, Scopes},
    config::{TokenIssuer, is_plain_name},
};

/// The claims of a token.
pub(super) type Claims = Map<String, Value>;

/// Where the tenant and the scopes stand.
#[derive(Debug)]
pub(super) struct ClaimNames {
    tenant: Option<String>,
    scopes: Vec<String>,
    /// The prefix that a scope has in a token, as in `ounce:infer`.
    pub prefix: Arc<str>,
}

impl ClaimNames {
    pub fn new(issuer: &TokenIssuer) -> Self {
        let TokenIssuer { tenant_claim, scope_claims, scope_prefix, .. } = issuer;
        Self { tenant: tenant_claim.clone(), scopes: scope_claims.clone(), prefix: scope_prefix.as_str().into() }
    }

    /// The name of the tenant, if the token has one.
    ///
    /// # Errors
    /// There is one that can be no name of a tenant: nobody guesses who was meant.
    pub fn tenant<'a>(&self, claims: &'a Claims) -> Result<Option<&'a str>, TokenError> {
        let Some(name) = &self.tenant else { return Ok(None) };
        match find(claims, name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(tenant)) if is_plain_name(tenant) => Ok(Some(tenant)),
            Some(_) => Err(TokenError::Claim(name.clone())),
        }
    }

    /// What the token opens: in each claim a text with spaces between the scopes, or a list of texts. Scopes of other services open nothing.
    pub fn scopes(&self, claims: &Claims) -> Scopes {
        let found = self.scopes.iter().filter_map(|name| find(claims, name));
        let texts = found.flat_map(|value| match value {
            Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
            Value::String(text) => vec![text.as_str()],
            _ => vec![],
        });
        let words = texts.flat_map(|text| text.split(' '));
        words.filter_map(|word| word.strip_prefix(&*self.prefix)?.parse::<Scope>().ok()).collect()
    }
}

/// A claim by its name; or, where there is none of that name, inside of others: `a.b` is `b` in `a`. Names may have points in them, as in
/// `https://example.com/tenant`.
fn find<'a>(claims: &'a Claims, name: &str) -> Option<&'a Value> {
    claims.get(name).or_else(|| {
        let (outer, inner) = name.split_once('.')?;
        find(claims.get(outer)?.as_object()?, inner)
    })
}
