//! `ounce predict`

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use anyhow::bail;
use clap::Args;
use ulid::Ulid;

use super::Settings;
use crate::{
    api::AnswerBody,
    config::Task,
    inference::{
        Deadline, ImageFormat, PictureAnswer, PictureRequest, Pipeline, PostprocessOverrides, RequestContext,
        ServedModel, VariantPreference,
    },
    telemetry,
};

/// Prediction for pictures from files, without a server.
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
        let draw = self.output.as_deref().map(image_format).transpose()?;
        if draw.is_some() && self.pictures.len() > 1 {
            bail!("-o takes one picture, not {}", self.pictures.len());
        }
        let pipeline = Pipeline::new(config)?;
        super::load(&pipeline, self.model.as_deref(), None)?;
        let model = match &self.model {
            Some(name) => pipeline.model(name),
            None => {
                let [first, others @ ..] = Task::ALL;
                let model_for = |task| pipeline.model_for(task, None);
                others.into_iter().fold(model_for(first), |found, task| found.or_else(|_| model_for(task)))
            }
        }?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut failed = false;
        for picture in &self.pictures {
            let answer = runtime.block_on(self.answer(&pipeline, &model, picture, draw));
            match answer.and_then(|answer| self.show(picture, &answer)) {
                Ok(()) => {}
                Err(error) => {
                    eprintln!("ounce: {}: {error:#}", picture.display());
                    failed = true;
                }
            }
        }
        drop(model);
        pipeline.close();
        Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    async fn answer(
        &self,
        pipeline: &Pipeline,
        model: &std::sync::Arc<ServedModel>,
        picture: &Path,
        draw: Option<ImageFormat>,
    ) -> anyhow::Result<PictureAnswer> {
        let bytes = std::fs::read(picture)?;
        let terms = RequestContext::until(Deadline::after(Instant::now(), pipeline.config().requests.deadline));
        let preference = VariantPreference { variant: self.variant.clone(), ..VariantPreference::default() };
        let permit = pipeline.admit()?;
        let request = PictureRequest {
            route: pipeline.route(model, &preference, terms)?,
            model: model.clone(),
            bytes: bytes.into(),
            options: PostprocessOverrides { min_score: self.min_score, ..PostprocessOverrides::default() },
            terms,
            draw,
        };
        Ok(pipeline.answer(&permit, request).await?)
    }

    fn show(&self, picture: &Path, answer: &PictureAnswer) -> anyhow::Result<()> {
        if let (Some(path), Some(drawn)) = (&self.output, &answer.drawn) {
            super::write(path, drawn)?;
        }
        if self.json {
            let body = AnswerBody::new(&Ulid::r#gen().to_string(), Some(picture.display().to_string()), answer);
            println!("{}", serde_json::to_string(&body)?);
        } else {
            print!("{}", table(picture, answer));
        }
        Ok(())
    }
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
fn table(picture: &Path, answer: &PictureAnswer) -> String {
    let head = format!(
        "{}  {}×{} {}  ·  {}/{}  ·  {:.1} ms  ·  ${:.2} a million\n",
        picture.display(),
        answer.picture.width,
        answer.picture.height,
        answer.picture.format,
        answer.model.name,
        answer.variant,
        answer.timing.total_ms,
        answer.cost.usd * 1e6
    );
    head + &answer.answer.table(&answer.model.labels)
}
