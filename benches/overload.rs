//! Sends twice as many requests as the server can answer, each with a deadline: `cargo bench --bench overload`.
//!
//! The server is the release binary with its shipped models and default settings. First a closed loop finds its
//! capacity on this machine. Then an open loop sends requests at a multiple of it (Poisson arrivals), whether answers
//! come or not, so that waiting is not hidden (coordinated omission). Client and server share the machine's CPUs.
//! `PHOTO=photo.jpg` posts a photo of yours; `LOAD=2` and `DEADLINE_MS=100` are the defaults.

mod server;

use std::{
    env, fs,
    time::{Duration, Instant},
};

use bytes::Bytes;
use reqwest::{Client, StatusCode};
use tokio::task::JoinSet;

use server::Server;

const CONNECTIONS: usize = 16;

#[derive(Debug, Clone, Copy)]
struct Answer {
    status: Option<StatusCode>,
    took: Duration,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let photo =
        env::var_os("PHOTO").map_or_else(generated_image, |path| fs::read(path).expect("PHOTO can be read").into());
    let number =
        |name, default| env::var_os(name).map_or(default, |text| text.to_string_lossy().parse().expect("a number"));
    let (load, deadline_ms, seconds) = (number("LOAD", 2.0), number("DEADLINE_MS", 100.0), number("SECONDS", 10.0));
    let server = Server::start(["--log", "warn"]).await;
    let post = Poster { client: Client::new(), url: format!("{}/v1/detect", server.url), photo };

    closed_loop(&post, 2.0).await;
    let capacity = closed_loop(&post, 5.0).await;
    println!("capacity: {capacity:.0} answers/s ({CONNECTIONS} connections, {} kB a picture)", post.photo.len() / 1000);

    let memory = resident_mb(&server);
    let with_deadline = Poster { url: format!("{}?deadline_ms={deadline_ms}", post.url), ..post.clone() };
    let mut outcomes = open_loop(&with_deadline, load * capacity, seconds / 2.0).await;
    let memory_between = resident_mb(&server);
    outcomes.extend(open_loop(&with_deadline, load * capacity, seconds / 2.0).await);
    let took = |wanted: &dyn Fn(&Answer) -> bool| {
        let mut took: Vec<_> = outcomes.iter().filter(|o| wanted(o)).map(|o| o.took.as_secs_f64() * 1e3).collect();
        took.sort_by(f64::total_cmp);
        took
    };
    let answered = took(&|o| o.status == Some(StatusCode::OK));
    let refused = took(&|o| matches!(o.status.map(|s| s.as_u16()), Some(429 | 503)));
    let late = took(&|o| o.status == Some(StatusCode::GATEWAY_TIMEOUT));
    let in_time = answered.partition_point(|ms| *ms <= deadline_ms);
    let quantile = |took: &[f64], q: f64| ounce::stats::quantile(took, q).unwrap_or(f64::NAN);
    println!("offered: {:.0}/s for {seconds} s, deadline {deadline_ms} ms", load * capacity);
    println!(
        "answered: {} (p50 {:.1} ms, p99 {:.1} ms), of them in time by the client's clock: {in_time}",
        answered.len(),
        quantile(&answered, 0.5),
        quantile(&answered, 0.99)
    );
    println!(
        "refused: {} (p50 {:.1} ms, p99 {:.1} ms)",
        refused.len(),
        quantile(&refused, 0.5),
        quantile(&refused, 0.99)
    );
    println!("accepted and then late (504): {}; no answer: {}", late.len(), took(&|o| o.status.is_none()).len());
    println!(
        "goodput: {:.0}/s, {:.2} of capacity; {:.1} % of those accepted in time; memory {memory}, {memory_between}, {} MB",
        in_time as f64 / seconds,
        in_time as f64 / seconds / capacity,
        100.0 * in_time as f64 / (answered.len() + late.len()) as f64,
        resident_mb(&server)
    );
}

#[derive(Debug, Clone)]
struct Poster {
    client: Client,
    url: String,
    photo: Bytes,
}

impl Poster {
    async fn send(&self) -> Answer {
        let begun = Instant::now();
        let response = self.client.post(&self.url).body(self.photo.clone()).send().await;
        let status = match response {
            Ok(response) => {
                let status = response.status();
                response.bytes().await.ok().map(|_| status)
            }
            Err(_) => None,
        };
        Answer { status, took: begun.elapsed() }
    }
}

/// Runs a closed loop and returns the answers a second.
async fn closed_loop(post: &Poster, seconds: f64) -> f64 {
    let begun = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let post = post.clone();
        clients.spawn(async move {
            let mut answers = 0;
            while begun.elapsed().as_secs_f64() < seconds {
                answers += u32::from(post.send().await.status == Some(StatusCode::OK));
            }
            answers
        });
    }
    f64::from(clients.join_all().await.into_iter().sum::<u32>()) / begun.elapsed().as_secs_f64()
}

/// Runs an open loop with Poisson arrivals, each sent when it is due.
async fn open_loop(post: &Poster, per_second: f64, seconds: f64) -> Vec<Answer> {
    let mut random = fastrand::Rng::with_seed(42);
    let begun = tokio::time::Instant::now();
    let mut requests = JoinSet::new();
    let mut due = 0.0;
    loop {
        due -= (1.0 - random.f64()).ln() / per_second;
        if due > seconds {
            return requests.join_all().await;
        }
        tokio::time::sleep_until(begun + Duration::from_secs_f64(due)).await;
        let post = post.clone();
        requests.spawn(async move { post.send().await });
    }
}

/// Makes a JPEG of 640×480 pixels with about as much detail as a photo has.
fn generated_image() -> Bytes {
    let mut random = fastrand::Rng::with_seed(1);
    let image = image::RgbImage::from_fn(640, 480, |x, y| {
        let grain = random.u8(..64);
        image::Rgb([(x / 3) as u8 ^ grain, (y / 2) as u8 ^ grain, ((x + y) / 5) as u8 ^ grain])
    });
    let mut jpeg = std::io::Cursor::new(Vec::new());
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, 90).encode_image(&image).expect("JPEG");
    jpeg.into_inner().into()
}

/// The server's resident memory in MB, or 0 where it is unknown (not on Linux).
fn resident_mb(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.process.id())).unwrap_or_default();
    let kb = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok());
    kb.unwrap_or(0) / 1000
}
