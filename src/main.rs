//! The `ounce` binary: arguments in, exit code out. Everything else is the library's.

use std::{
    env,
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
};

use clap::Parser;

/// ONNX Runtime reads this variable when it is loaded. Its API to turn telemetry off would come too late.
const NO_TELEMETRY: &str = "ORT_DISABLE_TELEMETRY";

fn main() -> ExitCode {
    if env::var_os(NO_TELEMETRY).is_none() {
        // A process cannot safely change its own variables, so it starts itself again with the variable set.
        let restart = |ounce| Command::new(ounce).args(env::args_os().skip(1)).env(NO_TELEMETRY, "1").exec();
        let error = env::current_exe().map(restart).unwrap_or_else(|error| error);
        eprintln!("ounce: cannot begin with {NO_TELEMETRY}=1: {error}");
        return ExitCode::FAILURE;
    }
    ounce::cli::Cli::parse().run()
}
