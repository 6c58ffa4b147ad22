//! The server's lifecycle: `Starting` → `Ready` → `Draining`.

use tokio::sync::watch;

/// A phase of the server's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LifecycleState {
    /// Models are being loaded and warmed up. Requests are refused with 503.
    Starting,
    /// Requests are answered.
    Ready,
    /// Requests are still answered, but `/readyz` says 503, so that a load balancer sends no more of them.
    Draining,
}

/// The server's state, which all rooms share.
#[derive(Debug)]
pub struct Lifecycle(watch::Sender<LifecycleState>);

impl Default for Lifecycle {
    fn default() -> Self {
        Self(watch::Sender::new(LifecycleState::Starting))
    }
}

impl Lifecycle {
    /// Returns the current state.
    #[must_use]
    pub fn state(&self) -> LifecycleState {
        *self.0.borrow()
    }

    /// Waits until the server drains.
    pub async fn draining(&self) {
        // An error would mean that this has been dropped, and it is borrowed.
        drop(self.0.subscribe().wait_for(|state| *state == LifecycleState::Draining).await);
    }

    /// Moves on to a later state. A move to an earlier state is ignored.
    pub fn advance(&self, to: LifecycleState) {
        self.0.send_if_modified(|state| {
            let later = (*state as u8) < (to as u8);
            if later {
                *state = to;
            }
            later
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_earlier_state_is_ignored() {
        let life = Lifecycle::default();
        life.advance(LifecycleState::Draining);
        life.advance(LifecycleState::Ready);
        assert_eq!(life.state(), LifecycleState::Draining);
    }
}
