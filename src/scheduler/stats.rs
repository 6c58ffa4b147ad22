//! Statistics of one variant's runs, as the statistics extension of the Open Inference Protocol reports them.
//!
//! `gather` is the protocol's `compute_input`, `run` its `compute_infer`, and `scatter` its `compute_output`.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use super::latency_profile::RunTiming;

/// A count of events and their total duration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StatisticDuration {
    /// Number of events.
    pub count: u64,
    /// Sum of their durations.
    pub time: Duration,
}

impl StatisticDuration {
    fn add(&mut self, count: u64, time: Duration) {
        self.count += count;
        self.time += time;
    }
}

/// A successful run, as its worker reports it.
#[derive(Debug, Clone, Copy)]
pub struct CompletedRun {
    /// Rows of the jobs.
    pub rows: usize,
    /// Rows that were run, padding included.
    pub padded_rows: usize,
    /// Number of jobs that shared the run.
    pub jobs: u64,
    /// Sum of the times that the jobs spent in the queue.
    pub queued: Duration,
    /// Time that it took to copy the jobs' rows into one batch.
    pub gather: Duration,
    /// Duration of the run itself.
    pub timing: RunTiming,
    /// Time that it took to copy each job's rows out of the outputs.
    pub scatter: Duration,
}

/// Statistics of all runs of one batch size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SizeStats {
    /// Copying rows into a batch.
    pub gather: StatisticDuration,
    /// The runs.
    pub run: StatisticDuration,
    /// Copying rows out of the outputs.
    pub scatter: StatisticDuration,
}

/// Statistics of all runs of one variant. Times are summed over jobs: each job of a batch waits for the whole batch.
#[derive(Debug, Clone, Default)]
pub struct VariantStats {
    /// Jobs that were answered, with their time from arrival in the queue to the answer.
    pub succeeded: StatisticDuration,
    /// Jobs whose run failed.
    pub failed: StatisticDuration,
    /// Time in the queue of the jobs that were answered.
    pub queued: StatisticDuration,
    /// Copying rows into a batch, for the jobs that were answered.
    pub gather: StatisticDuration,
    /// Runs, for the jobs that were answered.
    pub run: StatisticDuration,
    /// Copying rows out of the outputs, for the jobs that were answered.
    pub scatter: StatisticDuration,
    /// Rows that were run, without padding.
    pub rows: u64,
    /// When the last run ended.
    pub last: Option<SystemTime>,
    /// Statistics by batch size, padding included.
    pub sizes: BTreeMap<usize, SizeStats>,
}

impl VariantStats {
    pub(super) fn record_run(&mut self, run: &CompletedRun) {
        let CompletedRun { rows, padded_rows, jobs, queued, gather, timing, scatter } = *run;
        let size = self.sizes.entry(padded_rows).or_default();
        size.gather.add(1, gather);
        size.run.add(1, timing.wall);
        size.scatter.add(1, scatter);
        self.queued.add(jobs, queued);
        let times = u32::try_from(jobs).unwrap_or(u32::MAX);
        self.gather.add(jobs, gather * times);
        self.run.add(jobs, timing.wall * times);
        self.scatter.add(jobs, scatter * times);
        self.rows += u64::try_from(rows).unwrap_or(u64::MAX);
        self.succeeded.add(jobs, queued + (gather + timing.wall + scatter) * times);
        self.last = Some(SystemTime::now());
    }

    pub(super) fn record_failure(&mut self, took: Duration) {
        self.failed.add(1, took);
    }
}
