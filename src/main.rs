//! The `ounce` binary: arguments in, exit code out. Everything else is the library's.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    ounce::cli::Cli::parse().run()
}
