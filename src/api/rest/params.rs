//! Query parameters of the routes that take images, read by hand so that every refusal names the parameter.

use std::{fmt::Display, ops::RangeInclusive, str::FromStr, time::Duration};

use super::formats::AnswerShape;
use crate::{
    api::problem::Problem,
    config::{Objective, Task},
    error::did_you_mean,
    inference::PostprocessOverrides,
    routing::policy::VariantPreference,
    scheduler::job::Priority,
    tasks,
    vision::draw::{DrawOptions, ImageFormat, Redaction},
};

/// The names of all parameters.
const KNOWN: [&str; 13] = [
    "model",
    "variant",
    "min_score",
    "iou",
    "max_detections",
    "top_k",
    "deadline_ms",
    "priority",
    "format",
    "redact",
    "objective",
    "min_accuracy",
    "max_cost_usd",
];

/// The longest deadline that can be asked for: ten minutes.
const MAX_DEADLINE_MS: u64 = 600_000;

/// The parameters as `/openapi.json` describes them.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only described")]
pub(in crate::api) struct ImageParams {
    /// The model by name; the task's first one when left out. Not where the path names it.
    model: Option<String>,
    /// The model's variant by name; the router chooses when it is left out.
    variant: Option<String>,
    /// What is best among the variants that will do: `cost`, `latency` or `accuracy`; the model's own when left out.
    objective: Option<String>,
    /// No variant below it, by the metric that `/v1/models` shows for it.
    #[param(minimum = 0, maximum = 1)]
    min_accuracy: Option<f64>,
    /// No variant whose answers cost more dollars.
    #[param(minimum = 0)]
    max_cost_usd: Option<f64>,
    /// Detections below this score are left out.
    #[param(minimum = 0, maximum = 1)]
    min_score: Option<f32>,
    /// Of two boxes of a class that overlap by more than this IoU, the weaker is left out.
    #[param(minimum = 0, maximum = 1)]
    iou: Option<f32>,
    /// The most detections in an answer.
    #[param(minimum = 1, maximum = 1000)]
    max_detections: Option<usize>,
    /// The most classes in an answer.
    #[param(minimum = 1, maximum = 10_000)]
    top_k: Option<usize>,
    /// Milliseconds from the request's arrival after which an answer is of no use.
    #[param(minimum = 1, maximum = 600_000)]
    deadline_ms: Option<u64>,
    /// Who goes first when requests wait: 9 before all others, 0 after them. A step is worth 100 ms in the queue.
    #[param(minimum = 0, maximum = 9, default = 5)]
    priority: Option<u8>,
    /// The answer's shape: `default`, or that of another tool: `roboflow`, `ultralytics`, `coco`.
    format: Option<String>,
    /// How what was found is made unrecognisable in the picture that comes back, for good: `blur` or `pixelate`. It wants
    /// `Accept: image/jpeg` or `image/png`.
    redact: Option<String>,
}

/// What a client asks for beside the image.
#[derive(Debug, Default)]
pub(super) struct Params {
    /// The model by name; the task's default one when left out.
    pub model: Option<String>,
    /// What is wanted of the variant that answers.
    pub preference: VariantPreference,
    /// What overrides the manifest.
    pub options: PostprocessOverrides,
    /// How long the answer may take; the server's default when left out.
    pub time_budget: Option<Duration>,
    /// Its place among the requests that wait.
    pub priority: Priority,
    /// The shape of the answer's JSON.
    pub shape: AnswerShape,
    /// How what was found is made unrecognisable.
    pub redaction: Option<Redaction>,
}

impl Params {
    /// Reads the part of the address after the `?`.
    pub(super) fn parse(query: Option<&str>) -> Result<Self, Problem> {
        let mut params = Self::default();
        let mut seen: Vec<String> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            if seen.iter().any(|s| *s == name) {
                return Err(Problem::bad_parameter(&name, "is given twice; give it once"));
            }
            params.set(&name, &value)?;
            seen.push(name.into_owned());
        }
        Ok(params)
    }

    /// What is drawn where a client accepts an image of that format, of a model with that task.
    pub(super) fn drawing(&self, task: Task, format: Option<ImageFormat>) -> Result<Option<DrawOptions>, Problem> {
        if self.redaction.is_some() {
            if !tasks::has_places(task) {
                let why = "only what has a place in the picture can be made unrecognisable: ask a model that detects";
                return Err(Problem::bad_parameter("redact", why));
            }
            if format.is_none() {
                let why = "it is the picture that is redacted: ask for it with `Accept: image/jpeg` or `image/png`";
                return Err(Problem::bad_parameter("redact", why));
            }
        }
        Ok(format.map(|format| DrawOptions { format, redaction: self.redaction }))
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), Problem> {
        match name {
            "model" => self.model = Some(word(name, value)?),
            "variant" => self.preference.variant = Some(word(name, value)?),
            "objective" => {
                let why = || Problem::bad_parameter(name, format!("`{value}` is none of cost, latency, accuracy"));
                self.preference.objective = Some(objective(value).ok_or_else(why)?);
            }
            "min_accuracy" => self.preference.min_accuracy = Some(number(name, value, 0.0..=1.0, "a number")?),
            "max_cost_usd" => self.preference.max_cost_usd = Some(number(name, value, 0.0..=1e9, "a number")?),
            "min_score" => self.options.min_score = Some(number(name, value, 0.0..=1.0, "a number")?),
            "iou" => self.options.iou = Some(number(name, value, 0.0..=1.0, "a number")?),
            "max_detections" => self.options.max_detections = Some(number(name, value, 1..=1000, "a whole number")?),
            "top_k" => self.options.top_k = Some(number(name, value, 1..=10_000, "a whole number")?),
            "deadline_ms" => {
                let budget_ms = number(name, value, 1..=MAX_DEADLINE_MS, "a whole number")?;
                self.time_budget = Some(Duration::from_millis(budget_ms));
            }
            "priority" => {
                let priority = number::<u8>(name, value, 0..=9, "a whole number")?;
                self.priority = Priority::new(priority).unwrap_or_default();
            }
            "format" => {
                self.shape = AnswerShape::parse(value).ok_or_else(|| {
                    let hint = did_you_mean(value, &AnswerShape::WORDS);
                    Problem::bad_parameter(
                        name,
                        format!("`{value}` is none of {}{hint}", AnswerShape::WORDS.join(", ")),
                    )
                })?;
            }
            "redact" => {
                self.redaction = Some(Redaction::parse(value).ok_or_else(|| {
                    let hint = did_you_mean(value, &Redaction::WORDS);
                    Problem::bad_parameter(name, format!("`{value}` is none of {}{hint}", Redaction::WORDS.join(", ")))
                })?);
            }
            _ => {
                let hint = did_you_mean(name, &KNOWN);
                let why = format!("there is no such parameter{hint}; there are {}", KNOWN.join(", "));
                return Err(Problem::bad_parameter(name, why));
            }
        }
        Ok(())
    }
}

/// The objective of that word.
fn objective(word: &str) -> Option<Objective> {
    match word {
        "cost" => Some(Objective::Cost),
        "latency" => Some(Objective::Latency),
        "accuracy" => Some(Objective::Accuracy),
        _ => None,
    }
}

fn word(name: &str, value: &str) -> Result<String, Problem> {
    if value.is_empty() {
        Err(Problem::bad_parameter(name, "is empty; give a name, or leave it out"))
    } else {
        Ok(value.to_owned())
    }
}

fn number<T>(name: &str, value: &str, range: RangeInclusive<T>, what: &str) -> Result<T, Problem>
where
    T: FromStr + PartialOrd + Display,
{
    match value.parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => {
            let why = format!("`{value}` is not {what} from {} to {}", range.start(), range.end());
            Err(Problem::bad_parameter(name, why))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(query: &str) -> String {
        Params::parse(Some(query)).expect_err("refused").detail
    }

    #[test]
    fn all_parameters_are_read() {
        let query = "model=a%20b&variant=int8&min_score=0.25&iou=1&max_detections=7&top_k=3&deadline_ms=50&priority=9&format=coco&objective=accuracy&min_accuracy=0.6&max_cost_usd=1e-7";
        let params = Params::parse(Some(query)).expect("valid");
        assert_eq!(params.model.as_deref(), Some("a b"));
        assert_eq!(params.preference.variant.as_deref(), Some("int8"));
        let VariantPreference { objective, min_accuracy, max_cost_usd, .. } = params.preference;
        assert_eq!((objective, min_accuracy, max_cost_usd), (Some(Objective::Accuracy), Some(0.6), Some(1e-7)));
        assert_eq!((params.options.min_score, params.options.iou), (Some(0.25), Some(1.0)));
        assert_eq!((params.options.max_detections, params.options.top_k), (Some(7), Some(3)));
        assert_eq!((params.time_budget, params.shape), (Some(Duration::from_millis(50)), AnswerShape::Coco));
    }

    #[test]
    fn refusals_name_the_parameter_and_the_cure() {
        insta::assert_snapshot!(refusal("min_score=7"), @"`min_score`: `7` is not a number from 0 to 1");
        insta::assert_snapshot!(refusal("iou=NaN"), @"`iou`: `NaN` is not a number from 0 to 1");
        insta::assert_snapshot!(refusal("top_k=0"), @"`top_k`: `0` is not a whole number from 1 to 10000");
        insta::assert_snapshot!(refusal("deadline_ms=-5"), @"`deadline_ms`: `-5` is not a whole number from 1 to 600000");
        insta::assert_snapshot!(refusal("priority=10"), @"`priority`: `10` is not a whole number from 0 to 9");
        insta::assert_snapshot!(refusal("model="), @"`model`: is empty; give a name, or leave it out");
        insta::assert_snapshot!(refusal("iou=0.5&iou=0.6"), @"`iou`: is given twice; give it once");
        insta::assert_snapshot!(refusal("format=cocoa"), @"`format`: `cocoa` is none of default, roboflow, ultralytics, coco; did you mean `coco`?");
        insta::assert_snapshot!(refusal("redact=blurr"), @"`redact`: `blurr` is none of blur, pixelate; did you mean `blur`?");
        insta::assert_snapshot!(refusal("min-score=0.1"), @"`min-score`: there is no such parameter; did you mean `min_score`?; there are model, variant, min_score, iou, max_detections, top_k, deadline_ms, priority, format, redact, objective, min_accuracy, max_cost_usd");
        insta::assert_snapshot!(refusal("zzz"), @"`zzz`: there is no such parameter; there are model, variant, min_score, iou, max_detections, top_k, deadline_ms, priority, format, redact, objective, min_accuracy, max_cost_usd");
    }
}
