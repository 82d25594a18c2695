//! A table by text that grows in parts: a table in one piece would stop everything that needs it while
//! all of its entries move.

use std::hash::BuildHasher;

use hashbrown::hash_table::{Entry, HashTable};

use crate::steps;
use crate::sync::Hashing;

/// Entries from which on there are parts.
const FEW: usize = 2048;
/// Parts of a large table.
const PARTS: usize = 256;

/// Something that is found by a text in it.
pub(crate) trait Keyed {
    fn key(&self) -> &str;
}

/// Entries, each with another key.
#[derive(Debug)]
pub(crate) struct Parts<T> {
    /// One, or [`PARTS`] of them by hash.
    parts: Vec<HashTable<T>>,
    len: usize,
    hasher: Hashing,
}

impl<T> Default for Parts<T> {
    fn default() -> Self {
        Self {
            parts: vec![HashTable::new()],
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

    /// Other bits of the hash than those that a part itself goes by.
    #[inline]
    fn number(&self, hash: u64) -> usize {
        (hash >> 40) as usize & (self.parts.len() - 1)
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[inline]
    pub(crate) fn get(&self, key: &str) -> Option<&T> {
        let hash = self.hash(key);
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
        if self.len >= FEW && self.parts.len() == 1 {
            self.part();
        }
        let hash = self.hash(entry.key());
        let number = self.number(hash);
        let Some(part) = self.parts.get_mut(number) else {
            return;
        };
        if part.len() == part.capacity() {
            steps::add(part.len());
        }
        let hasher = &self.hasher;
        let rehash = |known: &T| hasher.hash_one(known.key());
        match part.entry(hash, |known| *known.key() == *entry.key(), rehash) {
            Entry::Occupied(mut known) => *known.get_mut() = entry,
            Entry::Vacant(place) => {
                place.insert(entry);
                self.len += 1;
            }
        }
    }

    pub(crate) fn remove(&mut self, key: &str) -> Option<T> {
        let hash = self.hash(key);
        let number = self.number(hash);
        let part = self.parts.get_mut(number)?;
        let known = part.find_entry(hash, |known| *known.key() == *key).ok()?;
        let (entry, _) = known.remove();
        self.len -= 1;
        if part.is_empty() {
            *part = HashTable::new();
        }
        if self.len == 0 {
            self.parts.truncate(1);
        }
        Some(entry)
    }

    #[cold]
    fn part(&mut self) {
        let mut parts: Vec<HashTable<T>> = (0..PARTS).map(|_| HashTable::new()).collect();
        let old = std::mem::take(&mut self.parts);
        self.parts.append(&mut parts);
        for entry in old.into_iter().flatten() {
            steps::add(1);
            let hash = self.hash(entry.key());
            let number = self.number(hash);
            let hasher = &self.hasher;
            if let Some(part) = self.parts.get_mut(number) {
                part.insert_unique(hash, entry, |known| hasher.hash_one(known.key()));
            }
        }
    }

    /// The number of parts. It may change whenever something is added or removed.
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
    fn it_is_a_map_in_one_part_and_in_many() {
        let mut table = Parts::default();
        for round in [1, 2] {
            for n in 0..FEW as u32 * 3 {
                table.insert((n.to_string(), n * round));
                assert_eq!(
                    table.get("7").map(|entry| entry.1),
                    (n >= 7 || round == 2).then_some(if n >= 7 { 7 * round } else { 7 })
                );
            }
            assert_eq!(table.len(), FEW * 3);
            assert_eq!(table.count(), PARTS);
            assert_eq!(table.iter().count(), table.len());
        }
        let in_parts: usize = (0..PARTS).map(|number| table.part_at(number).count()).sum();
        assert_eq!(in_parts, table.len());
        if let Some(entry) = table.get_mut("9") {
            entry.1 = 1;
        }
        for n in 0..FEW as u32 * 3 {
            let removed = table.remove(&n.to_string()).map(|entry| entry.1);
            assert_eq!(removed, Some(if n == 9 { 1 } else { n * 2 }));
            assert!(table.remove(&n.to_string()).is_none());
        }
        assert!(table.is_empty() && table.count() == 1 && table.get("7").is_none());
    }
}
