//! Repeats one path a number of times, for instruction counters and profilers.
//!
//! `repeat NAME COUNT`; without arguments it lists the paths with their units per call.

use std::process::ExitCode;

use midge_micro::PATHS;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let Some(name) = args.next() else {
        for path in PATHS {
            println!("{} {}", path.name, path.units);
        }
        return ExitCode::SUCCESS;
    };

    let path = PATHS.iter().find(|path| path.name == name);
    let count = args.next().and_then(|count| count.parse::<u64>().ok());
    let (Some(path), Some(count)) = (path, count) else {
        eprintln!("usage: repeat [NAME COUNT]");
        return ExitCode::from(2);
    };

    let mut call = (path.setup)();
    for _ in 0..count {
        call();
    }

    ExitCode::SUCCESS
}
