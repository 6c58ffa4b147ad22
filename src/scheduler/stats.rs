//! What one variant has run so far, in the terms of the Open Inference Protocol's statistics extension.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use super::latency_profile::Run;

/// How often something happened, and how long it took in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Total {
    /// How often.
    pub count: u64,
    /// How long in all.
    pub time: Duration,
}

impl Total {
    fn add(&mut self, count: u64, time: Duration) {
        self.count += count;
        self.time += time;
    }
}

/// A run that ended well.
#[derive(Debug, Clone, Copy)]
pub struct Done {
    /// Its rows.
    pub rows: usize,
    /// The rows that were run, padding included.
    pub padded: usize,
    /// The jobs that shared it.
    pub jobs: u64,
    /// How long those had waited, together.
    pub queued: Duration,
    /// Putting the rows together.
    pub gather: Duration,
    /// The run.
    pub run: Run,
    /// Taking the rows apart.
    pub scatter: Duration,
}

/// Runs of one size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SizeStats {
    /// Putting rows together.
    pub gather: Total,
    /// The runs.
    pub run: Total,
    /// Taking rows apart.
    pub scatter: Total,
}

/// All runs.
#[derive(Debug, Clone, Default)]
pub struct Stats {
    /// Jobs that were answered, from their arrival in the queue.
    pub succeeded: Total,
    /// Jobs whose run failed.
    pub failed: Total,
    /// Pending, of those that were answered.
    pub queued: Total,
    /// Putting rows together, of those that were answered: each waits for the whole batch.
    pub gather: Total,
    /// Runs, of those that were answered.
    pub run: Total,
    /// Taking rows apart, of those that were answered.
    pub scatter: Total,
    /// Rows that were run, without padding.
    pub rows: u64,
    /// When the last run ended.
    pub last: Option<SystemTime>,
    /// By the rows that were run.
    pub sizes: BTreeMap<usize, SizeStats>,
}

impl Stats {
    pub(super) fn record(&mut self, done: &Done) {
        let Done { rows, padded, jobs, queued, gather, run, scatter } = *done;
        let size = self.sizes.entry(padded).or_default();
        size.gather.add(1, gather);
        size.run.add(1, run.wall);
        size.scatter.add(1, scatter);
        self.queued.add(jobs, queued);
        let each = u32::try_from(jobs).unwrap_or(u32::MAX);
        self.gather.add(jobs, gather * each);
        self.run.add(jobs, run.wall * each);
        self.scatter.add(jobs, scatter * each);
        self.rows += u64::try_from(rows).unwrap_or(u64::MAX);
        self.succeeded.add(jobs, queued + (gather + run.wall + scatter) * each);
        self.last = Some(SystemTime::now());
    }

    pub(super) fn failed(&mut self, took: Duration) {
        self.failed.add(1, took);
    }
}
