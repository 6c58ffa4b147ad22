//! An OS thread that owns an engine: take, run, give everybody their rows.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{
    job::{Job, JobError, Ran},
    queue::Queue,
};
use crate::{cost::CpuTime, engine::Engine, metrics::Metrics, vision::tensor::Tensor};

/// What a worker needs beside its engine.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The model's name, for metrics and the thread's name.
    pub model: String,
    /// The most jobs in a run.
    pub max_batch: usize,
    /// How long a job may wait for others.
    pub max_delay: Duration,
    /// Intra-op threads of the engine.
    pub threads: usize,
    /// Where runs are counted.
    pub metrics: Arc<Metrics>,
}

/// Starts a worker; it ends when the queue is closed and empty.
///
/// # Errors
/// When the system gives no thread.
pub fn start(queue: Arc<Queue>, mut engine: Box<dyn Engine>, setting: Setting) -> std::io::Result<JoinHandle<()>> {
    thread::Builder::new().name(format!("run-{}", setting.model)).spawn(move || {
        while let Some(jobs) = queue.take(setting.max_batch, setting.max_delay) {
            run(&mut *engine, jobs, &setting);
        }
    })
}

fn run(engine: &mut dyn Engine, jobs: Vec<Job>, setting: &Setting) {
    let Some(first) = jobs.first() else { return };
    let started = Instant::now();
    let cpu = CpuTime::of_this_thread();
    let batch_size = jobs.len();
    let result = match batch_size {
        1 => guarded(engine, &first.inputs),
        _ => together(&jobs).and_then(|inputs| guarded(engine, &inputs)),
    };
    let ran = started.elapsed();
    let cpu = match setting.threads {
        1 => CpuTime::since(cpu),
        threads => CpuTime::reserved(ran, threads),
    } / batch_size;
    match result {
        Ok(outputs) => {
            setting.metrics.ran(&setting.model, batch_size);
            for (row, (job, outputs)) in apart(jobs, outputs).enumerate() {
                let queued = started.saturating_duration_since(job.queued_at);
                let outputs = outputs.ok_or_else(|| JobError::Failed(format!("an output has no row {row}")));
                let answer = outputs.map(|outputs| Ran { outputs, queued, ran, batch_size, cpu });
                // A client that has gone needs no answer.
                let _ = job.reply.send(answer);
            }
        }
        // One bad item must not cost its batch-mates anything: each once more, alone.
        Err(_) if batch_size > 1 => {
            for job in jobs {
                if job.deadline <= Instant::now() {
                    let _ = job.reply.send(Err(JobError::Late));
                } else if !job.reply.is_closed() {
                    run(engine, vec![job], setting);
                }
            }
        }
        Err(cause) => jobs.into_iter().for_each(|job| {
            let _ = job.reply.send(Err(JobError::Failed(cause.clone())));
        }),
    }
}

/// A panic in a run is that run's failure, not the end of the worker.
fn guarded(engine: &mut dyn Engine, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    catch_unwind(AssertUnwindSafe(|| engine.run(inputs))).unwrap_or_else(|_| Err("the engine panicked".to_owned()))
}

/// Input by input, the jobs' rows one under the other.
fn together(jobs: &[Job]) -> Result<Vec<Tensor>, String> {
    let inputs = jobs.first().map_or(0, |job| job.inputs.len());
    (0..inputs)
        .map(|input| {
            let rows: Option<Vec<&Tensor>> = jobs.iter().map(|job| job.inputs.get(input)).collect();
            rows.and_then(|rows| Tensor::stack(&rows)).ok_or_else(|| format!("input {input} differs between requests"))
        })
        .collect()
}

/// Job by job, its row of every output.
fn apart(jobs: Vec<Job>, outputs: Vec<Tensor>) -> impl Iterator<Item = (Job, Option<Vec<Tensor>>)> {
    let count = jobs.len();
    let mut whole = Some(outputs);
    jobs.into_iter().enumerate().map(move |(row, job)| {
        let mine = if count == 1 {
            whole.take()
        } else {
            let all = whole.as_deref().unwrap_or_default();
            all.iter().map(|output| (output.shape().first() == Some(&count)).then(|| output.row(row))).collect()
        };
        (job, mine)
    })
}

#[cfg(test)]
mod tests {
    use ndarray::array;
    use tokio::sync::oneshot;

    use super::*;

    /// Doubles its input; fails when a row is negative, panics when one is zero.
    struct Doubler;

    impl Engine for Doubler {
        fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
            let Some(Tensor::F32(input)) = inputs.first() else { return Err("f32 only".to_owned()) };
            assert!(input.iter().all(|x| *x != 0.0), "zero");
            if input.iter().any(|x| *x < 0.0) { Err("negative".to_owned()) } else { Ok(vec![(input * 2.0).into()]) }
        }
    }

    fn answers(values: &[f32]) -> Vec<Result<(Vec<Tensor>, usize), JobError>> {
        let queue = Arc::new(Queue::new(16));
        let replies: Vec<_> = values
            .iter()
            .map(|value| {
                let (reply, receiver) = oneshot::channel();
                let queued_at = Instant::now();
                let deadline = queued_at + Duration::from_secs(60);
                let inputs = vec![array![[*value]].into_dyn().into()];
                queue.push(Job { inputs, shares: true, queued_at, deadline, reply }).expect("room");
                receiver
            })
            .collect();
        queue.close(false);
        let metrics = Arc::new(Metrics::new().expect("metrics"));
        let setting = Setting { model: "doubler".into(), max_batch: 8, max_delay: Duration::ZERO, threads: 1, metrics };
        start(queue, Box::new(Doubler), setting).expect("thread").join().expect("the worker lives");
        let answers = replies.into_iter().map(|reply| reply.blocking_recv().expect("answered"));
        answers.map(|answer| answer.map(|ran| (ran.outputs, ran.batch_size))).collect()
    }

    #[test]
    fn everybody_gets_their_own_row() {
        let double = |x: f32| Ok((vec![array![[x]].into_dyn().into()], 3));
        assert_eq!(answers(&[1.0, 2.0, 3.0]), [double(2.0), double(4.0), double(6.0)]);
    }

    #[test]
    fn a_bad_item_fails_alone() {
        let double = |x: f32| Ok((vec![array![[x]].into_dyn().into()], 1));
        let negative = Err(JobError::Failed("negative".into()));
        assert_eq!(answers(&[1.0, -1.0, 3.0]), [double(2.0), negative, double(6.0)]);
    }

    #[test]
    fn a_panic_in_a_run_ends_nothing() {
        let double = |x: f32| Ok((vec![array![[x]].into_dyn().into()], 1));
        let panicked = Err(JobError::Failed("the engine panicked".into()));
        assert_eq!(answers(&[0.0, 3.0]), [panicked, double(6.0)]);
    }
}
