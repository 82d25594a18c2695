//! What a thread does while it waits. A thread that drives brokers must go on with that, or nothing of what
//! it waits for would happen.

use std::cell::RefCell;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// Drives what the calling thread has to drive.
pub trait Drive {
    /// Whether there is anything left to drive.
    fn is_needed(&self) -> bool;

    /// Ends a turn that waits, from any thread.
    fn waker(&self) -> Waker;

    /// Drives until something was done, or until this moment. `false` if that must not be done here, such
    /// as inside a turn.
    fn turn(&self, until: Option<Instant>) -> bool;
}

thread_local! {
    static DRIVER: RefCell<Option<Rc<dyn Drive>>> = const { RefCell::new(None) };
}

/// From now on the calling thread drives while it waits for a [`Queue`](crate::Queue) or a
/// [`Receipt`](crate::Receipt).
pub fn drive_while_waiting(driver: Rc<dyn Drive>) {
    let _ = DRIVER.try_with(|place| place.replace(Some(driver)));
}

/// What the calling thread has to drive.
pub(crate) fn driver() -> Option<Rc<dyn Drive>> {
    let known = DRIVER.try_with(|place| place.borrow().clone());
    known.ok().flatten().filter(|driver| driver.is_needed())
}

/// Drives until a future is ready. `None` if it is not by this moment, or if no turn may be taken here.
pub(crate) fn drive_until<T>(
    driver: &dyn Drive,
    future: impl Future<Output = T>,
    deadline: Option<Instant>,
) -> Option<T> {
    let waker = driver.waker();
    let mut future = pin!(future);

    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(value);
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) || !driver.turn(deadline) {
            return None;
        }
    }
}
