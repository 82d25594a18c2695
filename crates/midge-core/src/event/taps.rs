//! Events on their way to the observers of a hub.

use std::sync::Arc;

use super::{Event, EventMask, Observed};
use crate::queue::Queue;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sync::{Mutex, RwLock};
use crate::time::Tick;

/// The observers of a hub. Without observers an event costs one atomic load.
#[derive(Default)]
pub(crate) struct Taps {
    mask: AtomicU32,
    /// Events that observers have seen.
    count: AtomicU64,
    taps: RwLock<TapList>,
    /// Events that have a place among those of other threads, in that order, with what led to them.
    recorded: Mutex<Vec<(Tick, Event)>>,
    /// Recorded events are handed on by one thread at a time, so that they stay in order.
    handing_on: Mutex<()>,
}

#[derive(Default)]
pub(crate) struct TapList {
    open: Vec<(EventMask, Arc<Queue<Observed>>)>,
    /// The hub has ended: no more are taken.
    ended: bool,
}

/// What is to be done for observers once events have been pushed.
#[derive(Default)]
struct Ready {
    queues: Vec<Arc<Queue<Observed>>>,
    closed: bool,
}

impl Taps {
    #[inline]
    pub(crate) fn mask(&self) -> u32 {
        self.mask.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, mask: EventMask, queue: Arc<Queue<Observed>>) {
        let mut taps = self.taps.write();
        if taps.ended {
            drop(taps);
            return queue.close();
        }
        taps.open.push((mask, queue));
        self.refresh(&taps);
    }

    /// Lets go of an observer.
    pub(crate) fn remove(&self, queue: &Arc<Queue<Observed>>) {
        self.remove_all(|known| Arc::ptr_eq(known, queue));
    }

    fn remove_all(&self, gone: impl Fn(&Arc<Queue<Observed>>) -> bool) {
        let mut taps = self.taps.write();
        let (removed, open): (Vec<_>, Vec<_>) =
            (taps.open.drain(..)).partition(|(_, queue)| gone(queue));
        taps.open = open;
        self.refresh(&taps);
        drop(taps);

        // Dropped items, and callbacks of the host, may run code of the host.
        drop(removed);
    }

    fn refresh(&self, taps: &TapList) {
        let mask = taps.open.iter().fold(0, |all, (mask, _)| all | mask.0);
        self.mask.store(mask, Ordering::Relaxed);
    }

    /// Notes events, with the lock held that guards what they tell of.
    pub(crate) fn record(&self, at: Tick, events: impl Iterator<Item = Event>) {
        let mut recorded = self.recorded.lock();
        recorded.extend(events.map(|event| (at, event)));
    }

    /// Hands on what was recorded, also by others, with no lock held.
    pub(crate) fn hand_on(&self) {
        let mut ready = Ready::default();
        {
            let _turn = self.handing_on.lock();
            let recorded = std::mem::take(&mut *self.recorded.lock());
            for (at, event) in recorded {
                self.push(at, &event, &mut ready);
            }
        }
        self.wake(ready);
    }

    /// Hands an event to all observers that want its kind, with no lock held.
    pub(crate) fn emit(&self, at: Tick, event: &Event) {
        let mut ready = Ready::default();
        self.push(at, event, &mut ready);
        self.wake(ready);
    }

    fn push(&self, at: Tick, event: &Event, ready: &mut Ready) {
        let kind = event.kind();
        let number = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        for (mask, queue) in &self.taps.read().open {
            if mask.contains(kind) {
                let observed = Observed {
                    number,
                    at,
                    event: event.clone(),
                };
                let (_, is_ready) = queue.push(observed, event.size());
                if is_ready {
                    ready.queues.push(queue.clone());
                }
            }
            ready.closed |= queue.is_closed();
        }
    }

    fn wake(&self, ready: Ready) {
        for queue in ready.queues {
            queue.wake();
        }
        if ready.closed {
            self.remove_all(|queue| queue.is_closed());
        }
    }

    pub(crate) fn close(&self) {
        let taps = {
            let mut taps = self.taps.write();
            taps.ended = true;
            std::mem::take(&mut taps.open)
        };
        self.mask.store(0, Ordering::Relaxed);
        for (_, queue) in taps {
            queue.close();
        }
    }
}
