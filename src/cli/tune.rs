//! The subcommand `ounce tune`: it searches for the cheapest way to serve a model within a latency goal.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, bail};
use clap::Args;
use indicatif::ProgressBar;

use super::{Settings, bench::duration};
use crate::{
    config::{Config, is_plain_name},
    models::folder::MANIFEST,
    telemetry,
    tools::bench::{self, RunControl},
    tools::tune::{self, Subject, TuneGoal, TuneProgress, TuneReport},
};

/// Find the cheapest way to serve a model on this machine that keeps a promise.
///
/// Tries its variants, sessions, threads, decode threads and batch limits: each is served by this process and asked over
/// a socket, until 99 in 100 answers no longer come in time. What the latency curve says is worse is not tried. The
/// cheapest is confirmed with requests that come at random moments, and written as settings for `ounce serve --config`.
/// Ctrl-C ends it with the best so far.
#[derive(Debug, Args)]
pub(super) struct Tune {
    #[command(flatten)]
    settings: Settings,
    /// The model: its name in the models folder, or its folder
    model: PathBuf,
    /// The promise: 99 in 100 answers come within it
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    slo_p99: Duration,
    /// No variant that is less accurate
    #[arg(long, value_name = "0..1")]
    min_accuracy: Option<f64>,
    /// A picture to send, or a folder of pictures; may be given again
    #[arg(long = "picture", value_name = "FILE|DIR")]
    images: Vec<PathBuf>,
    /// How long each load is measured
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
    step: Duration,
    /// Where the settings go [default: MODEL.tuned.toml]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Draw the frontier to this file (.svg)
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Print JSON instead of the table
    #[arg(long)]
    json: bool,
}

impl Tune {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        if let Some(path) = &self.plot {
            super::check_chart_path(path)?;
        }
        let config = self.settings.layers("error")?.build()?;
        telemetry::init(&config.log)?;
        let subject = self.subject(config)?;
        let goal = TuneGoal { slo_p99: self.slo_p99, min_accuracy: self.min_accuracy, step: self.step };
        let bar = super::progress(0, "{wide_bar} {pos}/{len} {msg} ({eta} left)");
        let control = RunControl::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let report = runtime.block_on(async {
            super::stop_on_ctrl_c(control.clone());
            tune::tune(&subject, &goal, &control, |progress| show(&bar, progress)).await
        });
        bar.finish_and_clear();
        self.show_report(&report.map_err(anyhow::Error::msg)?)
    }

    fn subject(&self, config: Config) -> anyhow::Result<Subject> {
        let named = config.models.join(&self.model);
        let path = [self.model.as_path(), &named].into_iter().find(|path| path.join(MANIFEST).is_file());
        let path = path.with_context(|| format!("{} holds no {MANIFEST}: name one model", self.model.display()))?;
        // A symbolic link keeps its own name; `.` has none and is resolved.
        let path = if path.file_name().is_some() { std::path::absolute(path)? } else { path.canonicalize()? };
        let model = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !is_plain_name(&model) {
            bail!("settings cannot name `{model}`: give its folder a name of letters, digits, - and _");
        }
        let models = path.parent().unwrap_or(&path).to_owned();
        let images = if self.images.is_empty() {
            eprintln!(
                "no --picture: a made-up one of 640×480 pixels is sent; yours may take longer or shorter to decode"
            );
            bench::generated_image().map(|image| vec![image])
        } else {
            bench::read_images(&self.images)
        };
        Ok(Subject { config: Config { models, ..config }, model, images: images.map_err(anyhow::Error::msg)? })
    }

    fn show_report(&self, report: &TuneReport) -> anyhow::Result<ExitCode> {
        super::print(report, self.json)?;
        let settings = report.settings_toml();
        if let Some(settings) = &settings {
            let path = self.output.clone().unwrap_or_else(|| format!("{}.tuned.toml", report.model).into());
            super::write(&path, settings.as_bytes())?;
            eprintln!("written: {}", path.display());
        }
        if let Some(path) = &self.plot {
            super::draw(&report.chart(), path)?;
        }
        Ok(if settings.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn show(bar: &ProgressBar, progress: TuneProgress<'_>) {
    match progress {
        TuneProgress::Trying { setting, index, count } => {
            bar.set_length(count as u64);
            bar.set_position(index as u64);
            bar.set_message(setting.to_string());
        }
        TuneProgress::Confirming(setting) => {
            bar.set_position(bar.length().unwrap_or_default());
            bar.set_message(format!("once more: {setting}"));
        }
    }
}
