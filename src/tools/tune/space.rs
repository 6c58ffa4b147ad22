//! What there is to try, and what the latency curve says needs no trial.

use std::{collections::BTreeSet, fmt, time::Duration};

use serde::Serialize;

use crate::{inference::frontier::FrontierPoint, routing::frontier::Point};

/// Only what is better by so much is clearly better.
const CLEARLY: f64 = 0.9;

/// A larger batch has to be so much cheaper an image to be tried.
const GAIN: f64 = 0.95;

/// One way to serve a model.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Setting {
    /// The variant.
    pub variant: String,
    /// Sessions side by side.
    pub instances: usize,
    /// Intra-op threads a session.
    pub threads: usize,
    /// Threads that decode.
    pub decode_threads: usize,
    /// The most images in a run.
    pub max_batch: usize,
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { variant, instances, threads, decode_threads, max_batch } = self;
        write!(f, "{variant}, {instances}×{threads} threads, {decode_threads} decoding, batches up to {max_batch}")
    }
}

/// A variant that is not tried, or only once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pruned {
    /// The variant.
    pub variant: String,
    /// Why.
    pub why: String,
}

/// What the curve says.
#[derive(Debug, Clone)]
pub(super) struct SearchSpace<'a> {
    /// One point a variant that is accurate enough: an image a run.
    pub alone: Vec<&'a Point>,
    /// Those whose settings are searched.
    pub searched: Vec<&'a str>,
    /// Those that are not.
    pub pruned: Vec<Pruned>,
}

impl SearchSpace<'_> {
    pub(super) fn accuracy(&self, variant: &str) -> Option<f64> {
        self.alone.iter().find(|point| point.variant == variant).and_then(|point| point.accuracy)
    }
}

/// Looks at the curve of every variant.
pub(super) fn survey<'a>(
    points: &'a [FrontierPoint],
    slo: Duration,
    floor: Option<f64>,
) -> Result<SearchSpace<'a>, String> {
    let mut all: Vec<&Point> = Vec::new();
    for FrontierPoint { point, .. } in points {
        if !all.iter().any(|known| known.variant == point.variant) {
            all.push(point);
        }
    }
    let mut pruned = Vec::new();
    let mut prune = |point: &Point, why: String| pruned.push(Pruned { variant: point.variant.clone(), why });
    let accurate = |point: &Point| floor.is_none_or(|floor| point.accuracy.is_some_and(|accuracy| accuracy >= floor));
    let (alone, poor): (Vec<&Point>, Vec<&Point>) = all.iter().copied().partition(|point| accurate(point));
    for point in &poor {
        let has = point.accuracy.map_or("an accuracy that nobody knows".to_owned(), |accuracy| format!("{accuracy}"));
        prune(point, format!("it has {has}, which is below {}", floor.unwrap_or_default()));
    }
    if alone.is_empty() {
        let best = poor.iter().filter_map(|point| Some((point.accuracy?, &point.variant)));
        let best = best.rev().max_by(|a, b| a.0.total_cmp(&b.0));
        let best = best.map_or("none says how accurate it is".to_owned(), |(accuracy, variant)| {
            format!("the best, {variant}, has {accuracy}")
        });
        return Err(format!("no variant reaches the accuracy of {}; {best}", floor.unwrap_or_default()));
    }
    let mut searched = Vec::new();
    for point in &alone {
        let clearly = |one: f64, other: f64| one <= other * CLEARLY;
        let beats = |other: &&&Point| {
            clearly(other.p50.as_secs_f64(), point.p50.as_secs_f64())
                && clearly(other.usd_per_million, point.usd_per_million)
                && other.accuracy >= point.accuracy
        };
        if point.p50 > slo {
            prune(point, format!("a run alone takes {:.1} ms", point.p50.as_secs_f64() * 1e3));
        } else if let Some(better) = alone.iter().find(beats) {
            prune(point, format!("{} is faster, cheaper and no less accurate: tried once", better.variant));
        } else {
            searched.push(point.variant.as_str());
        }
    }
    Ok(SearchSpace { alone, searched, pruned })
}

/// Each variant once, as the thread plan has it; then all there is to try for those that are searched.
pub(super) fn settings(survey: &SearchSpace<'_>, points: &[FrontierPoint], cpus: usize) -> Vec<Setting> {
    let of = |variant: &str, (instances, threads): (usize, usize), decode_threads, max_batch| Setting {
        variant: variant.to_owned(),
        instances,
        threads,
        decode_threads,
        max_batch,
    };
    let mut all: Vec<Setting> = survey
        .alone
        .iter()
        .map(|point| of(&point.variant, (cpus, 1), cpus, best_batch(points, &point.variant)))
        .collect();
    let half = (cpus / 2).max(1);
    let powers = std::iter::successors(Some(2), |threads| Some(threads * 2)).take_while(|threads| *threads <= cpus);
    let plans: BTreeSet<(usize, usize)> =
        powers.map(|threads| (cpus / threads, threads)).chain([(cpus, 1), (half, 1)]).collect();
    for variant in &survey.searched {
        for &plan in plans.iter().rev() {
            for decode_threads in BTreeSet::from([cpus, half]).into_iter().rev() {
                for max_batch in BTreeSet::from([1, best_batch(points, variant)]) {
                    let setting = of(variant, plan, decode_threads, max_batch);
                    if !all.contains(&setting) {
                        all.push(setting);
                    }
                }
            }
        }
    }
    all
}

/// The largest batch that the curve says is clearly cheaper an image than the ones below it.
fn best_batch(points: &[FrontierPoint], variant: &str) -> usize {
    let sizes = points.iter().map(|of| &of.point).filter(|point| point.variant == variant);
    let mut best: Option<(usize, f64)> = None;
    for point in sizes {
        if best.is_none_or(|(_, usd)| point.usd_per_million < usd * GAIN) {
            best = Some((point.batch_size, point.usd_per_million));
        }
    }
    best.map_or(1, |(size, _)| size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(variant: &str, batch_size: usize, ms: u64, usd: f64, accuracy: f64) -> FrontierPoint {
        let time = Duration::from_millis(ms);
        let point = Point {
            variant: variant.to_owned(),
            batch_size,
            runs: 1,
            p50: time,
            p90: time,
            p99: time,
            answers_per_second: 1.0,
            usd_per_million: usd,
            accuracy: Some(accuracy),
        };
        FrontierPoint { point, dominated: false }
    }

    fn points() -> Vec<FrontierPoint> {
        vec![
            point("int8", 1, 10, 1.0, 0.8),
            point("int8", 4, 20, 0.5, 0.8),
            point("fp32", 1, 20, 2.0, 0.7),
            point("large", 1, 90, 9.0, 0.9),
            point("poor", 1, 1, 0.1, 0.3),
        ]
    }

    #[test]
    fn the_curve_spares_trials() {
        let points = points();
        let survey = survey(&points, Duration::from_millis(50), Some(0.5)).expect("some will do");
        assert_eq!(survey.searched, ["int8"]);
        let why: Vec<_> = survey.pruned.iter().map(|pruned| format!("{}: {}", pruned.variant, pruned.why)).collect();
        insta::assert_snapshot!(why.join("\n"), @r"
        poor: it has 0.3, which is below 0.5
        fp32: int8 is faster, cheaper and no less accurate: tried once
        large: a run alone takes 90.0 ms
        ");
        let settings: Vec<_> = settings(&survey, &points, 2).iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(settings.join("\n"), @r"
        int8, 2×1 threads, 2 decoding, batches up to 4
        fp32, 2×1 threads, 2 decoding, batches up to 1
        large, 2×1 threads, 2 decoding, batches up to 1
        int8, 2×1 threads, 2 decoding, batches up to 1
        int8, 2×1 threads, 1 decoding, batches up to 1
        int8, 2×1 threads, 1 decoding, batches up to 4
        int8, 1×2 threads, 2 decoding, batches up to 1
        int8, 1×2 threads, 2 decoding, batches up to 4
        int8, 1×2 threads, 1 decoding, batches up to 1
        int8, 1×2 threads, 1 decoding, batches up to 4
        int8, 1×1 threads, 2 decoding, batches up to 1
        int8, 1×1 threads, 2 decoding, batches up to 4
        int8, 1×1 threads, 1 decoding, batches up to 1
        int8, 1×1 threads, 1 decoding, batches up to 4
        ");
    }

    #[test]
    fn an_accuracy_that_nobody_has_is_named() {
        let refused = survey(&points(), Duration::from_millis(50), Some(0.95)).expect_err("refused");
        assert_eq!(refused, "no variant reaches the accuracy of 0.95; the best, large, has 0.9");
    }
}
