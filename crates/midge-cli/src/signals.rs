//! Signals that end the command, or what it runs.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::Failure;

/// SIGINT, SIGTERM and SIGHUP. One that whoever started the command wants ignored, as `nohup` does with
/// SIGHUP, is left alone.
pub(crate) fn of_ending() -> Result<Signals, Failure> {
    let ignored = ignored();
    let wanted = [SIGINT, SIGTERM]
        .into_iter()
        .chain((!is_in(ignored, SIGHUP)).then_some(SIGHUP));
    Signals::new(wanted).map_err(Failure::new)
}

/// The signals that are ignored, a bit each; none where the system does not say.
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

/// The name of one of them.
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
        // That of the standard library for its programs.
        assert!(!cfg!(target_os = "linux") || is_in(ignored(), 13));
    }
}
