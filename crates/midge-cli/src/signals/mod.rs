//! What ends a program from outside: signals, and on Windows what its console sends.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub(crate) use unix::{Farewell, Signal, Signals, pass_on, status_of};
#[cfg(windows)]
pub(crate) use windows::{Farewell, Signal, Signals, pass_on, status_of};
