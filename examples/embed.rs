//! ounce as a library: loads the models of a folder, asks one of them about one image, prints what it found and what that cost.
//!
//! ```sh
//! cargo run --release --example embed -- photo.jpg
//! ```

use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use ounce::{
    config::{Layers, Task},
    cost::Tenant,
    inference::{Deadline, ImageInput, ImageRequest, Inference, PostprocessOverrides, Target, Terms},
    models::{ModelError, Selection},
    tasks::Prediction,
};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let path = std::env::args().nth(1).context("name an image: cargo run --example embed -- photo.jpg")?;
    let bytes = std::fs::read(&path).with_context(|| format!("cannot read {path}"))?;

    // The defaults, and over them the OUNCE_* variables: OUNCE_MODELS names another folder than models/.
    let config = Layers::defaults()?.env(std::env::vars())?.build()?;
    let inference = Inference::new(config)?;
    // Opens every variant and measures it, which takes a moment and blocks.
    let loading = inference.clone();
    tokio::task::spawn_blocking(move || loading.load(&Selection::default()))
        .await?
        .map_err(|wrong| anyhow!(in_lines(&wrong)))?;

    // The same way as a request over HTTP: find the model, reserve a place, be admitted, run.
    let model = inference.find(&Target::Task(Task::Detect))?;
    let terms = Terms::image(Deadline::after(Instant::now(), Duration::from_secs(5)));
    let admitted = inference.reserve(model, Tenant::default())?.admit(&terms)?;
    let request =
        ImageRequest { image: ImageInput::Encoded(bytes.into()), options: PostprocessOverrides::default(), draw: None };
    let response = admitted.run_image(request).await?;

    if let Prediction::Detections(detections) = &response.output.prediction {
        for found in detections {
            let label = response.model.info.labels.get(found.class_id).map_or("?", String::as_str);
            let b = found.bbox;
            println!("{label} {:.2} at {:.0},{:.0} to {:.0},{:.0}", found.score, b.x1, b.y1, b.x2, b.y2);
        }
    }
    for (stage, took) in response.timing.stages.iter() {
        println!("{:<12}{:>8.2} ms", stage.name(), took.as_secs_f64() * 1e3);
    }
    let (variant, cost) = (&response.variant().info.name, &response.cost);
    println!(
        "{}/{variant}: {:.4} CPU seconds, ${:.2} a million such answers",
        response.model.info.name,
        cost.cpu_seconds,
        cost.usd * 1e6
    );

    tokio::task::spawn_blocking(move || inference.close()).await?;
    Ok(())
}

/// All that is wrong with the models, a line each.
fn in_lines(wrong: &[ModelError]) -> String {
    wrong.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
