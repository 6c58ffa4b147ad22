//! An OS thread that owns an engine: take, run, give everybody their rows.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{
    job::{Job, JobError, RunOutput},
    latency_profile::Run,
    policy::Limits,
    pool::PoolCpu,
    queue::Queue,
    stats::Done,
};
use crate::{
    cost::{CpuTime, DeviceClock, Used},
    engine::Engine,
    telemetry::metrics::Metrics,
    vision::tensor::Tensor,
};

/// What a worker needs beside its engine.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// The model's name, for metrics and the thread's name.
    pub model: String,
    /// What a batch may be.
    pub limits: Limits,
    /// What a run runs_on.
    pub runs_on: RunsOn,
    /// What runs use, where that cannot be measured run by run.
    pub pool_cpu: PoolCpu,
    /// The GPU's time, which all that run on it share.
    pub device: Arc<DeviceClock>,
    /// Where runs are counted.
    pub metrics: Arc<Metrics>,
}

/// What a run takes from other runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunsOn {
    /// The worker's own thread, which computes.
    ThisThread,
    /// So many threads, the worker's own included, for as long as it runs.
    Threads(usize),
    /// A device, for as long as it runs.
    Device,
}

/// Measures a run while it goes on.
#[derive(Debug)]
pub struct Stopwatch {
    started: Instant,
    cpu: CpuTime,
}

/// Starts a worker; it ends when the queue is closed and empty.
///
/// # Errors
/// When the system gives no thread.
pub fn start(
    queue: Arc<Queue>,
    number: usize,
    engine: Box<dyn Engine>,
    config: WorkerConfig,
) -> std::io::Result<JoinHandle<()>> {
    thread::Builder::new().name(format!("run-{}", config.model)).spawn(move || {
        let mut worker = Worker { queue: &queue, engine, config, buffers: Vec::new() };
        while let Some(jobs) = queue.take(number) {
            worker.run(jobs);
        }
    })
}

struct Worker<'a> {
    queue: &'a Queue,
    engine: Box<dyn Engine>,
    config: WorkerConfig,
    /// The inputs of the last batch, whose memory the next one takes over.
    buffers: Vec<Tensor>,
}

impl Worker<'_> {
    fn run(&mut self, mut jobs: Vec<Job>) {
        let (begun, cpu) = (Instant::now(), CpuTime::of_this_thread());
        let rows: usize = jobs.iter().map(|job| job.waiting.rows).sum();
        // What fails or shares nothing is run as it came; a batch is padded to a size that may be run.
        let padded = if jobs.iter().all(|job| job.waiting.shares) { self.config.limits.padded(rows) } else { rows };
        let gathered = match jobs.as_slice() {
            [only] if padded == rows => Ok(only.inputs.as_slice()),
            _ => gather(&jobs, padded, &mut self.buffers),
        };
        let gather = begun.elapsed();
        let on_device = (self.config.runs_on == RunsOn::Device).then(|| self.config.device.begin(Instant::now()));
        let watch = Stopwatch::start();
        let result = gathered.and_then(|inputs| guarded(&mut *self.engine, inputs));
        let run = watch.stop(self.config.runs_on);
        let gpu = on_device.map(|run| run.end(Instant::now())).unwrap_or_default();
        // Of a batch that fails nobody knows yet whose fault it was: its mates do not pay for it.
        if result.is_ok() || jobs.len() == 1 {
            let used = Used { cpu: self.used(cpu, run, padded), gpu };
            jobs.iter().for_each(|job| job.charge(used.share(job.waiting.rows, rows)));
        }
        let outputs = match result {
            Ok(outputs) => outputs,
            Err(cause) if jobs.len() == 1 => {
                self.queue.failed(begun.elapsed());
                return jobs.into_iter().for_each(|job| job.answer(Err(JobError::Failed(cause.clone()))));
            }
            // One bad item must not cost its batch-mates anything: half by half, until it is alone.
            Err(_) => {
                let second = jobs.split_off(jobs.len() / 2);
                return [jobs, second].into_iter().for_each(|half| self.run_wanted(half));
            }
        };
        let (scattering, cpu) = (Instant::now(), CpuTime::of_this_thread());
        let count = jobs.len();
        let queued = |job: &Job| begun.saturating_duration_since(job.waiting.queued_at);
        let waited = jobs.iter().map(queued).sum();
        let mut first_row = 0;
        let mut whole = Some(outputs);
        let mut answers = Vec::with_capacity(count);
        for job in jobs {
            let outputs = if count == 1 && padded == rows {
                whole.take()
            } else {
                rows_of(whole.as_deref().unwrap_or_default(), first_row, job.waiting.rows, padded)
            };
            first_row += job.waiting.rows;
            let queued = queued(&job);
            let answer = match outputs {
                Some(outputs) => Ok(RunOutput { outputs, queued, ran: run.wall, batch_size: rows }),
                None => Err(JobError::Failed(format!("an output of a batch of {padded} has other rows"))),
            };
            answers.push((job, answer));
        }
        // Counted before it is told, so that nobody who has an answer can miss it in the counts.
        self.config.metrics.ran(&self.config.model, rows);
        let (jobs, scatter) = (u64::try_from(count).unwrap_or(u64::MAX), scattering.elapsed());
        self.queue.done(&Done { rows, padded, jobs, queued: waited, gather, run, scatter });
        let scattered = CpuTime::since(cpu) / count;
        for (job, answer) in answers {
            job.charge(scattered.into());
            job.answer(answer);
        }
    }

    /// The CPU time of a run, with the rows put together before it.
    fn used(&self, since: CpuTime, run: Run, padded: usize) -> CpuTime {
        match self.config.runs_on {
            RunsOn::ThisThread | RunsOn::Device => CpuTime::since(since),
            RunsOn::Threads(threads) => self.config.pool_cpu.of(padded).min(CpuTime::from(run.wall) * threads),
        }
    }

    fn run_wanted(&mut self, jobs: Vec<Job>) {
        let now = Instant::now();
        let (late, wanted): (Vec<_>, Vec<_>) =
            jobs.into_iter().filter(|job| !job.is_cancelled()).partition(|job| job.waiting.deadline <= now);
        late.into_iter().for_each(|job| job.answer(Err(JobError::DeadlineExceeded)));
        if !wanted.is_empty() {
            self.run(wanted);
        }
    }
}

impl Stopwatch {
    /// Begins now, on the thread that will run.
    #[must_use]
    pub fn start() -> Self {
        Self { started: Instant::now(), cpu: CpuTime::of_this_thread() }
    }

    /// What was measured.
    #[must_use]
    pub fn stop(self, runs_on: RunsOn) -> Run {
        let wall = self.started.elapsed();
        let service_time = match runs_on {
            RunsOn::ThisThread => Duration::from_secs_f64(CpuTime::since(self.cpu).seconds()),
            RunsOn::Threads(_) | RunsOn::Device => wall,
        };
        Run { wall, service_time }
    }
}

/// A panic in a run is that run's failure, not the end of the worker.
fn guarded(engine: &mut dyn Engine, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    catch_unwind(AssertUnwindSafe(|| engine.run(inputs))).unwrap_or_else(|_| Err("the engine panicked".to_owned()))
}

/// Input by input, the jobs' rows one under the other, in the memory of the last batch.
fn gather<'a>(jobs: &[Job], padded: usize, buffers: &'a mut Vec<Tensor>) -> Result<&'a [Tensor], String> {
    let inputs = jobs.first().map_or(0, |job| job.inputs.len());
    let mut old = std::mem::take(buffers).into_iter();
    for input in 0..inputs {
        let parts: Option<Vec<&Tensor>> = jobs.iter().map(|job| job.inputs.get(input)).collect();
        let stacked = parts.and_then(|parts| Tensor::stack(&parts, padded, old.next()));
        buffers.push(stacked.ok_or_else(|| format!("input {input} differs between requests"))?);
    }
    Ok(buffers)
}

/// Every output's rows that belong to one job; none when the outputs are not those of a batch of `padded`.
fn rows_of(outputs: &[Tensor], first: usize, rows: usize, padded: usize) -> Option<Vec<Tensor>> {
    outputs.iter().map(|all| (all.shape().first() == Some(&padded)).then(|| all.rows(first, rows))).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use ndarray::array;
    use tokio::sync::oneshot;

    use super::*;
    use crate::scheduler::{job::Priority, latency_profile::LatencyProfile, policy::Pending};

    /// Doubles its input; fails when a row is negative, panics when one is zero; writes down the sizes it ran.
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

    fn answers(values: &[f32], buckets: &[usize]) -> (Answers, Vec<usize>) {
        let limits = Limits { max_rows: 8, buckets: buckets.to_vec(), max_delay: None };
        let queue = Arc::new(Queue::new(16, 1, limits.clone(), LatencyProfile::default()));
        let replies: Vec<_> = values
            .iter()
            .map(|value| {
                let (reply, receiver) = oneshot::channel();
                let now = Instant::now();
                let waiting =
                    Pending { rows: 1, shares: true, queued_at: now, deadline: now + Duration::from_secs(60) };
                let inputs = vec![array![[*value]].into_dyn().into()];
                queue.push(Job { inputs, waiting, priority: Priority::default(), reply, meter: None }).expect("room");
                receiver
            })
            .collect();
        queue.close(false);
        let metrics = Arc::new(Metrics::new().expect("metrics"));
        let config = WorkerConfig {
            model: "doubler".into(),
            limits,
            runs_on: RunsOn::ThisThread,
            pool_cpu: PoolCpu::default(),
            device: Arc::default(),
            metrics,
        };
        let engine = Doubler::default();
        let ran = Arc::clone(&engine.0);
        start(queue, 0, Box::new(engine), config).expect("thread").join().expect("the worker lives");
        let answers = replies.into_iter().map(|reply| reply.blocking_recv().expect("answered"));
        let answers = answers.map(|answer| answer.map(|ran| (ran.outputs, ran.batch_size))).collect();
        let ran = ran.lock().expect("no panic").clone();
        (answers, ran)
    }

    fn double(x: f32, batch_size: usize) -> Result<(Vec<Tensor>, usize), JobError> {
        Ok((vec![array![[2.0 * x]].into_dyn().into()], batch_size))
    }

    #[test]
    fn everybody_gets_their_own_row() {
        assert_eq!(answers(&[1.0, 2.0, 3.0], &[]).0, [double(1.0, 3), double(2.0, 3), double(3.0, 3)]);
    }

    #[test]
    fn where_sizes_are_fixed_a_batch_is_padded_and_nobody_notices() {
        let (answers, ran) = answers(&[1.0, 2.0, 3.0], &[1, 4, 8]);
        assert_eq!(answers, [double(1.0, 3), double(2.0, 3), double(3.0, 3)]);
        assert_eq!(ran, [4]);
    }

    #[test]
    fn of_a_batch_of_eight_the_bad_item_fails_alone() {
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
    fn with_several_workers_and_clients_nobody_is_forgotten() {
        // Runs that seem to cost much and rows little: workers wait for company, and are woken.
        let mut profile = LatencyProfile::default();
        for rows in [1, 8] {
            let wall = Duration::from_micros(300 + rows);
            profile.record(usize::try_from(rows).expect("few"), Run { wall, service_time: wall });
        }
        let limits = Limits { max_rows: 8, buckets: Vec::new(), max_delay: None };
        let queue = Arc::new(Queue::new(4_000, 3, limits.clone(), profile));
        let metrics = Arc::new(Metrics::new().expect("metrics"));
        let config = WorkerConfig {
            model: "doubler".into(),
            limits,
            runs_on: RunsOn::Device,
            pool_cpu: PoolCpu::default(),
            device: Arc::default(),
            metrics,
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
                        let (reply, receiver) = oneshot::channel();
                        let now = Instant::now();
                        let deadline = now + Duration::from_secs(600);
                        let waiting = Pending { rows: 1, shares: true, queued_at: now, deadline };
                        let inputs = vec![array![[value]].into_dyn().into()];
                        queue
                            .push(Job { inputs, waiting, priority: Priority::default(), reply, meter: None })
                            .expect("room");
                        // Some wait for their answers, so that the queue runs empty now and then.
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
