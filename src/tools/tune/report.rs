//! What came out: as a table, as a settings file, as an image of the frontier.

use std::fmt;

use serde::Serialize;

use super::{Measurement, Pruned, Setting, SettingResult, Subject, TuneGoal};
use crate::{
    engine::thread_plan::usable_cpus,
    tools::plot::{Axis, Chart, Label, Reference, Series},
};

/// All that was tried, and the cheapest that keeps the promise.
#[derive(Debug, Clone, Serialize)]
pub struct TuneReport {
    /// The model.
    pub model: String,
    /// CPUs of this machine.
    pub cpus: usize,
    /// Dollars an hour for it.
    pub usd_per_hour: f64,
    /// The promise.
    pub slo_p99_ms: f64,
    /// The floor.
    pub min_accuracy: Option<f64>,
    /// What was tried.
    pub tried: Vec<SettingResult>,
    /// What was not, or only once.
    pub pruned: Vec<Pruned>,
    /// The cheapest that keeps the promise.
    pub chosen: Option<Chosen>,
    /// Was it ended early?
    pub interrupted: bool,
}

/// A setting that keeps the promise when requests come whatever the answers do.
#[derive(Debug, Clone, Serialize)]
pub struct Chosen {
    /// The setting.
    pub setting: Setting,
    /// At the highest rate that was confirmed.
    pub at: Measurement,
}

impl TuneReport {
    pub(super) fn new(subject: &Subject, promise: &TuneGoal, pruned: Vec<Pruned>) -> Self {
        Self {
            model: subject.model.clone(),
            cpus: usable_cpus(),
            usd_per_hour: subject.usd_per_hour(),
            slo_p99_ms: promise.slo_p99.as_secs_f64() * 1e3,
            min_accuracy: promise.min_accuracy,
            tried: Vec::new(),
            pruned,
            chosen: None,
            interrupted: false,
        }
    }

    /// The cheapest so many that kept the promise, the cheapest first.
    pub(super) fn best(&self, most: usize) -> Vec<SettingResult> {
        let usd = |tried: &SettingResult| tried.best().map_or(f64::INFINITY, |load| load.usd_per_million);
        let mut kept: Vec<SettingResult> = self.tried.iter().filter(|tried| tried.best().is_some()).cloned().collect();
        kept.sort_by(|a, b| usd(a).total_cmp(&usd(b)));
        kept.truncate(most);
        kept
    }

    pub(super) fn confirmed(&mut self, setting: Setting, at: Measurement) {
        if self.chosen.as_ref().is_none_or(|chosen| at.usd_per_million < chosen.at.usd_per_million) {
            self.chosen = Some(Chosen { setting, at });
        }
    }

    /// What to write to a file for `ounce serve --config`: the chosen setting, or, where there was no time to confirm one,
    /// the cheapest that kept the promise.
    #[must_use]
    pub fn settings_toml(&self) -> Option<String> {
        let unconfirmed = || {
            let best = self.best(1).into_iter().next()?;
            let at = *best.best()?;
            Some(Chosen { setting: best.setting, at })
        };
        let best_so_far = || if self.interrupted { unconfirmed() } else { None };
        let Chosen { setting, at } = self.chosen.clone().or_else(best_so_far)?;
        let how = match at.connections {
            None => "requests that come at random moments".to_owned(),
            Some(connections) => format!("{connections} connections, not confirmed since it was interrupted"),
        };
        let floor = self.min_accuracy.map(|floor| format!("min_accuracy = {floor}\n")).unwrap_or_default();
        Some(format!(
            "# Found by `ounce tune {}` on {} CPUs at {} dollars an hour: {:.0} answers/s with a p99 of {:.1} ms ({how}),\n\
             # {:.4} dollars a million. Serve with it: ounce serve --config THIS_FILE\n\n\
             [threads]\ndecode = {}\n\n\
             [model.{}]\ndefault_variant = {}\nslo_p99_ms = {}\n{floor}instances = {}\nthreads = {}\nmax_batch = {}\n",
            self.model,
            self.cpus,
            self.usd_per_hour,
            at.answers_per_s,
            at.p99_ms,
            at.usd_per_million,
            setting.decode_threads,
            self.model,
            // As TOML writes a string.
            toml::Value::from(setting.variant),
            self.slo_p99_ms,
            setting.instances,
            setting.threads,
            setting.max_batch,
        ))
    }

    /// What a million answers cost over the p99 of the answers, for every load of every setting; the frontier is the line
    /// below and left of which there is nothing.
    #[must_use]
    pub fn chart(&self) -> Chart {
        let title = format!("{} on {} CPUs at ${} an hour", self.model, self.cpus, self.usd_per_hour);
        let mut chart = Chart::new(title, Axis::log("p99 in ms"), Axis::log("dollars a million answers"));
        let mut variants: Vec<(&str, Option<f64>)> = Vec::new();
        for tried in &self.tried {
            if !variants.iter().any(|(variant, _)| *variant == tried.setting.variant) {
                variants.push((&tried.setting.variant, tried.accuracy));
            }
        }
        let all = |variant: Option<&str>| {
            let of =
                self.tried.iter().filter(move |tried| variant.is_none_or(|variant| tried.setting.variant == variant));
            of.flat_map(|tried| &tried.loads).map(|load| (load.p99_ms, load.usd_per_million)).collect::<Vec<_>>()
        };
        let chosen = self.chosen.as_ref();
        for (variant, accuracy) in &variants {
            let confirmed = chosen.filter(|chosen| chosen.setting.variant == *variant);
            let confirmed = confirmed.map(|chosen| (chosen.at.p99_ms, chosen.at.usd_per_million));
            let name = accuracy.map_or((*variant).to_owned(), |accuracy| format!("{variant} ({accuracy:.3})"));
            chart.series.push(Series::scatter(name, all(Some(variant)).into_iter().chain(confirmed).collect()));
        }
        chart.series.push(Series::steps("frontier", frontier(all(None))));
        chart.upright.push(Reference { at: self.slo_p99_ms, label: format!("SLO {} ms", self.slo_p99_ms) });
        if let Some(Chosen { setting, at }) = &self.chosen {
            let text = format!("chosen: {}, {:.0}/s", setting.variant, at.answers_per_s);
            chart.labels.push(Label { at: (at.p99_ms, at.usd_per_million), text, highlighted: true });
        }
        chart
    }
}

/// The points that no other beats in both, from left to right.
fn frontier(mut points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    points.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let mut line: Vec<(f64, f64)> = Vec::new();
    for point in points {
        if line.last().is_none_or(|last| point.1 < last.1) {
            line.push(point);
        }
    }
    line
}

impl fmt::Display for TuneReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.tried.iter().map(|tried| tried.setting.variant.chars().count()).max().unwrap_or(0).max(7);
        writeln!(
            f,
            "{:<width$}  accuracy  sessions  threads  decoding  batch  answers/s    p50 ms    p99 ms  $ a million",
            "variant"
        )?;
        let mut rows: Vec<_> = self.tried.iter().collect();
        let usd = |tried: &SettingResult| tried.best().map_or(f64::INFINITY, |load| load.usd_per_million);
        rows.sort_by(|a, b| usd(a).total_cmp(&usd(b)));
        for tried in rows {
            let Setting { variant, instances, threads, decode_threads, max_batch } = &tried.setting;
            let accuracy = tried.accuracy.map_or("?".to_owned(), |accuracy| format!("{accuracy:.3}"));
            write!(
                f,
                "{variant:<width$}  {accuracy:>8}  {instances:>8}  {threads:>7}  {decode_threads:>8}  {max_batch:>5}  "
            )?;
            match (tried.best(), tried.loads.first()) {
                (Some(best), _) => writeln!(
                    f,
                    "{:>9.1}  {:>8.2}  {:>8.2}  {:>11.4}",
                    best.answers_per_s, best.p50_ms, best.p99_ms, best.usd_per_million
                )?,
                (None, Some(first)) => writeln!(f, "p99 {:.1} ms with one connection: too slow", first.p99_ms)?,
                (None, None) => writeln!(f)?,
            }
        }
        for Pruned { variant, why } in &self.pruned {
            writeln!(f, "not searched: {variant}: {why}")?;
        }
        match &self.chosen {
            Some(Chosen { setting, at }) => writeln!(
                f,
                "\ncheapest with p99 within {} ms: {setting}\n  {:.0} answers/s that come at random moments, p99 {:.1} ms, \
                 {:.4} dollars a million",
                self.slo_p99_ms, at.answers_per_s, at.p99_ms, at.usd_per_million
            ),
            None if self.interrupted => writeln!(f, "\ninterrupted: nothing is confirmed"),
            None => writeln!(f, "\nnothing here keeps p99 within {} ms", self.slo_p99_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Layers;

    fn found() -> TuneReport {
        let setting = |variant: &str| Setting {
            variant: variant.to_owned(),
            instances: 2,
            threads: 1,
            decode_threads: 2,
            max_batch: 1,
        };
        let load = |answers_per_s: f64, p99_ms: f64, keeps| Measurement {
            connections: Some(1),
            answers_per_s,
            p50_ms: p99_ms / 2.0,
            p99_ms,
            usd_per_million: 0.1 / 3600.0 / answers_per_s * 1e6,
            keeps,
        };
        let tried = |variant, loads| SettingResult { setting: setting(variant), accuracy: Some(0.8), loads };
        let mut found = TuneReport {
            model: "pedestrian".to_owned(),
            cpus: 2,
            usd_per_hour: 0.1,
            slo_p99_ms: 50.0,
            min_accuracy: Some(0.7),
            tried: vec![
                tried("fp32", vec![load(100.0, 20.0, true), load(150.0, 80.0, false)]),
                tried("int8", vec![load(200.0, 10.0, true), load(250.0, 40.0, true)]),
            ],
            pruned: vec![],
            chosen: None,
            interrupted: false,
        };
        found.confirmed(setting("int8"), Measurement { connections: None, ..load(240.0, 45.0, true) });
        found
    }

    #[test]
    fn the_settings_are_settings() {
        let folder = tempfile::tempdir().expect("tempdir");
        let path = folder.path().join("tuned.toml");
        std::fs::write(&path, found().settings_toml().expect("one keeps the promise")).expect("write");
        let config = Layers::defaults().and_then(|layers| layers.file(&path)).and_then(|layers| layers.build());
        let config = config.expect("valid settings");
        let model = &config.model["pedestrian"];
        assert_eq!((config.threads.decode.or(9), model.instances.map(|n| n.or(9))), (2, Some(2)));
        assert_eq!(model.default_variant.as_deref(), Some("int8"));
        assert_eq!(model.slo_p99_ms.map(crate::config::Millis::duration), Some(std::time::Duration::from_millis(50)));
    }

    #[test]
    fn the_frontier_is_what_nothing_beats() {
        let line = frontier(vec![(3.0, 1.0), (1.0, 5.0), (2.0, 6.0), (2.5, 4.0), (4.0, 1.0)]);
        assert_eq!(line, [(1.0, 5.0), (2.5, 4.0), (3.0, 1.0)]);
        assert_eq!(found().best(1)[0].setting.variant, "int8");
        insta::assert_snapshot!(found().to_string(), @r"
        variant  accuracy  sessions  threads  decoding  batch  answers/s    p50 ms    p99 ms  $ a million
        int8        0.800         2        1         2      1      250.0     20.00     40.00       0.1111
        fp32        0.800         2        1         2      1      100.0     10.00     20.00       0.2778

        cheapest with p99 within 50 ms: int8, 2×1 threads, 2 decoding, batches up to 1
          240 answers/s that come at random moments, p99 45.0 ms, 0.1157 dollars a million
        ");
    }
}
