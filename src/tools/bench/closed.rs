//! A closed loop: the next request goes when an answer has come.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use super::{BenchTarget, Load, LoadPlan, LoadResult, RunControl, measure::Recorder, send::ResponseKind};

/// Who has no answer at all waits a moment, so that a server that is gone is not asked in a spin.
const AFTER_AN_ERROR: Duration = Duration::from_millis(10);

/// Keeps `connections` requests waiting for answers, during the warm-up and the duration. Those that are waiting at the
/// end are waited for.
///
/// # Errors
/// When there is no memory for the measurements.
pub async fn closed_loop(
    target: &BenchTarget,
    connections: usize,
    plan: &LoadPlan,
    watch: &RunControl,
) -> Result<LoadResult, String> {
    let recorder = Arc::new(Recorder::start(Load::Closed { connections }, plan)?);
    let mut clients = JoinSet::new();
    for _ in 0..connections {
        let (target, recorder) = (target.clone(), recorder.clone());
        clients.spawn(async move {
            while !recorder.is_over() {
                let begun = Instant::now();
                let outcome = target.send().await;
                let failed = matches!(outcome.fate, ResponseKind::Failed(_));
                recorder.put(begun, begun, outcome);
                if failed {
                    tokio::time::sleep(AFTER_AN_ERROR).await;
                }
            }
        });
    }
    watch.follow(&recorder, async { while clients.join_next().await.is_some() {} }).await;
    Ok(recorder.measured())
}
