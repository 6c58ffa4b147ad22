//! The subcommand `ounce serve`: it runs the server until it gets a signal.

use std::process::ExitCode;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::Settings;
use crate::{
    server::{self, Listeners},
    telemetry,
};

/// Serve the models of a folder over HTTP.
#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    settings: Settings,
    /// Where requests come in [env: OUNCE_LISTEN] [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Where models are loaded and unloaded [env: OUNCE_ADMIN_LISTEN] [default: 127.0.0.1:8081]
    #[arg(long, value_name = "ADDR")]
    admin_listen: Option<String>,
    /// Print the settings in force, each with where it came from, and end
    #[arg(long)]
    print_config: bool,
}

impl Serve {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let mut layers = self.settings.layers("info")?;
        for (flag, key, value) in
            [("--listen", "listen", &self.listen), ("--admin-listen", "admin_listen", &self.admin_listen)]
        {
            if let Some(value) = value {
                layers = layers.flag(flag, key, value)?;
            }
        }
        let config = layers.build()?;
        if self.print_config {
            print!("{layers}");
            return Ok(ExitCode::SUCCESS);
        }
        telemetry::init(&config.log)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async {
            let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
            let shutdown = async move {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                // A second signal ends the process at once.
                tokio::spawn(async move {
                    tokio::select! {
                        _ = terminate.recv() => {}
                        _ = interrupt.recv() => {}
                    }
                    tracing::warn!("stopped at once");
                    telemetry::flush_log();
                    std::process::exit(1);
                });
            };
            let listeners = Listeners::bind(&config).await?;
            server::run(config, listeners, shutdown).await
        })?;
        // A model load that was interrupted may still hold a thread, which is not waited for.
        runtime.shutdown_background();
        Ok(ExitCode::SUCCESS)
    }
}
