//! Configuration files in TOML.

#[cfg(feature = "toml")]
mod text;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::OptionError;
use crate::feature::{Feature, LeftOut};
use crate::settings::Settings;

/// A configuration file that cannot be used. It says which line is wrong.
#[derive(Debug)]
pub struct ConfigFileError {
    path: PathBuf,
    /// From 1 on.
    line: Option<usize>,
    what: What,
}

#[derive(Debug)]
#[cfg_attr(not(feature = "toml"), expect(dead_code, reason = "no file is read"))]
enum What {
    Unreadable(std::io::Error),
    Option(OptionError),
    Wrong(String),
    LeftOut(LeftOut),
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

    /// What this build has not and the file needs, if that is what is wrong.
    pub fn left_out(&self) -> Option<LeftOut> {
        match &self.what {
            What::LeftOut(left_out) => Some(*left_out),
            What::Option(OptionError::LeftOut { source, .. }) => Some(*source),
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
            What::LeftOut(left_out) => left_out.fmt(f),
        }
    }
}

impl std::error::Error for ConfigFileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.what {
            What::Unreadable(error) => Some(error),
            What::Option(error) => Some(error),
            What::Wrong(_) => None,
            What::LeftOut(left_out) => Some(left_out),
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
    /// option does not take. The error names the file and the line. A build without [`Feature::Toml`] reads
    /// no file.
    pub fn load(&mut self, path: impl AsRef<Path>) -> Result<(), ConfigFileError> {
        let path = path.as_ref();
        let failed = |line, what| ConfigFileError {
            path: path.to_owned(),
            line,
            what,
        };
        LeftOut::check(Feature::Toml).map_err(|error| failed(None, What::LeftOut(error)))?;

        let text =
            std::fs::read_to_string(path).map_err(|error| failed(None, What::Unreadable(error)))?;

        let mut changed = self.clone();
        changed
            .read(&text)
            .map_err(|(at, what)| failed(Some(line(&text, at)), what))?;
        *self = changed;
        Ok(())
    }

    /// Sets what a text says. An error has the place in the text.
    #[cfg(not(feature = "toml"))]
    fn read(&mut self, _: &str) -> Result<(), (usize, What)> {
        Err((0, What::LeftOut(LeftOut(Feature::Toml))))
    }
}

/// The line of a place in a text.
fn line(text: &str, at: usize) -> usize {
    let before = text.as_bytes().iter().take(at);
    before.filter(|byte| **byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "toml")]
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

    #[cfg(not(feature = "toml"))]
    #[test]
    fn a_build_without_files_says_so() {
        let mut settings = Settings::default();
        let error = settings.load("/nowhere/midge.toml").unwrap_err();
        assert_eq!(error.left_out(), Some(LeftOut(Feature::Toml)));
        assert!(
            error.to_string().contains("its feature \"toml\""),
            "{error}"
        );
    }
}
