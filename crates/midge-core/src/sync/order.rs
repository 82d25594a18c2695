//! Checks the order of the locks, as `LOCKS.md` has it, whenever one is taken.

use std::any::type_name;
use std::cell::RefCell;

/// The rows of `LOCKS.md`, by what a lock guards. `Taps` stands above the leaves, because queues are
/// filled under it; `Journal.order` stands above everything.
const OUTSIDE: u8 = 0;
const TAPS: u8 = 8;
const LEAF: u8 = 9;

fn row<T>() -> u8 {
    let name = type_name::<T>();
    let rows = [
        (type_name::<()>(), OUTSIDE),
        (type_name::<Option<crate::time::TimerKey>>(), 3),
        (type_name::<crate::session::Sessions>(), 4),
        (type_name::<crate::hub::Turn>(), 4),
        (type_name::<crate::router::Router>(), 5),
        (type_name::<crate::retained::Retained>(), 6),
        (type_name::<crate::session::State>(), 7),
        (type_name::<crate::event::TapList>(), TAPS),
    ];
    let known = rows.iter().find(|(known, _)| *known == name);
    known.map_or(LEAF, |(_, row)| *row)
}

shuttle::thread_local! {
    /// The rows of the locks that a thread holds, in the order in which they were taken.
    static HELD: RefCell<Vec<(u8, &'static str)>> = const { RefCell::new(Vec::new()) };
}

/// A lock that is held, or about to be.
#[derive(Debug)]
pub(super) struct Held(u8);

impl Held {
    /// Panics if a lock of the same row or of one further down is held.
    pub(super) fn take<T>() -> Self {
        let (row, name) = (row::<T>(), type_name::<T>());
        let _ = HELD.try_with(|held| {
            let mut held = held.borrow_mut();
            let wrong = held.iter().find(|(other, _)| *other >= row);
            if let Some((other, outer)) = wrong {
                panic!("{name} (row {row}) is locked under {outer} (row {other}): see LOCKS.md");
            }
            held.push((row, name));
        });
        Self(row)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = HELD.try_with(|held| {
            let mut held = held.borrow_mut();
            // A row is held once.
            held.retain(|(row, _)| *row != self.0);
        });
    }
}

/// Locks that the present thread holds. What calls the host, waits or wakes holds none.
pub fn locks_held() -> usize {
    HELD.try_with(|held| held.borrow().len()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router::Router;
    use crate::session::State;
    use crate::sync::{Mutex, RwLock};

    #[test]
    fn locks_are_taken_from_the_top_down() {
        shuttle::check_random(
            || {
                let (router, session) = (RwLock::<Router>::default(), Mutex::<State>::default());
                let (leaf, other) = (Mutex::new(1_u8), Mutex::new(2_u8));
                let held = (router.read(), session.lock(), leaf.lock());
                assert_eq!(locks_held(), 3);
                drop(held);
                let held = other.lock();
                drop(held);
                assert_eq!(locks_held(), 0);
            },
            1,
        );
    }

    #[test]
    #[should_panic(expected = "see LOCKS.md")]
    fn no_lock_is_taken_under_one_further_down() {
        shuttle::check_random(
            || {
                let (router, session) = (RwLock::<Router>::default(), Mutex::<State>::default());
                let _held = session.lock();
                drop(router.write());
            },
            1,
        );
    }

    #[test]
    #[should_panic(expected = "see LOCKS.md")]
    fn no_second_lock_of_a_row_is_taken() {
        shuttle::check_random(
            || {
                let (one, other) = (Mutex::<State>::default(), Mutex::<State>::default());
                let _held = one.lock();
                drop(other.lock());
            },
            1,
        );
    }
}
