//! Termination signals.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::{self, JoinHandle};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{SigId, flag, iterator, low_level};

use crate::Failure;

/// The signals that end a program, received instead of ending it: SIGINT, SIGTERM and, unless it was
/// inherited as ignored (`nohup`), SIGHUP.
pub(crate) struct Signals(iterator::Signals);

/// Ends the wait for signals.
#[derive(Clone)]
pub(crate) struct Handle(iterator::Handle);

/// A received signal.
#[derive(Clone, Copy)]
pub(crate) struct Signal(i32);

impl Signals {
    /// Receives them from now on. Threads that start later inherit that.
    pub(crate) fn new() -> Result<Self, Failure> {
        iterator::Signals::new(ending())
            .map(Self)
            .map_err(Failure::new)
    }

    /// Waits for the next one; `None` once the handle has closed them.
    pub(crate) fn next(&mut self) -> Option<Signal> {
        self.0.forever().next().map(Signal)
    }

    pub(crate) fn handle(&self) -> Handle {
        Handle(self.0.handle())
    }
}

impl Handle {
    pub(crate) fn close(&self) {
        self.0.close();
    }
}

impl Signal {
    pub(crate) fn name(self) -> &'static str {
        match self.0 {
            SIGINT => "SIGINT",
            SIGTERM => "SIGTERM",
            SIGHUP => "SIGHUP",
            _ => "a signal",
        }
    }
}

fn ending() -> impl Iterator<Item = i32> {
    let hangs_up = !is_in(ignored(), SIGHUP);
    [SIGINT, SIGTERM]
        .into_iter()
        .chain(hangs_up.then_some(SIGHUP))
}

/// Passes what is received on to a child, but for what a terminal has sent to the child, too: many
/// programs take a second interrupt for a wish to end without cleaning up.
pub(crate) fn pass_on(mut signals: Signals, child: u32, at_terminal: bool) {
    let child = child.to_string();
    while let Some(Signal(signal)) = signals.next() {
        if signal == SIGINT && at_terminal {
            continue;
        }
        let _ = Command::new("kill")
            .args([&format!("-{signal}"), "--", &child])
            .status();
    }
}

/// The exit status with which a shell reports the end of a child.
pub(crate) fn status_of(child: ExitStatus) -> i32 {
    child
        .code()
        .or(child.signal().map(|signal| 128 + signal))
        .unwrap_or(1)
}

/// Says farewell when a signal ends the program, which dies of it then: a shell that runs it in a
/// loop sees that it was interrupted. A second signal does not wait for that. Drop it to end its
/// thread.
pub(crate) struct Farewell {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
    impatient: Vec<SigId>,
}

impl Farewell {
    /// `say` is called once at most, on a thread of its own.
    pub(crate) fn start(say: impl FnOnce() + Send + 'static) -> Result<Self, Failure> {
        let mut impatient = Vec::new();
        let again = Arc::new(AtomicBool::new(false));
        for signal in ending() {
            // In this order: the first signal finds the flag unset.
            let registered = [
                flag::register_conditional_default(signal, again.clone()),
                flag::register(signal, again.clone()),
            ];
            for id in registered {
                impatient.push(id.map_err(Failure::new)?);
            }
        }

        let mut signals = Signals::new()?;
        let handle = signals.handle();
        let wait = move || {
            if let Some(Signal(signal)) = signals.next() {
                say();
                let _ = low_level::emulate_default_handler(signal);
            }
        };
        let thread = thread::Builder::new().spawn(wait).map_err(Failure::new)?;
        Ok(Self {
            handle,
            thread: Some(thread),
            impatient,
        })
    }
}

impl Drop for Farewell {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        for id in self.impatient.drain(..) {
            low_level::unregister(id);
        }
    }
}

/// Mask of ignored signals; 0 where the system has no `/proc`.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().find_map(mask).unwrap_or(0)
}

fn mask(line: &str) -> Option<u64> {
    let digits = line.strip_prefix("SigIgn:")?;
    u64::from_str_radix(digits.trim(), 16).ok()
}

fn is_in(mask: u64, signal: i32) -> bool {
    u32::try_from(signal - 1)
        .ok()
        .and_then(|bit| mask.checked_shr(bit))
        .is_some_and(|rest| rest & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_says_what_is_ignored() {
        assert_eq!(mask("SigIgn:\t0000000000001001"), Some(0x1001));
        assert_eq!(mask("SigCgt:\t0000000000001001"), None);
        assert!(is_in(0x1001, SIGHUP) && !is_in(0x1001, SIGTERM) && !is_in(0, SIGHUP));
        // The standard library ignores SIGPIPE (13) in every program.
        assert!(!cfg!(target_os = "linux") || is_in(ignored(), 13));
    }
}
