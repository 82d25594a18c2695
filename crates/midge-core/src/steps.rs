//! Counts work in steps, so that tests find without a clock what holds a lock or a thread for too
//! long.
//!
//! A step is one look at something whose number a client decides: an entry of a table, a node of a
//! trie, a filter of a packet. It takes some 200 ns at most, so that [`MOST`] steps are less than a
//! millisecond. Copies of messages that are delivered are no steps. Release builds count nothing.

/// Steps that one section may take at default limits.
pub const MOST: u64 = 4096;

/// What is measured: the time for which a lock or a thread is not given away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Section {
    /// Handling one packet, or one slice of a packet that is handled in slices.
    Packet,
    /// Changing subscriptions under the write lock of the router.
    Subscriptions,
    /// Finding the receivers of one message under the read lock of the router.
    Routing,
    /// Looking up one page of retained messages.
    Retained,
    /// A slice of work in the background.
    Background,
    /// Looking through the sessions under the lock of their registry.
    Sessions,
}

#[cfg(debug_assertions)]
const ALL: [Section; 6] = [
    Section::Packet,
    Section::Subscriptions,
    Section::Routing,
    Section::Retained,
    Section::Background,
    Section::Sessions,
];

#[cfg(debug_assertions)]
mod counting {
    use std::cell::Cell;
    use std::sync::atomic::Ordering;

    use super::{ALL, Section};
    use crate::sync::ProcessWide;

    /// The longest section of the process: its steps, then its kind in the last byte.
    static LONGEST: ProcessWide = ProcessWide::new(0);

    crate::sync::thread_local! {
        static COUNT: Cell<u64> = const { Cell::new(0) };
        static OWN_LONGEST: Cell<u64> = const { Cell::new(0) };
    }

    pub(super) fn add(steps: u64) {
        let _ = COUNT.try_with(|count| count.set(count.get() + steps));
    }

    pub(super) fn begin() -> u64 {
        COUNT.try_with(|count| count.replace(0)).unwrap_or(0)
    }

    pub(super) fn end(section: Section, before: u64) {
        let own = COUNT.try_with(Cell::get).unwrap_or(0);
        add(before);
        let packed = own << 8 | section as u64;
        LONGEST.fetch_max(packed, Ordering::Relaxed);
        let _ = OWN_LONGEST.try_with(|longest| longest.set(longest.get().max(packed)));
    }

    fn unpack(packed: u64) -> Option<(Section, u64)> {
        let section = ALL.get(usize::from(packed as u8))?;
        (packed > 0).then_some((*section, packed >> 8))
    }

    pub(super) fn take_longest() -> Option<(Section, u64)> {
        unpack(LONGEST.swap(0, Ordering::Relaxed))
    }

    #[cfg(test)]
    pub(super) fn take_own_longest() -> u64 {
        OWN_LONGEST.with(|longest| longest.replace(0)) >> 8
    }
}

/// The longest section on any thread of the process since the last call, with its steps. Always
/// `None` in release builds.
pub fn take_longest() -> Option<(Section, u64)> {
    #[cfg(debug_assertions)]
    return counting::take_longest();
    #[cfg(not(debug_assertions))]
    None
}

/// Counts steps of the present section.
#[inline(always)]
pub(crate) fn add(steps: usize) {
    #[cfg(debug_assertions)]
    counting::add(steps as u64);
    #[cfg(not(debug_assertions))]
    let _ = steps;
}

/// A section lasts as long as this value. Sections inside of it count for both.
pub(crate) struct Measured {
    #[cfg(debug_assertions)]
    section: Section,
    #[cfg(debug_assertions)]
    before: u64,
}

/// Begins a section.
#[inline(always)]
pub(crate) fn section(section: Section) -> Measured {
    #[cfg(not(debug_assertions))]
    let _ = section;
    Measured {
        #[cfg(debug_assertions)]
        section,
        #[cfg(debug_assertions)]
        before: counting::begin(),
    }
}

#[cfg(debug_assertions)]
impl Drop for Measured {
    fn drop(&mut self) {
        counting::end(self.section, self.before);
    }
}

/// The steps of the longest section of this thread during `work`.
#[cfg(all(test, debug_assertions))]
pub(crate) fn longest_of<T>(work: impl FnOnce() -> T) -> (T, u64) {
    counting::take_own_longest();
    let result = work();
    (result, counting::take_own_longest())
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::*;

    #[test]
    fn the_longest_section_counts_what_is_inside_of_it() {
        let ((), longest) = longest_of(|| {
            let _outer = section(Section::Packet);
            add(3);
            {
                let _inner = section(Section::Routing);
                add(4);
            }
            add(1);
        });
        assert_eq!(longest, 8);
        let ((), longest) = longest_of(|| drop(section(Section::Packet)));
        assert_eq!(longest, 0);
        assert!(take_longest().is_some());
    }
}
