//! Runs the tests with the command line of `cargo test`. Each test is a process of its own: what it prints stays together, and one
//! that lacks what it needs ends as ignored, with the reason, instead of as passed.

use std::{
    io::{Read, Seek},
    panic,
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

use libtest_mimic::{Arguments, Completion, Failed, Trial};

/// Names the test that a process is to run. Without it, the process runs all tests, each in a process of its own.
const RUN_TEST: &str = "RUN_TEST";

/// The exit code of a test that is ignored, as other test runners have it.
const IGNORED: u8 = 77;

/// Begins the line in which a test says why it is ignored.
const REASON: &str = "ignored: ";

/// Lists the tests of a file. A test is a function without arguments, `async` or not; one that is missing here is dead code,
/// of which the compiler tells.
macro_rules! tests {
    ($($name:ident),+ $(,)?) => {
        pub(crate) fn tests() -> Vec<$crate::runner::Test> {
            vec![$($crate::runner::Test::new(concat!(module_path!(), "::", stringify!($name)), $name)),+]
        }
    };
}

/// One test.
pub(crate) struct Test {
    name: &'static str,
    run: Box<dyn Fn() + Send>,
}

impl Test {
    pub(crate) fn new<Kind>(path: &'static str, body: impl Body<Kind> + Send + 'static) -> Self {
        let name = path.split_once("::").map_or(path, |(_, name)| name);
        Self { name, run: Box::new(move || body.run()) }
    }
}

/// What a test does. `Kind` tells plain functions from `async` ones.
pub(crate) trait Body<Kind> {
    fn run(&self);
}

impl<F: Fn()> Body<()> for F {
    fn run(&self) {
        self();
    }
}

impl<F: Fn() -> T, T: Future<Output = ()>> Body<(T,)> for F {
    fn run(&self) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.expect("a runtime").block_on(self());
    }
}

/// Why a test is ignored; it unwinds to the runner, so that what the test has started ends.
struct Ignored(String);

/// Ends the test as ignored for want of something; where the environment has the variable `required`, as failed.
pub(crate) fn ignore(required: &str, reason: &str) -> ! {
    assert!(std::env::var_os(required).is_none(), "{required} is set, and {reason}");
    panic::resume_unwind(Box::new(Ignored(reason.to_owned())))
}

/// Runs the tests that the command line asks for.
pub(crate) fn main(tests: Vec<Test>) -> ExitCode {
    if let Ok(name) = std::env::var(RUN_TEST) {
        let test = tests.into_iter().find(|test| test.name == name);
        return here(&test.expect("a test of that name"));
    }
    let mut arguments = Arguments::from_args();
    let threads = std::env::var("RUST_TEST_THREADS").ok().and_then(|threads| threads.parse().ok());
    arguments.test_threads = arguments.test_threads.or(threads);
    let output = match (arguments.nocapture, arguments.show_output) {
        (true, _) => Output::Inherit,
        (false, true) => Output::Show,
        (false, false) => Output::OfFailures,
    };
    let trial = |test: Test| Trial::ignorable_test(test.name, move || apart(test.name, output));
    libtest_mimic::run(&arguments, tests.into_iter().map(trial).collect()).exit_code()
}

/// What becomes of what a test prints.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Output {
    Inherit,
    Show,
    OfFailures,
}

/// Runs a test in this process.
fn here(test: &Test) -> ExitCode {
    match panic::catch_unwind(panic::AssertUnwindSafe(|| (test.run)())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(payload) => match payload.downcast::<Ignored>() {
            Ok(ignored) => {
                eprintln!("{REASON}{}", ignored.0);
                ExitCode::from(IGNORED)
            }
            Err(_) => ExitCode::from(101),
        },
    }
}

/// Runs a test in a process of its own.
fn apart(name: &'static str, output: Output) -> Result<Completion, Failed> {
    let begun = Instant::now();
    let mut command = Command::new(std::env::current_exe()?);
    command.env(RUN_TEST, name).stdin(Stdio::null());
    // A file keeps both streams in their order, and nobody waits for a process that a test has left behind.
    let mut file = tempfile::tempfile()?;
    if output != Output::Inherit {
        command.stdout(file.try_clone()?).stderr(file.try_clone()?);
    }
    let status = command.status()?;
    file.rewind()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    if status.code() == Some(IGNORED.into()) {
        let reason = text.lines().rev().find_map(|line| line.strip_prefix(REASON));
        return Ok(reason.map_or_else(Completion::ignored, Completion::ignored_with));
    }
    if !status.success() {
        return Err(format!("{text}\n{status}").into());
    }
    if output == Output::Show {
        println!("\n---- {name}, {:.1} s ----\n{text}", begun.elapsed().as_secs_f64());
    }
    Ok(Completion::Completed)
}
