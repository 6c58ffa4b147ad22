//! Work beside the requests: the tick of every second, and the watch over the model folder, the file of keys and the certificates.

use std::{sync::Arc, time::Duration};

use super::tls::Tls;
use crate::{
    auth::Authenticator,
    inference::{Inference, tick::tick},
    models::FolderState,
};

/// Time between two ticks.
const TICK_INTERVAL: Duration = Duration::from_secs(1);

/// Time between two looks at the files of certificates.
const CERTIFICATES_INTERVAL: Duration = Duration::from_secs(1);

/// Ticks once a second: it balances the ledger, sheds or restores tiers, and estimates the load.
pub(super) async fn tick_every_second(inference: Arc<Inference>) {
    let mut second = tokio::time::interval(TICK_INTERVAL);
    second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        second.tick().await;
        tick(&inference);
    }
}

/// Keeps the keys of the identity provider fresh. It ends at once where none are fetched.
pub(super) async fn keep_token_keys_fresh(authenticator: Arc<Authenticator>) {
    authenticator.keep_token_keys_fresh().await;
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

/// Looks at the files of certificates once a second, and shows new ones from then on. It ends at once where there is no TLS.
pub(super) async fn reload_certificates(tls: Option<Arc<Tls>>) {
    let Some(tls) = tls else { return };
    loop {
        tokio::time::sleep(CERTIFICATES_INTERVAL).await;
        let tls = Arc::clone(&tls);
        // Files may be on a disk that is slow.
        if let Err(error) = tokio::task::spawn_blocking(move || tls.reload()).await {
            tracing::error!(%error, "the files of certificates are no longer watched");
            return;
        }
    }
}
