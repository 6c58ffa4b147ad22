//! Keeps the keys of an identity provider. They are fetched in the background again and again, and sooner when a token names a key that is
//! not there: then its request waits for the fetch. Strangers may send any names, so there are some seconds from one fetch to the next.
//!
//! What cannot be fetched changes nothing: the keys from before stay in force.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use tokio::sync::{Notify, watch};

use super::{
    fetch::{self, KeyFetcher, TIMEOUT},
    jwks::TokenKeys,
};
use crate::{
    auth::watched_file::{FileChange, WatchedFile},
    config::{TokenIssuer, TokenKeySource},
    files,
};

/// The least time from one fetch to the next.
pub(super) const COOLDOWN: Duration = Duration::from_secs(5);

/// The longest time to the next fetch after one that failed.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

/// The longest time that a request waits for keys: two answers, that of the issuer and that with the keys.
const LONGEST_WAIT: Duration = TIMEOUT.saturating_mul(2);

/// The keys of an identity provider.
#[derive(Debug)]
pub(in crate::auth) struct KeptKeys {
    current: RwLock<Option<Arc<TokenKeys>>>,
    from: KeptFrom,
}

#[derive(Debug)]
enum KeptFrom {
    File(WatchedFile),
    Network(Box<KeyFetching>),
}

/// The fetching of keys.
#[derive(Debug)]
struct KeyFetching {
    fetcher: KeyFetcher,
    /// Time from one fetch to the next.
    refresh: Duration,
    last: watch::Sender<LastFetch>,
    /// Somebody does not want to wait so long.
    wanted: Notify,
}

/// How far the last fetch has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LastFetch {
    Never,
    Running,
    Ended(Instant),
}

impl KeptKeys {
    /// Begins with the keys of a file, or with none.
    ///
    /// # Errors
    /// With a sentence: the file, or that of the authorities, cannot be used.
    pub fn new(issuer: &TokenIssuer) -> Result<Self, String> {
        if let TokenKeySource::File(path) = &issuer.keys {
            let wrong =
                |why: String| format!("auth.oidc.jwks_file: the keys of {} cannot be used: {why}", path.display());
            let reading = path.clone();
            let keys = files::soon(move || fetch::read(&reading)).map_err(|error| wrong(error.to_string()))?;
            let current = RwLock::new(Some(Arc::new(keys.map_err(wrong)?)));
            return Ok(Self { current, from: KeptFrom::File(WatchedFile::new(path.clone())) });
        }
        let fetcher = KeyFetcher::new(issuer)?.ok_or("there is nothing to fetch")?;
        let (last, _) = watch::channel(LastFetch::Never);
        let fetching = KeyFetching { fetcher, refresh: issuer.refresh, last, wanted: Notify::new() };
        Ok(Self { current: RwLock::new(None), from: KeptFrom::Network(Box::new(fetching)) })
    }

    /// The keys that are in force; none before the first fetch that has worked.
    pub(super) fn current(&self) -> Option<Arc<TokenKeys>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes the keys of the file, if they come from one and it has changed. Blocks.
    pub fn reload(&self) {
        let KeptFrom::File(file) = &self.from else { return };
        let path = file.path().display();
        match file.look(fetch::read) {
            None => {}
            Some(FileChange::First(keys)) => self.set(keys),
            Some(FileChange::New(keys)) => {
                tracing::info!(file = %path, keys = keys.len(), "the keys of tokens have changed; the new ones are in force");
                self.set(keys);
            }
            Some(FileChange::Trouble(why)) => {
                tracing::error!(file = %path, "the keys of tokens (auth.oidc.jwks_file) cannot be used: {why}; those from before stay in force");
            }
        }
    }

    /// Fetches the keys, and again and again. It returns at once where they come from a file.
    pub async fn keep_fresh(&self) {
        let KeptFrom::Network(fetching) = &self.from else { return };
        let KeyFetching { fetcher, refresh, last, wanted } = &**fetching;
        let mut trouble = Trouble::default();
        loop {
            last.send_replace(LastFetch::Running);
            let fetched = fetcher.fetch().await;
            let next = match fetched {
                Ok(keys) => {
                    trouble.over(&keys);
                    self.set(keys);
                    *refresh
                }
                Err(why) => trouble.again(why, self.current().is_some()),
            };
            last.send_replace(LastFetch::Ended(Instant::now()));
            tokio::time::sleep(COOLDOWN).await;
            let _ = tokio::time::timeout(next.saturating_sub(COOLDOWN), wanted.notified()).await;
        }
    }

    /// Asks for a fetch, for a token that names a key that is not there, and waits for its end. It returns at once where the last
    /// fetch was a moment ago.
    pub async fn fetch_soon(&self) {
        let KeptFrom::Network(fetching) = &self.from else { return };
        let KeyFetching { last, wanted, .. } = &**fetching;
        let mut last = last.subscribe();
        let before = *last.borrow_and_update();
        match before {
            LastFetch::Ended(at) if at.elapsed() < COOLDOWN => return,
            LastFetch::Ended(_) => wanted.notify_one(),
            // The first one comes by itself.
            LastFetch::Never | LastFetch::Running => {}
        }
        let ended = last.wait_for(|now| *now != before && matches!(now, LastFetch::Ended(_)));
        let _ = tokio::time::timeout(LONGEST_WAIT, ended).await;
    }

    fn set(&self, keys: TokenKeys) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(keys));
    }
}

/// What was wrong with the last fetches, so that it is logged once.
#[derive(Debug, Default)]
struct Trouble {
    why: Option<String>,
    failures: u32,
    fetched: bool,
}

impl Trouble {
    /// A fetch has worked.
    fn over(&mut self, keys: &TokenKeys) {
        if !self.fetched || self.why.is_some() {
            let (keys, left_out) = (keys.len(), keys.unusable);
            tracing::info!(keys, left_out, "the identity provider's keys are here");
        }
        *self = Self { fetched: true, ..Self::default() };
    }

    /// A fetch has failed: how long to wait for the next.
    fn again(&mut self, why: String, have_keys: bool) -> Duration {
        if self.why.as_ref() != Some(&why) {
            let meanwhile = if have_keys {
                "the keys from before stay in force"
            } else {
                "no token opens anything until they come"
            };
            tracing::error!("the identity provider's keys cannot be fetched: {why}; {meanwhile}");
            self.why = Some(why);
        }
        self.failures = self.failures.saturating_add(1);
        backoff(self.failures)
    }
}

/// How long to wait after so many failures.
fn backoff(failures: u32) -> Duration {
    COOLDOWN.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(LONGEST_BACKOFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_fetches_fail_the_longer_the_next_waits_up_to_a_minute() {
        let seconds: Vec<_> = (1..=6).map(|failures| backoff(failures).as_secs()).collect();
        assert_eq!(seconds, [5, 10, 20, 40, 60, 60]);
        assert_eq!(backoff(u32::MAX), LONGEST_BACKOFF);
    }
}
