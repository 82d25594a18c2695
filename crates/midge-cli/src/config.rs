//! Settings: the file, the command line, the table of options.

use std::fmt::Write as _;

use clap::Args;
use midge::{Clock, OptionKind, Settings};

use crate::client::{HOST, PORT, url_of};
use crate::{Failure, Outcome};

/// Arguments of `midge config`.
#[derive(Args)]
pub(crate) struct Print {
    /// Print documentation in Markdown instead of a configuration file.
    #[arg(long)]
    markdown: bool,
}

impl Print {
    pub(crate) fn run(&self) -> Outcome {
        let text = if self.markdown { markdown() } else { file()? };
        crate::print(text.as_bytes()).map(|()| 0)
    }
}

/// A configuration file with every option as `midge serve` has it without a file.
fn file() -> Result<String, Failure> {
    let mut settings = Settings::default();
    listen_by_default(&mut settings)?;

    let mut text = String::new();
    let mut section = "";
    for option in Settings::options() {
        let (table, name) = option.key.rsplit_once('.').unwrap_or(("", option.key));
        if table != section {
            section = table;
            let _ = write!(text, "\n[{table}]\n");
        }
        let value = option.value(&settings);
        let value = match option.kind {
            OptionKind::Text => format!("{value:?}"),
            OptionKind::List => format!("{:?}", value.lines().collect::<Vec<_>>()),
            _ => value,
        };
        let _ = write!(
            text,
            "# {} Accepted: {}.\n{name} = {value}\n",
            option.doc, option.accepted
        );
    }

    Ok(text)
}

/// The contents of `docs/configuration.md`.
fn markdown() -> String {
    let mut text = String::from(
        "# Configuration\n\n\
         Every option has one key, the same everywhere: `Settings::set` in Rust, `midge serve --set key=value`, \
         a configuration file in TOML (the part before the last dot is the table; a list is an array), the options \
         of the C library and of the Python package (where `listen` is `host`, `port` and `unix_path`). `midge \
         config` prints a file with all defaults. This page is \
         made by `midge config --markdown`.\n\n\
         | key | default | accepted | what it does |\n|---|---|---|---|\n",
    );

    for option in Settings::options() {
        let default = option.default_value();
        let default = if default.is_empty() {
            "(empty)".into()
        } else {
            format!("`{default}`")
        };
        let _ = writeln!(
            text,
            "| `{}` | {default} | {} | {} |",
            option.key, option.accepted, option.doc
        );
    }

    text
}

/// Splits `key=value`.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected key=value")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

/// Sets options by their keys.
pub(crate) fn apply(settings: &mut Settings, pairs: &[(String, String)]) -> Result<(), Failure> {
    for (key, value) in pairs {
        settings.set(key, value).map_err(Failure::new)?;
    }
    if settings.clock() == Clock::Manual {
        return Err(Failure::new(
            "clock: a manual one is for a program that moves it; the command has the system's",
        ));
    }
    if settings.threads() == 0 {
        return Err(Failure::new(
            "threads: 0 is for a program that polls the broker; the command takes 1 and more",
        ));
    }
    Ok(())
}

/// Listens on the port of MQTT, for this machine alone, if nothing else is said.
pub(crate) fn listen_by_default(settings: &mut Settings) -> Result<(), Failure> {
    if settings.get("listen").map_err(Failure::new)?.is_empty() {
        let address = url_of("tcp", HOST, PORT);
        settings.set("listen", &address).map_err(Failure::new)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_printed_file_is_what_the_command_starts_with() {
        let path = std::env::temp_dir().join(format!("midge-printed-{}.toml", std::process::id()));
        let text = file().unwrap_or_else(|failure| panic!("{}", failure.message));
        std::fs::write(&path, &text).unwrap();
        let mut read = Settings::default();
        read.load(&path).unwrap();
        std::fs::remove_file(&path).unwrap();

        let mut started = Settings::default();
        let listens = listen_by_default(&mut started);
        assert!(listens.is_ok() && read == started);
        for option in Settings::options() {
            let name = option.key.rsplit('.').next().unwrap_or_default();
            assert!(text.contains(&format!("\n{name} = ")), "{}", option.key);
        }
    }

    #[test]
    fn what_only_a_program_can_do_is_refused() {
        for (key, value) in [("clock", "manual"), ("threads", "0")] {
            let refused = apply(&mut Settings::default(), &[(key.into(), value.into())]);
            let message = refused.map_err(|failure| failure.message);
            assert!(message.unwrap_err().starts_with(key));
        }
    }

    #[test]
    fn the_documentation_is_fresh() {
        let committed = include_str!("../../../docs/configuration.md");
        assert!(
            committed == markdown(),
            "run: midge config --markdown > docs/configuration.md"
        );
    }
}
