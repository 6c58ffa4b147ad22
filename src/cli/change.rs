//! The subcommands `ounce load` and `ounce unload`: they let a running server change what it serves, as its admin port's calls do. Meant
//! for containers, which have no curl.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, bail};
use clap::Args;
use http::StatusCode;

use super::{
    Settings, ask,
    bench::duration,
    health::{local_url, refusal},
};

/// Let a running server change what it serves. It asks the admin port that the settings name, on this machine.
#[derive(Debug, Args)]
pub(super) struct Change {
    #[command(flatten)]
    settings: Settings,
    /// The model's name
    model: String,
    /// The server to ask, instead of the one that the settings name
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// A file with a key of the scope `admin`, where the server wants one
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// How long it may take
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    timeout: Duration,
}

impl Change {
    /// Runs `load` or `unload`.
    pub(super) fn run(self, change: &str) -> anyhow::Result<ExitCode> {
        let server = match &self.url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => {
                let config = self.settings.layers("warn")?.build()?;
                local_url(config.admin_listen.address().unwrap_or(config.listen))?
            }
        };
        if !self.model.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
            bail!("`{}` is no name of a model: it is made of letters, digits, `-`, `_` and `.`", self.model);
        }
        let read =
            |path: PathBuf| std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()));
        let key = self.key_file.map(read).transpose()?;
        let path = format!("v2/repository/models/{}/{change}", self.model);
        let (status, body) = ask::post(&server, &path, key.as_deref().map(str::trim), self.timeout)?;
        if status != StatusCode::OK {
            bail!("{server} answers {}: {}", status.as_u16(), refusal(status, &body));
        }
        println!("{}", if change == "load" { "loaded" } else { "unloaded" });
        Ok(ExitCode::SUCCESS)
    }
}
