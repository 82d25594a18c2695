//! The retained messages whose topics have the same number of levels, found by the text of any
//! level.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use super::Entry;
use crate::steps;

/// Entries of one chunk, one bit each in its map.
const CHUNK: u32 = 64;

/// Entries in the order in which they came, in chunks, so that it never grows by copying all of
/// them. The place of an entry stays the same as long as it is there.
#[derive(Default)]
pub(super) struct Shelf {
    chunks: Vec<Option<Box<Chunk>>>,
    /// The chunks that are not full, each once, and perhaps some that are gone.
    open: Vec<u32>,
    count: u32,
    /// Chunks that are there, each as large as if it was full.
    kept: usize,
    /// Level and place, as hash and number, of each level of each topic: the places of all topics
    /// with a certain text at a certain level lie next to each other. Hashes of different levels may
    /// be the same, so what is found has to be compared with the filter.
    levels: BTreeSet<u64>,
}

struct Chunk {
    used: u64,
    entries: [Option<Entry>; CHUNK as usize],
}

impl Chunk {
    fn new() -> Box<Self> {
        Box::new(Self {
            used: 0,
            entries: [const { None }; CHUNK as usize],
        })
    }
}

/// Where the level of a topic stands in the order of [`Shelf::levels`].
fn key(hash: u32, at: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(at)
}

impl Shelf {
    /// Bytes of its chunks.
    pub(super) fn bytes(&self) -> usize {
        self.kept * size_of::<Chunk>() + self.chunks.capacity() * size_of::<usize>()
    }

    pub(super) fn get(&self, at: u32) -> Option<&Entry> {
        let chunk = self.chunks.get((at / CHUNK) as usize)?.as_ref()?;
        chunk.entries.get((at % CHUNK) as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, at: u32) -> Option<&mut Entry> {
        let chunk = self.chunks.get_mut((at / CHUNK) as usize)?.as_mut()?;
        chunk.entries.get_mut((at % CHUNK) as usize)?.as_mut()
    }

    /// Adds an entry whose topic has levels with these hashes; its place.
    pub(super) fn insert(&mut self, entry: Entry, hashes: impl Iterator<Item = u32>) -> u32 {
        let number = match self.open.last() {
            Some(open) => *open,
            None => {
                let new = self.chunks.len() as u32;
                self.chunks.push(None);
                self.open.push(new);
                new
            }
        };

        let mut at = number * CHUNK;
        if let Some(place) = self.chunks.get_mut(number as usize) {
            self.kept += usize::from(place.is_none());
            let chunk = place.get_or_insert_with(Chunk::new);
            let free = (!chunk.used).trailing_zeros();
            if let Some(slot) = chunk.entries.get_mut(free as usize) {
                *slot = Some(entry);
            }
            chunk.used |= 1 << free;
            at += free;
            if chunk.used == u64::MAX {
                self.open.pop();
            }
        }

        self.count += 1;
        for hash in hashes {
            steps::add(1);
            self.levels.insert(key(hash, at));
        }

        at
    }

    /// Takes an entry out, and the hashes of its levels.
    pub(super) fn remove(&mut self, at: u32, hashes: impl Iterator<Item = u32>) -> Option<Entry> {
        let number = at / CHUNK;
        let place = self.chunks.get_mut(number as usize)?;
        let chunk = place.as_mut()?;
        let slot = at % CHUNK;
        let entry = chunk.entries.get_mut(slot as usize)?.take()?;
        if chunk.used == u64::MAX {
            self.open.push(number);
        }

        chunk.used &= !(1 << slot);
        if chunk.used == 0 {
            *place = None;
            self.kept -= 1;
        }

        self.count -= 1;
        for hash in hashes {
            steps::add(1);
            self.levels.remove(&key(hash, at));
        }

        if self.count == 0 {
            *self = Self::default();
        }

        Some(entry)
    }

    /// Visits the entries from a place on whose topics have all of these levels, `budget` steps at
    /// most. Where to go on, if it was left early.
    pub(super) fn walk<'a>(
        &'a self,
        hashes: &[u32],
        from: u32,
        budget: &mut usize,
        mut visit: impl FnMut(u32, &'a Entry) -> ControlFlow<()>,
    ) -> Option<u32> {
        match hashes {
            [] => self.walk_all(from, budget, visit),
            [hash] => {
                for found in self.levels.range(key(*hash, from)..=key(*hash, u32::MAX)) {
                    let at = *found as u32;

                    if !take(budget) {
                        return Some(at);
                    }

                    if let Some(entry) = self.get(at)
                        && visit(at, entry).is_break()
                    {
                        return Some(at + 1);
                    }
                }
                None
            }
            _ => self.walk_common(hashes, from, budget, &mut visit),
        }
    }

    fn walk_all<'a>(
        &'a self,
        from: u32,
        budget: &mut usize,
        mut visit: impl FnMut(u32, &'a Entry) -> ControlFlow<()>,
    ) -> Option<u32> {
        let first = from / CHUNK;

        // The places before `from` in its chunk.
        let mut skip = u64::MAX << (from % CHUNK);
        for (number, chunk) in (first..).zip(self.chunks.iter().skip(first as usize)) {
            let start = number * CHUNK;
            if !take(budget) {
                return Some(start.max(from));
            }
            let Some(chunk) = chunk else {
                skip = u64::MAX;
                continue;
            };
            let mut used = chunk.used & skip;
            skip = u64::MAX;
            while used != 0 {
                let slot = used.trailing_zeros();
                used &= used - 1;
                let at = start + slot;
                if !take(budget) {
                    return Some(at);
                }
                if let Some(Some(entry)) = chunk.entries.get(slot as usize)
                    && visit(at, entry).is_break()
                {
                    return Some(at + 1);
                }
            }
        }

        None
    }

    /// The places that stand in the lists of all levels: each list is asked in turn for its next
    /// place from the furthest one on that was found, so that the shortest list decides how many
    /// steps it takes.
    fn walk_common<'a>(
        &'a self,
        hashes: &[u32],
        from: u32,
        budget: &mut usize,
        visit: &mut impl FnMut(u32, &'a Entry) -> ControlFlow<()>,
    ) -> Option<u32> {
        let mut at = from;
        let mut agreed = 0;
        for hash in hashes.iter().cycle() {
            // A search in a list takes as long as two looks at what comes next.
            if !(take(budget) && take(budget)) {
                return Some(at);
            }
            let next = self.levels.range(key(*hash, at)..=key(*hash, u32::MAX));
            let found = *next.into_iter().next()? as u32;
            agreed = if found == at { agreed + 1 } else { 1 };
            at = found;
            if agreed < hashes.len() {
                continue;
            }
            if let Some(entry) = self.get(at)
                && visit(at, entry).is_break()
            {
                return Some(at + 1);
            }
            at += 1;
            agreed = 0;
        }

        None
    }
}

fn take(budget: &mut usize) -> bool {
    steps::add(1);
    let left = *budget > 0;
    *budget = budget.saturating_sub(1);
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Account, Origin, OwnedMessage};
    use crate::time::Tick;

    fn entry(n: u32) -> Entry {
        let message = OwnedMessage::new(n.to_string(), "x");
        let account = Account::Host;
        let parts = message.parts();
        Entry {
            message: parts.keep(None, 0, Origin::Host, Tick(0), None, account),
            stamp: 0,
            timer: None,
        }
    }

    #[test]
    fn chunks_come_and_go_with_their_entries() {
        let mut shelf = Shelf::default();
        let chunks = |shelf: &Shelf| {
            let list = shelf.chunks.capacity() * size_of::<usize>();
            let bytes = shelf.bytes() - list;
            assert_eq!(bytes % size_of::<Chunk>(), 0);
            bytes / size_of::<Chunk>()
        };
        assert_eq!(shelf.bytes(), 0);

        for n in 0..3 * CHUNK {
            assert_eq!(shelf.insert(entry(n), [n].into_iter()), n);
            assert_eq!(chunks(&shelf), (n / CHUNK + 1) as usize);
        }

        // A chunk in the middle goes, and its places are used again.
        for n in CHUNK..2 * CHUNK {
            assert!(shelf.remove(n, [n].into_iter()).is_some());
            assert!(shelf.remove(n, [n].into_iter()).is_none() && shelf.get(n).is_none());
        }
        assert_eq!(chunks(&shelf), 2);
        let mut again: Vec<u32> = (0..CHUNK)
            .map(|n| shelf.insert(entry(n), [n].into_iter()))
            .collect();
        again.sort_unstable();
        assert_eq!(again, (CHUNK..2 * CHUNK).collect::<Vec<u32>>());
        assert_eq!(chunks(&shelf), 3);
        assert!(shelf.get(3 * CHUNK - 1).is_some() && shelf.get(3 * CHUNK).is_none());
    }
}
