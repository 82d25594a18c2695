//! Payloads that the host lent are given back where no lock of the broker is held: their last owner
//! may let go of them anywhere.

use std::cell::RefCell;
use std::ffi::c_void;

use broker::Later;

use crate::inside::{self, run};
use crate::log;

/// A pointer of the host and its function to free it.
struct Freed {
    pointer: *mut c_void,
    free: unsafe extern "C" fn(*mut c_void),
}

// SAFETY: the contract says that a lent payload may be freed on any thread.
unsafe impl Send for Freed {}

impl Freed {
    fn give_back(self) {
        // SAFETY: the host gave this function for this pointer; a `Freed` is made once for each
        // pointer, and this consumes it.
        run(|| unsafe { (self.free)(self.pointer) });
    }
}

thread_local! {
    static WAITING: RefCell<Vec<Freed>> = const { RefCell::new(Vec::new()) };
}

/// For [`crate::prepare::thread`].
pub(crate) fn prepare_thread() {
    let _ = WAITING.try_with(|_| ());
}

/// A thread inside the library, above all locks. At the end of the outermost one the host gets back
/// what was let go of meanwhile.
pub(crate) struct Scope;

impl Scope {
    pub(crate) fn new() -> Self {
        inside::begin();
        Self
    }
}

impl Drop for Scope {
    #[inline]
    fn drop(&mut self) {
        inside::end(|owes| {
            if owes {
                give_back_all();
            }
            log::tell_if_any();
        });
    }
}

#[cold]
fn give_back_all() {
    let next = || {
        WAITING
            .try_with(|list| list.borrow_mut().pop())
            .ok()
            .flatten()
    };
    while let Some(freed) = next() {
        freed.give_back();
    }
}

/// Has something freed soon: when this thread leaves the library, or on a thread of the broker.
pub(crate) fn free(later: &Later, pointer: *mut c_void, free: unsafe extern "C" fn(*mut c_void)) {
    let freed = Freed { pointer, free };
    if inside::is_library() {
        let _ = WAITING.try_with(|list| list.borrow_mut().push(freed));
        inside::owe();
    } else {
        later.run(|| freed.give_back());
    }
}
