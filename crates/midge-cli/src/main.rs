//! The command `midge`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(midge_cli::run(std::env::args_os()))
}
