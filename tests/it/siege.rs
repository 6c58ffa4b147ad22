//! A server under attack: it must live, not grow, and go on serving a good client.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::{JoinHandle, JoinSet},
};

use crate::harness::{Process, only, photo, until};

/// How much a server's resident memory may grow, in kB.
const GROWTH_KB: u64 = 64 << 10;

/// A server under attack, and a good client beside it.
pub(crate) struct Siege {
    server: Process,
    before_kb: u64,
    over: Arc<AtomicBool>,
    good: JoinHandle<Vec<u16>>,
    _models: tempfile::TempDir,
}

impl Siege {
    /// Starts both. However busy the machine, bodies have time to come.
    pub(crate) async fn begin() -> Self {
        Self::with(&[("OUNCE_REQUESTS__BODY_TIMEOUT_MS", "300000"), ("OUNCE_BODIES__MIN_BYTES_PER_SECOND", "0")]).await
    }

    /// As [`Siege::begin`], with these settings.
    pub(crate) async fn with(settings: &[(&str, &str)]) -> Self {
        let models = only(&["person-192"]);
        let server = Process::start(models.path(), settings).await;
        let detect = server.client.post(format!("{}/v1/detect", server.url)).body(photo());
        let ask = move || detect.try_clone().expect("bytes").send();
        for _ in 0..20 {
            assert_eq!(ask().await.expect("an answer").status(), 200, "before the attack");
        }
        let over = Arc::new(AtomicBool::new(false));
        let (id, stop) = (server.child.id(), Arc::clone(&over));
        let good = tokio::spawn(async move {
            let mut statuses = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                statuses.push(ask().await.map_or(0, |answer| answer.status().as_u16()));
            }
            // One more, which begins after the attack.
            statuses.push(ask().await.map_or(0, |answer| answer.status().as_u16()));
            statuses
        });
        Self { server, before_kb: memory_kb(id, "VmRSS:"), over, good, _models: models }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// Sends bytes on a connection of their own, and returns all that comes back until the server hangs up.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> String {
        exchange(TcpStream::connect(self.address()).await.expect("it listens"), bytes).await
    }

    /// Posts the same body so many times at once, from another address than the good client's; returns the statuses. One is 0 where the
    /// server hung up before the answer was read.
    pub(crate) async fn post_at_once(&self, times: usize, path: &str, headers: &str, body: &[u8]) -> Vec<u16> {
        let request: Arc<[u8]> = [head(path, headers, body.len()).as_bytes(), body].concat().into();
        let mut asked = JoinSet::new();
        for _ in 0..times {
            let (request, address) = (Arc::clone(&request), self.address());
            asked.spawn(async move { status(&exchange(attacker(address).await, &request).await) });
        }
        let mut statuses = asked.join_all().await;
        statuses.sort_unstable();
        println!("{path}: {statuses:?}");
        statuses
    }

    /// Posts a body on a connection of its own, with the path as it is; returns the status and the answer.
    pub(crate) async fn post(&self, path: &str, headers: &str, body: &[u8]) -> (u16, String) {
        let answer = self.raw(&[head(path, headers, body.len()).as_bytes(), body].concat()).await;
        (status(&answer), answer)
    }

    /// As [`Siege::held`], and the server was not larger in between, either.
    pub(crate) async fn held_all_the_time(self) {
        let (before_kb, peak_kb) = (self.before_kb, memory_kb(self.server.child.id(), "VmHWM:"));
        println!("at most {peak_kb} kB were resident");
        self.held().await;
        assert!(peak_kb < before_kb + GROWTH_KB, "{before_kb} kB became {peak_kb} kB for a while");
    }

    /// The server lives, has not grown, and the good client got nothing but answers.
    pub(crate) async fn held(mut self) {
        self.over.store(true, Ordering::Relaxed);
        let statuses = self.good.await.expect("no panic");
        assert!(statuses.iter().all(|status| *status == 200), "the good client: {statuses:?}");
        // What the last requests brought is freed a moment after they were answered.
        until("memory is as it was", async || {
            let after_kb = memory_kb(self.server.child.id(), "VmRSS:");
            println!(
                "{} good answers; resident memory went from {} kB to {after_kb} kB",
                statuses.len(),
                self.before_kb
            );
            after_kb < self.before_kb + GROWTH_KB
        })
        .await;
        assert!(self.server.child.try_wait().expect("a state").is_none(), "it lives");
    }
}

/// The head of a request with a body of that length.
fn head(path: &str, headers: &str, length: usize) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n")
}

/// A connection from another address than the good client's.
pub(crate) async fn attacker(server: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from(([127, 0, 0, 2], 0))).expect("a free port");
    socket.connect(server).await.expect("it listens")
}

/// Sends bytes, and returns all that comes back until the server hangs up.
async fn exchange(mut stream: TcpStream, bytes: &[u8]) -> String {
    let (mut from, mut to) = stream.split();
    let mut answer = Vec::new();
    // Who is refused early may be hung up on while still writing.
    let (_, _) = tokio::join!(to.write_all(bytes), from.read_to_end(&mut answer));
    String::from_utf8_lossy(&answer).into_owned()
}

/// Resident memory of a process: that of now, or the most there ever was.
fn memory_kb(id: u32, which: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix(which)).expect("a process with memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// The status of an answer; 0 when none came.
pub(crate) fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}
