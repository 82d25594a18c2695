//! `midge exec`: a broker for the life of one command.

use std::io::IsTerminal;
use std::process::Command;
use std::thread;
use std::time::Duration;

use clap::Args;
use midge::{Broker, Settings, Stop};

use crate::config::{apply, pair};
use crate::signals::{Signals, pass_on, status_of};
use crate::{Failure, Outcome};

/// Arguments of `midge exec`.
#[derive(Args)]
pub(crate) struct Exec {
    /// Set an option of the broker; may be given more than once.
    #[arg(short, long = "set", value_name = "KEY=VALUE", value_parser = pair)]
    options: Vec<(String, String)>,
    /// The command and its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    command: Vec<String>,
}

impl Exec {
    pub(crate) fn run(self) -> Outcome {
        let Some((program, arguments)) = self.command.split_first() else {
            return Err(Failure::new("no command"));
        };

        let signals = Signals::new()?;
        let mut settings = Settings::default();
        settings
            .set("listen", "tcp://127.0.0.1:0")
            .map_err(Failure::new)?;
        apply(&mut settings, &self.options)?;
        let broker = Broker::builder().settings(settings).start();
        let broker = broker.map_err(Failure::new)?;

        let spawned = Command::new(program)
            .args(arguments)
            .env("MQTT_HOST", "127.0.0.1")
            .env("MQTT_PORT", broker.port().to_string())
            .env("MQTT_URL", broker.url())
            .spawn();
        let mut child = spawned.map_err(|error| Failure {
            message: format!("{program}: {error}"),
            // As shells say it: not found, or not executable.
            status: if error.kind() == std::io::ErrorKind::NotFound {
                127
            } else {
                126
            },
        })?;

        // A supervisor signals only this process; a terminal interrupts the command, too.
        let at_terminal = std::io::stdin().is_terminal();
        let handle = signals.handle();
        let id = child.id();
        let forwarder = thread::spawn(move || pass_on(signals, id, at_terminal));

        let status = child.wait().map_err(Failure::new)?;
        handle.close();

        let _ = forwarder.join();
        broker
            .stop(Stop::Drain(Duration::from_millis(100)))
            .map_err(Failure::new)?;

        Ok(u8::try_from(status_of(status)).unwrap_or(1))
    }
}
