//! The subcommand `ounce health`: it asks a running server whether it takes requests.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    process::ExitCode,
    time::Duration,
};

use anyhow::bail;
use clap::Args;
use http::StatusCode;
use serde::Deserialize;

use super::{Settings, ask, bench::duration};

/// Ask a running server whether it takes requests: ends with 0 when it does, else with 1 and the reason.
///
/// It asks the address that the settings name, on this machine: where they name all addresses, on the loopback. Meant for
/// probes of containers, which have no curl.
#[derive(Debug, Args)]
pub(super) struct Health {
    #[command(flatten)]
    settings: Settings,
    /// The server to ask, instead of the one that the settings name
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Ask only whether it lives; one that starts or ends does
    #[arg(long)]
    live: bool,
    /// How long the answer may take
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
    timeout: Duration,
}

impl Health {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let server = match &self.url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => local_url(self.settings.layers("warn")?.build()?.listen)?,
        };
        let path = if self.live { "livez" } else { "readyz" };
        let (status, body) = ask::get(&server, path, self.timeout)?;
        if status != StatusCode::OK {
            bail!("{server}/{path} answers {}: {}", status.as_u16(), refusal(status, &body));
        }
        println!("{}", if self.live { "alive" } else { "ready" });
        Ok(ExitCode::SUCCESS)
    }
}

/// The URL at which this machine reaches a server that listens on an address.
pub(super) fn local_url(listen: SocketAddr) -> anyhow::Result<String> {
    if listen.port() == 0 {
        bail!("the settings leave the server's port to the system (`listen` is {listen}): name the server with --url");
    }
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    Ok(format!("http://{}", SocketAddr::new(ip, listen.port())))
}

/// Why a server refuses: the sentence in the `problem+json` that it sent, or what the status is called.
pub(super) fn refusal(status: StatusCode, body: &[u8]) -> String {
    /// The field that is read.
    #[derive(Debug, Deserialize)]
    struct Refused {
        detail: String,
    }
    let known = status.canonical_reason().unwrap_or("no reason is given");
    serde_json::from_slice::<Refused>(body).map_or_else(|_| known.to_owned(), |problem| problem.detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_on_all_addresses_is_asked_on_the_loopback() {
        let url = |listen: &str| local_url(listen.parse().expect("an address")).map_err(|error| error.to_string());
        assert_eq!(url("0.0.0.0:8080"), Ok("http://127.0.0.1:8080".to_owned()));
        assert_eq!(url("[::]:8080"), Ok("http://[::1]:8080".to_owned()));
        assert_eq!(url("192.0.2.7:80"), Ok("http://192.0.2.7:80".to_owned()));
        assert!(url("127.0.0.1:0").is_err_and(|sentence| sentence.contains("--url")));
    }
}
