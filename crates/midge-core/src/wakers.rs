//! Tasks that wait for the same thing.

use std::task::Waker;

use smallvec::SmallVec;

/// The wakers of tasks that wait: one for each future that is alive, however often it is polled and
/// from however many tasks. Belongs under a lock; wakers come out of it to be woken and dropped
/// without.
#[derive(Debug, Default)]
pub(crate) struct Wakers {
    places: Vec<Option<Waker>>,
    free: Vec<usize>,
    /// Places that have a waker.
    waiting: usize,
}

/// The place of one future among [`Wakers`], taken when it first has to wait. To be given back with
/// [`Wakers::leave`].
#[derive(Debug, Default)]
pub(crate) struct Place(Option<usize>);

/// Mostly one task waits.
pub(crate) type Woken = SmallVec<[Waker; 1]>;

impl Wakers {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Has a task woken next time. Gives back the waker that the future had here before, if it is
    /// another one.
    #[must_use = "a waker is dropped without the lock"]
    pub(crate) fn wait(&mut self, place: &mut Place, waker: &Waker) -> Option<Waker> {
        let at = match place.0 {
            Some(at) => at,
            None => *place.0.insert(self.free.pop().unwrap_or(self.places.len())),
        };
        if at == self.places.len() {
            self.places.push(None);
        }
        let known = self.places.get_mut(at)?;
        match known {
            Some(known) if known.will_wake(waker) => None,
            _ => {
                let before = known.replace(waker.clone());
                self.waiting += usize::from(before.is_none());
                before
            }
        }
    }

    /// Takes all wakers out, to be woken.
    pub(crate) fn take(&mut self) -> Woken {
        if self.waiting == 0 {
            return Woken::new();
        }
        self.waiting = 0;
        self.places.iter_mut().filter_map(Option::take).collect()
    }

    /// A future waits no more.
    #[must_use = "a waker is dropped without the lock"]
    pub(crate) fn leave(&mut self, place: &mut Place) -> Option<Waker> {
        let at = place.0.take()?;
        let waker = self.places.get_mut(at)?.take();
        self.waiting -= usize::from(waker.is_some());
        self.free.push(at);
        if self.free.len() == self.places.len() {
            // The last one: what many have needed is given back.
            *self = Self::default();
        }
        waker
    }

    #[cfg(test)]
    pub(crate) fn places(&self) -> usize {
        self.places.len()
    }
}

impl Place {
    /// Whether there is nothing to give back.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    /// Counts its wake-ups.
    #[derive(Default)]
    pub(crate) struct Count(pub(crate) AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn waker() -> (Arc<Count>, Waker) {
        let count = Arc::new(Count::default());
        (count.clone(), count.into())
    }

    #[test]
    fn a_future_has_one_place_whatever_task_polls_it() {
        let (mut wakers, mut place) = (Wakers::default(), Place::default());
        let mut last = None;
        for n in 0..1000 {
            let (count, waker) = waker();
            let before = wakers.wait(&mut place, &waker);
            assert_eq!(before.is_some(), n > 0);
            assert!(wakers.wait(&mut place, &waker).is_none());
            last = Some(count);
        }
        assert_eq!(wakers.places(), 1);
        wakers.take().into_iter().for_each(Waker::wake);
        assert_eq!(last.unwrap().0.load(Ordering::Relaxed), 1);
        assert!(wakers.is_empty() && wakers.take().is_empty());
    }

    #[test]
    fn what_is_dropped_leaves_nothing() {
        let mut wakers = Wakers::default();
        let (stays, waker) = waker();
        let mut staying = Place::default();
        assert!(wakers.wait(&mut staying, &waker).is_none());
        for _ in 0..1000 {
            let (gone, waker) = self::waker();
            let mut place = Place::default();
            assert!(wakers.wait(&mut place, &waker).is_none());
            drop(waker);
            drop(wakers.leave(&mut place));
            assert!(wakers.leave(&mut place).is_none());
            assert_eq!(Arc::strong_count(&gone), 1);
        }

        assert_eq!(wakers.places(), 2);
        wakers.take().into_iter().for_each(Waker::wake);
        assert_eq!(stays.0.load(Ordering::Relaxed), 1);
        assert!(wakers.leave(&mut staying).is_none());
        assert_eq!(wakers.places(), 0);
    }
}
