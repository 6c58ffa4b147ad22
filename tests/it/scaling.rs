//! How many replicas a real server asks for: it follows the requests up and down, and goes back and forth over nothing.

use std::time::{Duration, Instant};

use ounce::bench::{Picture, Plan, Target, Watch, open_loop};

use crate::harness::{Process, png, root, until};

/// A photo that takes so long to decode that few of them fill a replica.
fn large_photo() -> Vec<u8> {
    png(&image::RgbImage::from_fn(3000, 2400, |x, y| image::Rgb([(x ^ y) as u8, (x / 7) as u8, (y / 5) as u8])))
}

/// What the server says of itself now.
async fn told(server: &Process, name: &str) -> f64 {
    server.metrics().await.get(name).copied().unwrap_or_default()
}

const REPLICAS: &str = "ounce_desired_replicas";
const CAPACITY: &str = r#"ounce_capacity_per_second{model="pedestrian"}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_number_of_replicas_follows_the_requests() {
    let server = Process::start(&root().join("models"), &[]).await;
    let picture = large_photo();
    let target = || Target::new(&server.url, vec![Picture::new(picture.clone().into())], &[]).expect("a target");

    // What answers take here, the first of them teach.
    assert_eq!(told(&server, REPLICAS).await, 0.0);
    let plan = |seconds| Plan {
        warmup: Duration::ZERO,
        duration: Duration::from_secs(seconds),
        slo_p99: Duration::from_secs(1),
    };
    open_loop(&target(), 2.0, &plan(5), &Watch::default()).await.expect("a load");
    until("it knows what it can give", async || told(&server, CAPACITY).await > 0.0).await;
    let capacity = told(&server, CAPACITY).await;
    eprintln!("capacity {capacity:.1} answers/s");

    let mut before = told(&server, REPLICAS).await.ceil();
    // A replica is to be asked for 0.8 of that.
    for needed in [1.0, 2.0, 1.0] {
        let rate = (needed - 0.4) * 0.8 * capacity;
        let begun = Instant::now();
        let (target, plan, watch) = (target(), plan(60), Watch::default());
        let load = tokio::spawn({
            let watch = watch.clone();
            async move { open_loop(&target, rate, &plan, &watch).await }
        });
        let mut heard = vec![before];
        let there = async {
            while heard.last() != Some(&needed) {
                tokio::time::sleep(Duration::from_millis(500)).await;
                heard.push(told(&server, REPLICAS).await.ceil());
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(30), there).await;
        let took = begun.elapsed().as_secs_f64();
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(500)).await;
            heard.push(told(&server, REPLICAS).await.ceil());
        }
        watch.stop();
        load.await.expect("no panic").expect("a load");
        eprintln!("{rate:.1} requests/s: {needed} replicas after {took:.1} s; {heard:?}");
        assert!(in_time.is_ok(), "{needed} replicas within 30 s: {heard:?}");
        let turns = heard.windows(2).filter(|pair| (pair[1] - pair[0]) * (needed - before) < 0.0).count();
        assert_eq!(turns, 0, "from {before} to {needed} without going back: {heard:?}");
        before = needed;
    }
}
