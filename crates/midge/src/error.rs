//! Errors of the handle: small, by operation.

use std::fmt;
use std::time::Duration;

use crate::feature::LeftOut;

/// Why a broker did not start. Nothing is left behind then.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// A listener's address cannot be read.
    Address {
        /// The address as given.
        address: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A listener's address is of a kind that this build has not.
    LeftOut {
        /// The address as given.
        address: String,
        /// What it needs.
        source: LeftOut,
    },
    /// A listener could not be bound.
    Bind {
        /// The address as given.
        address: String,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The runtime or one of its threads could not be started.
    Runtime(std::io::Error),
    /// An option has a value that it does not take: the number of threads, or one that was set with
    /// [`Builder::config`](crate::Builder::config).
    Option(OptionError),
    /// A listener was to be added to a broker that has stopped.
    Stopped,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { address, what } => write!(f, "cannot listen on {address}: {what}"),
            Self::LeftOut { address, source } => write!(f, "cannot listen on {address}: {source}"),
            Self::Bind { address, source } => write!(f, "cannot listen on {address}: {source}"),
            Self::Runtime(source) => write!(f, "cannot start the runtime: {source}"),
            Self::Option(source) => source.fmt(f),
            Self::Stopped => f.write_str("the broker has stopped"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Address { .. } | Self::Stopped => None,
            Self::LeftOut { source, .. } => Some(source),
            Self::Bind { source, .. } | Self::Runtime(source) => Some(source),
            Self::Option(source) => Some(source),
        }
    }
}

impl From<OptionError> for StartError {
    fn from(error: OptionError) -> Self {
        Self::Option(error)
    }
}

/// Why a broker could not be stopped by this call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopError {
    /// Called on a thread of the broker itself, which cannot wait for its own end. The broker has
    /// been told to stop.
    OnBrokerThread,
    /// Tasks of the broker have not ended in time: a hook does not return, or no thread drives the
    /// runtime of the host. The broker takes no more connections, and ends when they do.
    Unfinished,
}

impl fmt::Display for StopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OnBrokerThread => f.write_str("a broker's own thread cannot wait for its end"),
            Self::Unfinished => f.write_str("tasks of the broker have not ended in time"),
        }
    }
}

impl std::error::Error for StopError {}

/// Why a broker was not polled.
#[derive(Debug)]
#[non_exhaustive]
pub enum PollError {
    /// It has threads of its own, or runs on a runtime of the host: see
    /// [`Builder::threads`](crate::Builder::threads).
    HasThreads,
    /// Another thread polls it, or stops it.
    Busy,
    /// Called from a hook or a callback, or from a task of a runtime.
    Reentrant,
    /// The broker has stopped.
    Stopped,
    /// The operating system does not say which sockets are ready.
    Io(std::io::Error),
    /// The platform has no descriptor to wait for.
    NoDescriptor,
}

impl fmt::Display for PollError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HasThreads => {
                "the broker has threads of its own: only with threads = 0 is it polled"
            }
            Self::Busy => "another thread polls the broker, or stops it",
            Self::Reentrant => "a broker is not polled from a hook, a callback or a task",
            Self::Stopped => "the broker has stopped",
            Self::Io(source) => return source.fmt(f),
            Self::NoDescriptor => {
                "this platform has no descriptor to wait for; call poll with a timeout"
            }
        })
    }
}

impl std::error::Error for PollError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(source) => Some(source),
            _ => None,
        }
    }
}

/// An option that does not exist or a value that it does not take.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OptionError {
    /// There is no such option.
    Unknown {
        /// The key as given.
        key: String,
        /// The key that comes closest.
        nearest: &'static str,
    },
    /// The value does not fit.
    Value {
        /// The key.
        key: &'static str,
        /// The value as given.
        value: String,
        /// What is accepted.
        accepted: &'static str,
    },
    /// The value needs what this build has not.
    LeftOut {
        /// The key.
        key: &'static str,
        /// The value as given.
        value: String,
        /// What it needs.
        source: LeftOut,
    },
}

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { key, nearest } => {
                write!(f, "unknown option {key:?}; did you mean {nearest:?}?")
            }
            Self::Value {
                key,
                value,
                accepted,
            } => {
                write!(f, "{key} does not take {value:?}; accepted: {accepted}")?;

                // Limits of memory are as wide as addresses, so a file of another machine may say more.
                let number = value.trim().replace('_', "").parse::<u128>();
                if number.is_ok_and(|number| number > usize::MAX as u128) {
                    write!(f, "; numbers end at {} here", usize::MAX)?;
                }
                Ok(())
            }
            Self::LeftOut { key, value, source } => {
                write!(f, "{key} does not take {value:?}: {source}")
            }
        }
    }
}

impl std::error::Error for OptionError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unknown { .. } | Self::Value { .. } => None,
            Self::LeftOut { source, .. } => Some(source),
        }
    }
}

/// A topic filter that is not valid.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FilterError {
    /// The filter as given.
    pub filter: String,
    /// What is wrong with it: its form, or a limit of the broker.
    pub what: &'static str,
}

impl FilterError {
    pub(crate) fn new((filter, what): (String, &'static str)) -> Self {
        Self { filter, what }
    }
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { filter, what } = self;
        write!(f, "{filter:?} is not a valid topic filter: {what}")
    }
}

impl std::error::Error for FilterError {}

/// Why an in-memory connection was not made.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// `limits.connections` are open, `limits.connect_rate` is exceeded, or the broker has stopped.
    Refused,
    /// The operating system gave no socket.
    Io(std::io::Error),
    /// This build has no such connections.
    LeftOut(LeftOut),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("the broker takes no more connections"),
            Self::Io(source) => source.fmt(f),
            Self::LeftOut(source) => source.fmt(f),
        }
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Refused => None,
            Self::Io(source) => Some(source),
            Self::LeftOut(source) => Some(source),
        }
    }
}

/// Something did not happen in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeout(pub Duration);

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not within {:?}", self.0)
    }
}

impl std::error::Error for Timeout {}

/// Why [`Broker::wait_for`](crate::Broker::wait_for) has ended without what it waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitError {
    /// It did not come within this time.
    Timeout(Duration),
    /// The broker has stopped.
    Stopped,
}

impl fmt::Display for WaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout(time) => Timeout(*time).fmt(f),
            Self::Stopped => f.write_str("the broker has stopped"),
        }
    }
}

impl std::error::Error for WaitError {}
