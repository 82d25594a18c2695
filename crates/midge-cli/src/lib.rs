//! The command `midge`, as a library, so that every package that brings it brings the same one.

#![forbid(unsafe_code)]
mod client;
mod config;
mod exec;
mod log;
mod pubsub;
mod serve;
mod signals;

use std::ffi::OsString;
use std::io::{ErrorKind, Write};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use clap::{Parser, Subcommand};

/// A complete MQTT 5.0, 3.1.1 and 3.1 broker, and the two ends to try it with.
#[derive(Parser)]
#[command(name = "midge", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a broker until SIGINT, SIGTERM or SIGHUP; a second one cuts the drain short.
    Serve(serve::Serve),
    /// Run a command with a broker of its own: MQTT_HOST, MQTT_PORT and MQTT_URL tell it where.
    Exec(exec::Exec),
    /// Publish one message.
    Pub(pubsub::Publish),
    /// Subscribe and print what comes.
    Sub(pubsub::Subscribe),
    /// Print all options with their defaults.
    Config(config::Print),
}

/// What went wrong, in words, and the exit status that says so.
struct Failure {
    message: String,
    status: u8,
}

impl Failure {
    fn new(message: impl ToString) -> Self {
        Self {
            message: message.to_string(),
            status: 1,
        }
    }

    /// A failed write to the standard output. A closed one is no message: the exit status is that of
    /// a program that was ended by SIGPIPE.
    fn of_output(error: &std::io::Error) -> Self {
        match error.kind() {
            ErrorKind::BrokenPipe => Self {
                message: String::new(),
                status: 128 + 13, // SIGPIPE
            },
            _ => Self::new(format!("standard output: {error}")),
        }
    }
}

/// Writes to the standard output.
fn print(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes)
        .and_then(|()| out.flush())
        .map_err(|error| Failure::of_output(&error))
}

/// Longest wait for the reader of the standard error output.
const MESSAGE: Duration = Duration::from_secs(1);

/// Writes why the command fails to the standard error output. A full pipe delays the exit by
/// [`MESSAGE`] at most.
fn complain(message: &str) {
    if message.is_empty() {
        return;
    }
    let line = format!("midge: {message}\n");
    let (done, wait) = mpsc::sync_channel::<()>(1);
    let write = move || {
        let _done = done;
        let _ = std::io::stderr().write_all(line.as_bytes());
    };
    if thread::Builder::new().spawn(write).is_ok() {
        let _ = wait.recv_timeout(MESSAGE);
    }
}

/// The exit status, or what went wrong.
type Outcome = Result<u8, Failure>;

/// Runs the command with its arguments, the name of the program first. Gives the exit status.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let command = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli.command,
        Err(error) => {
            // Help goes to the standard output, mistakes to the standard error output; if that is
            // closed, only the status tells.
            let _ = error.print();
            return u8::try_from(error.exit_code()).unwrap_or(2);
        }
    };

    let outcome = match command {
        Command::Serve(serve) => serve.run(),
        Command::Exec(exec) => exec.run(),
        Command::Pub(publish) => publish.run(),
        Command::Sub(subscribe) => subscribe.run(),
        Command::Config(print) => print.run(),
    };

    outcome.unwrap_or_else(|failure| {
        complain(&failure.message);
        failure.status
    })
}
