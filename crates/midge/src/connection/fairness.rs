//! Whose turn it is: how much one connection reads and writes before others get theirs. The runtime
//! serves its tasks in the order in which they were woken.

/// Reads of a turn.
const READ_BUDGET: u8 = 4;
/// Rounds of the runtime that a turn is followed by. A small message needs three on its way: it is
/// read; its receiver is flushed, after everything that was ready has been read; it is written.
const ROUNDS: u8 = 3;

/// Whether a connection reads, or leaves the runtime to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// So many reads of this turn are done.
    Reading(u8),
    /// The turn is over, and so many rounds are left to others.
    Yielding(u8),
}

/// The turns of one connection.
#[derive(Debug)]
pub(super) struct Fairness {
    turn: Turn,
    /// Rounds until more of a backlog is written.
    backlog: u8,
    /// Others have had their turn since the connection has begun to wait for that.
    gave_way: bool,
}

impl Fairness {
    pub(super) const fn new() -> Self {
        Self {
            turn: Turn::Reading(0),
            backlog: 0,
            gave_way: false,
        }
    }

    /// Whether this round of the runtime belongs to other connections, which are read first.
    pub(super) fn skips_read(&mut self) -> bool {
        match self.turn {
            Turn::Reading(_) => false,
            Turn::Yielding(rounds) => {
                self.turn = match rounds {
                    0 | 1 => Turn::Reading(0),
                    more => Turn::Yielding(more - 1),
                };
                true
            }
        }
    }

    /// Counts a read.
    pub(super) fn count_read(&mut self) {
        self.turn = match self.turn {
            Turn::Reading(reads) if reads + 1 < READ_BUDGET => Turn::Reading(reads + 1),
            _ => Turn::Yielding(ROUNDS),
        };
    }

    /// Ends the turn: much was read, or many hooks were called.
    pub(super) fn end_turn(&mut self) {
        self.turn = Turn::Yielding(ROUNDS);
    }

    /// Nothing is left to read: the next turn is a new one.
    pub(super) fn rest(&mut self) {
        self.turn = Turn::Reading(0);
    }

    /// Whether the turn has been used up.
    pub(super) fn is_turn_over(&self) -> bool {
        matches!(self.turn, Turn::Yielding(_))
    }

    /// Whether this round of the runtime is left to others, before more of a backlog is written.
    pub(super) fn skips_backlog(&mut self) -> bool {
        let skips = self.backlog > 0;
        self.backlog = self.backlog.saturating_sub(1);
        skips
    }

    /// A part of a backlog was written. The round in which the rest is looked at again counts.
    pub(super) fn pause_backlog(&mut self) {
        self.backlog = ROUNDS - 1;
    }

    /// Whether the work that waits for others to have had a turn must wait for this round, too: it does
    /// so once.
    pub(super) fn skips_work(&mut self, gives_way: bool) -> bool {
        self.gave_way = gives_way && !self.gave_way;
        self.gave_way
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_of_reads_is_followed_by_rounds_for_others() {
        let mut fairness = Fairness::new();
        for _ in 0..2 {
            for _ in 0..READ_BUDGET {
                assert!(!fairness.is_turn_over() && !fairness.skips_read());
                fairness.count_read();
            }
            assert!(fairness.is_turn_over());
            assert!((0..ROUNDS).all(|_| fairness.skips_read()));
        }

        fairness.end_turn();
        fairness.count_read();
        assert!((0..ROUNDS).all(|_| fairness.skips_read()));
        assert!(!fairness.skips_read());
    }

    #[test]
    fn a_backlog_pauses_and_deferred_work_gives_way_once() {
        let mut fairness = Fairness::new();
        assert!(!fairness.skips_backlog());
        fairness.pause_backlog();
        assert!((1..ROUNDS).all(|_| fairness.skips_backlog()));
        assert!(!fairness.skips_backlog());

        assert!(fairness.skips_work(true) && !fairness.skips_work(true));
        assert!(!fairness.skips_work(false) && fairness.skips_work(true));
    }
}
