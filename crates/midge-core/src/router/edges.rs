//! The edges of the trie: one open-addressed table.

use std::hash::{BuildHasher, Hash};

use super::trie::NONE;
use crate::parts::{MOVES, Numbering, needs_split, split_from};
use crate::steps;
use crate::sync::Hashing;

/// A parent and a level of up to 15 bytes: the bytes, then their number; or the number of a longer
/// level. It is compared and hashed without a loop, and has nothing elsewhere in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Edge {
    level: [u64; 2],
    parent: u32,
}

impl Edge {
    pub(super) fn new(parent: u32, level: &str) -> Option<Self> {
        let bytes = level.as_bytes();
        if bytes.len() > 15 {
            return None;
        }

        let (first, rest) = bytes.split_at_checked(8).unwrap_or((bytes, &[]));
        let len = (bytes.len() as u64) << 56;
        Some(Self {
            level: [word(first), word(rest) | len],
            parent,
        })
    }

    /// The edge of a level that is too long, by a number that stands for it.
    pub(super) fn long(parent: u32, number: u64) -> Self {
        Self {
            level: [number, u64::MAX],
            parent,
        }
    }
}

/// Up to eight bytes as a number, the first one lowest. Parts that overlap say the same.
#[inline]
fn word(bytes: &[u8]) -> u64 {
    if let Some(all) = bytes.first_chunk() {
        return u64::from_le_bytes(*all);
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let [first, last] = [first, last].map(|four| u64::from(u32::from_le_bytes(*four)));
        return first | last << (8 * (bytes.len() - 4));
    }

    let byte = |at: usize| bytes.get(at).map_or(0, |byte| u64::from(*byte) << (8 * at));
    byte(0) | byte(1) | byte(2)
}

/// An edge and where it leads to; `NONE`: a free place.
#[derive(Clone, Copy)]
struct Entry {
    level: [u64; 2],
    parent: u32,
    child: u32,
}

const FREE: Entry = Entry {
    level: [0; 2],
    parent: 0,
    child: NONE,
};

impl Entry {
    fn edge(&self) -> Edge {
        Edge {
            level: self.level,
            parent: self.parent,
        }
    }
}

/// Places of the smallest table.
const SMALLEST: usize = 16;

/// Edges by hash, in parts: while one large table grew, nothing could be routed.
pub(super) struct Edges {
    parts: Vec<Table>,
    numbering: Numbering,
    len: usize,
    hasher: Hashing,
}

impl Default for Edges {
    fn default() -> Self {
        Self {
            parts: vec![Table::default()],
            numbering: Numbering::new(1),
            len: 0,
            hasher: Hashing::default(),
        }
    }
}

impl Edges {
    /// The hash of an edge and the number of its part.
    #[inline]
    fn locate(&self, edge: &Edge) -> (u64, usize) {
        let hash = self.hasher.hash_one(edge);
        // A part goes by the upper bits.
        (hash, self.numbering.of(hash as usize))
    }

    #[inline]
    pub(super) fn get(&self, edge: &Edge) -> Option<u32> {
        let (hash, part) = self.locate(edge);
        self.parts.get(part)?.get(edge, hash)
    }

    /// Adds an edge or changes where it leads to.
    pub(super) fn insert(&mut self, edge: &Edge, child: u32) {
        let (hash, part) = self.locate(edge);
        self.len += usize::from(self.parts[part].insert(edge, hash, child, &self.hasher));
        if needs_split(self.len, self.parts.len()) {
            self.split();
        }
    }

    #[cold]
    fn split(&mut self) {
        let from = split_from(self.parts.len());
        let size = (self.parts[from].len * 3 / 4).next_power_of_two();
        self.parts.push(Table::with(size));
        self.numbering = Numbering::new(self.parts.len());
        let old = std::mem::replace(&mut self.parts[from], Table::with(size));
        steps::add(old.len / MOVES);
        for entry in old.entries.iter().filter(|entry| entry.child != NONE) {
            let (hash, part) = self.locate(&entry.edge());
            self.parts[part].insert(&entry.edge(), hash, entry.child, &self.hasher);
        }
    }

    pub(super) fn remove(&mut self, edge: &Edge) {
        let (hash, part) = self.locate(edge);
        self.len -= usize::from(self.parts[part].remove(edge, hash, &self.hasher));
    }

    /// Gives back the memory of tables that are not used any more, a little at a time; `false` when
    /// all of it is gone.
    pub(super) fn shrink(&mut self, bytes: usize) -> bool {
        let Some(part) = self.parts.last_mut() else {
            return false;
        };
        if !shrink(&mut part.entries, bytes) {
            self.parts.pop();
        }
        !self.parts.is_empty()
    }
}

/// Edges, each at the first free place after its own. There is nothing beside the entries: among a
/// million edges a lookup mostly waits for memory once. Places follow the order of the hashes, so
/// that a table twice as large is filled from front to back.
#[derive(Default)]
struct Table {
    /// None, or a power of two of which at least a quarter is free.
    entries: Vec<Entry>,
    len: usize,
}

impl Table {
    /// With so many places, a power of two.
    fn with(size: usize) -> Self {
        Self {
            entries: vec![FREE; size],
            len: 0,
        }
    }

    #[inline]
    fn home(&self, hash: u64) -> usize {
        let bits = self.entries.len().trailing_zeros();
        (hash >> (64 - bits)) as usize
    }

    #[inline]
    fn after(&self, at: usize) -> usize {
        (at + 1) & (self.entries.len() - 1)
    }

    /// The place of an edge, or the free one where it would be.
    #[inline]
    fn place(&self, edge: &Edge, hash: u64) -> usize {
        let mut at = self.home(hash);
        while self.entries[at].child != NONE && self.entries[at].edge() != *edge {
            at = self.after(at);
        }
        at
    }

    #[inline]
    fn get(&self, edge: &Edge, hash: u64) -> Option<u32> {
        if self.entries.is_empty() {
            return None;
        }
        let child = self.entries[self.place(edge, hash)].child;
        (child != NONE).then_some(child)
    }

    /// Whether the edge is new.
    fn insert(&mut self, edge: &Edge, hash: u64, child: u32, hasher: &Hashing) -> bool {
        // Between a half and three quarters, by the bits that all edges of a part have in common: parts
        // of the same size do not grow at the same time.
        let full = 128 + (hash as usize & 63);
        if (self.len + 1) * 256 > self.entries.len() * full {
            self.grow(hasher);
        }
        let at = self.place(edge, hash);
        let is_new = self.entries[at].child == NONE;
        self.len += usize::from(is_new);
        self.entries[at] = Entry {
            level: edge.level,
            parent: edge.parent,
            child,
        };
        is_new
    }

    #[cold]
    fn grow(&mut self, hasher: &Hashing) {
        let size = (self.entries.len() * 2).max(SMALLEST);
        let old = std::mem::replace(&mut self.entries, vec![FREE; size]);
        steps::add(old.len() / MOVES);
        for entry in old.iter().filter(|entry| entry.child != NONE) {
            let at = self.place(&entry.edge(), hasher.hash_one(entry.edge()));
            self.entries[at] = *entry;
        }
    }

    /// Whether the edge was there.
    fn remove(&mut self, edge: &Edge, hash: u64, hasher: &Hashing) -> bool {
        if self.entries.is_empty() {
            return false;
        }

        let mut hole = self.place(edge, hash);
        if self.entries[hole].child == NONE {
            return false;
        }

        self.len -= 1;

        // Those behind it move up, unless that would be before their own place.
        let mask = self.entries.len() - 1;
        let mut at = self.after(hole);
        while self.entries[at].child != NONE {
            let home = self.home(hasher.hash_one(self.entries[at].edge()));
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(hole) & mask {
                self.entries[hole] = self.entries[at];
                hole = at;
            }
            at = self.after(at);
        }

        self.entries[hole] = FREE;
        true
    }
}

/// Drops the end of a list and gives its memory back; `false` when nothing is left.
pub(super) fn shrink<T>(list: &mut Vec<T>, bytes: usize) -> bool {
    let count = (bytes / size_of::<T>()).max(1);
    list.truncate(list.len().saturating_sub(count));
    list.shrink_to_fit();
    !list.is_empty()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn levels_differ_by_their_bytes_and_their_number() {
        let edge = |level| Edge::new(1, level);
        assert_eq!(edge("fifteen--bytes!"), edge("fifteen--bytes!"));
        assert_ne!(edge("a"), edge("a\u{1}"));
        assert_ne!(edge(""), edge("\u{1}"));
        assert_ne!(edge("a"), Edge::new(2, "a"));
        assert_eq!(edge("sixteen--bytes!!"), None);
    }

    #[test]
    fn it_is_a_map() {
        for parents in [40, 400] {
            it_is_a_map_with(parents);
        }
    }

    fn it_is_a_map_with(parents: u64) {
        let mut edges = Edges::default();
        let mut model = HashMap::new();
        let mut random = 7u64;
        let mut next = |below: u64| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (random >> 33) % below
        };

        for round in 0..200_000 {
            let (parent, level) = (next(parents) as u32, next(40).to_string());
            let Some(edge) = Edge::new(parent, &level) else {
                continue;
            };
            // It grows, then it is nearly emptied, several times.
            let removes = if round / 20_000 % 2 == 0 { 3 } else { 8 };
            if next(10) < removes {
                edges.remove(&edge);
                model.remove(&edge);
            } else {
                edges.insert(&edge, round);
                model.insert(edge, round);
            }
            assert_eq!(edges.get(&edge), model.get(&edge).copied());
            assert_eq!(edges.len, model.len());
        }

        for (edge, child) in &model {
            assert_eq!(edges.get(edge), Some(*child));
        }

        let entries = |edges: &Edges| -> Vec<Entry> {
            let all = edges.parts.iter().flat_map(|part| &part.entries);
            all.copied().collect()
        };

        let used = |entry: &Entry| entry.child != NONE;
        let all = entries(&edges);
        assert_eq!(all.iter().filter(|entry| used(entry)).count(), model.len());
        assert!(all.len() < 4 * 40 * parents as usize);
        for edge in model.keys() {
            edges.remove(edge);
        }

        assert!(!entries(&edges).iter().any(used));
    }

    #[test]
    fn an_old_table_shrinks_to_nothing() {
        let mut edges = Edges::default();
        for parent in 0..1_000 {
            edges.insert(
                &Edge {
                    level: [1, 2],
                    parent,
                },
                3,
            );
        }

        let memory = |edges: &Edges| -> usize {
            let capacity = |part: &Table| part.entries.capacity();
            edges.parts.iter().map(capacity).sum()
        };

        let before = memory(&edges);
        assert!(edges.shrink(1_200));
        assert!(memory(&edges) < before);
        while edges.shrink(1_200) {}
        assert_eq!(memory(&edges), 0);
        assert!(!edges.shrink(1));
    }

    #[test]
    fn a_list_shrinks_by_so_many_bytes() {
        let mut list: Vec<u64> = (0..20).collect();
        assert!(shrink(&mut list, 80));
        assert_eq!(list, (0..10).collect::<Vec<u64>>());
        assert!(shrink(&mut list, 1), "one at least");
        assert_eq!(list.len(), 9);
        assert!(!shrink(&mut list, 800));
        assert_eq!(list.capacity(), 0);
    }
}
