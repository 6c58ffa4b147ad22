//! The subcommand `ounce predict`: it runs a model on image files, without a server.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Instant,
};

use anyhow::bail;
use clap::Args;
use ulid::Ulid;

use super::Settings;
use crate::{
    api::AnswerBody,
    config::Task,
    inference::{Deadline, ImageInput, ImageOutput, ImageRequest, Inference, PostprocessOverrides, Response, Terms},
    models::{Model, Selection},
    routing::policy::VariantPreference,
    tasks, telemetry,
    vision::draw::{DrawOptions, ImageFormat, Redaction},
};

/// Answer for pictures from files, without a server.
#[derive(Debug, Args)]
pub(super) struct Predict {
    #[command(flatten)]
    settings: Settings,
    /// The pictures
    #[arg(required = true, value_name = "PICTURE")]
    pictures: Vec<PathBuf>,
    /// Who answers: the first detector of the folder when left out, else its first classifier
    #[arg(long, short)]
    model: Option<String>,
    /// With which of its files
    #[arg(long)]
    variant: Option<String>,
    /// Leave out detections below this score
    #[arg(long, value_name = "0..1")]
    min_score: Option<f32>,
    /// Write the picture with the answer drawn on it (.jpg or .png)
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Make what was found unrecognisable in that picture: blur or pixelate
    #[arg(long, value_name = "HOW", requires = "output", value_parser = redaction)]
    redact: Option<Redaction>,
    /// Print JSON as the server would send it, an answer a line
    #[arg(long)]
    json: bool,
}

impl Predict {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.settings.layers("warn")?.build()?;
        telemetry::init(&config.log)?;
        if self.min_score.is_some_and(|score| !(0.0..=1.0).contains(&score)) {
            bail!("--min-score is a number between 0 and 1");
        }
        let format = self.output.as_deref().map(image_format).transpose()?;
        let draw = format.map(|format| DrawOptions { format, redaction: self.redact });
        if draw.is_some() && self.pictures.len() > 1 {
            bail!("-o takes one picture, not {}", self.pictures.len());
        }
        let inference = Inference::new(config)?;
        super::load(&inference, &Selection { model: self.model.clone(), variant: None })?;
        let model = match &self.model {
            Some(name) => inference.models().model(name),
            None => {
                let [first, others @ ..] = Task::ALL;
                let model_for = |task| inference.models().model_for(task);
                others.into_iter().fold(model_for(first), |found, task| found.or_else(|_| model_for(task)))
            }
        }?;
        if self.redact.is_some() && !tasks::has_places(model.info.task) {
            bail!("--redact wants a model that detects; `{}` answers for the whole picture", model.info.name);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut failed = false;
        for picture in &self.pictures {
            let answer = runtime.block_on(self.answer(&inference, &model, picture, draw));
            match answer.and_then(|answer| self.show(picture, &answer)) {
                Ok(()) => {}
                Err(error) => {
                    eprintln!("ounce: {}: {error:#}", picture.display());
                    failed = true;
                }
            }
        }
        drop(model);
        inference.close();
        Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    async fn answer(
        &self,
        inference: &Arc<Inference>,
        model: &Arc<Model>,
        picture: &Path,
        draw: Option<DrawOptions>,
    ) -> anyhow::Result<Response<ImageOutput>> {
        let bytes = std::fs::read(picture)?;
        let preference = VariantPreference { variant: self.variant.clone(), ..VariantPreference::default() };
        let deadline = Deadline::after(Instant::now(), inference.config().requests.deadline);
        let request = ImageRequest {
            image: ImageInput::Encoded(bytes.into()),
            options: PostprocessOverrides { min_score: self.min_score, ..PostprocessOverrides::default() },
            draw,
        };
        Ok(inference.answer(model, &Terms { preference, ..Terms::image(deadline) }, request).await?)
    }

    fn show(&self, picture: &Path, answer: &Response<ImageOutput>) -> anyhow::Result<()> {
        if let (Some(path), Some(drawn)) = (&self.output, &answer.output.drawn) {
            super::write(path, &drawn.to_vec())?;
        }
        if self.json {
            let (id, file) = (Ulid::generate().to_string(), picture.display().to_string());
            let body = AnswerBody::new(&id, Some(&file), answer);
            println!("{}", serde_json::to_string(&body)?);
        } else {
            print!("{}", table(picture, answer));
        }
        Ok(())
    }
}

fn redaction(word: &str) -> Result<Redaction, String> {
    Redaction::parse(word).ok_or_else(|| format!("it is none of {}", Redaction::WORDS.join(", ")))
}

fn image_format(path: &Path) -> anyhow::Result<ImageFormat> {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    match extension.as_str() {
        "jpg" | "jpeg" => Ok(ImageFormat::Jpeg),
        "png" => Ok(ImageFormat::Png),
        _ => bail!("-o writes .jpg or .png, not {}", path.display()),
    }
}

/// One line of facts, then a line for each detection or class.
fn table(picture: &Path, answer: &Response<ImageOutput>) -> String {
    let head = format!(
        "{}  {}×{} {}  ·  {}/{}  ·  {:.1} ms  ·  ${:.2} a million\n",
        picture.display(),
        answer.output.image.width,
        answer.output.image.height,
        answer.output.image.format,
        answer.model.info.name,
        answer.variant().info.name,
        answer.timing.total.as_secs_f64() * 1e3,
        answer.cost.usd * 1e6
    );
    head + &answer.output.prediction.table(&answer.model.info.labels)
}
