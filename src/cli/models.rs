//! The subcommand `ounce models`: it checks a folder of models.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use clap::Args;

use super::Settings;
use crate::{
    models::{BatchAxis, InferredSetting, LoadedModel, Loader, ModelInfo, Selection, Variant},
    scheduler::latency_profile::ProfilePoint,
    telemetry::{self, metrics::Metrics},
    vision::tensor::in_words,
};

/// Check a folder of models: every file is read, every graph opened, and a blank picture sent through.
#[derive(Debug, Args)]
pub(super) struct Models {
    #[command(flatten)]
    settings: Settings,
    /// The folder to check, instead of the one that the settings name
    folder: Option<PathBuf>,
}

impl Models {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let mut config = self.settings.layers("warn")?.build()?;
        telemetry::init(&config.log)?;
        if let Some(folder) = self.folder {
            config.models = folder;
        }
        let loader = Loader::new(&config, Arc::new(Metrics::new()?), Arc::default())
            .map_err(|error| anyhow::anyhow!(error.reason))?;
        let mut wrong = 0;
        for model in loader.load_all(&Selection::default()) {
            match model {
                Ok(LoadedModel { model, workers }) => {
                    println!("{}", describe(&model.info, &model.variants));
                    drop(model);
                    workers.into_iter().for_each(|worker| drop(worker.join()));
                }
                Err(error) => {
                    wrong += 1;
                    println!("✗ {}\n    {}", error.model.as_deref().unwrap_or("(all)"), error.reason);
                }
            }
        }
        println!("\nONNX Runtime: {}", loader.library().display());
        Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn describe(model: &ModelInfo, variants: &[Variant]) -> String {
    let (width, height) = model.input_size;
    let mut text = format!(
        "✓ {} (version {}): {} {} as {width}×{height}\n    in   {}\n    out  {}",
        model.name,
        model.version,
        model.task,
        labels(&model.labels),
        in_words(&model.inputs),
        in_words(&model.outputs)
    );
    if !model.inferred.is_empty() {
        text += &format!("\n    not in the manifest: {}", InferredSetting::in_words(&model.inferred));
    }
    for variant in variants {
        let profile = batches(variant);
        let variant = &variant.info;
        let accuracy: String = variant.accuracy.iter().map(|(metric, value)| format!(", {metric} {value}")).collect();
        let providers: Vec<_> = variant.providers.iter().map(ToString::to_string).collect();
        text += &format!(
            "\n    {}{}  {} kB{accuracy}; {} sessions × {} threads on {}\n        {}",
            variant.name,
            if variant.is_default() { " (default)" } else { "" },
            variant.size_bytes / 1000,
            variant.instances,
            variant.threads,
            providers.join(", "),
            profile
        );
    }
    text
}

/// Says whether images share runs, and how long runs take.
fn batches(variant: &Variant) -> String {
    let info = &variant.info;
    let axis = match (info.batch_axis, &info.why_fixed) {
        (BatchAxis::Free, _) => format!("batches of up to {}", info.max_batch),
        (BatchAxis::Freed, _) => format!("batches of up to {} (its fixed batch axis was freed)", info.max_batch),
        (BatchAxis::Fixed, why) => {
            format!("one picture a run: {}", why.as_deref().unwrap_or("its batch axis is fixed"))
        }
    };
    let point = |point: ProfilePoint| format!("{}: {:.1} ms", point.rows, point.p50.as_secs_f64() * 1000.0);
    let curve: Vec<_> = variant.latency_profile().into_iter().map(point).collect();
    format!("{axis}; a run of {}", curve.join(", "))
}

fn labels(labels: &[String]) -> String {
    match labels {
        [] => String::new(),
        few if few.len() <= 3 => few.join(", "),
        many => format!("{} classes", many.len()),
    }
}
