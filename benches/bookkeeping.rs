//! Measures the CPU time that the ledger and the metrics add to a request: `cargo bench --bench bookkeeping`.
//!
//! It repeats the bookkeeping of one answered request: a meter that is charged and billed, five stages, an answer, and the
//! counters of the router and of a run. It compares this with the CPU time that the release binary uses for a whole
//! request of a small photo, without its idle use. `PHOTO=photo.jpg` posts a photo of yours.

mod server;

use std::{
    env, fs,
    sync::Arc,
    time::{Duration, Instant},
};

use ounce::{
    config::Config,
    cost::{Account, BillingInfo, CpuTime, Ledger, Meter, Tenant},
    telemetry::{Stage, StageTimes, metrics::Metrics},
};
use server::Server;

const REPEATED: usize = 200_000;
const REQUESTS: usize = 3_000;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let booking = bookkeeping_seconds();
    let request = request_seconds().await;
    println!("bookkeeping: {:.2} µs of CPU time a request", booking * 1e6);
    println!("a request: {:.0} µs of CPU time in all", request * 1e6);
    println!("share: {:.2} %", 100.0 * booking / request);
}

fn bookkeeping_seconds() -> f64 {
    let config = Config::defaults().expect("defaults");
    let metrics = Arc::new(Metrics::new().expect("metrics"));
    let ledger = Ledger::new(&config, Arc::clone(&metrics));
    let tenant = ledger.tenants.find([None, None], None);
    assert_eq!(tenant, Tenant::default());
    let series = metrics.variant("pedestrian", "int8");
    let batch_sizes = metrics.batch_sizes("pedestrian");
    let mut stages = StageTimes::default();
    Stage::ALL.into_iter().for_each(|stage| stages.set(stage, Duration::from_micros(300)));
    let one = || {
        let (model, variant) = ("pedestrian".into(), "int8".into());
        assert!(ledger.budget_state(tenant).is_ok());
        series.routed("cost");
        let meter =
            Meter::new(&ledger, BillingInfo { account: Account::Request, model, variant, tenant, allowance: None });
        for nanos in [400_000, 900_000, 20_000, 1_000] {
            // A measurement reads the thread's clock twice.
            let began = CpuTime::of_this_thread();
            meter.charge((CpuTime::of_this_thread_since(began) + CpuTime::from_nanos(nanos)).into());
        }
        batch_sizes.ran(1);
        let cost = meter.bill();
        series.answered(Duration::from_millis(2), &stages);
        std::hint::black_box(cost);
    };
    (0..REPEATED / 10).for_each(|_| one());
    let began = CpuTime::of_this_thread();
    (0..REPEATED).for_each(|_| one());
    CpuTime::of_this_thread_since(began).seconds() / REPEATED as f64
}

async fn request_seconds() -> f64 {
    let photo: bytes::Bytes =
        env::var_os("PHOTO").map_or_else(generated_image, |path| fs::read(path).expect("PHOTO")).into();
    let server = Server::start(["--log", "warn"]).await;
    let client = reqwest::Client::new();
    let url = format!("{}/v1/detect", server.url);
    let post = || async {
        let response = client.post(&url).body(photo.clone()).send().await.expect("an answer");
        assert_eq!(response.status(), 200);
        response.bytes().await.expect("a body");
    };
    for _ in 0..REQUESTS / 10 {
        post().await;
    }
    let (began, used) = (Instant::now(), cpu_seconds(&server));
    for _ in 0..REQUESTS {
        post().await;
    }
    let (busy_for, busy) = (began.elapsed(), cpu_seconds(&server) - used);
    let used = cpu_seconds(&server);
    tokio::time::sleep(busy_for).await;
    let idle = cpu_seconds(&server) - used;
    (busy - idle) / REQUESTS as f64
}

/// Makes a JPEG of 320×320 pixels that is quick to decode, so that the share of the bookkeeping is large.
fn generated_image() -> Vec<u8> {
    let image = image::RgbImage::from_fn(320, 320, |x, y| image::Rgb([(x / 2) as u8, (y / 2) as u8, 90]));
    let mut jpeg = std::io::Cursor::new(Vec::new());
    image.write_to(&mut jpeg, image::ImageFormat::Jpeg).expect("a JPEG");
    jpeg.into_inner()
}

/// The server's CPU time in seconds, in user and system mode.
fn cpu_seconds(server: &Server) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", server.process.id())).expect("Linux");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("a name").split_whitespace().collect();
    let ticks: u64 = [11, 12].iter().map(|&field| fields[field].parse::<u64>().expect("ticks")).sum();
    ticks as f64 / 100.0
}
