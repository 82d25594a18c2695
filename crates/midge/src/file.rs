//! Configuration files in TOML.

use std::fmt;
use std::path::{Path, PathBuf};

use midge_core::OptionKind;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::error::OptionError;
use crate::settings::{Settings, find};

/// A configuration file that cannot be used. It says which line is wrong.
#[derive(Debug)]
pub struct ConfigFileError {
    path: PathBuf,
    /// From 1 on.
    line: Option<usize>,
    what: What,
}

#[derive(Debug)]
enum What {
    Unreadable(std::io::Error),
    Option(OptionError),
    Wrong(String),
}

impl ConfigFileError {
    /// The error of the operating system, if the file could not be read.
    pub fn io(&self) -> Option<&std::io::Error> {
        match &self.what {
            What::Unreadable(error) => Some(error),
            _ => None,
        }
    }

    /// The option that does not exist or does not take its value, if that is what is wrong.
    pub fn option(&self) -> Option<&OptionError> {
        match &self.what {
            What::Option(error) => Some(error),
            _ => None,
        }
    }

    /// The line that is wrong, from 1 on, if the file could be read.
    pub fn line(&self) -> Option<usize> {
        self.line
    }
}

impl fmt::Display for ConfigFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match self.line {
            Some(line) => write!(f, "{path}:{line}: ")?,
            None => write!(f, "{path}: ")?,
        }
        match &self.what {
            What::Unreadable(error) => error.fmt(f),
            What::Option(error) => error.fmt(f),
            What::Wrong(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for ConfigFileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.what {
            What::Unreadable(error) => Some(error),
            What::Option(error) => Some(error),
            What::Wrong(_) => None,
        }
    }
}

impl Settings {
    /// Sets what a file in TOML says: each option by its key, the part before its last dot being the
    /// table (`docs/configuration.md`). All of it is set, or nothing; addresses are added to those that
    /// are there.
    ///
    /// # Errors
    /// The file cannot be read, is not TOML, or has an option that does not exist or a value that its
    /// option does not take. The error names the file and the line.
    pub fn load(&mut self, path: impl AsRef<Path>) -> Result<(), ConfigFileError> {
        let path = path.as_ref();
        let failed = |line, what| ConfigFileError {
            path: path.to_owned(),
            line,
            what,
        };
        let text =
            std::fs::read_to_string(path).map_err(|error| failed(None, What::Unreadable(error)))?;

        let mut changed = self.clone();
        changed
            .read(&text)
            .map_err(|(at, what)| failed(Some(line(&text, at)), what))?;
        *self = changed;
        Ok(())
    }

    /// Sets what a text in TOML says. An error has the place in the text.
    fn read(&mut self, text: &str) -> Result<(), (usize, What)> {
        let table = DeTable::parse(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            (at, What::Wrong(error.message().to_owned()))
        })?;
        let mut entries = Vec::new();
        flatten("", table.get_ref(), &mut entries);

        // Single limits change what the preset has set. The first mistake of the file is told.
        entries.sort_by_key(|(key, value)| (key != "limits.preset", value.span().start));
        entries
            .iter()
            .try_for_each(|(key, value)| self.set_entry(key, value))
    }

    fn set_entry(&mut self, key: &str, value: &Entry<'_>) -> Result<(), (usize, What)> {
        let at = |entry: &Entry<'_>| entry.span().start;
        let option = find(key).map_err(|error| (at(value), What::Option(error)))?;

        let single = std::slice::from_ref(value);
        let values = match value.get_ref() {
            DeValue::Array(values) if option.kind == OptionKind::List => values,
            _ => single,
        };
        for value in values {
            let text = scalar(value.get_ref());
            let text = text.ok_or_else(|| {
                (
                    at(value),
                    What::Wrong(format!("{key} takes a single value")),
                )
            });
            let set = option.set(self, &text?);
            set.map_err(|error| (at(value), What::Option(error)))?;
        }
        Ok(())
    }
}

/// The line of a place in a text.
fn line(text: &str, at: usize) -> usize {
    let before = text.as_bytes().iter().take(at);
    before.filter(|byte| **byte == b'\n').count() + 1
}

/// A value with its place in the file.
type Entry<'a> = Spanned<DeValue<'a>>;

/// The values of a table and of the tables in it, by key.
fn flatten<'a>(section: &str, table: &'a DeTable<'a>, entries: &mut Vec<(String, &'a Entry<'a>)>) {
    for (name, value) in table {
        let name = name.get_ref();
        let key = match section {
            "" => name.to_string(),
            _ => format!("{section}.{name}"),
        };
        match value.get_ref() {
            DeValue::Table(table) => flatten(&key, table, entries),
            _ => entries.push((key, value)),
        }
    }
}

/// A single value as the text of an option.
fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Boolean(on) => Some(on.to_string()),
        DeValue::Integer(number) => {
            let parsed = i64::from_str_radix(number.as_str(), number.radix());
            Some(parsed.map_or_else(|_| number.as_str().to_owned(), |number| number.to_string()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, String> {
        let mut settings = Settings::default();
        let read = settings.read(text);
        let told = read.map_err(|(at, what)| {
            let error = ConfigFileError {
                path: "f".into(),
                line: Some(line(text, at)),
                what,
            };
            error.to_string()
        });
        told.map(|()| settings)
    }

    #[test]
    fn a_file_sets_any_option() {
        let text = "listen = ['tcp://127.0.0.1:0', 'unix:///s']\nthreads = 2\nclock = 'manual'\n\
                    [limits]\ninflight = 0x7\n[mqtt]\nretain_available = false\nversions = '5'";
        let settings = read(text).unwrap();
        for (key, value) in [
            ("listen", "tcp://127.0.0.1:0\nunix:///s"),
            ("threads", "2"),
            ("clock", "manual"),
            ("limits.inflight", "7"),
            ("mqtt.retain_available", "false"),
            ("mqtt.versions", "5"),
        ] {
            assert_eq!(settings.get(key).unwrap(), value);
        }

        assert_eq!(read("").unwrap(), Settings::default());
        assert_eq!(read("listen = []").unwrap(), Settings::default());
        let one = read("listen = 'tcp://[::1]:0'\nlimits.inflight = 7").unwrap();
        assert_eq!(one.get("listen").unwrap(), "tcp://[::1]:0");
        assert_eq!(one.config().limits.inflight, 7);
    }

    #[test]
    fn single_limits_change_what_the_preset_has_set() {
        let settings = read("[limits]\ninflight = 7\npreset = 'device'").unwrap();
        let limits = &settings.config().limits;
        assert_eq!((limits.inflight, limits.sessions), (7, 128));
    }

    #[test]
    fn a_mistake_is_named_with_its_line() {
        for (text, says) in [
            (
                "listen = 7",
                "f:1: listen does not take \"7\"; accepted: tcp://",
            ),
            (
                "listen = [\n'tcp://a:1',\n7]",
                "f:3: listen does not take \"7\"",
            ),
            ("listen = [[]]", "f:1: listen takes a single value"),
            (
                "\nthreads = 0",
                "f:2: threads does not take \"0\"; accepted: 1 to 1024",
            ),
            ("threads = -1", "f:1: threads does not take \"-1\""),
            (
                "threads = 99999999999999999999",
                "f:1: threads does not take",
            ),
            (
                "[limits]\n# seven\ninflight = [1]",
                "f:3: limits.inflight takes a single value",
            ),
            (
                "[limits]\ninflght = [1]",
                "f:2: unknown option \"limits.inflght\"; did you mean \"limits.inflight\"?",
            ),
            (
                "tread = 0\ninflight = 1",
                "f:1: unknown option \"tread\"; did you mean \"threads\"?",
            ),
            (
                "[mqtt.versions]\nv5 = true",
                "f:2: unknown option \"mqtt.versions.v5\"",
            ),
            ("threads = 1\n[limits", "f:2: "),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.starts_with(says), "{text}: {error}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_used_changes_nothing() {
        let mut settings = Settings::default();
        let missing = settings.load("/nowhere/midge.toml").unwrap_err();
        assert!(missing.io().is_some() && missing.line().is_none());
        assert!(missing.to_string().starts_with("/nowhere/midge.toml: "));

        let path = std::env::temp_dir().join(format!("midge-file-{}.toml", std::process::id()));
        std::fs::write(&path, "threads = 2\n[limits]\ninflight = 0").unwrap();
        let wrong = settings.load(&path).unwrap_err();
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(wrong.option(), Some(OptionError::Value { .. })));
        assert_eq!(wrong.line(), Some(3));
        assert_eq!(settings, Settings::default());
    }
}
