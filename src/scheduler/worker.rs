//! A worker: an OS thread that owns an engine. It takes a batch from the queue, stacks the jobs' inputs, runs them, and
//! sends each job its rows of the outputs.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{
    job::{Job, JobError, RunOutput},
    latency_profile::RunTiming,
    policy::BatchLimits,
    pool_cpu_time::PoolCpuTime,
    queue::Queue,
    stats::CompletedRun,
};
use crate::{
    cost::{CpuTime, DeviceClock, ResourceUsage},
    engine::Engine,
    telemetry::metrics::BatchSizeSeries,
    vision::tensor::Tensor,
};

/// Settings and shared state of a worker, beside its engine.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// Name of the model, for metrics and for the thread's name.
    pub model: String,
    /// Limits of a batch.
    pub limits: BatchLimits,
    /// Where a run computes.
    pub execution_mode: ExecutionMode,
    /// CPU time by batch size, used where a run's own CPU time cannot be measured.
    pub pool_cpu_time: PoolCpuTime,
    /// Clock that divides the GPU's time among the runs on it.
    pub device: Arc<DeviceClock>,
    /// Where the sizes of batches are counted.
    pub batch_sizes: BatchSizeSeries,
}

/// Where a run computes. This decides how its service time and CPU time are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExecutionMode {
    /// On the worker's own thread.
    WorkerThread,
    /// On this many threads of the session's pool, the worker's own included.
    ThreadPool(usize),
    /// On a device such as a GPU.
    Device,
}

/// Measures the duration of a run. It starts and stops on the thread that runs.
#[derive(Debug)]
pub struct Stopwatch {
    started: Instant,
    cpu: CpuTime,
}

/// Starts a worker thread, which ends when the queue is closed and empty.
///
/// # Errors
/// The system may refuse a new thread.
pub fn start(
    queue: Arc<Queue>,
    number: usize,
    engine: Box<dyn Engine>,
    config: WorkerConfig,
) -> std::io::Result<JoinHandle<()>> {
    thread::Builder::new().name(format!("run-{}", config.model)).spawn(move || {
        let mut worker = Worker { queue: &queue, engine, config, buffers: Vec::new() };
        while let Some(jobs) = queue.next_batch(number) {
            worker.run(jobs);
        }
    })
}

struct Worker<'a> {
    queue: &'a Queue,
    engine: Box<dyn Engine>,
    config: WorkerConfig,
    /// The inputs of the last batch, whose memory the next batch reuses.
    buffers: Vec<Tensor>,
}

impl Worker<'_> {
    fn run(&mut self, mut jobs: Vec<Job>) {
        let (begun, cpu) = (Instant::now(), CpuTime::of_this_thread());
        let rows: usize = jobs.iter().map(|job| job.pending.rows).sum();
        // A job that shares its run with no other runs as it is; a batch is padded to a size that may run.
        let padded_rows =
            if jobs.iter().all(|job| job.pending.batchable) { self.config.limits.padded_rows(rows) } else { rows };
        let gathered = match jobs.as_slice() {
            [only] if padded_rows == rows => Ok(only.inputs.as_slice()),
            _ => gather(&jobs, padded_rows, &mut self.buffers),
        };
        let gather = begun.elapsed();
        let on_device =
            (self.config.execution_mode == ExecutionMode::Device).then(|| self.config.device.begin(Instant::now()));
        let stopwatch = Stopwatch::start();
        let result = gathered.and_then(|inputs| run_catching_panics(&mut *self.engine, inputs));
        let timing = stopwatch.stop(self.config.execution_mode);
        let gpu = on_device.map(|run| run.end(Instant::now())).unwrap_or_default();
        // When a batch fails, it is not known yet which job is at fault, so no job pays for the failed run.
        if result.is_ok() || jobs.len() == 1 {
            let used = ResourceUsage { cpu: self.cpu_time(cpu, timing, padded_rows), gpu };
            jobs.iter().for_each(|job| job.charge(used.share(job.pending.rows, rows)));
        }
        let outputs = match result {
            Ok(outputs) => outputs,
            Err(cause) if jobs.len() == 1 => {
                self.queue.record_failure(begun.elapsed());
                return jobs.into_iter().for_each(|job| job.answer(Err(JobError::Failed(cause.clone()))));
            }
            // One bad input must not fail the other jobs of the batch: the batch is halved until the bad one is alone.
            Err(_) => {
                let second = jobs.split_off(jobs.len() / 2);
                return [jobs, second].into_iter().for_each(|half| self.run_if_wanted(half));
            }
        };
        let (scattering, cpu) = (Instant::now(), CpuTime::of_this_thread());
        let count = jobs.len();
        let queued = |job: &Job| begun.saturating_duration_since(job.pending.queued_at);
        let waited = jobs.iter().map(queued).sum();
        let mut first_row = 0;
        let mut whole = Some(outputs);
        let mut answers = Vec::with_capacity(count);
        for job in jobs {
            let outputs = if count == 1 && padded_rows == rows {
                whole.take()
            } else {
                rows_of(whole.as_deref().unwrap_or_default(), first_row, job.pending.rows, padded_rows)
            };
            first_row += job.pending.rows;
            let queue_time = queued(&job);
            let answer = match outputs {
                Some(outputs) => Ok(RunOutput { outputs, queue_time, run_time: timing.wall, batch_size: rows }),
                None => Err(JobError::Failed(format!("an output of a batch of {padded_rows} has other rows"))),
            };
            answers.push((job, answer));
        }
        // The run is counted before the answers are sent, so that a client that has its answer finds it in the metrics.
        self.config.batch_sizes.ran(rows);
        let (jobs, scatter) = (u64::try_from(count).unwrap_or(u64::MAX), scattering.elapsed());
        self.queue.record_run(&CompletedRun { rows, padded_rows, jobs, queued: waited, gather, timing, scatter });
        let scatter_cpu = CpuTime::of_this_thread_since(cpu) / count;
        for (job, answer) in answers {
            job.charge(scatter_cpu.into());
            job.answer(answer);
        }
    }

    /// CPU time of a run, including the gathering of its rows, which began when this thread's clock read `since`.
    fn cpu_time(&self, since: CpuTime, timing: RunTiming, padded_rows: usize) -> CpuTime {
        match self.config.execution_mode {
            ExecutionMode::WorkerThread | ExecutionMode::Device => CpuTime::of_this_thread_since(since),
            ExecutionMode::ThreadPool(threads) => {
                self.config.pool_cpu_time.for_rows(padded_rows).min(CpuTime::from(timing.wall) * threads)
            }
        }
    }

    /// Runs the jobs that are still wanted, as half of a batch that failed.
    fn run_if_wanted(&mut self, jobs: Vec<Job>) {
        let now = Instant::now();
        let (late, wanted): (Vec<_>, Vec<_>) =
            jobs.into_iter().filter(|job| !job.is_cancelled()).partition(|job| job.pending.deadline <= now);
        late.into_iter().for_each(|job| job.answer(Err(JobError::DeadlineExceeded)));
        if !wanted.is_empty() {
            self.run(wanted);
        }
    }
}

impl Stopwatch {
    /// Starts on the thread that will run.
    #[must_use]
    pub fn start() -> Self {
        Self { started: Instant::now(), cpu: CpuTime::of_this_thread() }
    }

    /// Returns the duration since the start.
    #[must_use]
    pub fn stop(self, execution_mode: ExecutionMode) -> RunTiming {
        let wall = self.started.elapsed();
        let service_time = match execution_mode {
            ExecutionMode::WorkerThread => Duration::from_secs_f64(CpuTime::of_this_thread_since(self.cpu).seconds()),
            ExecutionMode::ThreadPool(_) | ExecutionMode::Device => wall,
        };
        RunTiming { wall, service_time }
    }
}

/// Runs the engine. A panic fails the run and does not end the worker.
fn run_catching_panics(engine: &mut dyn Engine, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    catch_unwind(AssertUnwindSafe(|| engine.run(inputs))).unwrap_or_else(|_| Err("the engine panicked".to_owned()))
}

/// Stacks the jobs' rows, input by input, into batches of `padded_rows` rows, in the memory of the last batch.
///
/// # Errors
/// Jobs whose inputs differ in shape or type cannot be stacked.
fn gather<'a>(jobs: &[Job], padded_rows: usize, buffers: &'a mut Vec<Tensor>) -> Result<&'a [Tensor], String> {
    let inputs = jobs.first().map_or(0, |job| job.inputs.len());
    let mut old = std::mem::take(buffers).into_iter();
    for input in 0..inputs {
        let parts: Option<Vec<&Tensor>> = jobs.iter().map(|job| job.inputs.get(input)).collect();
        let stacked = parts.and_then(|parts| Tensor::stack(&parts, padded_rows, old.next()));
        buffers.push(stacked.ok_or_else(|| format!("input {input} differs between requests"))?);
    }
    Ok(buffers)
}

/// The rows `first..first + rows` of every output; none when an output has not `padded_rows` rows.
fn rows_of(outputs: &[Tensor], first: usize, rows: usize, padded_rows: usize) -> Option<Vec<Tensor>> {
    outputs.iter().map(|all| (all.shape().first() == Some(&padded_rows)).then(|| all.rows(first, rows))).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use ndarray::array;
    use tokio::sync::oneshot;

    use super::*;
    use crate::{
        cost::FairShare,
        scheduler::{job::Priority, latency_profile::LatencyProfile, policy::Pending},
        telemetry::metrics::Metrics,
    };

    /// An engine that doubles its input. It fails when a row is negative, panics when one is zero, and records its batch
    /// sizes.
    #[derive(Default)]
    struct Doubler(Arc<Mutex<Vec<usize>>>);

    impl Engine for Doubler {
        fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
            let Some(Tensor::F32(input)) = inputs.first() else { return Err("f32 only".to_owned()) };
            self.0.lock().expect("no panic").push(input.len());
            assert!(input.iter().all(|x| *x != 0.0), "zero");
            if input.iter().any(|x| *x < 0.0) { Err("negative".to_owned()) } else { Ok(vec![(input * 2.0).into()]) }
        }
    }

    type Answers = Vec<Result<(Vec<Tensor>, usize), JobError>>;

    /// A job of one row, and where its outputs will come.
    fn job(value: f32, within: Duration) -> (Job, oneshot::Receiver<Result<RunOutput, JobError>>) {
        let (reply, receiver) = oneshot::channel();
        let now = Instant::now();
        let pending = Pending { rows: 1, batchable: true, queued_at: now, deadline: now + within };
        let inputs = vec![array![[value]].into_dyn().into()];
        let (priority, share) = (Priority::default(), FairShare::default());
        (Job { inputs, pending, priority, share, reply, meter: None }, receiver)
    }

    fn answers(values: &[f32], buckets: &[usize]) -> (Answers, Vec<usize>) {
        let limits = BatchLimits { max_rows: 8, buckets: buckets.to_vec(), max_delay: None };
        let queue = Arc::new(Queue::new(16, 1, limits.clone(), LatencyProfile::default()));
        let replies: Vec<_> = values
            .iter()
            .map(|value| {
                let (job, receiver) = job(*value, Duration::from_secs(60));
                queue.push(job).expect("room");
                receiver
            })
            .collect();
        queue.close(false);
        let batch_sizes = Metrics::new().expect("metrics").batch_sizes("doubler");
        let config = WorkerConfig {
            model: "doubler".into(),
            limits,
            execution_mode: ExecutionMode::WorkerThread,
            pool_cpu_time: PoolCpuTime::default(),
            device: Arc::default(),
            batch_sizes,
        };
        let engine = Doubler::default();
        let sizes = Arc::clone(&engine.0);
        start(queue, 0, Box::new(engine), config).expect("thread").join().expect("the worker lives");
        let answers = replies.into_iter().map(|reply| reply.blocking_recv().expect("answered"));
        let answers = answers.map(|answer| answer.map(|output| (output.outputs, output.batch_size))).collect();
        let sizes = sizes.lock().expect("no panic").clone();
        (answers, sizes)
    }

    fn double(x: f32, batch_size: usize) -> Result<(Vec<Tensor>, usize), JobError> {
        Ok((vec![array![[2.0 * x]].into_dyn().into()], batch_size))
    }

    #[test]
    fn everybody_gets_their_own_row() {
        assert_eq!(answers(&[1.0, 2.0, 3.0], &[]).0, [double(1.0, 3), double(2.0, 3), double(3.0, 3)]);
    }

    #[test]
    fn where_sizes_are_fixed_a_batch_is_padded_and_the_answers_are_the_same() {
        let (answers, ran) = answers(&[1.0, 2.0, 3.0], &[1, 4, 8]);
        assert_eq!(answers, [double(1.0, 3), double(2.0, 3), double(3.0, 3)]);
        assert_eq!(ran, [4]);
    }

    #[test]
    fn of_a_batch_of_eight_the_bad_input_fails_alone() {
        let (answers, ran) = answers(&[1.0, 2.0, 3.0, 4.0, 5.0, -6.0, 7.0, 8.0], &[]);
        for (x, answer) in (1u8..).zip(answers) {
            let failed = Err(JobError::Failed("negative".into()));
            assert_eq!(
                answer.map(|(outputs, _)| outputs),
                if x == 6 { failed } else { double(x.into(), 0).map(|d| d.0) }
            );
        }
        assert_eq!(ran, [8, 4, 4, 2, 1, 1, 2], "it is bisected");
    }

    #[test]
    fn a_panic_in_a_run_ends_nothing() {
        let panicked = Err(JobError::Failed("the engine panicked".into()));
        assert_eq!(answers(&[0.0, 3.0], &[]).0, [panicked, double(3.0, 1)]);
    }

    #[test]
    fn with_several_workers_and_clients_every_job_is_answered() {
        // A run costs much and a row little, so workers wait for more jobs and have to be woken.
        let mut profile = LatencyProfile::default();
        for rows in [1, 8] {
            let wall = Duration::from_micros(300 + rows);
            profile.record(usize::try_from(rows).expect("few"), RunTiming { wall, service_time: wall });
        }
        let limits = BatchLimits { max_rows: 8, buckets: Vec::new(), max_delay: None };
        let queue = Arc::new(Queue::new(4_000, 3, limits.clone(), profile));
        let batch_sizes = Metrics::new().expect("metrics").batch_sizes("doubler");
        let config = WorkerConfig {
            model: "doubler".into(),
            limits,
            execution_mode: ExecutionMode::Device,
            pool_cpu_time: PoolCpuTime::default(),
            device: Arc::default(),
            batch_sizes,
        };
        let workers: Vec<_> = (0..3)
            .map(|number| {
                start(Arc::clone(&queue), number, Box::<Doubler>::default(), config.clone()).expect("a thread")
            })
            .collect();
        let clients: Vec<_> = (0..4)
            .map(|client| {
                let queue = Arc::clone(&queue);
                thread::spawn(move || {
                    for i in 1..=500u16 {
                        let value = f32::from(i);
                        let (job, receiver) = job(value, Duration::from_secs(600));
                        queue.push(job).expect("room");
                        // Each client waits for its answer, so that the queue runs empty now and then.
                        let ran = receiver.blocking_recv().expect("answered").expect("it ran");
                        assert_eq!(ran.outputs, [Tensor::from(array![[2.0 * value]].into_dyn())], "{client}");
                    }
                })
            })
            .collect();
        clients.into_iter().for_each(|client| client.join().expect("all were answered"));
        queue.close(false);
        workers.into_iter().for_each(|worker| worker.join().expect("no panic"));
    }
}
