//! The stages of a request, and how long each of them took.
//!
//! This is the only list of the stages: metrics, spans, the `Server-Timing` header and the timings of a response are made from it.

use std::time::Duration;

/// A part of the work on a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The image file is decoded to pixels.
    Decode,
    /// The pixels become the model's input tensor.
    Preprocess,
    /// The input waits for a worker to take it.
    Queue,
    /// The model runs.
    Inference,
    /// The model's outputs become a prediction.
    Postprocess,
}

impl Stage {
    /// All stages in the order in which a request goes through them.
    pub const ALL: [Self; 5] = [Self::Decode, Self::Preprocess, Self::Queue, Self::Inference, Self::Postprocess];

    /// The stage's name in metrics, spans and headers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Preprocess => "preprocess",
            Self::Queue => "queue",
            Self::Inference => "inference",
            Self::Postprocess => "postprocess",
        }
    }
}

/// How long each stage of a request took. A stage that the request did not have took no time.
///
/// ```
/// use std::time::Duration;
/// use ounce::telemetry::{Stage, StageTimes};
///
/// let mut times = StageTimes::default();
/// times.set(Stage::Decode, Duration::from_millis(3));
/// times.add(Stage::Decode, Duration::from_millis(1));
/// assert_eq!(times.get(Stage::Decode), Duration::from_millis(4));
/// assert_eq!(times.get(Stage::Queue), Duration::ZERO);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StageTimes([Duration; Stage::ALL.len()]);

impl StageTimes {
    /// How long the stage took.
    #[must_use]
    pub const fn get(&self, stage: Stage) -> Duration {
        self.0[stage as usize]
    }

    /// Says how long the stage took.
    pub const fn set(&mut self, stage: Stage, took: Duration) {
        self.0[stage as usize] = took;
    }

    /// Adds to what the stage took so far.
    pub fn add(&mut self, stage: Stage, took: Duration) {
        self.0[stage as usize] += took;
    }

    /// The longer time of each stage.
    #[must_use]
    pub fn slowest(&self, other: &Self) -> Self {
        let mut slowest = *self;
        slowest.0.iter_mut().zip(other.0).for_each(|(mine, theirs)| *mine = (*mine).max(theirs));
        slowest
    }

    /// All stages in their order, those that took no time included.
    pub fn iter(&self) -> impl Iterator<Item = (Stage, Duration)> + use<> {
        Stage::ALL.into_iter().zip(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stage_has_a_time_of_its_own() {
        let mut times = StageTimes::default();
        for (place, stage) in (1..).zip(Stage::ALL) {
            times.set(stage, Duration::from_millis(place));
        }
        times.add(Stage::Queue, Duration::from_millis(10));
        let told: Vec<_> = times.iter().map(|(stage, took)| (stage.name(), took.as_millis())).collect();
        assert_eq!(told, [("decode", 1), ("preprocess", 2), ("queue", 13), ("inference", 4), ("postprocess", 5)]);
        assert_eq!(times.get(Stage::Queue), Duration::from_millis(13));
    }
}
