//! The command `midge`, as a library, so that every package that brings it brings the same one.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout)] // it is a command

mod client;
mod config;
mod exec;
mod pubsub;
mod serve;

use std::ffi::OsString;

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
    /// Run a broker until SIGINT or SIGTERM.
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
}

/// The exit status, or what went wrong.
type Outcome = Result<u8, Failure>;

/// Runs the command with its arguments, the name of the program first. Gives the exit status.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let command = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli.command,
        Err(error) => {
            // Help goes to the standard output, mistakes to the standard error output; there is
            // nobody to tell when that is closed.
            let _ = error.print();
            return u8::try_from(error.exit_code()).unwrap_or(2);
        }
    };
    let outcome = match command {
        Command::Serve(serve) => serve.run(),
        Command::Exec(exec) => exec.run(),
        Command::Pub(publish) => publish.run(),
        Command::Sub(subscribe) => subscribe.run(),
        Command::Config(print) => Ok(print.run()),
    };
    outcome.unwrap_or_else(|failure| {
        eprintln!("midge: {}", failure.message);
        failure.status
    })
}
