//! Descriptors that become readable when something has come, for event loops.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};

use midge::ReadyFd;
use pyo3::prelude::*;

use crate::descriptor;
use crate::lock;

struct Armed {
    fd: ReadyFd,
    armed: AtomicBool,
}

/// The descriptors that wait at one queue.
#[derive(Clone, Default)]
pub(crate) struct Wakes {
    waiting: Arc<Mutex<Vec<Weak<Armed>>>>,
}

impl Wakes {
    /// Makes every armed descriptor readable. Called on the thread that brings something.
    pub(crate) fn wake(&self) {
        lock(&self.waiting).retain(|waiting| match waiting.upgrade() {
            Some(waiting) => {
                if waiting.armed.swap(false, Ordering::SeqCst) {
                    waiting.fd.wake();
                }
                true
            }
            None => false,
        });
    }

    pub(crate) fn add(&self) -> PyResult<Wake> {
        let inner = Arc::new(Armed {
            fd: ReadyFd::new()?,
            armed: AtomicBool::new(false),
        });
        lock(&self.waiting).push(Arc::downgrade(&inner));
        Ok(Wake { inner })
    }
}

/// A descriptor that becomes readable once after each `arm`, when something has come.
#[pyclass(frozen, module = "midge._midge")]
pub struct Wake {
    inner: Arc<Armed>,
}

#[pymethods]
impl Wake {
    /// A descriptor, or on Windows a socket.
    fn fileno(&self) -> descriptor::Number {
        descriptor::of(&self.inner.fd)
    }

    /// From now on whatever comes makes it readable. Look at the queue after this, then wait.
    fn arm(&self) {
        self.inner.armed.store(true, Ordering::SeqCst);
    }

    /// It stays unreadable.
    fn disarm(&self) {
        self.inner.armed.store(false, Ordering::SeqCst);
        self.inner.fd.drain();
    }
}
