//! A bounded queue that threads pull from.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::job::{Job, JobError};

/// First in, first out; never longer than its capacity.
#[derive(Debug)]
pub struct Queue {
    // A std mutex: it is held for a push or a pop, never across an await.
    state: Mutex<State>,
    arrived: Condvar,
    capacity: usize,
}

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Job>,
    closed: bool,
}

impl State {
    /// The late are told, the gone are dropped.
    fn drop_unwanted(&mut self, now: Instant) {
        // Nearly always nobody: then the queue stays as it is.
        if self.jobs.iter().all(|job| job.deadline > now && !job.reply.is_closed()) {
            return;
        }
        for job in std::mem::take(&mut self.jobs) {
            if job.deadline <= now {
                // The receiver may have gone; then nobody has to be told.
                let _ = job.reply.send(Err(JobError::Late));
            } else if !job.reply.is_closed() {
                self.jobs.push_back(job);
            }
        }
    }
}

impl Queue {
    /// An empty queue for at most `capacity` jobs.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { state: Mutex::default(), arrived: Condvar::new(), capacity }
    }

    /// Puts a job at the end.
    ///
    /// # Errors
    /// Gives the job back when the queue is full or closed.
    pub fn push(&self, job: Job) -> Result<(), Job> {
        let mut state = self.lock();
        if state.jobs.len() >= self.capacity {
            // Those whom nobody waits for take nobody's place.
            state.drop_unwanted(Instant::now());
        }
        if state.closed || state.jobs.len() >= self.capacity {
            return Err(job);
        }
        state.jobs.push_back(job);
        drop(state);
        self.arrived.notify_one();
        Ok(())
    }

    /// Waits for work and takes up to `max` jobs that may share a run, at least one; `None` once the queue is closed
    /// and empty. Fewer than `max` are taken only when the first has waited `max_delay` for company.
    ///
    /// Jobs past their deadline are told so, and jobs whose client has gone are dropped: neither is computed.
    pub fn take(&self, max: usize, max_delay: Duration) -> Option<Vec<Job>> {
        let mut state = self.lock();
        loop {
            state.drop_unwanted(Instant::now());
            let together = state.jobs.iter().take(max).take_while(|job| job.shares).count();
            let until = match state.jobs.front() {
                None if state.closed => return None,
                None => None,
                // The window counts from the oldest job's arrival, and never past its deadline.
                Some(first) => Some((first.queued_at + max_delay).min(first.deadline)),
            };
            let wait = until.map(|until| until.saturating_duration_since(Instant::now()));
            let full = together == max || together < state.jobs.len() || state.closed;
            state = match wait {
                Some(wait) if full || wait.is_zero() => {
                    return Some(state.jobs.drain(..together.max(1)).collect());
                }
                Some(wait) => self.arrived.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0,
                None => self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Takes no more jobs; workers end when what is there is done, or was dropped with `abandon`.
    pub fn close(&self, abandon: bool) {
        let mut state = self.lock();
        state.closed = true;
        if abandon {
            state.jobs.clear();
        }
        drop(state);
        self.arrived.notify_all();
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().jobs.len()
    }

    /// Does none wait?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while the lock is held cannot leave the queue half changed, so poison means nothing here.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;
    use crate::batch::job::Ran;

    type Reply = oneshot::Receiver<Result<Ran, JobError>>;

    fn job(shares: bool, budget: Duration) -> (Job, Reply) {
        let (reply, receiver) = oneshot::channel();
        let queued_at = Instant::now();
        (Job { inputs: Vec::new(), shares, queued_at, deadline: queued_at + budget, reply }, receiver)
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn one_more_than_fits_is_given_back() {
        let queue = Queue::new(1);
        let ((first, _r1), (second, _r2)) = (job(true, LONG), job(true, LONG));
        assert!(queue.push(first).is_ok());
        assert!(queue.push(second).is_err());
    }

    #[test]
    fn what_waits_is_taken_together_up_to_the_maximum() {
        let queue = Queue::new(8);
        let mut replies = Vec::new();
        for _ in 0..5 {
            let (job, reply) = job(true, LONG);
            queue.push(job).expect("room");
            replies.push(reply);
        }
        assert_eq!(queue.take(4, Duration::ZERO).expect("open").len(), 4);
        assert_eq!(queue.take(4, Duration::ZERO).expect("open").len(), 1);
    }

    #[test]
    fn a_lone_job_waits_for_company_no_longer_than_the_window() {
        let queue = std::sync::Arc::new(Queue::new(8));
        let (first, _r1) = job(true, LONG);
        queue.push(first).expect("room");
        let (second, _r2) = job(true, LONG);
        let later = std::sync::Arc::clone(&queue);
        let pushing = std::thread::spawn(move || later.push(second).is_ok());
        assert_eq!(queue.take(2, LONG).expect("open").len(), 2, "a full batch goes at once");
        assert!(pushing.join().expect("no panic"));
        let (third, _r3) = job(true, LONG);
        queue.push(third).expect("room");
        assert_eq!(queue.take(2, Duration::from_millis(1)).expect("open").len(), 1, "then it goes alone");
    }

    #[test]
    fn a_job_that_does_not_share_runs_alone() {
        let queue = Queue::new(8);
        let jobs: Vec<_> = [true, false, true].into_iter().map(|shares| job(shares, LONG)).collect();
        let (jobs, _replies): (Vec<_>, Vec<_>) = jobs.into_iter().unzip();
        for job in jobs {
            queue.push(job).expect("room");
        }
        let sizes: Vec<_> = (0..3).map(|_| queue.take(4, Duration::ZERO).expect("open").len()).collect();
        assert_eq!(sizes, [1, 1, 1]);
    }

    #[test]
    fn the_late_and_the_gone_are_never_computed() {
        let queue = Queue::new(8);
        let (late, mut late_reply) = job(true, Duration::ZERO);
        let (gone, gone_reply) = job(true, LONG);
        let (wanted, _reply) = job(true, LONG);
        drop(gone_reply);
        for job in [late, gone, wanted] {
            queue.push(job).expect("room");
        }
        assert_eq!(queue.take(4, Duration::ZERO).expect("open").len(), 1);
        assert_eq!(late_reply.try_recv().expect("told").err(), Some(JobError::Late));
    }

    #[test]
    fn a_closed_queue_is_emptied_and_then_ends() {
        let queue = Queue::new(8);
        let (last, _reply) = job(true, LONG);
        queue.push(last).expect("room");
        queue.close(false);
        assert_eq!(queue.take(4, Duration::ZERO).expect("the last one").len(), 1);
        assert!(queue.take(4, Duration::ZERO).is_none());
    }
}
