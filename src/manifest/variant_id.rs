//! Identifies a variant within its model.

use std::fmt;

/// Index of a variant in its model's list, in which the default variant is first. Rooms that keep state for each variant
/// keep it under this index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VariantId(usize);

impl VariantId {
    /// The default variant of a model.
    pub const DEFAULT: Self = Self(0);

    /// The variant at an index.
    #[must_use]
    pub const fn new(index: usize) -> Self {
        Self(index)
    }

    /// The index.
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
