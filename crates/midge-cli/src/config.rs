//! Settings: the file, the command line, the table of options.

use std::fmt::Write as _;

use clap::Args;
use midge::{Builder, options};

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
        let text = if self.markdown { markdown() } else { file() };
        crate::print(text.as_bytes()).map(|()| 0)
    }
}

/// A configuration file with every option at its default.
fn file() -> String {
    let mut text = String::from(
        "# Where to listen: tcp://host:port (port 0 takes a free one) or unix:///path?mode=0660.\n\
         listen = [\"tcp://127.0.0.1:1883\"]\n\
         # Threads of the broker.\nthreads = 1\n",
    );
    let mut section = "";
    for option in options() {
        let (table, name) = option.key.split_once('.').unwrap_or(("", option.key));
        if table != section {
            section = table;
            let _ = write!(text, "\n[{table}]\n");
        }
        let value = option.default_value();
        let value = match option.kind {
            midge::OptionKind::Text => format!("{value:?}"),
            _ => value,
        };
        let _ = write!(
            text,
            "# {} Accepted: {}.\n{name} = {value}\n",
            option.doc, option.accepted
        );
    }

    text
}

/// The contents of `docs/configuration.md`.
fn markdown() -> String {
    let mut text = String::from(
        "# Configuration\n\n\
         Every option has one key, the same everywhere: `Builder::set` in Rust, `midge serve --set key=value`, \
         a configuration file in TOML (the part before the dot is the table), the options of the C library \
         and of the Python package. This page is made by `midge config --markdown`.\n\n\
         A file for `midge serve --config` may also have `listen` (a list of addresses) and `threads`; \
         `midge config` prints one with all defaults.\n\n\
         | key | default | accepted | what it does |\n|---|---|---|---|\n",
    );

    for option in options() {
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

/// Sets options on a builder.
pub(crate) fn apply(mut builder: Builder, pairs: &[(String, String)]) -> Result<Builder, Failure> {
    for (key, value) in pairs {
        builder = builder.set(key, value).map_err(Failure::new)?;
    }
    Ok(builder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_printed_file_can_be_read_and_set() {
        let table: toml::Table = file().parse().unwrap();
        let keys: Vec<_> = table
            .values()
            .filter_map(toml::Value::as_table)
            .flat_map(toml::Table::keys)
            .collect();
        assert_eq!(keys.len(), options().len());
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
