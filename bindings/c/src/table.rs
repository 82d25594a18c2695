//! Handles: numbers that stand for objects. A number is never given out twice, so one that is
//! stale, freed twice or made up finds nothing.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use crate::status::{Fault, MIDGE_E_CLOSED};

/// The numbers are unique as they are; all that is needed is to spread them over the buckets.
#[derive(Default)]
pub(crate) struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

type Map<T> = HashMap<u64, Arc<T>, BuildHasherDefault<Spread>>;

/// All objects of one kind.
pub(crate) struct Table<T> {
    name: &'static str,
    /// In the topmost byte of each number, so that a queue is never taken for a broker.
    kind: u64,
    next: AtomicU64,
    objects: RwLock<Map<T>>,
}

impl<T> Table<T> {
    pub(crate) const fn new(name: &'static str, kind: u8) -> Self {
        Self {
            name,
            kind: (kind as u64) << 56,
            next: AtomicU64::new(1),
            objects: RwLock::new(HashMap::with_hasher(BuildHasherDefault::new())),
        }
    }

    /// Gives an object its number.
    pub(crate) fn add(&self, object: Arc<T>) -> u64 {
        let id = self.kind | self.next.fetch_add(1, Ordering::Relaxed);
        self.objects.write().insert(id, object);
        id
    }

    /// The object of a handle.
    pub(crate) fn find(&self, id: u64) -> Result<Arc<T>, Fault> {
        match self.objects.read().get(&id) {
            Some(object) => Ok(object.clone()),
            None => Err(self.missing(id)),
        }
    }

    /// One of the objects, if there is any and no other thread is just changing that.
    pub(crate) fn any(&self) -> Option<Arc<T>> {
        self.objects.try_read()?.values().next().cloned()
    }

    /// Takes the object of a handle; from now on the handle is stale. `None` for the null handle.
    pub(crate) fn remove(&self, id: u64) -> Result<Option<Arc<T>>, Fault> {
        if id == 0 {
            return Ok(None);
        }
        let mut objects = self.objects.write();
        let removed = objects.remove(&id);
        if objects.is_empty() {
            // Nothing is kept for a host that has freed everything.
            *objects = Map::default();
        }
        drop(objects);
        removed.map(Some).ok_or_else(|| self.missing(id))
    }

    fn missing(&self, id: u64) -> Fault {
        if id == 0 {
            return Fault::invalid(format!("the {} handle is null", self.name));
        }
        let message = format!("the {} handle was freed or never existed", self.name);
        Fault::new(MIDGE_E_CLOSED, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::MIDGE_E_INVALID;

    #[test]
    fn numbers_are_never_used_twice() {
        let table = Table::new("thing", 3);
        let first = table.add(Arc::new(1));
        assert_eq!(table.find(first).map(|value| *value).ok(), Some(1));
        assert!(table.remove(first).is_ok_and(|gone| gone.is_some()));
        let second = table.add(Arc::new(2));
        assert_ne!(first, second);
        for stale in [first, second & 0xFF, u64::MAX] {
            assert_eq!(table.find(stale).map_err(|f| f.status), Err(MIDGE_E_CLOSED));
            assert_eq!(
                table.remove(stale).map_err(|f| f.status),
                Err(MIDGE_E_CLOSED)
            );
        }
        assert_eq!(table.find(0).map_err(|f| f.status), Err(MIDGE_E_INVALID));
        assert!(table.remove(0).is_ok_and(|gone| gone.is_none()));
    }
}
