//! The command line: arguments come in, an exit code goes out. Each subcommand has a file.

mod ask;
mod bench;
mod change;
mod evaluate;
mod health;
mod key;
mod models;
mod predict;
mod serve;
mod simulate;
mod tune;

use std::{
    fmt::Display,
    io::IsTerminal,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::{
    config::{ConfigError, Layers},
    inference::Inference,
    models::{ModelError, Selection},
    telemetry,
    tools::bench::RunControl,
    tools::plot::Chart,
};

/// A low-latency inference server for pictures that says what every answer cost.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the models of a folder over HTTP
    Serve(serve::Serve),
    /// Answer for pictures from files, without a server
    Predict(predict::Predict),
    /// Score a model on labelled pictures: every variant side by side
    Evaluate(evaluate::Evaluate),
    /// Load a server with pictures: how fast it answers, how many it can take, what they cost
    Bench(bench::Bench),
    /// Find the cheapest way to serve a model here that keeps a promise
    Tune(tune::Tune),
    /// Ask a running server whether it takes requests, for probes
    Health(health::Health),
    /// Run a day of requests on paper: replicas, refusals, dollars
    Simulate(simulate::Simulate),
    /// Check a folder of models: what it would serve, what is wrong and where
    Models(models::Models),
    /// Let a running server load a model anew, or for the first time
    Load(change::Change),
    /// Let a running server stop serving a model
    Unload(change::Change),
    /// Make keys for a server that wants some
    Key(key::Key),
}

/// Settings that every subcommand takes. Each is also a variable and a key of the file; flags win.
#[derive(Debug, Args)]
struct Settings {
    /// A TOML file with settings [env: OUNCE_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder of model folders [env: OUNCE_MODELS] [default: models]
    #[arg(long, value_name = "DIR")]
    models: Option<String>,
    /// Which ONNX Runtime: cpu, openvino or gpu [env: OUNCE_RUNTIME__FLAVOUR] [default: cpu]
    #[arg(long, value_name = "FLAVOUR")]
    runtime: Option<String>,
    /// ONNX Runtime's library file [env: OUNCE_RUNTIME__LIBRARY]
    #[arg(long, value_name = "FILE")]
    runtime_library: Option<String>,
    /// Execution providers in order, as in "cuda,cpu" [env: OUNCE_RUNTIME__PROVIDERS] [default: auto]
    #[arg(long, value_name = "LIST")]
    providers: Option<String>,
    /// What is logged, as in "info" or "ounce=debug" [env: OUNCE_LOG__FILTER]
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
}

impl Settings {
    /// The given flags again, for a child process with the same settings.
    fn flags(&self) -> Vec<String> {
        let config = self.config.as_ref().map(|path| path.display().to_string());
        let given = [
            ("--config", &config),
            ("--models", &self.models),
            ("--runtime", &self.runtime),
            ("--runtime-library", &self.runtime_library),
            ("--providers", &self.providers),
            ("--log", &self.log),
        ];
        given.into_iter().filter_map(|(flag, value)| Some(format!("{flag}={}", value.as_ref()?))).collect()
    }

    /// Layers the settings: defaults (with `log` as the default filter), file, environment, flags.
    fn layers(&self, log: &str) -> Result<Layers, ConfigError> {
        // `OUNCE_CONFIG` names the file and is not a setting itself.
        let ours = std::env::vars_os().filter_map(|(name, value)| {
            let name = name.into_string().ok().filter(|name| name.starts_with("OUNCE_"))?;
            Some((name, value.to_string_lossy().into_owned()))
        });
        let (file, variables): (Vec<_>, Vec<_>) = ours.partition(|(name, _)| name == "OUNCE_CONFIG");
        let file = self.config.clone().or_else(|| file.into_iter().next().map(|(_, path)| path.into()));
        let mut layers = Layers::defaults()?.preset("log.filter", log)?;
        if let Some(path) = file {
            layers = layers.file(&path)?;
        }
        layers = layers.env(variables)?;
        let flags = [
            ("--models", "models", &self.models),
            ("--runtime", "runtime.flavour", &self.runtime),
            ("--runtime-library", "runtime.library", &self.runtime_library),
            ("--providers", "runtime.providers", &self.providers),
            ("--log", "log.filter", &self.log),
        ];
        for (flag, key, value) in flags {
            if let Some(value) = value {
                layers = layers.flag(flag, key, value)?;
            }
        }
        Ok(layers)
    }
}

/// Loads the selected models. The error lists everything that is wrong with them.
fn load(inference: &Inference, only: &Selection) -> anyhow::Result<()> {
    let in_lines = |wrong: Vec<ModelError>| wrong.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    inference.load(only).map_err(|wrong| anyhow::anyhow!(in_lines(wrong)))
}

/// Makes a progress bar on standard error, which is hidden where that is not a terminal.
fn progress(length: u64, template: &str) -> ProgressBar {
    let bar = ProgressBar::new(length);
    if !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// Stops a load at Ctrl-C, so that the results so far are shown. A second Ctrl-C ends the process at once.
fn stop_on_ctrl_c(control: RunControl) {
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            if control.is_stopped() {
                std::process::exit(130);
            }
            control.stop();
        }
    });
}

/// Draws a chart to a file.
fn draw(chart: &Chart, path: &Path) -> anyhow::Result<()> {
    write(path, chart.svg().map_err(anyhow::Error::msg)?.as_bytes())
}

/// Writes a file.
fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// Prints a report as text or as JSON.
fn print(report: &(impl Serialize + Display), json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(report)?);
    } else {
        print!("{report}");
    }
    Ok(())
}

/// Refuses a path that no chart can be written to, before anything is measured.
fn check_chart_path(path: &Path) -> anyhow::Result<()> {
    if !path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("svg")) {
        bail!("charts are SVG images now and are written to a .svg file, not {}", path.display());
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        bail!("{} is no folder to write a chart to", folder.display());
    }
    Ok(())
}

impl Cli {
    /// Runs the subcommand. The exit code is 2 for a setting or an argument that cannot be used, and 1 for other failures.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let result = match self.command {
            Command::Serve(serve) => serve.run(),
            Command::Predict(predict) => predict.run(),
            Command::Evaluate(evaluate) => evaluate.run(),
            Command::Bench(bench) => bench.run(),
            Command::Tune(tune) => tune.run(),
            Command::Health(health) => health.run(),
            Command::Simulate(simulate) => simulate.run(),
            Command::Models(models) => models.run(),
            Command::Load(change) => change.run("load"),
            Command::Unload(change) => change.run("unload"),
            Command::Key(key) => key.run(),
        };
        let is_read = telemetry::flush_log();
        match result {
            Ok(code) => code,
            Err(error) => {
                // Where nobody reads, this would wait for ever.
                if is_read {
                    eprintln!("ounce: {error:#}");
                }
                ExitCode::from(if error.is::<ConfigError>() { 2 } else { 1 })
            }
        }
    }
}
