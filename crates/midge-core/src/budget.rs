//! The memory that clients can make the broker hold: charged by kind, with one limit for all of it.
//!
//! Real memory never exceeds what is charged by more than a constant, which `docs/memory.md` states
//! with the answer of each kind when the limit is reached.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::stats::MemoryStats;
use crate::sync::atomic::{AtomicUsize, Ordering};

/// The use of memory that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Part {
    /// Messages that wait for clients or are in flight to them.
    Queues,
    /// Encoded packets that are not written yet.
    Output,
    /// Payloads of 8 KiB and more and buffers that were read into, each once, however many hold it.
    Payloads,
    /// Packets that are incomplete, or wait for the answer of a hook.
    Input,
    /// Connections, with topic aliases and remembered routes.
    Connections,
    /// Sessions, with what is known of their clients.
    Sessions,
    /// Subscriptions: filters, and the tables they are found in.
    Subscriptions,
    /// Wills of clients.
    Wills,
    /// Retained messages, but for large payloads.
    Retained,
}

impl Part {
    const COUNT: usize = Self::Retained as usize + 1;

    /// Whether it changes with each message: the sum of the others is kept beside them.
    const fn is_busy(self) -> bool {
        matches!(self, Self::Queues | Self::Output | Self::Payloads)
    }
}

/// The part of the total that only serves what cannot be refused: one eighth. Another one is for
/// connections and sessions: a client has to connect to be rid of what waits for it.
const RESERVED: usize = 8;

/// Memory that one hub holds for its clients.
///
/// New things (subscriptions, messages to be queued) are admitted with [`Budget::try_charge`] up to six
/// eighths of the limit, connections and sessions with [`Budget::admit`] up to seven. What cannot be
/// refused any more (bytes that came in, acknowledgements, bytes on their way out) is charged with
/// [`Budget::charge`], and the largest connections give way when that passes the limit.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: usize,
    /// For connections and sessions.
    entrance: usize,
    admitted: usize,
    parts: [AtomicUsize; Part::COUNT],
    /// All parts that are not busy.
    rest: AtomicUsize,
}

impl Budget {
    /// A budget of so many bytes, 0 for no limit.
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        let limit = if limit == 0 { usize::MAX } else { limit };
        Arc::new(Self {
            limit,
            entrance: limit - limit / RESERVED,
            admitted: limit - 2 * (limit / RESERVED),
            parts: Default::default(),
            rest: AtomicUsize::new(0),
        })
    }

    #[inline]
    fn part(&self, part: Part) -> &AtomicUsize {
        &self.parts[part as usize]
    }

    /// Bytes charged for one kind.
    #[inline]
    pub(crate) fn of(&self, part: Part) -> usize {
        self.part(part).load(Ordering::Relaxed)
    }

    /// Bytes that wait for clients, in whatever form.
    #[inline]
    pub(crate) fn waiting(&self) -> usize {
        self.of(Part::Queues) + self.of(Part::Output) + self.of(Part::Payloads)
    }

    /// Bytes charged for all kinds together.
    #[inline]
    pub(crate) fn total(&self) -> usize {
        self.waiting() + self.rest.load(Ordering::Relaxed)
    }

    /// Whether `bytes` more may be admitted.
    #[inline]
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.total().saturating_add(bytes) <= self.admitted
    }

    /// Whether more than the limit is charged.
    pub(crate) fn is_exceeded(&self) -> bool {
        self.total() > self.limit
    }

    /// Charges what cannot be refused.
    #[inline]
    pub(crate) fn charge(&self, part: Part, bytes: usize) {
        self.part(part).fetch_add(bytes, Ordering::Relaxed);
        if !part.is_busy() {
            self.rest.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// Charges if there is room. Several threads at once may be refused the last bytes.
    pub(crate) fn try_charge(&self, part: Part, bytes: usize) -> bool {
        self.charge_up_to(self.admitted, part, bytes)
    }

    /// Charges a connection or session if there is room for one.
    pub(crate) fn admit(&self, part: Part, bytes: usize) -> bool {
        self.charge_up_to(self.entrance, part, bytes)
    }

    fn charge_up_to(&self, limit: usize, part: Part, bytes: usize) -> bool {
        self.charge(part, bytes);
        let fits = self.total() <= limit;
        if !fits {
            self.release(part, bytes);
        }
        fits
    }

    /// Takes a charge back.
    #[inline]
    pub(crate) fn release(&self, part: Part, bytes: usize) {
        let before = self.part(part).fetch_sub(bytes, Ordering::Relaxed);
        debug_assert!(before >= bytes, "{part:?}: {bytes} of {before} released");
        if !part.is_busy() {
            self.rest.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    /// Charges what cannot be refused, for the lifetime of what is returned.
    pub(crate) fn hold(self: &Arc<Self>, part: Part, bytes: usize) -> Charge {
        let mut charge = Charge::new(self, part);
        charge.set(bytes);
        charge
    }

    /// Charges for the lifetime of what is returned, if there is room.
    pub(crate) fn try_hold(self: &Arc<Self>, part: Part, bytes: usize) -> Option<Charge> {
        let mut charge = Charge::new(self, part);
        charge.try_set(bytes).then_some(charge)
    }

    /// The same bytes, charged as a payload until the last reference to them is gone.
    pub(crate) fn share(self: &Arc<Self>, bytes: Bytes) -> Bytes {
        let charge = self.hold(Part::Payloads, bytes.len() + SHARED);
        Bytes::from_owner(Charged {
            memory: bytes,
            _charge: charge,
        })
    }

    pub(crate) fn snapshot(&self) -> MemoryStats {
        let of = |part| self.of(part) as u64;
        MemoryStats {
            total: self.total() as u64,
            queues: of(Part::Queues),
            output: of(Part::Output),
            payloads: of(Part::Payloads),
            input: of(Part::Input),
            connections: of(Part::Connections),
            sessions: of(Part::Sessions),
            subscriptions: of(Part::Subscriptions),
            wills: of(Part::Wills),
            retained: of(Part::Retained),
        }
    }
}

/// The counter of references to shared bytes.
const SHARED: usize = 96;

/// Bytes that are charged until nothing refers to them any more.
struct Charged<T> {
    memory: T,
    _charge: Charge,
}

impl<T: AsRef<[u8]>> AsRef<[u8]> for Charged<T> {
    fn as_ref(&self) -> &[u8] {
        self.memory.as_ref()
    }
}

/// Bytes charged for as long as this lives. It goes where the memory goes, so that no way out of a
/// function forgets it. Two words.
pub struct Charge {
    budget: Option<Arc<Budget>>,
    bytes: u32,
    part: Part,
}

impl Charge {
    /// Nothing, charged to no budget.
    pub const NONE: Self = Self {
        budget: None,
        bytes: 0,
        part: Part::Input,
    };

    /// Nothing so far.
    pub(crate) fn new(budget: &Arc<Budget>, part: Part) -> Self {
        Self {
            budget: Some(budget.clone()),
            bytes: 0,
            part,
        }
    }

    /// Nothing so far, of the same kind and budget.
    pub(crate) fn another(&self) -> Self {
        Self {
            budget: self.budget.clone(),
            bytes: 0,
            part: self.part,
        }
    }

    /// Bytes charged.
    pub fn bytes(&self) -> usize {
        self.bytes as usize
    }

    /// Changes what is charged; it cannot be refused.
    pub fn set(&mut self, bytes: usize) {
        let bytes = clamp(bytes);
        if let Some(budget) = &self.budget {
            if bytes > self.bytes {
                budget.charge(self.part, (bytes - self.bytes) as usize);
            } else if bytes < self.bytes {
                budget.release(self.part, (self.bytes - bytes) as usize);
            }
            self.bytes = bytes;
        }
    }

    /// Changes what is charged if there is room for it; `false`, and nothing changes, if not.
    pub(crate) fn try_set(&mut self, bytes: usize) -> bool {
        self.set_if(bytes, Budget::try_charge)
    }

    /// The same for a connection or session.
    pub(crate) fn admit(&mut self, bytes: usize) -> bool {
        self.set_if(bytes, Budget::admit)
    }

    fn set_if(&mut self, bytes: usize, charge: impl Fn(&Budget, Part, usize) -> bool) -> bool {
        let more = clamp(bytes).saturating_sub(self.bytes) as usize;
        let Some(budget) = self.budget.as_ref().filter(|_| more > 0) else {
            self.set(bytes);
            return true;
        };
        if !charge(budget, self.part, more) {
            return false;
        }
        self.bytes = clamp(bytes);
        true
    }

    /// Charges it to another kind from now on.
    pub fn move_to(&mut self, part: Part) {
        let bytes = self.bytes();
        self.set(0);
        self.part = part;
        self.set(bytes);
    }

    /// Shared bytes that are charged with this until nothing refers to them any more.
    pub fn share(mut self, memory: impl AsRef<[u8]> + Send + 'static) -> Bytes {
        self.set(self.bytes() + SHARED);
        Bytes::from_owner(Charged {
            memory,
            _charge: self,
        })
    }
}

impl Default for Charge {
    fn default() -> Self {
        Self::NONE
    }
}

/// No object comes near to 4 GiB.
fn clamp(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.set(0);
    }
}

impl fmt::Debug for Charge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes of {:?}", self.bytes, self.part)
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn parts_and_total_agree() {
        let budget = Budget::new(1000);
        let parts = [Part::Queues, Part::Input, Part::Retained, Part::Payloads];
        for (bytes, part) in (1..).zip(parts) {
            budget.charge(part, bytes);
            assert_eq!(budget.of(part), bytes);
        }
        assert_eq!((budget.total(), budget.waiting()), (10, 5));
        assert_eq!(budget.snapshot().total, 10);
        for (bytes, part) in (1..).zip(parts) {
            budget.release(part, bytes);
        }
        assert_eq!(budget.snapshot(), MemoryStats::default());
    }

    #[test]
    fn an_eighth_is_left_for_connections_and_one_for_what_cannot_be_refused() {
        let budget = Budget::new(800);
        assert!(!budget.try_charge(Part::Wills, 601));
        assert!(budget.try_charge(Part::Wills, 600));
        assert!(!budget.try_charge(Part::Queues, 1) && !budget.has_room(1));
        assert!(budget.try_hold(Part::Connections, 1).is_none());
        assert!(budget.admit(Part::Connections, 60));
        let mut session = Charge::new(&budget, Part::Sessions);
        assert!(!session.try_set(1) && !session.admit(41) && session.admit(40));
        std::mem::forget(session);
        let held = budget.hold(Part::Output, 100);
        assert!(!budget.is_exceeded());
        let more = budget.hold(Part::Input, 1);
        assert!(budget.is_exceeded());
        drop((held, more));
        assert_eq!(budget.total(), 700);
    }

    #[test]
    fn without_a_limit_everything_fits_and_is_counted() {
        let budget = Budget::new(0);
        let most = usize::MAX / 4;
        assert!(budget.try_charge(Part::Wills, most));
        assert!(budget.has_room(most) && !budget.is_exceeded());
        assert_eq!(budget.total(), most);
    }

    #[test]
    fn a_charge_lives_as_long_as_what_it_is_for() {
        let budget = Budget::new(800);
        let mut charge = budget.try_hold(Part::Input, 10).unwrap();
        charge.set(40);
        assert_eq!(budget.of(Part::Input), 40);
        assert!(!charge.try_set(1000) && charge.try_set(50) && charge.try_set(20));
        charge.move_to(Part::Wills);
        assert_eq!((budget.of(Part::Input), budget.of(Part::Wills)), (0, 20));
        charge.move_to(Part::Payloads);

        let bytes = charge.share(vec![1, 2, 3]);
        let rest = bytes.slice(1..);
        drop(bytes);
        assert_eq!(budget.of(Part::Payloads), 20 + SHARED);
        assert_eq!(&rest[..], [2, 3]);
        drop(rest);
        assert_eq!(budget.total(), 0);

        let other = budget.share(Bytes::from_static(b"abc"));
        assert_eq!(budget.of(Part::Payloads), 3 + SHARED);
        drop(other);
        assert_eq!(budget.total(), 0);

        let wills = budget.hold(Part::Wills, 10);
        let mut another = wills.another();
        another.set(7);
        assert_eq!(budget.of(Part::Wills), 17);
        drop((wills, another));
        assert_eq!(budget.total(), 0);

        let mut none = Charge::NONE;
        none.set(7);
        assert!(none.try_set(usize::MAX) && none.bytes() == 0);
    }

    #[test]
    fn a_charge_is_two_words() {
        assert!(size_of::<Charge>() <= 16);
        assert_eq!(size_of::<Option<Charge>>(), size_of::<Charge>());
    }
}
