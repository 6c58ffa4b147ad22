//! Compares ounce's batching with the best fixed batch size: `cargo bench --bench batching` draws docs/batching.svg.
//!
//! The simulated device takes 20 ms a run and 0.5 ms a row, as a GPU might, which ounce has to learn. The lines are in
//! virtual time (the same simulation as in the tests). The dots are real worker threads whose engine sleeps in real time.

#[path = "../tests/it/simulated.rs"]
mod simulated;

use std::{
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use ounce::{
    engine::Engine,
    scheduler::{
        job::{Job, Priority},
        latency_profile::LatencyProfile,
        policy::{BatchLimits, Pending},
        pool_cpu_time::PoolCpuTime,
        queue::Queue,
        worker::{self, ExecutionMode, Stopwatch, WorkerConfig},
    },
    telemetry::metrics::Metrics,
    vision::tensor::Tensor,
};
use plotters::prelude::*;
use simulated::{Arrival, Device, Fate, Fixed, Random, Story, best_fixed, fixed, ounce};
use tokio::sync::oneshot;

const DEVICE: Device = Device { per_run: Duration::from_millis(20), per_row: Duration::from_micros(500) };
const MAX: usize = 32;
const DEADLINE: Duration = Duration::from_millis(100);
const SECONDS: f64 = 20.0;

fn limits() -> BatchLimits {
    BatchLimits { max_rows: MAX, buckets: Vec::new(), max_delay: None }
}

/// What the server gave at one rate of requests.
#[derive(Debug, Clone, Copy)]
struct Measured {
    /// Answers in time a second.
    goodput: f64,
    /// Median latency of the answers in ms.
    p50_ms: f64,
}

/// A line of the plot: its name, its colour, and the measurement at each load.
type Line = (&'static str, RGBColor, Vec<(f64, Measured)>);

/// One half of the plot: its name, the end of its axis, and the value that it shows.
type Side = (&'static str, f64, fn(&Measured) -> f64);

fn measured(story: &Story, arrivals: &[Arrival], seconds: f64) -> Measured {
    let mut took: Vec<f64> = story
        .fates
        .iter()
        .zip(arrivals)
        .filter_map(|(fate, arrival)| match fate {
            Fate::RunOutput { ended, .. } => Some((*ended - arrival.at).as_secs_f64() * 1e3),
            Fate::Refused | Fate::Late | Fate::Gone => None,
        })
        .collect();
    took.sort_by(f64::total_cmp);
    let goodput = story.in_time(arrivals) as f64 / seconds;
    Measured { goodput, p50_ms: took.get(took.len() / 2).copied().unwrap_or(f64::NAN) }
}

fn main() {
    let full = DEVICE.capacity(MAX);
    let loads: Vec<f64> = (1..=24).map(|step| full * f64::from(step) / 16.0).collect();
    let mut lines: Vec<Line> = Vec::new();
    let of = |run: &dyn Fn(&[Arrival]) -> Story| -> Vec<(f64, Measured)> {
        let at = |load: &f64| {
            let arrivals = Random::new(1).arrivals(*load, SECONDS, DEADLINE);
            (*load, measured(&run(&arrivals), &arrivals, SECONDS))
        };
        loads.iter().map(at).collect()
    };
    for (name, color, size) in [("always 1", GREY, 1), ("up to 8, at once", AMBER, 8), ("up to 32, at once", GREEN, 32)]
    {
        lines.push((name, color, of(&|arrivals| fixed(DEVICE, size, Fixed::Greedy, usize::MAX, arrivals))));
    }
    lines.push(("32 or the last moment", PURPLE, of(&|a| fixed(DEVICE, MAX, Fixed::Patient, usize::MAX, a))));
    let best: Vec<_> = loads
        .iter()
        .map(|load| (*load, best_fixed(DEVICE, MAX, &Random::new(1).arrivals(*load, SECONDS, DEADLINE))))
        .collect();
    let best_goodput =
        best.iter().map(|(load, (best, _))| (*load, Measured { goodput: *best as f64 / SECONDS, p50_ms: f64::NAN }));
    lines.push(("the best size and queue", BLACK, best_goodput.collect()));
    let ours = of(&|arrivals| ounce(DEVICE, 1, &limits(), 256, DEVICE.warmed_up(MAX), arrivals));
    lines.push(("ounce", BLUE, ours.clone()));

    println!("load/s | best fixed size, its goodput | ounce | ratio | p50 ms of ounce, of 32 at once");
    for (index, (load, Measured { goodput, p50_ms })) in ours.iter().enumerate() {
        let (_, (best, size)) = best[index];
        let (best, greedy) = (best as f64 / SECONDS, lines[2].2[index].1.p50_ms);
        println!("{load:.0} | {size}, {best:.0} | {goodput:.0} | {:.3} | {p50_ms:.1}, {greedy:.1}", goodput / best);
    }
    println!("real threads: load/s | goodput | p50 ms");
    let dots: Vec<(f64, Measured)> = [0.1, 0.3, 0.5, 0.7, 0.9, 1.1, 1.4]
        .map(|part| (part * full, real(part * full, 4.0)))
        .into_iter()
        .inspect(|(load, Measured { goodput, p50_ms })| println!("{load:.0} | {goodput:.0} | {p50_ms:.1}"))
        .collect();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/batching.svg");
    draw(&file, &lines, &dots).expect("the plot can be written");
    println!("drawn: {}", file.display());
}

/// An engine that sleeps as long as the simulated device runs.
struct Sleeper;

impl Engine for Sleeper {
    fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        thread::sleep(DEVICE.run(inputs[0].shape()[0]));
        Ok(inputs.to_vec())
    }
}

fn row() -> Tensor {
    ndarray::ArrayD::<f32>::zeros(vec![1, 1]).into()
}

/// Runs a real queue and a real worker thread at a load.
fn real(per_second: f64, seconds: f64) -> Measured {
    let mut profile = LatencyProfile::default();
    for rows in [1, 2, 4, 8, 16, 32] {
        let inputs = Tensor::stack(&[&row()], rows, None).expect("rows");
        let stopwatch = Stopwatch::start();
        Sleeper.run(&[inputs]).expect("it only sleeps");
        profile.record(rows, stopwatch.stop(ExecutionMode::Device));
    }
    let queue = Arc::new(Queue::new(256, 1, limits(), profile));
    let batch_sizes = Metrics::new().expect("metrics").batch_sizes("device");
    let config = WorkerConfig {
        model: "sleeper".into(),
        limits: limits(),
        execution_mode: ExecutionMode::Device,
        pool_cpu_time: PoolCpuTime::default(),
        device: Arc::default(),
        batch_sizes,
    };
    let worker = worker::start(Arc::clone(&queue), 0, Box::new(Sleeper), config).expect("a thread");
    let begun = Instant::now();
    let (sender, receiver) = std::sync::mpsc::channel();
    let collecting = thread::spawn(move || {
        let mut took = Vec::new();
        for reply in receiver {
            let reply: (Instant, oneshot::Receiver<_>) = reply;
            // Replies come in the order of requests, so waiting for them in turn measures each.
            if reply.1.blocking_recv().is_ok_and(|ran: Result<ounce::scheduler::job::RunOutput, _>| ran.is_ok()) {
                took.push(reply.0.elapsed());
            }
        }
        took
    });
    for arrival in Random::new(2).arrivals(per_second, seconds, DEADLINE) {
        thread::sleep((begun + arrival.at).saturating_duration_since(Instant::now()));
        let (reply, answer) = oneshot::channel();
        let queued_at = Instant::now();
        let pending = Pending { rows: 1, batchable: true, queued_at, deadline: queued_at + DEADLINE };
        if queue
            .push(Job {
                inputs: vec![row()],
                pending,
                priority: Priority::default(),
                share: ounce::cost::FairShare::default(),
                reply,
                meter: None,
            })
            .is_ok()
        {
            sender.send((queued_at, answer)).expect("the collector lives");
        }
    }
    drop(sender);
    let mut took = collecting.join().expect("no panic");
    queue.close(false);
    worker.join().expect("no panic");
    took.sort();
    let in_time = took.partition_point(|took| *took <= DEADLINE);
    let p50_ms = took.get(took.len() / 2).map_or(f64::NAN, |took| took.as_secs_f64() * 1e3);
    Measured { goodput: in_time as f64 / seconds, p50_ms }
}

const GREY: RGBColor = RGBColor(130, 130, 130);
const AMBER: RGBColor = RGBColor(217, 119, 6);
const GREEN: RGBColor = RGBColor(21, 128, 61);
const PURPLE: RGBColor = RGBColor(126, 34, 206);
const BLUE: RGBColor = RGBColor(29, 78, 216);

fn draw(file: &Path, lines: &[Line], dots: &[(f64, Measured)]) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::new(file, (960, 420)).into_drawing_area();
    area.fill(&WHITE)?;
    let title = "A device of 20 ms a run + 0.5 ms a row; requests with a deadline of 100 ms";
    let area = area.titled(title, ("sans-serif", 18))?;
    let (most_x, panels) = (DEVICE.capacity(MAX) * 1.5, area.split_evenly((1, 2)));
    let sides: [Side; 2] =
        [("answers in time a second", 950.0, |m| m.goodput), ("median latency of answers, ms", 110.0, |m| m.p50_ms)];
    for (panel, (name, most_y, value)) in panels.iter().zip(sides) {
        let mut chart = ChartBuilder::on(panel)
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(46)
            .caption(name, ("sans-serif", 15))
            .build_cartesian_2d(0.0..most_x, 0.0..most_y)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(RGBColor(225, 225, 225))
            .x_label_formatter(&|x| format!("{x:.0}"))
            .y_label_formatter(&|y| format!("{y:.0}"))
            .x_desc("requests a second")
            .label_style(("sans-serif", 12))
            .draw()?;
        for (name, color, points) in lines {
            let style = color.stroke_width(if *name == "ounce" { 3 } else { 2 });
            let points = points.iter().map(|(load, measured)| (*load, value(measured)));
            let drawn = chart.draw_series(LineSeries::new(points.filter(|(_, y)| y.is_finite()), style))?;
            drawn.label(*name).legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
        }
        let dots = dots.iter().map(|(load, measured)| Circle::new((*load, value(measured)), 4, BLUE.filled()));
        chart
            .draw_series(dots)?
            .label("ounce, real threads")
            .legend(|(x, y)| Circle::new((x + 9, y), 4, BLUE.filled()));
        if most_y < 200.0 {
            chart
                .configure_series_labels()
                .position(SeriesLabelPosition::LowerRight)
                .background_style(WHITE.mix(0.7))
                .label_font(("sans-serif", 11))
                .draw()?;
        }
    }
    area.present()?;
    Ok(())
}
