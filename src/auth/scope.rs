//! What a key allows: one or more scopes. A scope opens its own calls only; `admin` does not open the others.

use std::{fmt, str::FromStr};

/// A kind of call that a key may open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Asking models, and asking about them.
    Infer,
    /// Telling whether answers were right.
    Feedback,
    /// Reading the metrics.
    Metrics,
    /// Changing what is served.
    Admin,
}

impl Scope {
    /// All scopes.
    pub const ALL: [Self; 4] = [Self::Infer, Self::Feedback, Self::Metrics, Self::Admin];

    /// The name in the file of keys.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Infer => "infer",
            Self::Feedback => "feedback",
            Self::Metrics => "metrics",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let scope = Self::ALL.into_iter().find(|scope| scope.name() == text);
        scope.ok_or_else(|| format!("there is no such scope; there are {}", Scopes::ALL))
    }
}

/// A set of scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes(u8);

impl Scopes {
    /// Every scope.
    pub const ALL: Self = Self(0b1111);

    /// Whether a scope is in the set.
    #[must_use]
    pub fn contains(self, scope: Scope) -> bool {
        self.0 & bit(scope) != 0
    }

    /// Whether no scope is in the set.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The scopes of the set.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.contains(*scope))
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().map(bit).fold(0, |all, bit| all | bit))
    }
}

impl fmt::Display for Scopes {
    /// The names, as in `infer, metrics`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, scope) in self.iter().enumerate() {
            write!(f, "{}{scope}", if place == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

fn bit(scope: Scope) -> u8 {
    1 << scope as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_into_it() {
        let some: Scopes = [Scope::Metrics, Scope::Infer, Scope::Infer].into_iter().collect();
        assert_eq!(some.to_string(), "infer, metrics");
        assert!(some.contains(Scope::Infer) && !some.contains(Scope::Admin));
        assert_eq!(Scope::ALL.into_iter().collect::<Scopes>(), Scopes::ALL);
        assert!(Scopes::default().is_empty() && !some.is_empty());
        assert_eq!(
            "Admin".parse::<Scope>(),
            Err("there is no such scope; there are infer, feedback, metrics, admin".into())
        );
    }
}
