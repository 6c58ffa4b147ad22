//! Starting → Ready → Draining.

use tokio::sync::watch;

/// Where the server is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Models are being loaded and warmed; requests are refused with 503.
    Starting,
    /// Requests are answered.
    Ready,
    /// Requests are still answered, but `/readyz` says 503 so that a load balancer turns away.
    Draining,
}

/// The state, shared; a change can be awaited.
#[derive(Debug)]
pub struct Lifecycle(watch::Sender<State>);

impl Default for Lifecycle {
    fn default() -> Self {
        Self(watch::Sender::new(State::Starting))
    }
}

impl Lifecycle {
    /// The state now.
    #[must_use]
    pub fn state(&self) -> State {
        *self.0.borrow()
    }

    /// Moves on; there is no way back.
    pub fn advance(&self, to: State) {
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
    fn there_is_no_way_back() {
        let life = Lifecycle::default();
        life.advance(State::Draining);
        life.advance(State::Ready);
        assert_eq!(life.state(), State::Draining);
    }
}
