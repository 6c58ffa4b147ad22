//! The subcommand `ounce evaluate`: it scores models on labelled images.

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::Arc,
};

use anyhow::{Context, bail};
use clap::Args;

use super::Settings;
use crate::{
    config::Config,
    inference::Inference,
    manifest::VariantId,
    models::{
        Selection,
        folder::{self, ModelFolder},
    },
    tasks::Dataset,
    telemetry,
    tools::evaluate::{self, Contestant, Report},
    tools::plot,
};

/// Number of images after which a process holds all the memory that it needs.
const IMAGES_FOR_MEMORY: usize = 16;

/// Score a model on labelled pictures, through the code that serves: every variant side by side.
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
    limit: Option<NonZeroUsize>,
    /// Print JSON instead of the table
    #[arg(long)]
    json: bool,
    /// Draw the precision-recall curves to this file (.svg)
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Answer these pictures with one variant, and print this process's resident memory
    #[arg(long, hide = true, num_args = 1..)]
    resident: Vec<PathBuf>,
}

/// A model folder that takes part in the evaluation.
struct Entrant {
    /// Path as it was given.
    given: PathBuf,
    /// Path of the model's own folder.
    path: PathBuf,
    folder: ModelFolder,
    /// Variants that take part; all where the list is empty.
    variants: Vec<String>,
}

impl Evaluate {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.settings.layers("warn")?.build()?;
        telemetry::init(&config.log)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // The workers have to end before the process does, even after an error.
        let mut servers = Vec::new();
        let result = runtime.block_on(self.evaluate(&config, &mut servers));
        servers.iter().for_each(|inference| inference.close());
        result
    }

    async fn evaluate(&self, config: &Config, servers: &mut Vec<Arc<Inference>>) -> anyhow::Result<ExitCode> {
        let mut entrants = vec![Entrant::new(config, &self.model, self.variant.clone())?];
        for path in &self.against {
            entrants.push(Entrant::new(config, path, Vec::new())?);
        }
        if !self.resident.is_empty() {
            return self.print_resident(config, &entrants[0], servers).await;
        }
        if let Some(path) = &self.output {
            super::check_chart_path(path)?;
        }
        let task = entrants[0].folder.manifest.task;
        for Entrant { folder, .. } in &entrants {
            let other = folder.manifest.task;
            if other != task {
                bail!("{} answers \"{other}\", not \"{task}\": it cannot stand in the same table", folder.name);
            }
        }
        let mut data = Dataset::read(&self.data, task).map_err(anyhow::Error::msg)?;
        if let Some(limit) = self.limit {
            data = data.thinned(limit.get());
        }
        // Labels that only the model's file names are known once it is loaded.
        for Entrant { folder, .. } in entrants.iter().filter(|entrant| !entrant.folder.labels.is_empty()) {
            let left_out = data.check(&folder.name, &folder.labels).map_err(anyhow::Error::msg)?;
            data.remarks.extend(left_out);
        }
        let few = data.clone().thinned(IMAGES_FOR_MEMORY);
        let mut contestants = Vec::new();
        for entrant in &entrants {
            // The memory is measured before the model is loaded here, so that it is never in memory twice.
            let memory: Vec<_> =
                entrant.names().iter().map(|name| self.measure_resident(&entrant.path, name, &few)).collect();
            let twice = entrants.iter().filter(|other| other.folder.name == entrant.folder.name).count() > 1;
            let title = if twice { entrant.given.display().to_string() } else { entrant.folder.name.clone() };
            let inference = entrant.load(config, servers)?;
            let model = inference.models().models().into_iter().next().context("the model is gone")?;
            if entrant.folder.labels.is_empty() {
                let left_out = data.check(&model.info.name, &model.info.labels).map_err(anyhow::Error::msg)?;
                data.remarks.extend(left_out);
            }
            for (name, resident_bytes) in entrant.names().iter().zip(memory) {
                let variant = model.variant_named(name).map(|variant| variant.info.id);
                let variant = variant.with_context(|| format!("variant `{name}` is gone"))?;
                let (inference, model, title) = (Arc::clone(&inference), Arc::clone(&model), title.clone());
                contestants.push(Contestant { title, inference, model, variant, resident_bytes });
            }
        }
        let bar = super::progress(data.images.len() as u64, "{wide_bar} {pos}/{len} pictures, {eta} left");
        let report = evaluate::run(&contestants, &data, || bar.inc(1)).await.map_err(anyhow::Error::msg)?;
        bar.finish_and_clear();
        self.show(&report, &entrants[0].folder.name)?;
        Ok(if report.unreadable.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn show(&self, report: &Report, model: &str) -> anyhow::Result<()> {
        super::print(report, self.json)?;
        if let Some(path) = &self.output {
            let curves = report.precision_recall_curves();
            if curves.is_empty() {
                bail!(
                    "there is no precision-recall curve to draw: only detectors and classifiers of two classes have one"
                );
            }
            let title = format!("{model} on {}", self.data.display());
            super::draw(&plot::precision_recall(&title, curves), path)?;
        }
        Ok(())
    }

    /// Measures the memory of a variant in a process of its own, since this one loads all variants. Returns none where that
    /// fails.
    fn measure_resident(&self, model: &Path, variant: &str, few: &Dataset) -> Option<u64> {
        resident_bytes()?;
        let output = Command::new(std::env::current_exe().ok()?)
            .arg("evaluate")
            .args(self.settings.flags())
            .args([model, &self.data])
            .args(["--variant", variant, "--resident"])
            .args(few.images.iter().map(|image| &image.path))
            .output();
        let said = output.map_err(|error| error.to_string()).and_then(|output| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
            if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
        });
        match said {
            Ok(bytes) => bytes.parse().ok(),
            Err(why) => {
                tracing::warn!("the memory of `{variant}` could not be measured: {why}");
                None
            }
        }
    }

    async fn print_resident(
        &self,
        config: &Config,
        entrant: &Entrant,
        servers: &mut Vec<Arc<Inference>>,
    ) -> anyhow::Result<ExitCode> {
        let inference = entrant.load(config, servers)?;
        let model = inference.models().models().into_iter().next().context("the model is gone")?;
        let title = entrant.folder.name.clone();
        let contestant = Contestant { title, inference, model, variant: VariantId::DEFAULT, resident_bytes: None };
        for image in &self.resident {
            // An image that cannot be read is reported elsewhere.
            let _ = contestant.answer(std::fs::read(image)?.into()).await;
        }
        println!("{}", resident_bytes().context("this system does not tell")?);
        Ok(ExitCode::SUCCESS)
    }
}

impl Entrant {
    /// Finds a model by its path, or by its name in the models folder of the settings.
    fn new(config: &Config, given: &Path, variants: Vec<String>) -> anyhow::Result<Self> {
        let named = config.models.join(given);
        let path = [given, &named].into_iter().find(|path| path.join(folder::MANIFEST).is_file());
        let path = path
            .with_context(|| format!("{} holds no {}: name one model's folder", given.display(), folder::MANIFEST))?;
        // `models/mine/..` and `.` have no name and are resolved; a symbolic link keeps its own name.
        let path = if path.file_name().is_some() { std::path::absolute(path)? } else { path.canonicalize()? };
        let folder = folder::read(&path)?;
        for wanted in &variants {
            folder.clone().only(wanted)?;
        }
        Ok(Self { given: given.to_owned(), path, folder, variants })
    }

    fn names(&self) -> Vec<String> {
        let all = self.folder.variants.iter().map(|variant| variant.name.clone());
        all.filter(|name| self.variants.is_empty() || self.variants.contains(name)).collect()
    }

    fn load(&self, config: &Config, servers: &mut Vec<Arc<Inference>>) -> anyhow::Result<Arc<Inference>> {
        let models = self.path.parent().unwrap_or(&self.path).to_owned();
        let inference = Inference::new(Config { models, ..config.clone() })?;
        servers.push(Arc::clone(&inference));
        let only = Some(&self.variants).filter(|variants| variants.len() == 1).and_then(|variants| variants.first());
        let only = Selection { model: Some(self.folder.name.clone()), variant: only.cloned() };
        super::load(&inference, &only)?;
        Ok(inference)
    }
}

/// Resident memory of this process; none where it is unknown (not on Linux).
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}
