//! How many replicas a real server asks for. Which number it is, and how it gets there, is asked in virtual time: `replicas`.

use crate::harness::{Process, photo, png, root, until};

tests![what_is_refused_for_want_of_room_asks_for_more_than_one, what_no_replica_could_answer_asks_for_no_more_than_one];

/// How many replicas the server asks for.
async fn replicas(server: &Process) -> f64 {
    server.metrics().await["ounce_desired_replicas"]
}

async fn what_is_refused_for_want_of_room_asks_for_more_than_one() {
    // One place, and requests without pause, of photos that take their time to decode.
    let server = Process::start(&root().join("models"), &[("OUNCE_REQUESTS__MAX_IN_FLIGHT", "1")]).await;
    let photo =
        png(&image::RgbImage::from_fn(3000, 2400, |x, y| image::Rgb([(x ^ y) as u8, (x / 7) as u8, (y / 5) as u8])));
    until("it asks for more than one replica", async || {
        let both =
            [(), ()].map(|()| server.client.post(format!("{}/v1/detect", server.url)).body(photo.clone()).send());
        let statuses = futures_util::future::join_all(both).await;
        assert!(statuses.iter().any(|answer| answer.as_ref().is_ok_and(|answer| answer.status() == 200)));
        replicas(&server).await > 1.0
    })
    .await;
    until("it asks for one again", async || replicas(&server).await <= 1.0).await;
}

async fn what_no_replica_could_answer_asks_for_no_more_than_one() {
    let server = Process::start(&root().join("models"), &[]).await;
    let post = async |query: &str, body: Vec<u8>| {
        let request = server.client.post(format!("{}/v1/detect{query}", server.url)).body(body);
        request.send().await.expect("an answer").status().as_u16()
    };
    for _ in 0..100 {
        assert_eq!(post("", b"no picture".to_vec()).await, 415);
        assert_eq!(post("?variant=none", photo()).await, 400);
        // A deadline that even an idle replica misses.
        assert!([429, 504].contains(&post("?deadline_ms=1", photo()).await));
    }
    // Once this answer is in the numbers, all those before it are.
    assert_eq!(post("", photo()).await, 200);
    until("the answer is counted", async || replicas(&server).await > 0.0).await;
    assert!(replicas(&server).await <= 1.0);
}
