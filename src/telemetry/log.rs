//! The log's way out: whoever logs never waits for whoever reads the log.
//!
//! In go lines, out they come on standard error, written by a thread of their own. Lines that wait have a bound: when
//! the reader stalls (a pipe that nobody empties), lines are dropped and counted; a line in the log says how many, once
//! the reader goes on. `tracing-appender` has such a writer, too, but it cannot say that, and prints to standard output.

use std::{
    io::{self, Write},
    sync::{
        Arc, LazyLock, OnceLock,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    },
    thread,
    time::Duration,
};

use prometheus::IntCounter;

/// Lines that wait for the reader, in bytes at most; some thousands of lines.
const MAX_WAITING_BYTES: usize = 1 << 20;

/// What a line that waits takes beside its text, in bytes.
const LINE_OVERHEAD_BYTES: usize = 64;

/// Lines are written together, up to about so many bytes.
const WRITE_BYTES: usize = 32 << 10;

/// How long the end of the process waits for a reader of the log.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// The queue of this process's log, once logging is set up.
static PROCESS_LOG: OnceLock<LogQueue> = OnceLock::new();

/// Lines dropped by this process. It has one log, however many servers run in it.
static DROPPED_LINES: LazyLock<Option<IntCounter>> = LazyLock::new(|| {
    let help = "Lines of the log that were dropped, since whoever reads the log stalled.";
    IntCounter::new("ounce_log_lines_dropped_total", help).ok()
});

/// The counter of dropped lines, to be shown among the metrics of a server.
pub(super) fn dropped_lines() -> Option<IntCounter> {
    DROPPED_LINES.clone()
}

/// Writes what still waits in the log, for some seconds at most. `false` says that whoever reads standard error has
/// stalled: to write there would block.
pub fn flush_log() -> bool {
    PROCESS_LOG.get().is_none_or(|queue| queue.flush(FLUSH_LIMIT))
}

/// A writer for each line of the process's log.
///
/// # Errors
/// When the thread that writes cannot be started.
pub(super) fn process_log() -> io::Result<impl Fn() -> &'static LogQueue> {
    let queue = match PROCESS_LOG.get() {
        Some(queue) => queue,
        None => {
            let queue = LogQueue::start(io::stderr(), DROPPED_LINES.clone())?;
            PROCESS_LOG.get_or_init(|| queue)
        }
    };
    Ok(move || queue)
}

/// Lines on their way to a reader that may stall.
#[derive(Debug)]
pub(super) struct LogQueue {
    messages: Sender<LogMessage>,
    waiting_bytes: Arc<AtomicUsize>,
    dropped: Option<IntCounter>,
}

/// What the thread that writes is told.
#[derive(Debug)]
enum LogMessage {
    Line(Box<[u8]>),
    /// Write all lines before this, then answer.
    Flush(SyncSender<()>),
}

impl LogQueue {
    /// Starts a thread that writes lines to `out`, and counts what is dropped in `dropped`.
    fn start(out: impl Write + Send + 'static, dropped: Option<IntCounter>) -> io::Result<Self> {
        let (messages, received) = channel();
        let waiting_bytes = Arc::<AtomicUsize>::default();
        let writer = LogThread { out, waiting_bytes: Arc::clone(&waiting_bytes), dropped: dropped.clone(), told: 0 };
        thread::Builder::new().name("log".to_owned()).spawn(move || writer.run(&received))?;
        Ok(Self { messages, waiting_bytes, dropped })
    }

    /// Takes a line, or drops it where too much waits. It never waits itself.
    fn push(&self, line: &[u8]) {
        let size = line.len() + LINE_OVERHEAD_BYTES;
        let more = |waiting: usize| Some(waiting + size).filter(|waiting| *waiting <= MAX_WAITING_BYTES);
        let taken = self.waiting_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok();
        if !(taken && self.messages.send(LogMessage::Line(line.into())).is_ok()) {
            self.dropped.iter().for_each(IntCounter::inc);
        }
    }

    /// Waits until all lines so far are written; `false` when that takes longer than `limit`.
    fn flush(&self, limit: Duration) -> bool {
        let (written, done) = sync_channel(1);
        self.messages.send(LogMessage::Flush(written)).is_ok() && done.recv_timeout(limit).is_ok()
    }
}

impl Write for &LogQueue {
    /// The formatter writes each line at once.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The thread that writes; it alone waits for the reader.
struct LogThread<W> {
    out: W,
    waiting_bytes: Arc<AtomicUsize>,
    dropped: Option<IntCounter>,
    /// How many dropped lines the log has been told of.
    told: u64,
}

impl<W: Write> LogThread<W> {
    fn run(mut self, messages: &Receiver<LogMessage>) {
        let mut text = Vec::new();
        while let Ok(first) = messages.recv() {
            let (mut next, mut size, mut flushed) = (Some(first), 0, Vec::new());
            while let Some(message) = next {
                match message {
                    LogMessage::Line(line) => {
                        size += line.len() + LINE_OVERHEAD_BYTES;
                        text.extend_from_slice(&line);
                    }
                    LogMessage::Flush(done) => flushed.push(done),
                }
                next = if text.len() < WRITE_BYTES { messages.try_recv().ok() } else { None };
            }
            // Whoever read the log may have gone away; then lines go nowhere.
            let _ = self.out.write_all(&text).and_then(|()| self.out.flush());
            text.clear();
            self.waiting_bytes.fetch_sub(size, Ordering::Relaxed);
            self.tell_of_dropped();
            for done in flushed {
                let _ = done.try_send(());
            }
        }
    }

    /// Says how many lines were dropped, once there is room again.
    fn tell_of_dropped(&mut self) {
        let dropped = self.dropped.as_ref().map_or(0, IntCounter::get);
        if dropped > self.told && self.waiting_bytes.load(Ordering::Relaxed) < MAX_WAITING_BYTES / 2 {
            let lines = dropped - self.told;
            self.told = dropped;
            tracing::warn!(lines, "lines of the log were dropped here, since whoever reads it had stalled");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn queue(out: impl Write + Send + 'static) -> (LogQueue, IntCounter) {
        let dropped = IntCounter::new("dropped", "dropped").expect("a counter");
        (LogQueue::start(out, Some(dropped.clone())).expect("a thread"), dropped)
    }

    #[test]
    fn a_reader_that_stalls_costs_lines_and_no_time() {
        let (mut reader, writer) = io::pipe().expect("a pipe");
        let (queue, dropped) = queue(writer);
        let line = [b'x'; 1023];
        let pushed = 3 * MAX_WAITING_BYTES / line.len();
        for _ in 0..pushed {
            (&queue).write_all(&line).expect("it takes all");
        }
        let lost = usize::try_from(dropped.get()).expect("few");
        assert!(lost >= pushed / 2, "{lost} of {pushed}");
        assert!(!queue.flush(Duration::from_millis(1)), "nobody reads");

        // Dropped with the queue, the thread writes what waits and ends, and with it the pipe.
        drop(queue);
        let mut read = Vec::new();
        reader.read_to_end(&mut read).expect("an end");
        assert_eq!(read.len(), (pushed - lost) * line.len(), "whole lines, all that were not dropped");
    }

    #[test]
    fn a_flush_waits_for_what_was_written_before() {
        let (mut reader, writer) = io::pipe().expect("a pipe");
        let (queue, dropped) = queue(writer);
        (&queue).write_all(b"one\n").expect("taken");
        (&queue).write_all(b"two\n").expect("taken");
        assert!(queue.flush(Duration::from_secs(300)));
        let mut read = [0; 8];
        reader.read_exact(&mut read).expect("both");
        assert_eq!((&read, dropped.get()), (b"one\ntwo\n", 0));
    }
}
