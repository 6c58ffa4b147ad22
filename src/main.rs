//! The `ounce` binary: arguments in, exit code out. Everything else is the library's.

use std::{
    env,
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
};

use clap::Parser;

/// ONNX Runtime reads this variable when it is loaded. Its API to turn telemetry off would come too late.
const NO_TELEMETRY: &str = "ORT_DISABLE_TELEMETRY";

/// How glibc's allocator gives memory back, in its own variables (mallopt(3)), which it reads when the process begins. By itself
/// it soon keeps every buffer up to 32 MiB for the next one, in an arena for each thread, and a server stays as large as its largest
/// burst. With these, buffers above 4 MiB go back at once; those of photos, which come all the time, are kept.
const ALLOCATOR: [(&str, &str); 3] =
    [("MALLOC_ARENA_MAX", "2"), ("MALLOC_MMAP_THRESHOLD_", "4194304"), ("MALLOC_TRIM_THRESHOLD_", "4194304")];

fn main() -> ExitCode {
    let wanted = [(NO_TELEMETRY, "1")].into_iter().chain(ALLOCATOR);
    // What the operator has set stays.
    let unset: Vec<_> = wanted.filter(|(name, _)| env::var_os(name).is_none()).collect();
    if !unset.is_empty() {
        // A process cannot safely change its own variables, so it starts itself again with the variables set.
        let restart = |ounce| Command::new(ounce).args(env::args_os().skip(1)).envs(unset.iter().copied()).exec();
        let error = env::current_exe().map(restart).unwrap_or_else(|error| error);
        eprintln!("ounce: cannot begin with {NO_TELEMETRY}=1: {error}");
        return ExitCode::FAILURE;
    }
    ounce::cli::Cli::parse().run()
}
