//! `ounce evaluate`

use std::{
    ffi::OsStr,
    io::IsTerminal,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Settings;
use crate::{
    config::Config,
    evaluate::{self, Contestant, Dataset},
    pipeline::Pipeline,
    plot, telemetry,
};

/// Score a model on labelled pictures, through the pipeline that serves: every variant side by side.
///
/// A detector is scored on YOLO text labels: pictures in images/, for each a .txt file in labels/. A classifier is
/// scored on one folder of pictures a class, named like the label.
#[derive(Debug, Args)]
pub(super) struct Evaluate {
    #[command(flatten)]
    settings: Settings,
    /// The model's folder, with its model.toml
    model: PathBuf,
    /// The folder of labelled pictures
    data: PathBuf,
    /// Another model's folder, for the same table; may be given again
    #[arg(long, value_name = "MODEL")]
    against: Vec<PathBuf>,
    /// Only this variant of the model; may be given again
    #[arg(long, value_name = "NAME")]
    variant: Vec<String>,
    /// Score this many pictures, spread over all
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Print JSON instead of the table
    #[arg(long)]
    json: bool,
    /// Draw the precision-recall curves to this file (.png)
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Answer a few pictures with one variant and print this process's resident memory
    #[arg(long, hide = true)]
    resident: bool,
}

impl Evaluate {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.settings.layers("warn")?.build()?;
        telemetry::init(&config.log)?;
        if self.output.as_deref().is_some_and(|path| path.extension() != Some(OsStr::new("png"))) {
            bail!("-o writes a .png file");
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        if self.resident {
            let bytes = runtime.block_on(self.resident_bytes(&config))?;
            println!("{}", bytes.map_or_else(String::new, |bytes| bytes.to_string()));
            return Ok(ExitCode::SUCCESS);
        }
        let mut contestants = Vec::new();
        let mut folders = Vec::new();
        for (at, folder) in std::iter::once(&self.model).chain(&self.against).enumerate() {
            let pipeline = load(&config, folder, None)?;
            let wanted = if at == 0 { &self.variant[..] } else { &[] };
            contestants.extend(contestants_of(&pipeline, wanted)?);
            folders.resize(contestants.len(), folder);
        }
        let task = contestants[0].model.task;
        if let Some(other) = contestants.iter().find(|contestant| contestant.model.task != task) {
            bail!(
                "{} answers \"{}\", not \"{task}\": it cannot stand in the same table",
                other.model.name,
                other.model.task
            );
        }
        let mut data = Dataset::read(&self.data, task).map_err(anyhow::Error::msg)?;
        if let Some(limit) = self.limit {
            data = data.thinned(limit);
        }
        for (contestant, folder) in contestants.iter_mut().zip(folders) {
            let variant = &contestant.model.variants[contestant.variant].name;
            contestant.resident_bytes = self.measure_resident(folder, variant)?;
        }
        let bar = progress(data.pictures.len());
        let report = runtime.block_on(evaluate::run(&contestants, &data, || bar.inc(1))).map_err(anyhow::Error::msg)?;
        bar.finish_and_clear();
        if self.json {
            println!("{}", serde_json::to_string_pretty(&report)?);
        } else {
            print!("{report}");
        }
        if let Some(path) = &self.output {
            let title = format!("{} on {}", contestants[0].model.name, self.data.display());
            let png = plot::precision_recall(&title, &report.lines()).map_err(anyhow::Error::msg)?;
            std::fs::write(path, png).with_context(|| format!("cannot write {}", path.display()))?;
        }
        let pipelines: Vec<_> = contestants.into_iter().map(|contestant| contestant.pipeline).collect();
        pipelines.iter().for_each(Pipeline::close);
        Ok(if report.unreadable.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// A process of its own tells what a variant needs: in this one, all are loaded.
    fn measure_resident(&self, folder: &Path, variant: &str) -> anyhow::Result<Option<u64>> {
        let output = Command::new(std::env::current_exe()?)
            .arg("evaluate")
            .args(self.settings.flags())
            .args([folder, &self.data])
            .args(["--resident", "--variant", variant])
            .output()
            .context("cannot start another process to measure memory")?;
        if !output.status.success() {
            bail!("measuring the memory of `{variant}`: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().parse().ok())
    }

    async fn resident_bytes(&self, config: &Config) -> anyhow::Result<Option<u64>> {
        let pipeline = load(config, &self.model, self.variant.first().map(String::as_str))?;
        let model = pipeline.models().into_iter().next().context("the model is gone")?;
        let data = Dataset::read(&self.data, model.task).map_err(anyhow::Error::msg)?.thinned(16);
        let contestant = Contestant { pipeline: pipeline.clone(), model, variant: 0, resident_bytes: None };
        evaluate::run(&[contestant], &data, || {}).await.map_err(anyhow::Error::msg)?;
        let bytes = resident_bytes();
        pipeline.close();
        Ok(bytes)
    }
}

/// The variants of the one model that is loaded, or those that are wanted.
fn contestants_of(pipeline: &Pipeline, wanted: &[String]) -> anyhow::Result<Vec<Contestant>> {
    let model = pipeline.models().into_iter().next().context("the model is gone")?;
    let names: Vec<_> = model.variants.iter().map(|variant| variant.name.clone()).collect();
    if let Some(unknown) = wanted.iter().find(|name| !names.contains(name)) {
        bail!("there is no variant \"{unknown}\"; there are {}", names.join(", "));
    }
    let chosen = (0..names.len()).filter(|at| wanted.is_empty() || wanted.contains(&names[*at]));
    let contestant =
        |variant| Contestant { pipeline: pipeline.clone(), model: model.clone(), variant, resident_bytes: None };
    Ok(chosen.map(contestant).collect())
}

/// Loads one model folder, or one variant of it.
fn load(config: &Config, folder: &Path, variant: Option<&str>) -> anyhow::Result<Pipeline> {
    let whole = folder.canonicalize().with_context(|| format!("{} cannot be opened", folder.display()))?;
    if !whole.join("model.toml").is_file() {
        bail!("{} holds no model.toml: name one model's folder", folder.display());
    }
    let name = whole.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let models = whole.parent().unwrap_or(&whole).to_owned();
    let pipeline = Pipeline::new(Config { models, ..config.clone() })?;
    pipeline
        .load(Some(&name), variant)
        .map_err(|wrong| anyhow::anyhow!(wrong.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")))?;
    Ok(pipeline)
}

fn progress(pictures: usize) -> ProgressBar {
    let bar = ProgressBar::new(pictures as u64);
    if !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} pictures, {eta} left") {
        bar.set_style(style);
    }
    bar
}

/// What the system says that this process holds in memory; Linux only.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}
