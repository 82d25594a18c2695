//! A table by text that grows in parts: a table in one piece would stop everything that needs it while
//! all of its entries move.

use std::hash::BuildHasher;

use hashbrown::hash_table::{Entry, HashTable};

use crate::steps;
use crate::sync::Hashing;

/// Entries of a part on average; some parts have twice as many, some half as many.
const PART: usize = 700;
/// The memory for so many entries is kept when none is left.
const KEPT: usize = 32;
/// Entries that move in the time of one step.
pub(crate) const MOVES: usize = 8;

/// Which of some parts has which hashes: linear hashing, in which parts are split one after another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbering {
    parts: usize,
    /// All bits that the number of a part may have.
    mask: usize,
}

impl Numbering {
    pub(crate) fn new(parts: usize) -> Self {
        Self {
            parts,
            mask: parts.next_power_of_two() - 1,
        }
    }

    /// The number of the part that has a hash.
    #[inline(always)]
    pub(crate) fn of(self, hash: usize) -> usize {
        let number = hash & self.mask;
        if number < self.parts {
            number
        } else {
            number & (self.mask >> 1)
        }
    }
}

/// The part whose entries a new one takes over in part.
pub(crate) fn split_from(new: usize) -> usize {
    new & ((new + 1).next_power_of_two() / 2 - 1)
}

/// Whether so many entries need another part.
pub(crate) fn needs_split(len: usize, parts: usize) -> bool {
    len > parts * PART
}

/// Something that is found by a text in it.
pub(crate) trait Keyed {
    fn key(&self) -> &str;
}

/// Entries, each with another key.
#[derive(Debug)]
pub(crate) struct Parts<T> {
    parts: Vec<HashTable<T>>,
    numbering: Numbering,
    len: usize,
    hasher: Hashing,
}

impl<T> Default for Parts<T> {
    fn default() -> Self {
        Self {
            parts: vec![HashTable::new()],
            numbering: Numbering::new(1),
            len: 0,
            hasher: Hashing::default(),
        }
    }
}

impl<T: Keyed> Parts<T> {
    #[inline]
    pub(crate) fn hash(&self, key: &str) -> u64 {
        self.hasher.hash_one(key)
    }

    #[inline]
    fn number(&self, hash: u64) -> usize {
        // Other bits than those that a part itself goes by.
        self.numbering.of((hash >> 32) as usize)
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(crate) fn get(&self, key: &str) -> Option<&T> {
        self.get_hashed(key, self.hash(key))
    }

    /// As [`Parts::get`], with the hash of the key.
    #[inline]
    pub(crate) fn get_hashed(&self, key: &str, hash: u64) -> Option<&T> {
        let part = self.parts.get(self.number(hash))?;
        part.find(hash, |known| *known.key() == *key)
    }

    pub(crate) fn get_mut(&mut self, key: &str) -> Option<&mut T> {
        let hash = self.hash(key);
        let number = self.number(hash);
        let part = self.parts.get_mut(number)?;
        part.find_mut(hash, |known| *known.key() == *key)
    }

    /// Adds an entry, in place of the one with its key.
    pub(crate) fn insert(&mut self, entry: T) {
        let hash = self.hash(entry.key());
        let number = self.number(hash);
        let Some(part) = self.parts.get_mut(number) else {
            return;
        };

        if part.len() == part.capacity() {
            steps::add(part.len() / MOVES);
        }

        let hasher = &self.hasher;
        let rehash = |known: &T| hasher.hash_one(known.key());
        match part.entry(hash, |known| *known.key() == *entry.key(), rehash) {
            Entry::Occupied(mut known) => *known.get_mut() = entry,
            Entry::Vacant(place) => {
                place.insert(entry);
                self.len += 1;
                if needs_split(self.len, self.parts.len()) {
                    self.split();
                }
            }
        }
    }

    #[cold]
    fn split(&mut self) {
        let new = self.parts.len();
        let from = split_from(new);
        self.parts.push(HashTable::new());
        self.numbering = Numbering::new(self.parts.len());
        let Some(old) = self.parts.get_mut(from).map(std::mem::take) else {
            return;
        };
        steps::add(old.len() / MOVES);
        for entry in old {
            let hash = self.hash(entry.key());
            let number = self.number(hash);
            let hasher = &self.hasher;
            if let Some(part) = self.parts.get_mut(number) {
                part.insert_unique(hash, entry, |known| hasher.hash_one(known.key()));
            }
        }
    }

    pub(crate) fn remove(&mut self, key: &str) -> Option<T> {
        self.remove_if(key, |known| *known.key() == *key)
    }

    /// Removes the entry with a key, if it is the one.
    pub(crate) fn remove_if(&mut self, key: &str, is_it: impl Fn(&T) -> bool) -> Option<T> {
        let hash = self.hash(key);
        let number = self.number(hash);
        let part = self.parts.get_mut(number)?;
        let known = part.find_entry(hash, is_it).ok()?;
        let (entry, _) = known.remove();
        self.len -= 1;
        if part.is_empty() && part.capacity() > KEPT {
            *part = HashTable::new();
        }
        if self.len == 0 {
            self.parts.truncate(1);
            self.numbering = Numbering::new(1);
            self.parts.shrink_to_fit();
        }
        Some(entry)
    }

    /// The number of parts. It changes when very many are added, or the last one is removed.
    pub(crate) fn count(&self) -> usize {
        self.parts.len()
    }

    /// The entries of one part.
    pub(crate) fn part_at(&self, number: usize) -> impl Iterator<Item = &T> {
        self.parts.get(number).into_iter().flatten()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.parts.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Keyed for (String, u32) {
        fn key(&self) -> &str {
            &self.0
        }
    }

    #[test]
    fn a_split_takes_hashes_from_one_part() {
        for parts in 1..200 {
            for hash in 0..2_000 {
                let [before, after] =
                    [parts, parts + 1].map(|parts| Numbering::new(parts).of(hash));
                assert!(before < parts);
                assert!(before == after || (after == parts && before == split_from(parts)));
            }
        }
    }

    #[test]
    fn it_is_a_map_in_one_part_and_in_many() {
        const COUNT: u32 = PART as u32 * 5;

        let mut table = Parts::default();
        for round in [1, 2] {
            for n in 0..COUNT {
                table.insert((n.to_string(), n * round));
            }
            for n in 0..COUNT {
                let found = table.get(&n.to_string()).map(|entry| entry.1);
                assert_eq!(found, Some(n * round));
            }
            assert_eq!((table.len(), table.count()), (COUNT as usize, 5));
            assert_eq!(table.iter().count(), table.len());
        }

        let in_parts: usize = (0..5).map(|number| table.part_at(number).count()).sum();
        assert_eq!(in_parts, table.len());
        if let Some(entry) = table.get_mut("9") {
            entry.1 = 1;
        }

        for n in 0..COUNT {
            let removed = table.remove(&n.to_string()).map(|entry| entry.1);
            assert_eq!(removed, Some(if n == 9 { 1 } else { n * 2 }));
            assert!(table.remove(&n.to_string()).is_none());
        }

        assert!(table.len() == 0 && table.count() == 1 && table.get("7").is_none());
    }
}
