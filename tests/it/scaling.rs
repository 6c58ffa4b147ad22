//! How many replicas a real server asks for. Which number it is, and how it gets there, is asked in virtual time: `replicas`.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::harness::{Process, only, photo, png, root, until, white};

tests![
    what_is_refused_for_want_of_room_asks_for_more_than_one,
    what_no_replica_could_answer_asks_for_no_more_than_one,
    who_only_announces_a_body_asks_for_no_replica,
];

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

async fn who_only_announces_a_body_asks_for_no_replica() {
    // One place, which an image holds for seconds, one after the other.
    let server = Process::start(only(&["slow-on-white"]).path(), &[("OUNCE_REQUESTS__MAX_IN_FLIGHT", "1")]).await;
    let holding = {
        let (client, url) = (server.client.clone(), format!("{}/v1/classify", server.url));
        tokio::spawn(async move { while client.post(&url).body(white()).send().await.is_ok() {} })
    };
    let head = async |bytes: u32| {
        let mut stream = TcpStream::connect(server.address).await.expect("connected");
        let head = format!(
            "POST /v1/classify HTTP/1.1\r\nhost: localhost\r\ncontent-length: {bytes}\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        answer.split(' ').nth(1).unwrap_or_default().to_owned()
    };
    until("the place is taken", async || {
        let posted = server.client.post(format!("{}/v1/classify", server.url)).body(photo()).send().await;
        posted.is_ok_and(|answer| answer.status() == 429)
    })
    .await;
    let mut refused = 0;
    let mut most: f64 = 0.0;
    until("many heads were refused for want of room", async || {
        let heads = (0..50).flat_map(|_| [head(1000), head(99_999_999)]);
        for status in futures_util::future::join_all(heads).await {
            refused += u32::from(status == "429");
        }
        most = most.max(replicas(&server).await);
        refused >= 150
    })
    .await;
    holding.abort();
    assert!(most < 1.5, "{most} replicas for {refused} heads");
}
