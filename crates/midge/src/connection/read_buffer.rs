//! The memory that is read into. A connection that reads nothing owns none.

use std::cell::Cell;

use bytes::Bytes;
use midge_core::{Charge, Hub};
use parking_lot::Mutex;

/// Bytes read in one go. The buffer belongs to the thread, not to the connection.
pub(crate) const READ: usize = 64 * 1024;
/// The most from a client that has more, of packets that are worth it.
pub(crate) const LONG_READ: usize = 640 * 1024;
/// Reads after which a long buffer that does not come back is replaced.
const PATIENCE: u32 = 256;
/// Spare buffers in the process, 4 MiB.
const SPARES: usize = 64;
/// Reads of a thread without need of a spare buffer, after which one is freed.
const REST: u32 = 1024;

/// Buffers that came back to a thread which had another one by then. While a receiver lags, each read
/// needs a new buffer, and fresh memory is mapped page by page, which delays all connections. Accesses
/// to the list are attempts: after fork() its lock may be held by a thread that no longer exists.
struct Spares(Mutex<Vec<Vec<u8>>>);

impl Spares {
    const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    fn take(&self) -> Option<Vec<u8>> {
        self.0.try_lock()?.pop()
    }

    fn put(&self, buffer: Vec<u8>) {
        if let Some(mut spares) = self.0.try_lock()
            && spares.len() < SPARES
        {
            spares.push(buffer);
        }
    }

    fn clear(&self) {
        if let Some(mut spares) = self.0.try_lock() {
            *spares = Vec::new();
        }
    }
}

/// The buffer of a thread.
struct Own {
    buffer: Cell<Vec<u8>>,
    /// Reads since a spare buffer was needed or freed.
    rested: Cell<u32>,
}

impl Own {
    const fn new() -> Self {
        Self {
            buffer: Cell::new(Vec::new()),
            rested: Cell::new(0),
        }
    }

    fn take(&self, spares: &Spares) -> Vec<u8> {
        let mut buffer = self.buffer.take();
        let mut rested = self.rested.get() + 1;
        if buffer.is_empty() {
            rested = 0;
            buffer = spares.take().unwrap_or_default();
            buffer.resize(READ, 0);
        } else if rested >= REST {
            rested = 0;
            drop(spares.take());
        }

        self.rested.set(rested);
        buffer
    }

    /// Keeps the buffer used last: it is the one in the processor's cache.
    fn put(&self, buffer: Vec<u8>, spares: &Spares) {
        let other = self.buffer.replace(buffer);
        if !other.is_empty() {
            spares.put(other);
        }
    }
}

static SPARE: Spares = Spares::new();

thread_local! {
    static OWN: Own = const { Own::new() };
    static LONG_BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    /// Reads since the long buffer was lent and has not come back.
    static MISSED: Cell<u32> = const { Cell::new(PATIENCE) };
}

/// Creates the thread's buffers, as [`midge_core::prepare_thread`] does with those of the core.
pub(crate) fn prepare_thread() {
    let _ = OWN.try_with(|_| ());
    let _ = LONG_BUFFER.try_with(|_| ());
}

/// The read buffer in use. Messages may share it, so its last owner gives it back to a thread.
pub(crate) struct ReadBuffer {
    memory: Vec<u8>,
    /// Bytes of it to be read into.
    room: usize,
    /// While it is lent.
    charge: Charge,
}

impl ReadBuffer {
    pub(crate) fn take() -> Self {
        Self {
            memory: OWN.with(|own| own.take(&SPARE)),
            room: READ,
            charge: Charge::NONE,
        }
    }

    /// Takes the long buffer, for `room` bytes. `None` while receivers that lag share it: reading ahead
    /// gains nothing then.
    pub(crate) fn take_long(room: usize) -> Option<Self> {
        let mut memory = LONG_BUFFER.take();
        let missed = if memory.is_empty() {
            MISSED.get()
        } else {
            PATIENCE
        };

        if missed < PATIENCE {
            MISSED.set(missed + 1);
            return None;
        }

        MISSED.set(0);
        if memory.len() < room {
            memory.resize(room, 0);
        }

        let charge = Charge::NONE;
        Some(Self {
            memory,
            room,
            charge,
        })
    }

    /// Shares it with messages. It is charged until the last of them is gone: they may wait for long.
    pub(crate) fn lend(mut self, hub: &Hub) -> Bytes {
        self.charge = hub.hold_payload(self.memory.len());
        Bytes::from_owner(self)
    }

    /// Frees all spare buffers, when a broker ends. Other brokers allocate new ones if needed.
    pub(crate) fn drop_spares() {
        SPARE.clear();
    }

    /// The memory to read into.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        self.memory.get_mut(..self.room).unwrap_or_default()
    }
}

impl AsRef<[u8]> for ReadBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.memory
    }
}

impl Drop for ReadBuffer {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        let _ = if memory.len() > READ {
            LONG_BUFFER.try_with(|home| home.set(memory))
        } else {
            OWN.try_with(|own| own.put(memory, &SPARE))
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_that_come_late_are_used_again() {
        let (own, spares) = (Own::new(), Spares::new());
        let lent: Vec<_> = (0..3).map(|_| own.take(&spares)).collect();
        assert!(lent.iter().all(|buffer| buffer.len() == READ));
        let known: Vec<_> = lent.iter().map(Vec::as_ptr).collect();
        for buffer in lent {
            own.put(buffer, &spares);
        }
        let again: Vec<_> = (0..3).map(|_| own.take(&spares)).collect();
        let again: Vec<_> = again.iter().map(Vec::as_ptr).collect();
        assert_eq!(again, [known[2], known[1], known[0]]);
    }

    #[test]
    fn spare_buffers_are_bounded() {
        let (own, spares) = (Own::new(), Spares::new());
        let lent: Vec<_> = (0..SPARES + 10).map(|_| own.take(&spares)).collect();
        for buffer in lent {
            own.put(buffer, &spares);
        }
        assert_eq!(spares.0.lock().len(), SPARES);
        spares.clear();
        assert!(spares.0.lock().is_empty());
    }

    #[test]
    fn spare_buffers_without_use_are_freed() {
        let (own, spares) = (Own::new(), Spares::new());
        let lent: Vec<_> = (0..3).map(|_| own.take(&spares)).collect();
        for buffer in lent {
            own.put(buffer, &spares);
        }
        let mut left = Vec::new();
        for _ in 0..3 {
            for _ in 0..REST {
                let buffer = own.take(&spares);
                own.put(buffer, &spares);
            }
            left.push(spares.0.lock().len());
        }
        assert_eq!(left, [1, 0, 0]);
    }

    #[test]
    fn a_long_buffer_that_is_out_is_not_replaced_soon() {
        let mut first = ReadBuffer::take_long(2 * READ).expect("it is free");
        assert_eq!(first.room().len(), 2 * READ);
        for _ in 0..PATIENCE {
            assert!(ReadBuffer::take_long(2 * READ).is_none());
        }
        let second = ReadBuffer::take_long(2 * READ);
        assert!(second.is_some());
        drop((first, second));
        let mut again = ReadBuffer::take_long(3 * READ).expect("it is back");
        assert_eq!(again.room().len(), 3 * READ);
        drop(again);
        let mut shorter = ReadBuffer::take_long(2 * READ).expect("it is back");
        assert_eq!(shorter.room().len(), 2 * READ);
    }

    #[test]
    fn a_held_lock_is_not_waited_for() {
        let (own, spares) = (Own::new(), Spares::new());
        let held = spares.0.lock();
        let (one, two) = (own.take(&spares), own.take(&spares));
        own.put(one, &spares);
        own.put(two, &spares);
        assert!(held.is_empty());
    }
}
