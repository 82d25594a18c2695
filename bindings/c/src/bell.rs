//! What wakes the readers of a queue, from any thread and from a signal handler.
//!
//! A signal handler must not wait for a lock, allocate, or touch a thread-local variable that may not
//! be there yet. So the bells of all queues stand in a list that only grows, each with the number of
//! the queue that has it at present, and are rung with atomic operations and system calls alone. Bells
//! of queues that are gone are used again: there are as many as there were queues at one time.

use std::ptr;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64};
use std::time::{Duration, Instant};

use broker::ReadyFd;

static FIRST: AtomicPtr<Slot> = AtomicPtr::new(ptr::null_mut());

struct Slot {
    next: *const Slot,
    is_taken: AtomicBool,
    /// Of the queue that it rings for; 0 while there is none.
    id: AtomicU64,
    /// Number of calls that are about to ring it. Above 0 it keeps its descriptor.
    ringing: AtomicU32,
    /// Wake-ups that no reader has taken yet.
    wakes: AtomicU32,
    /// Changes whenever readers are to look again; they sleep on it.
    rings: AtomicU32,
    /// To be made readable, or NULL.
    fd: AtomicPtr<ReadyFd>,
}

// SAFETY: `next` is written before others can see the slot, and never changed.
unsafe impl Sync for Slot {}
// SAFETY: as above.
unsafe impl Send for Slot {}

fn slots() -> impl Iterator<Item = &'static Slot> {
    let mut at: *const Slot = FIRST.load(SeqCst);
    std::iter::from_fn(move || {
        // SAFETY: NULL, or a slot of the list, which is never freed.
        let slot = unsafe { at.as_ref() }?;
        at = slot.next;
        Some(slot)
    })
}

/// Makes one waiting or the next reader of a queue return without anything. Whether there is such a
/// queue. Async-signal-safe.
pub(crate) fn wake(id: u64) -> bool {
    let Some(slot) = slots().find(|slot| slot.id.load(SeqCst) == id) else {
        return false;
    };

    slot.ringing.fetch_add(1, SeqCst);

    // It may have been given back meanwhile; from here on it would wait.
    let is_there = slot.id.load(SeqCst) == id;
    if is_there {
        let _ = slot
            .wakes
            .fetch_update(SeqCst, SeqCst, |wakes| wakes.checked_add(1));
        slot.ring();
        // SAFETY: NULL, or it lives while this rings: see `Bell::set_fd`.
        if let Some(fd) = unsafe { slot.fd.load(SeqCst).as_ref() } {
            fd.wake(); // one system call
        }
    }

    slot.ringing.fetch_sub(1, SeqCst);
    is_there
}

impl Slot {
    fn ring(&self) {
        self.rings.fetch_add(1, SeqCst);
        wake_all(&self.rings);
    }
}

/// The bell of one queue.
pub(crate) struct Bell(&'static Slot);

impl Bell {
    pub(crate) fn new() -> Self {
        let take = |slot: &&Slot| {
            slot.is_taken
                .compare_exchange(false, true, SeqCst, SeqCst)
                .is_ok()
        };

        if let Some(slot) = slots().find(take) {
            return Self(slot);
        }

        let slot = Box::leak(Box::new(Slot {
            next: FIRST.load(SeqCst),
            is_taken: AtomicBool::new(true),
            id: AtomicU64::new(0),
            ringing: AtomicU32::new(0),
            wakes: AtomicU32::new(0),
            rings: AtomicU32::new(0),
            fd: AtomicPtr::new(ptr::null_mut()),
        }));
        let slot: *mut Slot = slot;
        loop {
            // SAFETY: leaked above, and not shared yet.
            let seen = unsafe { (*slot).next };
            match FIRST.compare_exchange(seen.cast_mut(), slot, SeqCst, SeqCst) {
                // SAFETY: never freed, and shared only from here on.
                Ok(_) => return Self(unsafe { &*slot }),
                // SAFETY: as above.
                Err(now) => unsafe { (*slot).next = now },
            }
        }
    }

    /// From now on the number of the queue rings it.
    pub(crate) fn open(&self, id: u64) {
        self.0.id.store(id, SeqCst);
    }

    /// No call can ring it any more when this returns.
    pub(crate) fn close(&self) {
        self.0.id.store(0, SeqCst);
        while self.0.ringing.load(SeqCst) > 0 {
            // A call is between two system calls. Not a yield: on a thread of higher priority it
            // would keep that one from running.
            std::thread::sleep(Duration::from_micros(50));
        }
        self.0.fd.store(ptr::null_mut(), SeqCst);
    }

    /// What is to be made readable, too. The caller keeps it until the bell is closed.
    pub(crate) fn set_fd(&self, fd: &Arc<ReadyFd>) {
        self.0.fd.store(Arc::as_ptr(fd).cast_mut(), SeqCst);
    }

    pub(crate) fn has_wakes(&self) -> bool {
        self.0.wakes.load(SeqCst) > 0
    }

    /// Takes one wake-up, if there is one.
    pub(crate) fn take_wake(&self) -> bool {
        self.0
            .wakes
            .fetch_update(SeqCst, SeqCst, |wakes| wakes.checked_sub(1))
            .is_ok()
    }

    /// Wakes all readers, to look again.
    pub(crate) fn ring(&self) {
        self.0.ring();
    }

    /// To be asked before a look that may end in a wait.
    pub(crate) fn rings(&self) -> u32 {
        self.0.rings.load(SeqCst)
    }

    /// Sleeps until it has rung more often than `seen`, until the deadline, or for nothing.
    pub(crate) fn wait(&self, seen: u32, deadline: Option<Instant>) {
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        if left != Some(Duration::ZERO) {
            wait(&self.0.rings, seen, left);
        }
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        self.close();
        self.0.wakes.store(0, SeqCst);
        self.0.is_taken.store(false, SeqCst);
    }
}

/// Sleeps while `word` is `seen`, so long at most. May return early.
#[cfg(target_os = "linux")]
fn wait(word: &AtomicU32, seen: u32, left: Option<Duration>) {
    // As the system call has it on every processor; `timespec` may be wider on one of 32 bits.
    let left = left.map(|left| -> [libc::c_long; 2] {
        let seconds = i32::try_from(left.as_secs()).unwrap_or(i32::MAX);
        [seconds.into(), left.subsec_nanos().cast_signed().into()]
    });
    let timeout = left.as_ref().map_or(ptr::null(), ptr::from_ref);
    let operation = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: the word and the time live as long as the call.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, seen, timeout) };
}

#[cfg(target_os = "linux")]
fn wake_all(word: &AtomicU32) {
    let operation = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: only the address counts.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, i32::MAX) };
}

/// As with futexes: a system call that looks at the word once more.
#[cfg(windows)]
fn wait(word: &AtomicU32, seen: u32, left: Option<Duration>) {
    use windows_sys::Win32::System::Threading::{INFINITE, WaitOnAddress};

    // Rounded up, so that a wait is not too short; longer ones return early.
    let left = left.map_or(INFINITE, |left| {
        let millis = left.as_nanos().div_ceil(1_000_000);
        u32::try_from(millis).unwrap_or(INFINITE).min(INFINITE - 1)
    });
    let (word, seen) = (word.as_ptr().cast(), ptr::from_ref(&seen).cast());
    // SAFETY: both words live as long as the call.
    unsafe { WaitOnAddress(word, seen, size_of::<u32>(), left) };
}

#[cfg(windows)]
fn wake_all(word: &AtomicU32) {
    // SAFETY: only the address counts.
    unsafe { windows_sys::Win32::System::Threading::WakeByAddressAll(word.as_ptr().cast()) };
}

/// Without futexes a lock stands in, so that a bell must not be rung by a signal handler.
#[cfg(not(any(target_os = "linux", windows)))]
static SLEEPERS: (parking_lot::Mutex<()>, parking_lot::Condvar) =
    (parking_lot::Mutex::new(()), parking_lot::Condvar::new());

#[cfg(not(any(target_os = "linux", windows)))]
fn wait(word: &AtomicU32, seen: u32, left: Option<Duration>) {
    let mut guard = SLEEPERS.0.lock();
    if word.load(SeqCst) == seen {
        match left {
            Some(left) => drop(SLEEPERS.1.wait_for(&mut guard, left)),
            None => SLEEPERS.1.wait(&mut guard),
        }
    }
}

#[cfg(not(any(target_os = "linux", windows)))]
fn wake_all(_: &AtomicU32) {
    drop(SLEEPERS.0.lock());
    SLEEPERS.1.notify_all();
}
