//! Termination signals.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::Failure;

/// Handles SIGINT, SIGTERM and, unless it was inherited as ignored (`nohup`), SIGHUP.
pub(crate) fn of_ending() -> Result<Signals, Failure> {
    let ignored = ignored();
    let wanted = [SIGINT, SIGTERM]
        .into_iter()
        .chain((!is_in(ignored, SIGHUP)).then_some(SIGHUP));
    Signals::new(wanted).map_err(Failure::new)
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

/// Name of a handled signal.
pub(crate) fn name(signal: i32) -> &'static str {
    match signal {
        SIGINT => "SIGINT",
        SIGTERM => "SIGTERM",
        SIGHUP => "SIGHUP",
        _ => "a signal",
    }
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
