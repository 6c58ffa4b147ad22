//! How far two lists of classes for the same image agree.

use super::Class;

/// 1 where the best class is the same, else 0.
pub(in crate::tasks) fn agreement(one: &[Class], other: &[Class]) -> f64 {
    let best = |classes: &[Class]| classes.first().map(|class| class.class_id);
    f64::from(u8::from(best(one) == best(other)))
}
