//! The one error of this crate: a sentence for the person who started the run.

use std::fmt;

/// Why a run gave no figures.
#[derive(Debug)]
pub struct Error(String);

/// What functions of this crate return.
pub(crate) type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// No scenario was named: says which ones there are.
    #[must_use]
    pub fn usage() -> Self {
        Self(format!("no scenario\n\n{}", crate::USAGE))
    }

    /// An error with this text.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl From<std::io::Error> for Error {
    fn from(e: std::io::Error) -> Self {
        Self(e.to_string())
    }
}

impl From<rustix::io::Errno> for Error {
    fn from(e: rustix::io::Errno) -> Self {
        std::io::Error::from(e).into()
    }
}
