//! Checks the order of the locks, as `LOCKS.md` has it, whenever one is taken.

use std::any::type_name;
use std::cell::RefCell;

use super::{Mutex, RwLock};
use crate::retained::Retained;
use crate::router::Router;
use crate::session::{Sessions, State};

/// The rows of `LOCKS.md`, in tens; two locks of a row differ in the last digit. `Taps` stands above
/// the leaves, because queues are filled under it; `Journal.order` stands above everything.
const OUTSIDE: u8 = 0;
const TIMER: u8 = 30;
const UNITS: u8 = 35;
const SESSIONS: u8 = 40;
const RETAINED_ORDER: u8 = 41;
const ROUTER: u8 = 50;
const RETAINED: u8 = 60;
const SESSION: u8 = 70;
const TAPS: u8 = 80;
const LEAF: u8 = 90;

/// What may not be locked under what, although the order of the rows would allow it.
const NEVER: [(u8, u8); 8] = [
    (TIMER, SESSIONS),
    (TIMER, RETAINED_ORDER),
    (TIMER, ROUTER),
    (TIMER, RETAINED),
    (TIMER, SESSION),
    (SESSIONS, ROUTER),
    (SESSIONS, RETAINED),
    (RETAINED, SESSION),
];

/// The row of a lock, by what it guards.
fn row<T>() -> u8 {
    let name = type_name::<T>();
    let rows = [
        (type_name::<()>(), OUTSIDE),
        (type_name::<Option<crate::time::TimerKey>>(), TIMER),
        (type_name::<crate::store::Units>(), UNITS),
        (type_name::<Sessions>(), SESSIONS),
        (type_name::<crate::hub::Turn>(), RETAINED_ORDER),
        (type_name::<Router>(), ROUTER),
        (type_name::<Retained>(), RETAINED),
        (type_name::<State>(), SESSION),
        (type_name::<crate::event::TapList>(), TAPS),
    ];

    let known = rows.iter().find(|(known, _)| *known == name);
    known.map_or(LEAF, |(_, row)| *row)
}

fn may_be_locked_under(row: u8, outer: u8) -> bool {
    outer / 10 < row / 10 && !NEVER.contains(&(outer, row))
}

shuttle::thread_local! {
    /// The rows of the locks that a thread holds, in the order in which they were taken.
    static HELD: RefCell<Vec<(u8, &'static str)>> = const { RefCell::new(Vec::new()) };
}

/// A lock that is held, or about to be.
#[derive(Debug)]
pub(super) struct Held(u8);

impl Held {
    /// Panics if a lock is held that this one may not be taken under.
    pub(super) fn take<T>() -> Self {
        let (row, name) = (row::<T>(), type_name::<T>());
        let _ = HELD.try_with(|held| {
            let mut held = held.borrow_mut();
            let wrong = (held.iter()).find(|(outer, _)| !may_be_locked_under(row, *outer));
            if let Some((_, outer)) = wrong {
                panic!("the lock of {name} is taken under that of {outer}: see LOCKS.md");
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

/// Locks that the present thread holds. Code that calls the host, waits or wakes must hold none.
pub fn locks_held() -> usize {
    HELD.try_with(|held| held.borrow().len()).unwrap_or(0)
}

/// Orders of locks for a look at the check itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// From the top down, which is right.
    Down,
    /// Under one further down.
    Up,
    /// Two of one row.
    SameRow,
    /// Two rows that never meet.
    Never,
}

/// Takes some locks; all orders but the first one panic.
pub fn lock_in(order: Order) {
    let sessions = Mutex::<Sessions>::default();
    let router = RwLock::<Router>::default();
    let (session, other) = (Mutex::<State>::default(), Mutex::<State>::default());
    let leaf = Mutex::<u8>::default();

    match order {
        Order::Down => drop((router.read(), session.lock(), leaf.lock())),
        Order::Up => drop((session.lock(), router.write())),
        Order::SameRow => drop((session.lock(), other.lock())),
        Order::Never => drop((sessions.lock(), router.read())),
    }
}
