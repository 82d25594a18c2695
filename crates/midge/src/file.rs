//! Configuration files in TOML.

use std::fmt;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

/// What a configuration file says: where to listen, how many threads, and every option of the table
/// by its key (`docs/configuration.md`; the part before the dot is the table of the file).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigFile {
    /// Addresses, in order.
    pub listen: Vec<String>,
    /// Threads of the broker, at least 1.
    pub threads: Option<usize>,
    /// Keys and values. Whether they are known and valid is found out when they are set.
    pub options: Vec<(String, String)>,
}

/// A configuration file that cannot be used.
#[derive(Debug)]
pub struct ConfigFileError {
    path: PathBuf,
    what: What,
}

#[derive(Debug)]
enum What {
    Unreadable(std::io::Error),
    Wrong(String),
}

impl ConfigFileError {
    /// The error of the operating system, if the file could not be read.
    pub fn io(&self) -> Option<&std::io::Error> {
        match &self.what {
            What::Unreadable(error) => Some(error),
            What::Wrong(_) => None,
        }
    }
}

impl fmt::Display for ConfigFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.what {
            What::Unreadable(error) => write!(f, "{path}: {error}"),
            What::Wrong(what) => write!(f, "{path}: {}", what.trim_end()),
        }
    }
}

impl std::error::Error for ConfigFileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.io().map(|error| error as _)
    }
}

impl ConfigFile {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, it is not TOML, or it has something that no configuration has; the error
    /// names the path.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, ConfigFileError> {
        let path = path.as_ref();
        let failed = |what| ConfigFileError {
            path: path.to_owned(),
            what,
        };
        let text =
            std::fs::read_to_string(path).map_err(|error| failed(What::Unreadable(error)))?;
        Self::parse(&text).map_err(|what| failed(What::Wrong(what)))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let table: Table = text.parse().map_err(|error| format!("{error}"))?;
        let mut file = Self::default();
        for (key, value) in table {
            match (key.as_str(), value) {
                ("listen", Value::String(address)) => file.listen.push(address),
                ("listen", Value::Array(addresses)) => {
                    for address in addresses {
                        let Value::String(address) = address else {
                            return Err("listen takes a list of addresses".into());
                        };
                        file.listen.push(address);
                    }
                }
                ("threads", Value::Integer(threads)) => {
                    let threads = usize::try_from(threads).ok().filter(|threads| *threads > 0);
                    file.threads = Some(threads.ok_or("threads takes 1 or more")?);
                }
                (_, Value::Table(section)) => file.section(&key, section)?,
                _ => {
                    return Err(format!(
                        "unknown key {key:?}; known: listen, threads, sections"
                    ));
                }
            }
        }

        // Single limits change what the preset has set.
        file.options.sort_by_key(|(key, _)| key != "limits.preset");
        Ok(file)
    }

    fn section(&mut self, key: &str, section: Table) -> Result<(), String> {
        for (name, value) in section {
            let value = match value {
                Value::String(text) => text,
                Value::Integer(number) => number.to_string(),
                Value::Boolean(on) => on.to_string(),
                _ => return Err(format!("{key}.{name} takes a single value")),
            };
            self.options.push((format!("{key}.{name}"), value));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_addresses_threads_and_sections() {
        let text = "listen = ['tcp://127.0.0.1:0', 'unix:///s']\nthreads = 2\n\
                    [limits]\ninflight = 7\n[mqtt]\nretain_available = false\nversions = '5'";
        let file = ConfigFile::parse(text).unwrap();
        assert_eq!((file.listen.len(), file.threads), (2, Some(2)));

        let mut options = file.options;
        options.sort();

        let option = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(
            options,
            [
                option("limits.inflight", "7"),
                option("mqtt.retain_available", "false"),
                option("mqtt.versions", "5")
            ]
        );
        assert_eq!(ConfigFile::parse("").unwrap(), ConfigFile::default());

        let file = ConfigFile::parse("[limits]\ninflight = 7\npreset = 'device'").unwrap();
        assert_eq!(file.options[0], option("limits.preset", "device"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, says) in [
            ("listen = 7", "unknown key \"listen\""),
            ("listen = [7]", "list of addresses"),
            ("threads = 0", "1 or more"),
            ("threads = -1", "1 or more"),
            (
                "[limits]\ninflight = [1]",
                "limits.inflight takes a single value",
            ),
            ("inflight = 1", "unknown key \"inflight\""),
            ("[limits", "line 1"),
        ] {
            let error = ConfigFile::parse(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
        let missing = ConfigFile::read("/nowhere/midge.toml").unwrap_err();
        assert!(missing.io().is_some() && missing.to_string().starts_with("/nowhere/midge.toml: "));
    }
}
