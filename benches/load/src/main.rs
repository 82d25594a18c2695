//! `midge-load SCENARIO [--key value]...`: see the crate's documentation and `--help`.

use std::io::Write as _;
use std::process::ExitCode;

use midge_load::{Args, Error, USAGE, run};

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let scenario = match args.next() {
        None => return fail(&Error::usage()),
        Some(word) if ["-h", "--help", "help"].contains(&word.as_str()) => return print(USAGE),
        Some(word) => word,
    };
    match Args::parse(args).and_then(|args| run(&scenario, &args)) {
        Ok(json) => print(&json),
        Err(error) => fail(&error),
    }
}

fn print(text: &str) -> ExitCode {
    match writeln!(std::io::stdout(), "{text}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn fail(error: &Error) -> ExitCode {
    eprintln!("midge-load: {error}");
    ExitCode::from(2)
}
