//! Learns how much CPU time decoding takes, by coding and size of the image, and estimates it for images to come. Pure: the
//! time comes in.

use std::time::{Duration, Instant};

use crate::vision::header::{Coding, ImageHeader};

/// Number of pieces of work of one coding and size that are remembered.
const KEPT: usize = 8;

/// Number of pieces of work of any kind that are remembered.
const KEPT_OF_ALL: usize = 32;

/// Time after which what was learned may no longer describe the machine, so that nobody is refused for it alone.
const STALE_AFTER: Duration = Duration::from_secs(1);

/// Classes of size: a class is four times as large as the one before it. The first ends at 64 thousand pixels.
const SIZES: usize = 7;

/// Estimate of one piece of work.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct WorkEstimate {
    /// CPU time that it takes, most likely.
    pub expected: Duration,
    /// CPU time that it takes at least; zero where that has to be learned first.
    pub least: Duration,
}

/// CPU time of the latest pieces of work.
#[derive(Debug, Default)]
pub(super) struct WorkTimes {
    of_all: Recent<KEPT_OF_ALL>,
    // Nanoseconds a pixel.
    by_kind: [[Recent<KEPT>; SIZES]; Coding::COUNT],
}

/// The latest values of something.
#[derive(Debug, Clone, Copy)]
struct Recent<const N: usize> {
    values: [f64; N],
    count: usize,
    next: usize,
    median: f64,
    least: f64,
    at: Option<Instant>,
}

impl<const N: usize> Default for Recent<N> {
    fn default() -> Self {
        Self { values: [0.0; N], count: 0, next: 0, median: 0.0, least: 0.0, at: None }
    }
}

impl<const N: usize> Recent<N> {
    fn record(&mut self, value: f64, now: Instant) {
        if let Some(slot) = self.values.get_mut(self.next) {
            *slot = value;
        }
        self.next = (self.next + 1) % N;
        self.count = (self.count + 1).min(N);
        self.at = Some(now);
        let mut sorted = self.values;
        let known = &mut sorted[..self.count];
        known.sort_unstable_by(f64::total_cmp);
        self.median = known.get((self.count - 1) / 2).copied().unwrap_or_default();
        self.least = known.first().copied().unwrap_or_default();
    }
}

impl WorkTimes {
    /// Learns what a piece of work took.
    pub(super) fn learn(&mut self, header: Option<ImageHeader>, cpu: Duration, now: Instant) {
        self.of_all.record(nanos(cpu), now);
        if let Some(header) = header {
            let recent = &mut self.by_kind[header.coding as usize][size(header)];
            recent.record(nanos(cpu) / pixels(header), now);
        }
    }

    /// The median of the latest pieces of work.
    pub(super) fn typical(&self) -> WorkEstimate {
        WorkEstimate { expected: duration(self.of_all.median), least: duration(self.of_all.least) }
    }

    /// Estimates a piece of work, of which the image's header tells most.
    pub(super) fn estimate(&self, header: Option<ImageHeader>, now: Instant) -> WorkEstimate {
        let Some(header) = header else { return self.typical() };
        let (kind, size) = (&self.by_kind[header.coding as usize], size(header));
        if let Some(known) = kind.get(size).filter(|recent| recent.count > 0) {
            let fresh = known.at.is_some_and(|at| now.saturating_duration_since(at) < STALE_AFTER);
            let least = if fresh { known.least } else { 0.0 };
            return WorkEstimate {
                expected: duration(known.median * pixels(header)),
                least: duration(least * pixels(header)),
            };
        }
        // A larger image takes no more a pixel than a smaller one, of whose time a part does not grow with the pixels.
        let larger = kind.iter().skip(size).find(|recent| recent.count > 0).map(|recent| recent.median);
        let smaller = kind.iter().take(size).rev().find(|recent| recent.count > 0);
        let each = larger.or(smaller.map(|recent| recent.median.min(guess(header.coding))));
        let each = each.unwrap_or_else(|| guess(header.coding));
        WorkEstimate { expected: duration(each * pixels(header)), least: Duration::ZERO }
    }
}

/// Nanoseconds a pixel on a fast machine, for as long as nothing has been learned.
fn guess(coding: Coding) -> f64 {
    match coding {
        Coding::Bmp => 3.0,
        Coding::SequentialJpeg | Coding::Png | Coding::Gif | Coding::Tiff => 6.0,
        Coding::LossyWebp | Coding::LosslessWebp => 12.0,
        Coding::ProgressiveJpeg => 18.0,
    }
}

fn size(header: ImageHeader) -> usize {
    let classes = (header.pixels >> 16).checked_ilog2().map_or(0, |log| log / 2 + 1);
    usize::try_from(classes).unwrap_or(SIZES).min(SIZES - 1)
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn pixels(header: ImageHeader) -> f64 {
    header.pixels.max(1) as f64
}

fn nanos(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}

fn duration(nanos: f64) -> Duration {
    Duration::from_secs_f64(nanos / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn jpeg(pixels: u64) -> Option<ImageHeader> {
        Some(ImageHeader { coding: Coding::SequentialJpeg, pixels })
    }

    #[test]
    fn the_estimate_goes_by_pixels_and_coding() {
        let (now, mut times) = (Instant::now(), WorkTimes::default());
        assert_eq!(times.typical(), WorkEstimate::default(), "nothing is known yet");
        let guessed = times.estimate(jpeg(50_000_000), now);
        assert_eq!((guessed.expected, guessed.least), (ms(300), ms(0)), "nobody is refused by a guess");
        [9, 10, 12].into_iter().for_each(|took| times.learn(jpeg(1_000_000), ms(took), now));
        assert_eq!(
            times.estimate(jpeg(800_000), now),
            WorkEstimate { expected: ms(8), least: Duration::from_micros(7_200) }
        );
        assert_eq!(times.estimate(jpeg(800_000), now + ms(1_500)).least, ms(0), "the machine may be faster by now");
        // What a small image takes a pixel says little about a large one.
        assert_eq!(times.estimate(jpeg(50_000_000), now).expected, ms(300));
        let progressive = ImageHeader { coding: Coding::ProgressiveJpeg, pixels: 1_000_000 };
        assert_eq!(times.estimate(Some(progressive), now).expected, ms(18));
        times.learn(jpeg(50_000_000), ms(800), now);
        assert_eq!(times.estimate(jpeg(25_000_000), now).expected, ms(400));
        assert_eq!(times.typical().expected, ms(10));
    }
}
