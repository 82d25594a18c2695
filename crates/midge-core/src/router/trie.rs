//! Filters with wildcards, by level.

use super::edges::{Edge, Edges, shrink};
use super::subs::Slot;
use crate::budget::Charge;
use crate::parts::{Keyed, Parts};
use crate::steps;

const ROOT: u32 = 0;
/// No node.
pub(super) const NONE: u32 = u32::MAX;
/// Nodes from which on an emptied trie is given back bit by bit.
const MANY: usize = 16 * 1024;
/// Bytes given back in one go.
const SHRINK: usize = 1024 * 1024;

/// A trie in an arena. All edges are in two tables, keyed by parent and level.
pub(super) struct Trie {
    nodes: Vec<Node>,
    free: Vec<u32>,
    edges: Edges,
    /// Levels that do not fit into an [`Edge`]; they are rare.
    long: Parts<LongLevel>,
    /// The number of the next long level.
    next_long: u64,
    /// Bytes of the long levels, and the most of them there have been.
    long_bytes: usize,
    most_long: usize,
    /// For nodes and edges, which stay when filters go.
    charge: Charge,
}

/// Bytes of a node with its edge, in lists that may be half empty, or less.
pub(super) const NODE: usize = 2 * size_of::<Node>() + 112;
/// The same of a long level, without its text.
const LONG: usize = 3 * size_of::<LongLevel>() + 32;

#[derive(Default)]
struct Node {
    /// Filters that end here.
    here: Slot,
    /// Filters that end here with `/#` (or are `#`, at the root).
    below: Option<Box<Slot>>,
    /// Node for the level `+`.
    plus: u32,
    children: u32,
}

impl Node {
    fn new() -> Self {
        Self {
            plus: NONE,
            ..Self::default()
        }
    }

    fn is_empty(&self) -> bool {
        self.children == 0 && self.plus == NONE && self.here.is_empty() && self.below.is_none()
    }
}

/// A long level, and the number that stands for it in the edges.
struct LongLevel {
    text: Box<str>,
    number: u64,
    edges: usize,
}

impl Keyed for LongLevel {
    fn key(&self) -> &str {
        &self.text
    }
}

/// The slots that match a topic: mostly one, which needs no list.
#[derive(Default)]
pub(super) struct Found<'a> {
    pub(super) first: Option<&'a Slot>,
    pub(super) more: Vec<&'a Slot>,
}

impl<'a> Found<'a> {
    pub(super) fn push(&mut self, slot: &'a Slot) {
        if self.first.is_none() {
            self.first = Some(slot);
        } else {
            self.more.push(slot);
        }
    }
}

/// The first level of a topic or filter, and what follows.
fn split(text: &str) -> (&str, Option<&str>) {
    match text.bytes().position(|byte| byte == b'/') {
        Some(at) => (text.get(..at).unwrap_or_default(), text.get(at + 1..)),
        None => (text, None),
    }
}

impl Default for Trie {
    fn default() -> Self {
        Self {
            nodes: vec![Node::new()],
            free: Vec::new(),
            edges: Edges::default(),
            long: Parts::default(),
            next_long: 0,
            long_bytes: 0,
            most_long: 0,
            charge: Charge::NONE,
        }
    }
}

/// The remains of a large trie that has become empty.
pub(crate) struct EmptiedTrie {
    nodes: Vec<Node>,
    free: Vec<u32>,
    edges: Edges,
    _charge: Charge,
}

impl EmptiedTrie {
    /// Gives back some of its memory: all at once would stop the thread for long. `false` if none
    /// is left.
    pub(crate) fn shrink(&mut self) -> bool {
        shrink(&mut self.nodes, SHRINK)
            || shrink(&mut self.free, SHRINK)
            || self.edges.shrink(SHRINK)
    }
}

impl Trie {
    #[inline]
    fn child(&self, parent: u32, level: &str) -> Option<u32> {
        match Edge::new(parent, level) {
            Some(edge) => self.edges.get(&edge),
            None => self.edges.get(&self.long_edge(parent, level)?),
        }
    }

    #[cold]
    fn long_edge(&self, parent: u32, level: &str) -> Option<Edge> {
        let long = self.long.get(level)?;
        Some(Edge::long(parent, long.number))
    }

    fn connect(&mut self, parent: u32, level: &str, child: u32) {
        let edge = match Edge::new(parent, level) {
            Some(edge) => edge,
            None => Edge::long(parent, self.use_long(level)),
        };
        self.edges.insert(&edge, child);
        self.nodes[parent as usize].children += 1;
    }

    /// The number of a long level that one more edge has.
    fn use_long(&mut self, level: &str) -> u64 {
        if let Some(known) = self.long.get_mut(level) {
            known.edges += 1;
            return known.number;
        }
        let number = self.next_long;
        self.next_long += 1;
        self.long_bytes += level.len();
        self.long.insert(LongLevel {
            text: level.into(),
            number,
            edges: 1,
        });
        number
    }

    fn disconnect(&mut self, parent: u32, level: &str) {
        match Edge::new(parent, level) {
            Some(edge) => self.edges.remove(&edge),
            None => self.disconnect_long(parent, level),
        }
        self.nodes[parent as usize].children -= 1;
    }

    fn disconnect_long(&mut self, parent: u32, level: &str) {
        if let Some(edge) = self.long_edge(parent, level) {
            self.edges.remove(&edge);
        }
        if let Some(long) = self.long.get_mut(level) {
            long.edges -= 1;
            if long.edges == 0 {
                self.long_bytes -= level.len();
                self.long.remove(level);
            }
        }
    }

    pub(super) fn new(charge: Charge) -> Self {
        Self {
            charge,
            ..Self::default()
        }
    }

    /// Charges nodes and edges as they are after a change.
    pub(super) fn recharge(&mut self) {
        self.most_long = self.most_long.max(self.long.len());
        let long = self.most_long * LONG + self.long_bytes;
        let bytes = (self.nodes.len() - 1) * NODE + long;
        if bytes != self.charge.bytes() {
            self.charge.set(bytes);
        }
    }

    fn new_node(&mut self) -> u32 {
        if let Some(free) = self.free.pop() {
            self.nodes[free as usize] = Node::new();
            return free;
        }
        self.nodes.push(Node::new());
        (self.nodes.len() - 1) as u32
    }

    /// The slot of a filter, made if it is not there.
    pub(super) fn slot_mut(&mut self, filter: &str) -> &mut Slot {
        let mut at = ROOT;
        for level in filter.split('/') {
            steps::add(1);
            at = match level {
                "#" => return self.nodes[at as usize].below.get_or_insert_default(),
                "+" => match self.nodes[at as usize].plus {
                    NONE => {
                        let node = self.new_node();
                        self.nodes[at as usize].plus = node;
                        node
                    }
                    node => node,
                },
                level => match self.child(at, level) {
                    Some(node) => node,
                    None => {
                        let node = self.new_node();
                        self.connect(at, level, node);
                        node
                    }
                },
            };
        }

        &mut self.nodes[at as usize].here
    }

    /// Changes the slot of a filter and removes the nodes that have become empty. What is left of a
    /// large trie that is empty now comes back.
    pub(super) fn edit(
        &mut self,
        filter: &str,
        change: impl FnOnce(&mut Slot),
    ) -> Option<EmptiedTrie> {
        let mut path: Vec<(u32, &str)> = Vec::new();
        let mut at = ROOT;
        let mut below = false;
        for level in filter.split('/') {
            steps::add(1);
            if level == "#" {
                below = true;
                break;
            }
            let next = match level {
                "+" => Some(self.nodes[at as usize].plus).filter(|node| *node != NONE),
                level => self.child(at, level),
            };
            let next = next?;
            path.push((at, level));
            at = next;
        }

        let node = &mut self.nodes[at as usize];
        if !below {
            change(&mut node.here);
        } else if let Some(slot) = &mut node.below {
            change(slot);
            if slot.is_empty() {
                node.below = None;
            }
        }

        while let Some((parent, level)) = path.pop() {
            if !self.nodes[at as usize].is_empty() {
                break;
            }
            if level == "+" {
                self.nodes[parent as usize].plus = NONE;
            } else {
                self.disconnect(parent, level);
            }
            self.free.push(at);
            at = parent;
        }

        if !self.nodes[ROOT as usize].is_empty() {
            return None;
        }

        let empty = Self::new(self.charge.another());
        let old = std::mem::replace(self, empty);
        (old.nodes.len() > MANY).then_some(EmptiedTrie {
            nodes: old.nodes,
            free: old.free,
            edges: old.edges,
            _charge: old.charge,
        })
    }

    /// Collects the slots of all filters that match.
    pub(super) fn matches<'a>(&'a self, topic: &str, into: &mut Found<'a>) {
        if self.nodes.len() == 1 && self.nodes[0].below.is_none() {
            return;
        }
        // Wildcards at the first level do not match topics that begin with $ (MQTT-4.7.2-1).
        self.descend(ROOT, Some(topic), !topic.starts_with('$'), into);
    }

    fn descend<'a>(&'a self, at: u32, rest: Option<&str>, wildcards: bool, into: &mut Found<'a>) {
        steps::add(1);

        let node = &self.nodes[at as usize];
        if wildcards && let Some(below) = &node.below {
            into.push(below);
        }

        let Some(rest) = rest else {
            if !node.here.is_empty() {
                into.push(&node.here);
            }
            return;
        };

        let (level, rest) = split(rest);
        if wildcards && node.plus != NONE {
            self.descend(node.plus, rest, true, into);
        }
        if node.children > 0
            && let Some(child) = self.child(at, level)
        {
            self.descend(child, rest, true, into);
        }
    }

    #[cfg(test)]
    pub(super) fn long_levels(&self) -> usize {
        self.long.len()
    }
}
