//! Which variant of a model answers a request, and why. Pure: what is known about the variants goes in, one comes out.
//!
//! - [`select`](mod@select): of the variants that are accurate enough, cheap enough and fast enough, the objective takes its best.
//! - [`degradation`]: under load the heaviest variants are shed, until there is time again.
//! - [`demand`]: how many requests come, and what their answers take.
//! - [`policy`]: what the manifest and the settings say.
//! - [`frontier`]: the points that no other beats in everything.
//! - [`state`]: all that is kept for one model, by variant.

pub mod degradation;
pub mod demand;
pub mod frontier;
pub mod policy;
pub mod select;
pub mod state;

pub use self::{
    policy::RoutingPolicy,
    select::{Candidate, Choice, Reason, Requirements, Unmet, select},
    state::{RoutingState, ShadowTurn},
};
