//! Work beside the requests: the tick of every second, and the watch over the model folder and the file of keys.

use std::{sync::Arc, time::Duration};

use crate::{
    auth::Authenticator,
    inference::{Inference, tick::tick},
    models::FolderState,
};

/// Time between two ticks.
const TICK_INTERVAL: Duration = Duration::from_secs(1);

/// Ticks once a second: it balances the ledger, sheds or restores tiers, and estimates the load.
pub(super) async fn tick_every_second(inference: Arc<Inference>) {
    let mut second = tokio::time::interval(TICK_INTERVAL);
    second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        second.tick().await;
        tick(&inference);
    }
}

/// Looks every second whether the file of keys has changed. It ends at once where there is none.
pub(super) async fn watch_keys(authenticator: Arc<Authenticator>) {
    while authenticator.wants_keys() {
        tokio::time::sleep(TICK_INTERVAL).await;
        let authenticator = Arc::clone(&authenticator);
        if let Err(error) = tokio::task::spawn_blocking(move || authenticator.reload()).await {
            tracing::error!(%error, "the file of keys could not be looked at");
        }
    }
}

/// Checks the model folder at the interval of the settings, and serves what has changed. It ends at once where the
/// interval is zero or not `all` models are served.
pub(super) async fn watch_folder(inference: Arc<Inference>, all: bool) {
    let every = inference.config().reload.watch;
    if every.is_zero() || !all {
        return;
    }
    let mut folder = FolderState::default();
    loop {
        tokio::time::sleep(every).await;
        let inference = Arc::clone(&inference);
        let check = move || {
            folder.check(inference.models());
            folder
        };
        match tokio::task::spawn_blocking(check).await {
            Ok(now) => folder = now,
            Err(error) => {
                tracing::error!(%error, "the model folder is no longer watched");
                return;
            }
        }
    }
}
