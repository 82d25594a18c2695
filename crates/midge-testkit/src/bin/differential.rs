//! Random scripts on every way through the broker, for as long as is wanted. See `--help`.
#![allow(clippy::print_stdout)] // a command talks

use std::process::ExitCode;
use std::time::{Duration, Instant};

use midge_testkit::differential::differs;

const HELP: &str = "\
differential [OPTIONS]

Runs random scripts on each way through the broker, short and long, and tells where what clients,
observers and counters see is not the same, or a message has no fate or two. A script follows from a
seed, which is told with what happened.

  --minutes M     how long (1)
  --scripts K     scripts at most
  --seed S        the first seed, the others follow it; drawn from the clock if not given
  --steps N       steps of each script (120)
  --keep-going    goes on after a difference
";

fn main() -> ExitCode {
    match Options::read(std::env::args().skip(1)) {
        Ok(options) => campaign(&options),
        Err(what) => {
            println!("{what}\n{HELP}");
            ExitCode::from(2)
        }
    }
}

struct Options {
    time: Duration,
    scripts: u64,
    seed: u64,
    steps: usize,
    keep_going: bool,
}

impl Options {
    /// Reads the command line; the error is empty if help was asked for.
    fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let mut options = Self {
            time: Duration::from_secs(60),
            scripts: u64::MAX,
            seed: now.map_or(1, |since| since.as_secs() << 20),
            steps: 120,
            keep_going: false,
        };

        while let Some(name) = arguments.next() {
            match name.as_str() {
                "--help" => return Err(String::new()),
                "--keep-going" => {
                    options.keep_going = true;
                    continue;
                }
                _ => {}
            }
            let value = arguments.next().ok_or(format!("{name} needs a value"))?;
            let fault = |error: &dyn std::fmt::Display| format!("{name}: {error}");
            match name.as_str() {
                "--minutes" => {
                    let minutes: f64 = value.parse().map_err(|error| fault(&error))?;
                    options.time = Duration::try_from_secs_f64(minutes * 60.0)
                        .map_err(|error| fault(&error))?;
                }
                "--scripts" => options.scripts = value.parse().map_err(|error| fault(&error))?,
                "--seed" => options.seed = value.parse().map_err(|error| fault(&error))?,
                "--steps" => options.steps = value.parse().map_err(|error| fault(&error))?,
                _ => return Err(format!("{name} is not known")),
            }
        }

        Ok(options)
    }
}

fn campaign(options: &Options) -> ExitCode {
    let start = Instant::now();
    let (mut scripts, mut differences, mut received) = (0, 0, 0);
    while scripts < options.scripts && (scripts == 0 || start.elapsed() < options.time) {
        let seed = options.seed.wrapping_add(scripts);
        scripts += 1;
        let (trace, difference) = differs(seed, options.steps);
        received += trace.received;
        if let Some(told) = difference {
            differences += 1;
            let steps = options.steps;
            println!("seed {seed}, again: --seed {seed} --scripts 1 --steps {steps}\n{told}");
            if !options.keep_going {
                break;
            }
        }
    }

    println!("{scripts} scripts, {received} messages received, {differences} differences");
    match differences {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
