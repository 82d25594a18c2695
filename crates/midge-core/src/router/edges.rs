//! The edges of the trie: one open-addressed table.

use std::hash::{BuildHasher, Hash};

use hashbrown::DefaultHashBuilder;

use super::trie::NONE;

/// A parent and a level of up to 15 bytes: the bytes, then their number. It is compared and hashed
/// without a loop, and has nothing elsewhere in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Edge {
    level: [u64; 2],
    parent: u32,
}

impl Edge {
    pub(super) fn new(parent: u32, level: &str) -> Option<Self> {
        if level.len() > 15 {
            return None;
        }
        let mut whole = (level.len() as u128) << 120;
        for (at, byte) in level.bytes().enumerate() {
            whole |= u128::from(byte) << (8 * at);
        }
        Some(Self {
            level: [whole as u64, (whole >> 64) as u64],
            parent,
        })
    }
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

/// Edges by hash, each at the first free place after its own. There is nothing beside the entries:
/// among a million edges a lookup mostly waits for memory once. Places follow the order of the
/// hashes, so that a table twice as large is filled from front to back.
#[derive(Default)]
pub(super) struct Edges {
    /// None, or a power of two of which at least a quarter is free.
    entries: Vec<Entry>,
    len: usize,
    hasher: DefaultHashBuilder,
}

impl Edges {
    fn home(&self, edge: &Edge) -> usize {
        let bits = self.entries.len().trailing_zeros();
        (self.hasher.hash_one(edge) >> (64 - bits)) as usize
    }

    fn after(&self, at: usize) -> usize {
        (at + 1) & (self.entries.len() - 1)
    }

    /// The place of an edge, or the free one where it would be.
    fn place(&self, edge: &Edge) -> usize {
        let mut at = self.home(edge);
        while self.entries[at].child != NONE && self.entries[at].edge() != *edge {
            at = self.after(at);
        }
        at
    }

    pub(super) fn get(&self, edge: &Edge) -> Option<u32> {
        if self.entries.is_empty() {
            return None;
        }
        let child = self.entries[self.place(edge)].child;
        (child != NONE).then_some(child)
    }

    /// Adds an edge or changes where it leads to.
    pub(super) fn insert(&mut self, edge: &Edge, child: u32) {
        if (self.len + 1) * 4 > self.entries.len() * 3 {
            self.grow();
        }
        let at = self.place(edge);
        self.len += usize::from(self.entries[at].child == NONE);
        self.entries[at] = Entry {
            level: edge.level,
            parent: edge.parent,
            child,
        };
    }

    #[cold]
    fn grow(&mut self) {
        let size = (self.entries.len() * 2).max(SMALLEST);
        let old = std::mem::replace(&mut self.entries, vec![FREE; size]);
        for entry in old.iter().filter(|entry| entry.child != NONE) {
            let at = self.place(&entry.edge());
            self.entries[at] = *entry;
        }
    }

    pub(super) fn remove(&mut self, edge: &Edge) {
        if self.entries.is_empty() {
            return;
        }
        let mut hole = self.place(edge);
        if self.entries[hole].child == NONE {
            return;
        }
        self.len -= 1;
        // Those behind it move up, unless that would be before their own place.
        let mask = self.entries.len() - 1;
        let mut at = self.after(hole);
        while self.entries[at].child != NONE {
            let home = self.home(&self.entries[at].edge());
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(hole) & mask {
                self.entries[hole] = self.entries[at];
                hole = at;
            }
            at = self.after(at);
        }
        self.entries[hole] = FREE;
    }

    /// Gives back the memory of a table that is not used any more, a little at a time; `false` when
    /// all of it is gone.
    pub(super) fn shrink(&mut self, bytes: usize) -> bool {
        shrink(&mut self.entries, bytes)
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
            let (parent, level) = (next(40) as u32, next(40).to_string());
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
        let used = edges.entries.iter().filter(|entry| entry.child != NONE);
        assert_eq!(used.count(), model.len());
        assert!(edges.entries.len() < 4_096);
        for edge in model.keys() {
            edges.remove(edge);
        }
        assert!(edges.entries.iter().all(|entry| entry.child == NONE));
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
        let before = edges.entries.capacity();
        assert!(edges.shrink(1_200));
        assert!(edges.entries.capacity() < before);
        while edges.shrink(1_200) {}
        assert_eq!(edges.entries.capacity(), 0);
        assert!(!edges.shrink(1));
    }
}
