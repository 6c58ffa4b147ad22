//! Tries a graph before it serves: what does not fit shows here and not at the first request, and the latency profile
//! begins with what runs take on this machine.

use std::time::{Duration, Instant};

use super::model::BatchAxis;
use crate::{
    config::{Auto, Provider},
    cost::CpuTime,
    engine::{Engine, thread_plan::ThreadPlan},
    manifest::Batching,
    scheduler::{
        latency_profile::LatencyProfile,
        policy::{BatchLimits, powers_up_to},
        pool_cpu_time::PoolCpuTime,
        worker::{ExecutionMode, Stopwatch},
    },
    tasks::{PostprocessOptions, Postprocessor},
    vision::{
        decode::{DecodedImage, Pixels, SourceFormat},
        prepare::{Preprocessed, Preprocessor},
        tensor::{ElementType, Tensor},
    },
};

/// How far a row of a batch may differ from the same row alone, relative to 1 or to the value.
const TOLERANCE: f64 = 1e-4;

/// The same for half-precision outputs, which have a precision of 11 bits.
const F16_TOLERANCE: f64 = 4e-3;

/// A larger batch is better when an image takes less than this part of the best time so far. With a laxer limit, noise
/// on a busy CPU would lead to batches that are never used but keep their memory.
const CLEARLY_BETTER: f64 = 0.9;

/// How long each batch size is measured.
const MEASURE_FOR: Duration = Duration::from_millis(40);

/// The least and the largest number of runs that measure a batch size.
const MEASURE_RUNS: std::ops::RangeInclusive<usize> = 2..=16;

/// The largest batch where the manifest names none. The latency profile decides which sizes are worth running.
pub(super) const DEFAULT_MAX_BATCH: usize = 32;

/// Sends a blank image through the whole graph: what does not fit together fails here.
pub(super) fn fits(
    engine: &mut dyn Engine,
    preprocessor: &Preprocessor,
    postprocessor: &Postprocessor,
    options: &PostprocessOptions,
) -> Result<(), String> {
    let preprocessed = preprocessor.preprocess(&image(preprocessor, |_, _| [114; 3]))?;
    let outputs =
        engine.run(&preprocessed.inputs).map_err(|error| format!("a blank picture fails in the graph: {error}"))?;
    postprocessor.read(&outputs, &preprocessed.placement, options).map(drop)
}

/// Checks that `batched` gives three images in one run what `single` gives each of them alone. Without `batched`, `single` has
/// to give both.
pub(super) fn takes_batches(
    single: &mut dyn Engine,
    batched: Option<&mut dyn Engine>,
    preprocessor: &Preprocessor,
) -> Result<(), String> {
    let tolerance = |output: &Tensor| if output.element() == ElementType::F16 { F16_TOLERANCE } else { TOLERANCE };
    let images = [1, 2, 3]
        .map(|seed| preprocessor.preprocess(&noise(preprocessor, seed)).map(|preprocessed| preprocessed.inputs));
    let images = images.into_iter().collect::<Result<Vec<_>, _>>()?;
    let alone: Vec<Vec<Tensor>> = images.iter().map(|inputs| single.run(inputs)).collect::<Result<_, _>>()?;
    let inputs = stacked(&images, images.len()).ok_or("its inputs do not stack")?;
    let batched = match batched {
        Some(batched) => batched.run(&inputs),
        None => single.run(&inputs),
    };
    let together = batched.map_err(|error| format!("three pictures fail: {error}"))?;
    for (place, output) in together.iter().enumerate() {
        if output.shape().first() != Some(&images.len()) {
            return Err(format!("output {place} of three pictures has the shape {:?}", output.shape()));
        }
        for (row, alone) in alone.iter().enumerate() {
            let apart = alone.get(place).map_or(f64::INFINITY, |alone| output.rows(row, 1).distance(alone));
            if apart > tolerance(output) {
                return Err(format!("output {place} of a batch differs by {apart:.1e} from that of one picture"));
            }
        }
    }
    Ok(())
}

/// Runs each fixed batch size once, or one image, in a session whose graph was probed in another.
pub(super) fn warm(engine: &mut dyn Engine, preprocessor: &Preprocessor, limits: &BatchLimits) -> Result<(), String> {
    let Preprocessed { inputs, .. } = preprocessor.preprocess(&noise(preprocessor, 1))?;
    let sizes = if limits.buckets.is_empty() { &[1][..] } else { &limits.buckets };
    for &size in sizes {
        let inputs = stacked(std::slice::from_ref(&inputs), size).ok_or("its inputs do not stack")?;
        engine.run(&inputs).map_err(|error| format!("a batch of {size} fails: {error}"))?;
    }
    Ok(())
}

/// Runs the batch sizes in ascending order until a larger one stops being better, and returns how long runs of each took. A
/// size that fails, for want of memory say, ends the search, and the last one that ran becomes the limit.
pub(super) fn measure(
    engine: &mut dyn Engine,
    preprocessor: &Preprocessor,
    limits: &mut BatchLimits,
    execution_mode: ExecutionMode,
) -> Result<(LatencyProfile, PoolCpuTime), String> {
    let Preprocessed { inputs, .. } = preprocessor.preprocess(&noise(preprocessor, 1))?;
    let (mut profile, mut pool_cpu_time) = (LatencyProfile::default(), PoolCpuTime::default());
    let (mut best, mut worse) = (f64::INFINITY, 0);
    for size in sizes(limits) {
        let inputs = stacked(std::slice::from_ref(&inputs), size).ok_or("its inputs do not stack")?;
        // The first run of a size allocates, and on some providers compiles.
        if let Err(error) = engine.run(&inputs) {
            let Some(largest) = profile.sizes().last() else { return Err(format!("a picture fails: {error}")) };
            tracing::warn!("a batch of {size} fails, so {largest} is the limit: {error}");
            limits.max_rows = largest;
            limits.buckets.retain(|bucket| *bucket <= largest);
            break;
        }
        let begun = Instant::now();
        for run in 0..*MEASURE_RUNS.end() {
            if run >= *MEASURE_RUNS.start() && begun.elapsed() > MEASURE_FOR {
                break;
            }
            let (watch, process) = (Stopwatch::start(), CpuTime::of_this_process());
            engine.run(&inputs).map_err(|error| format!("a batch of {size} fails: {error}"))?;
            profile.record(size, watch.stop(execution_mode));
            pool_cpu_time.record(size, CpuTime::of_this_process() - process);
        }
        #[expect(clippy::cast_precision_loss, reason = "a batch is small")]
        let each = profile.service_time(size).as_secs_f64() / size as f64;
        // Fixed sizes must all be compiled before traffic comes; free sizes are measured only while they may pay.
        worse = if each < best * CLEARLY_BETTER { 0 } else { worse + 1 };
        best = best.min(each);
        if worse == 2 && limits.buckets.is_empty() {
            break;
        }
    }
    Ok((profile, pool_cpu_time))
}

/// The batch sizes to measure: the fixed ones, or powers of two up to the largest.
fn sizes(limits: &BatchLimits) -> Vec<usize> {
    if limits.buckets.is_empty() { powers_up_to(limits.max_rows) } else { limits.buckets.clone() }
}

fn stacked(images: &[Vec<Tensor>], rows: usize) -> Option<Vec<Tensor>> {
    let inputs = images.first()?.len();
    let parts = |input| images.iter().map(|inputs| inputs.get(input)).collect::<Option<Vec<&Tensor>>>();
    (0..inputs).map(|input| Tensor::stack(&parts(input)?, rows, None)).collect()
}

/// An image of the input's own size, so that nothing is resized.
fn image(preprocessor: &Preprocessor, pixel: impl Fn(u32, u32) -> [u8; 3]) -> DecodedImage {
    let (width, height) = preprocessor.input_size();
    let rgb = (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).flat_map(|(x, y)| pixel(x, y)).collect();
    DecodedImage { width, height, pixels: Pixels { width, height, rgb }, format: SourceFormat::Png, orientation: 1 }
}

/// Blocks of 16×16 pixels in colours that depend on the seed: neither flat nor white noise, which networks answer with
/// much the same numbers whatever the image.
fn noise(preprocessor: &Preprocessor, seed: u32) -> DecodedImage {
    image(preprocessor, |x, y| {
        let block =
            (x / 16).wrapping_mul(0x9E37_79B1) ^ (y / 16).wrapping_mul(0x85EB_CA77) ^ seed.wrapping_mul(0xC2B2_AE3D);
        let mixed = (block ^ (block >> 15)).wrapping_mul(0x2C1B_3C6D);
        let [_, r, g, b] = (mixed ^ (mixed >> 12)).wrapping_mul(0x297A_2D39).to_be_bytes();
        [r, g, b]
    })
}

/// What a batch may be, by the manifest and by whether the graph takes several images.
pub(super) fn limits(batching: &Batching, axis: BatchAxis, providers: &[Provider]) -> Result<BatchLimits, String> {
    let max_delay = batching.max_delay_ms.map(Duration::from_millis);
    if !axis.is_free() {
        return Ok(BatchLimits { max_rows: 1, buckets: Vec::new(), max_delay });
    }
    let max_rows = batching.max_batch.or(DEFAULT_MAX_BATCH);
    let mut buckets: Vec<usize> = match (&batching.sizes, providers.first()) {
        (Some(sizes), _) => sizes.iter().map(|size| size.get()).collect(),
        // TensorRT builds an engine for every shape.
        (None, Some(Provider::Tensorrt)) => powers_up_to(max_rows),
        (None, _) => Vec::new(),
    };
    buckets.sort_unstable();
    buckets.dedup();
    match (buckets.last(), batching.max_batch) {
        (Some(&largest), Auto::Fixed(most)) if largest > most.get() => {
            Err(format!("batching.sizes has {largest}, but max_batch is {most}"))
        }
        (Some(&largest), _) => Ok(BatchLimits { max_rows: largest, buckets, max_delay }),
        (None, _) if batching.sizes.is_some() => Err("batching.sizes is empty; leave it out for any size".to_owned()),
        (None, _) => Ok(BatchLimits { max_rows, buckets, max_delay }),
    }
}

/// Where the runs of a session compute. OpenVINO computes on threads of its own, however few.
pub(super) fn execution_mode(providers: &[Provider], plan: ThreadPlan) -> ExecutionMode {
    match providers.first() {
        Some(Provider::Cuda | Provider::Tensorrt) => ExecutionMode::Device,
        Some(Provider::Openvino) => ExecutionMode::ThreadPool(plan.threads),
        Some(Provider::Cpu) | None if plan.threads == 1 => ExecutionMode::WorkerThread,
        Some(Provider::Cpu) | None => ExecutionMode::ThreadPool(plan.threads),
    }
}
