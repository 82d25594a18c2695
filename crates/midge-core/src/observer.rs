//! In-process subscribers: the host's own view of the messages, without a client.

use crate::sync::atomic::{AtomicBool, Ordering};
use std::num::NonZeroU64;
use std::sync::Arc;

use midge_codec::QoS;

use crate::message::SharedMessage;
use crate::queue::Queue;

/// A message as an in-process subscriber gets it. Two words, so that it travels in registers.
#[derive(Clone)]
pub struct Received {
    message: SharedMessage,
    /// Expiry, whether there is one, RETAIN, QoS.
    terms: NonZeroU64,
}

const _: () = assert!(size_of::<Received>() <= 16);

/// Always set: it makes room for what an `Option` or `enum` around it has to say.
const MARK: NonZeroU64 = NonZeroU64::new(1 << 40).unwrap();
const EXPIRES: u64 = 1 << 36;
const RETAINED: u64 = 1 << 35;
const QOS: u32 = 32;

impl Received {
    /// A message on its way to a subscription of the host.
    pub fn new(message: SharedMessage, retained: bool, qos: QoS, expiry: Option<u32>) -> Self {
        let expiry = expiry.map_or(0, |seconds| EXPIRES | u64::from(seconds));
        let retained = if retained { RETAINED } else { 0 };
        let terms = MARK | expiry | retained | (qos as u64) << QOS;
        Self { message, terms }
    }

    /// The message.
    pub fn message(&self) -> &SharedMessage {
        &self.message
    }

    /// Whether it was retained before the subscription was made (RETAIN flag of section 3.3.1.3).
    pub fn retained(&self) -> bool {
        self.terms.get() & RETAINED != 0
    }

    /// QoS of this delivery: the lower one of message and subscription.
    pub fn qos(&self) -> QoS {
        QoS::from_u8((self.terms.get() >> QOS) as u8 & 3).unwrap_or_default()
    }

    /// Remaining message expiry interval in seconds when it was handed over.
    pub fn expiry(&self) -> Option<u32> {
        (self.terms.get() & EXPIRES != 0).then_some(self.terms.get() as u32)
    }
}

/// The result of a push.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pushed {
    /// Messages lost by it: the new one, or older ones that made room.
    pub lost: usize,
    /// A reader waits for it: [`Sink::wake`] must be called.
    pub awaited: bool,
}

impl Pushed {
    /// So many messages were lost by it, and whether [`Sink::wake`] must be called.
    pub const fn new(lost: usize, awaited: bool) -> Self {
        Self { lost, awaited }
    }
}

/// Where the messages of an in-process subscription go. Messages that it does not take are lost.
pub trait Sink: Send + Sync {
    /// Takes a message. Runs on the thread that brought it, with locks of the engine held: it must
    /// not wait, nor call the engine.
    fn push(&self, received: Received) -> Pushed;

    /// Wakes the readers that wait, once all is pushed. No lock is held.
    fn wake(&self);

    /// Nothing comes any more. The engine then lets go of the sink, with no lock held.
    fn close(&self);
}

impl Sink for Queue<Received> {
    fn push(&self, received: Received) -> Pushed {
        let size = received.message().size();
        let (lost, awaited) = self.push(received, size);
        Pushed { lost, awaited }
    }

    fn wake(&self) {
        self.wake();
    }

    fn close(&self) {
        self.close();
    }
}

impl<S: Sink + ?Sized> Sink for Arc<S> {
    fn push(&self, received: Received) -> Pushed {
        (**self).push(received)
    }

    fn wake(&self) {
        (**self).wake();
    }

    fn close(&self) {
        (**self).close();
    }
}

/// The hub's end of an in-process subscription. Only [`Observers`] keeps it, and for a moment the
/// batch that is going to wake its reader.
pub(crate) struct Observer<S: ?Sized = dyn Sink> {
    /// A batch has taken on to wake the reader.
    dirty: AtomicBool,
    sink: S,
}

impl<S: Sink> Observer<S> {
    pub(crate) fn new(sink: S) -> Self {
        Self {
            dirty: AtomicBool::new(false),
            sink,
        }
    }
}

impl Observer {
    /// Appends; gives the number of messages lost by it and whether the caller has to wake.
    pub(crate) fn push(&self, received: Received) -> (usize, bool) {
        let Pushed { lost, awaited } = self.sink.push(received);
        (lost, awaited && !self.dirty.swap(true, Ordering::AcqRel))
    }

    pub(crate) fn wake(&self) {
        self.dirty.store(false, Ordering::Release);
        self.sink.wake();
    }

    pub(crate) fn close(&self) {
        self.sink.close();
    }
}

/// Names an in-process subscriber. Routes are remembered for longer than subscriptions last, by
/// threads that may never publish again: a name keeps nothing alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ObserverKey {
    place: u32,
    turn: u32,
}

impl ObserverKey {
    /// A number that no other subscriber of the router has, and no address.
    pub(crate) fn number(self) -> u64 {
        (u64::from(self.turn) << 32 | u64::from(self.place)) << 1 | 1
    }
}

/// The in-process subscribers of a router. Messages are pushed under the router's lock, so that what
/// has been removed gets none.
#[derive(Default)]
pub(crate) struct Observers {
    places: Vec<Place>,
    free: Vec<u32>,
}

#[derive(Default)]
struct Place {
    /// How often the place was given away.
    turn: u32,
    observer: Option<Arc<Observer>>,
}

impl Observers {
    /// No subscribers: for what goes to sessions only.
    pub(crate) const NONE: Self = Self {
        places: Vec::new(),
        free: Vec::new(),
    };

    pub(crate) fn get(&self, key: ObserverKey) -> Option<&Arc<Observer>> {
        let place = self.places.get(key.place as usize)?;
        (place.observer.as_ref()).filter(|_| place.turn == key.turn)
    }

    /// Takes a subscriber in. `None` if there are as many as can be numbered.
    pub(crate) fn add(&mut self, observer: Arc<Observer>) -> Option<ObserverKey> {
        let number = match self.free.pop() {
            Some(number) => number,
            None => {
                let next = u32::try_from(self.places.len()).ok()?;
                self.places.push(Place::default());
                next
            }
        };

        let place = self.places.get_mut(number as usize)?;
        place.observer = Some(observer);
        Some(ObserverKey {
            place: number,
            turn: place.turn,
        })
    }

    /// Gives a subscriber back, to be closed and dropped with no lock held.
    pub(crate) fn remove(&mut self, key: ObserverKey) -> Option<Arc<Observer>> {
        self.get(key)?;
        let place = self.places.get_mut(key.place as usize)?;
        place.turn = place.turn.wrapping_add(1);
        self.free.push(key.place);
        place.observer.take()
    }

    /// Gives all subscribers back, as [`Observers::remove`] does.
    pub(crate) fn take(&mut self) -> Vec<Arc<Observer>> {
        let keys: Vec<_> = (0..)
            .zip(&self.places)
            .map(|(place, known)| ObserverKey {
                place,
                turn: known.turn,
            })
            .collect();
        keys.into_iter()
            .filter_map(|key| self.remove(key))
            .collect()
    }
}

impl Drop for Observers {
    fn drop(&mut self) {
        // A hub that was dropped without having been disposed of.
        for observer in self.take() {
            observer.close();
        }
    }
}

impl std::fmt::Debug for Received {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Received")
            .field("message", &self.message)
            .field("retained", &self.retained())
            .field("qos", &self.qos())
            .field("expiry", &self.expiry())
            .finish()
    }
}

impl std::fmt::Debug for Observer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Observer").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::OwnedMessage;

    #[test]
    fn the_terms_of_a_delivery_are_kept() {
        let message = OwnedMessage::new("t", "x").prepare().unwrap();
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            for retained in [false, true] {
                for expiry in [None, Some(0), Some(1), Some(u32::MAX)] {
                    let received = Received::new(message.clone(), retained, qos, expiry);
                    let terms = (received.retained(), received.qos(), received.expiry());
                    assert_eq!(terms, (retained, qos, expiry));
                }
            }
        }
        assert_eq!(size_of::<Option<Received>>(), size_of::<Received>());
    }

    #[test]
    fn a_name_outlives_its_subscriber_and_means_no_other() {
        let mut observers = Observers::default();
        let sink = || Arc::new(Queue::new(Default::default()));
        let (first, second) = (sink(), sink());
        let old = observers
            .add(Arc::new(Observer::new(first.clone())))
            .unwrap();
        assert!(observers.remove(old).is_some() && observers.remove(old).is_none());
        assert_eq!(Arc::strong_count(&first), 1);

        let new = observers
            .add(Arc::new(Observer::new(second.clone())))
            .unwrap();
        assert!(observers.get(old).is_none() && observers.get(new).is_some());
        assert_ne!(old.number(), new.number());
        assert!(observers.remove(old).is_none());

        drop(observers);
        assert!(second.is_closed());
        assert_eq!(Arc::strong_count(&second), 1);
    }
}
