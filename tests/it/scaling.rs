//! How many replicas a real server asks for: it follows the requests up and down, goes back and forth over nothing, and does
//! not let itself be talked into more than could answer.

use std::time::Duration;

use ounce::tools::bench::{Picture, Plan, Target, Watch, open_loop};

use crate::harness::{Process, photo, png, root, until};

tests![
    the_number_of_replicas_follows_the_requests,
    what_no_replica_could_answer_asks_for_none,
    what_is_refused_for_want_of_room_asks_for_more_than_one
];

/// A photo that takes its time to decode, so that few of them fill a replica.
fn large_photo(width: u32) -> Vec<u8> {
    png(&image::RgbImage::from_fn(width, width * 4 / 5, |x, y| {
        image::Rgb([(x ^ y) as u8, (x / 7) as u8, (y / 5) as u8])
    }))
}

/// What the server says of itself now.
async fn told(server: &Process, name: &str) -> f64 {
    server.metrics().await.get(name).copied().unwrap_or_default()
}

const REPLICAS: &str = "ounce_desired_replicas";
const CAPACITY: &str = r#"ounce_capacity_per_second{model="pedestrian"}"#;

async fn the_number_of_replicas_follows_the_requests() {
    // A replica is to be asked for little, so that other tests beside this one take nothing that it needs.
    let server = Process::start(&root().join("models"), &[("OUNCE_SCALE__TARGET_LOAD", "0.1")]).await;
    let picture = large_photo(600);
    let target = || Target::new(&server.url, vec![Picture::new(picture.clone().into())], &[]).expect("a target");

    // What answers take here, the first of them teach.
    assert_eq!(told(&server, REPLICAS).await, 0.0);
    let plan = |seconds| Plan {
        warmup: Duration::ZERO,
        duration: Duration::from_secs(seconds),
        slo_p99: Duration::from_secs(1),
    };
    open_loop(&target(), 20.0, &plan(5), &Watch::default()).await.expect("a load");
    until("it knows what it can give", async || told(&server, CAPACITY).await > 0.0).await;
    let capacity = told(&server, CAPACITY).await;
    eprintln!("capacity {capacity:.1} answers/s");

    for needed in [2.0, 1.0] {
        let rate = (needed - 0.4) * 0.1 * capacity;
        let (target, plan, watch) = (target(), plan(60), Watch::default());
        let load = tokio::spawn({
            let watch = watch.clone();
            async move { open_loop(&target, rate, &plan, &watch).await }
        });
        let mut heard = Vec::new();
        for _ in 0..80 {
            tokio::time::sleep(Duration::from_millis(500)).await;
            heard.push(told(&server, REPLICAS).await.ceil());
        }
        watch.stop();
        load.await.expect("no panic").expect("a load");
        eprintln!("{rate:.1} requests/s: {needed} replicas; {heard:?}");
        let (at_first, then) = heard.split_at(60);
        assert!(then.iter().all(|told| *told == needed), "{needed} within 30 s, and there it stays: {then:?}");
        let changes = at_first.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!(changes <= 3, "{changes} changes on the way to {needed}: {at_first:?}");
    }
}

async fn what_no_replica_could_answer_asks_for_none() {
    let server = Process::start(&root().join("models"), &[]).await;
    let post = async |query: &str, body: Vec<u8>| {
        let request = server.client.post(format!("{}/v1/detect{query}", server.url)).body(body);
        request.send().await.expect("an answer").status().as_u16()
    };
    assert_eq!(post("", photo()).await, 200);
    for _ in 0..300 {
        assert_eq!(post("", b"no picture".to_vec()).await, 415);
        assert_eq!(post("?variant=none", photo()).await, 400);
        // A deadline that even an idle replica misses.
        assert!([429, 504].contains(&post("?deadline_ms=1", photo()).await));
    }
    // The next looks.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let load = told(&server, "ounce_load_ratio").await;
    assert!(load < 0.1, "{load}");
}

async fn what_is_refused_for_want_of_room_asks_for_more_than_one() {
    // One place, and requests without pause.
    let server = Process::start(&root().join("models"), &[("OUNCE_REQUESTS__MAX_IN_FLIGHT", "1")]).await;
    let picture = large_photo(3000);
    until("it asks for more than one replica", async || {
        let both =
            [(), ()].map(|()| server.client.post(format!("{}/v1/detect", server.url)).body(picture.clone()).send());
        let statuses = futures_util::future::join_all(both).await;
        assert!(statuses.iter().any(|answer| answer.as_ref().is_ok_and(|answer| answer.status() == 200)));
        told(&server, REPLICAS).await > 1.0
    })
    .await;
}
