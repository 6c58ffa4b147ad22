//! The place of a variant among those of its model.

use std::fmt;

/// A variant by its place in its model's list, the default first. Rooms that keep something for each variant of a model
/// keep it under this number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VariantId(usize);

impl VariantId {
    /// The variant that answers where nothing speaks for another.
    pub const DEFAULT: Self = Self(0);

    /// The variant at that place.
    #[must_use]
    pub const fn new(index: usize) -> Self {
        Self(index)
    }

    /// The place.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0
    }
}

impl fmt::Display for VariantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
