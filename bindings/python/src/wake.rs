//! Descriptors that become readable when something has come, for event loops.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};

use pyo3::prelude::*;

use crate::lock;

struct Pair {
    reader: UnixStream,
    writer: UnixStream,
    armed: AtomicBool,
}

/// The descriptors that wait at one queue.
#[derive(Clone, Default)]
pub(crate) struct Wakes {
    pairs: Arc<Mutex<Vec<Weak<Pair>>>>,
}

impl Wakes {
    /// Makes every armed descriptor readable. Called on the thread that brings something.
    pub(crate) fn wake(&self) {
        lock(&self.pairs).retain(|pair| match pair.upgrade() {
            Some(pair) => {
                if pair.armed.swap(false, Ordering::SeqCst) {
                    // It holds one byte at most, so that it is never full.
                    let _ = (&pair.writer).write(&[1]);
                }
                true
            }
            None => false,
        });
    }

    pub(crate) fn add(&self) -> PyResult<Wake> {
        let (reader, writer) = UnixStream::pair()?;
        reader.set_nonblocking(true)?;
        writer.set_nonblocking(true)?;
        let pair = Arc::new(Pair {
            reader,
            writer,
            armed: AtomicBool::new(false),
        });
        lock(&self.pairs).push(Arc::downgrade(&pair));
        Ok(Wake { pair })
    }
}

/// A descriptor that becomes readable once after each `arm`, when something has come.
#[pyclass(frozen, module = "midge._midge")]
pub struct Wake {
    pair: Arc<Pair>,
}

#[pymethods]
impl Wake {
    fn fileno(&self) -> i32 {
        self.pair.reader.as_raw_fd()
    }

    /// From now on whatever comes makes it readable. Look at the queue after this, then wait.
    fn arm(&self) {
        self.pair.armed.store(true, Ordering::SeqCst);
    }

    /// It stays unreadable.
    fn disarm(&self) {
        self.pair.armed.store(false, Ordering::SeqCst);
        let mut byte = [0; 8];
        let _ = (&self.pair.reader).read(&mut byte);
    }
}
