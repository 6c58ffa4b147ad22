//! Runs the release binary as a server on a free port. Dropping the handle ends the server.

use std::{
    ffi::OsStr,
    process::{Child, Command},
    time::Duration,
};

pub struct Server {
    pub url: String,
    pub process: Child,
}

impl Server {
    /// Starts the server with additional arguments, and waits until it is ready.
    pub async fn start<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
        let process = Command::new(env!("CARGO_BIN_EXE_ounce"))
            .args(["serve", "--listen", &free.to_string()])
            .args(arguments)
            .spawn()
            .expect("the server starts");
        let url = format!("http://{free}");
        while !reqwest::get(format!("{url}/readyz")).await.is_ok_and(|response| response.status() == 200) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Self { url, process }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill().and_then(|()| self.process.wait());
    }
}
