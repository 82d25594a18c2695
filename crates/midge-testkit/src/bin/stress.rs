//! Random scripts against the broker, for as long as is wanted. See `--help`.
#![allow(clippy::print_stdout)] // a command talks

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use midge_testkit::model::{Check, Checks};
use midge_testkit::stress::{Hooking, Place, Report, Script, Setup, run};

const HELP: &str = "\
stress [OPTIONS]

Runs random scripts of clients against the broker and judges what every client sees. A script follows
from a seed. A seed with a finding is told with what happened and with the command that runs it again.

  --threads N     threads that drive clients (1)
  --on PLACE      core: these threads drive the core (default); 1, 2, 4, ...: a broker with so many
                  threads of its own; host, host-multi: a broker on a runtime of the host
  --minutes M     how long (1)
  --scripts K     runs of scripts at most
  --seed S        the first seed, the others follow it; drawn from the clock if not given
  --repeat K      runs of each seed (1)
  --steps N       steps of each thread (120)
  --hooks H       any; calm: none panics; prompt: none panics or answers later; none (any)
  --keep-going    goes on after a finding
  --show N        findings of each check that are told (2)
  --trace         tells everything that happened in a script with findings
  --only, --without CHECK,...
                  makes these checks alone, or leaves them out:";

fn main() -> ExitCode {
    match Options::read(std::env::args().skip(1)) {
        Ok(options) => Campaign::run(options),
        Err(what) => {
            if !what.is_empty() {
                println!("{what}\n");
            }
            println!("{HELP}");
            for check in Check::ALL {
                println!("    {:16} {}", check.name(), check.demand());
            }
            ExitCode::from(2)
        }
    }
}

/// What was asked for.
struct Options {
    setup: Setup,
    time: Duration,
    scripts: u64,
    seed: u64,
    repeat: u64,
    checks: Checks,
    keep_going: bool,
    show: u64,
    trace: bool,
}

impl Options {
    /// Reads the command line; the error is empty if help was asked for.
    fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let mut options = Self {
            setup: Setup::new(Place::Core, 1),
            time: Duration::from_secs(60),
            scripts: u64::MAX,
            seed: now.map_or(1, |since| since.as_secs() << 20),
            repeat: 1,
            checks: Checks::all(),
            keep_going: false,
            show: 2,
            trace: false,
        };

        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--help" => return Err(String::new()),
                "--keep-going" => options.keep_going = true,
                "--trace" => options.trace = true,
                name => {
                    let value = arguments.next().ok_or(format!("{name} needs a value"))?;
                    options.set(name, &value)?;
                }
            }
        }

        Ok(options)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let number = || {
            value
                .parse::<u64>()
                .map_err(|error| format!("{name}: {error}"))
        };

        let size = || {
            value
                .parse::<usize>()
                .map_err(|error| format!("{name}: {error}"))
        };

        let unknown = || format!("{name}: there is no {value}");
        match name {
            "--threads" => self.setup.threads = size()?.max(1),
            "--steps" => self.setup.steps = size()?,
            "--on" => self.setup.place = Place::named(value).ok_or_else(unknown)?,
            "--hooks" => self.setup.hooking = Hooking::named(value).ok_or_else(unknown)?,
            "--minutes" => {
                let minutes: f64 = value.parse().map_err(|error| format!("{name}: {error}"))?;
                self.time = Duration::try_from_secs_f64(minutes * 60.0)
                    .map_err(|error| format!("{name}: {error}"))?;
            }
            "--scripts" => self.scripts = number()?,
            "--seed" => self.seed = number()?,
            "--repeat" => self.repeat = number()?,
            "--show" => self.show = number()?,
            "--only" => self.checks = Checks::only(&named(value)?),
            "--without" => self.checks = self.checks.clone().without(&named(value)?),
            _ => return Err(format!("{name} is not known")),
        }

        Ok(())
    }
}

fn named(list: &str) -> Result<Vec<Check>, String> {
    let names = list.split(',');
    names
        .map(|name| Check::named(name).ok_or(format!("no check is called {name}")))
        .collect()
}

/// Scripts, one after another, and what came of them.
struct Campaign {
    options: Options,
    scripts: u64,
    published: u64,
    received: u64,
    takeovers: u64,
    /// By check: how many, and the first seed.
    findings: BTreeMap<&'static str, (u64, u64)>,
}

impl Campaign {
    fn run(options: Options) -> ExitCode {
        let start = Instant::now();
        println!("{} --seed {}", options.setup, options.seed);

        let mut campaign = Self {
            scripts: 0,
            published: 0,
            received: 0,
            takeovers: 0,
            findings: BTreeMap::new(),
            options,
        };

        let mut seed = campaign.options.seed;
        while start.elapsed() < campaign.options.time && campaign.scripts < campaign.options.scripts
        {
            if !campaign.seed(seed) && !campaign.options.keep_going {
                break;
            }
            seed = seed.wrapping_add(1);
        }
        campaign.summary(start.elapsed())
    }

    /// Runs the script of a seed; `false` if it has found something.
    fn seed(&mut self, seed: u64) -> bool {
        let script = Script::new(seed, &self.options.setup);
        for _ in 0..self.options.repeat {
            let report = run(&script, self.options.setup.place, &self.options.checks);
            self.add(seed, &report);
            if !report.findings.is_empty() {
                return false;
            }
        }
        true
    }

    fn add(&mut self, seed: u64, report: &Report) {
        self.scripts += 1;
        self.published += report.published;
        self.received += report.received;
        self.takeovers += report.takeovers;
        for finding in &report.findings {
            let known = self
                .findings
                .entry(finding.check.name())
                .or_insert((0, seed));
            known.0 += 1;
            if known.0 <= self.options.show {
                println!(
                    "seed {seed}: {finding}  again: {}\n",
                    self.options.setup.again(seed)
                );
            }
        }

        if self.options.trace {
            report.trace.iter().for_each(|line| println!("{line}"));
        }
    }

    fn summary(&self, time: Duration) -> ExitCode {
        let Self {
            scripts,
            published,
            received,
            takeovers,
            ..
        } = self;

        println!(
            "{scripts} scripts, {published} messages published, {received} received, {takeovers} \
             takeovers, {:.1} s",
            time.as_secs_f64()
        );
        for (check, (count, seed)) in &self.findings {
            println!("{count:>6} findings of {check}, first with seed {seed}");
        }

        if self.findings.is_empty() {
            println!("no finding");
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}
