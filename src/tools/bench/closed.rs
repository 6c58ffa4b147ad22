//! A closed loop: each connection sends its next request when it has the answer to the last one.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use super::{BenchTarget, Load, LoadPlan, LoadResult, RunControl, measure::Recorder, send::ResponseKind};

/// Pause of a connection after a request without any answer, so that a server that is gone is not asked in a busy loop.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(10);

/// Keeps `connections` requests in flight during the warm-up and the measured time. It then waits for the last answers.
///
/// # Errors
/// The histograms of the measurements cannot be made.
pub async fn closed_loop(
    target: &BenchTarget,
    connections: usize,
    plan: &LoadPlan,
    control: &RunControl,
) -> Result<LoadResult, String> {
    let recorder = Arc::new(Recorder::start(Load::Closed { connections }, plan)?);
    let mut clients = JoinSet::new();
    for _ in 0..connections {
        let (target, recorder) = (target.clone(), recorder.clone());
        clients.spawn(async move {
            while !recorder.is_over() {
                let begun = Instant::now();
                let outcome = target.send().await;
                let failed = matches!(outcome.kind, ResponseKind::Failed(_));
                recorder.record(begun, begun, outcome);
                if failed {
                    tokio::time::sleep(PAUSE_AFTER_ERROR).await;
                }
            }
        });
    }
    control.follow(&recorder, async { while clients.join_next().await.is_some() {} }).await;
    Ok(recorder.measured())
}
