//! The check of the order of locks, which all scenarios go through, can fail.

use std::panic;

use midge_core::exploration::{Order, lock_in, locks_held};

use shuttle::scheduler::DfsScheduler;
use shuttle::{Config, FailurePersistence, Runner};

fn take(order: Order) {
    let mut config = Config::new();
    config.failure_persistence = FailurePersistence::None;
    Runner::new(DfsScheduler::new(None, false), config).run(move || {
        lock_in(order);
        assert_eq!(locks_held(), 0);
    });
}

/// Whether locks may not be taken in this order. It is no finding: nothing is told of the panic.
fn panics(order: Order) -> bool {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| ()));
    let taken = panic::catch_unwind(|| take(order));
    panic::set_hook(hook);

    taken.is_err()
}

#[test]
fn locks_are_taken_from_the_top_down_only() {
    // The first exploration of a process sets a hook for panics, which replaces a silent one.
    crate::explore::explore_all(|| lock_in(Order::Down));
    take(Order::Down);
    for order in [Order::Up, Order::SameRow, Order::Never] {
        assert!(panics(order), "{order:?}");
    }
}
