//! Filters with wildcards, by level.

use hashbrown::{Equivalent, HashMap};

use super::subs::Slot;

const ROOT: u32 = 0;
const NONE: u32 = u32::MAX;

/// A trie in an arena. All edges are in two tables, keyed by parent and level.
pub(super) struct Trie {
    nodes: Vec<Node>,
    free: Vec<u32>,
    edges: HashMap<Edge, u32>,
    /// Those of levels that do not fit into an [`Edge`]; they are rare.
    long_edges: HashMap<LongEdge, u32>,
}

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

/// A parent and a level of up to 15 bytes: the bytes, then their number. It is compared and hashed
/// without a loop, and has nothing elsewhere in memory.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Edge {
    level: [u64; 2],
    parent: u32,
}

impl Edge {
    fn new(parent: u32, level: &str) -> Option<Self> {
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

#[derive(PartialEq, Eq, Hash)]
struct LongEdge {
    parent: u32,
    level: Box<str>,
}

#[derive(Hash)]
struct LongEdgeRef<'a> {
    parent: u32,
    level: &'a str,
}

impl Equivalent<LongEdge> for LongEdgeRef<'_> {
    fn equivalent(&self, edge: &LongEdge) -> bool {
        self.parent == edge.parent && *self.level == *edge.level
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
            edges: HashMap::new(),
            long_edges: HashMap::new(),
        }
    }
}

impl Trie {
    fn child(&self, parent: u32, level: &str) -> Option<u32> {
        let found = match Edge::new(parent, level) {
            Some(edge) => self.edges.get(&edge),
            None => self.long_edges.get(&LongEdgeRef { parent, level }),
        };
        found.copied()
    }

    fn connect(&mut self, parent: u32, level: &str, child: u32) {
        match Edge::new(parent, level) {
            Some(edge) => self.edges.insert(edge, child),
            None => {
                let level = level.into();
                self.long_edges.insert(LongEdge { parent, level }, child)
            }
        };
        self.nodes[parent as usize].children += 1;
    }

    fn disconnect(&mut self, parent: u32, level: &str) {
        match Edge::new(parent, level) {
            Some(edge) => self.edges.remove(&edge),
            None => self.long_edges.remove(&LongEdgeRef { parent, level }),
        };
        self.nodes[parent as usize].children -= 1;
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

    /// Changes the slot of a filter and removes the nodes that have become empty.
    pub(super) fn edit(&mut self, filter: &str, change: impl FnOnce(&mut Slot)) {
        let mut path: Vec<(u32, &str)> = Vec::new();
        let mut at = ROOT;
        let mut below = false;
        for level in filter.split('/') {
            if level == "#" {
                below = true;
                break;
            }
            let next = match level {
                "+" => Some(self.nodes[at as usize].plus).filter(|node| *node != NONE),
                level => self.child(at, level),
            };
            let Some(next) = next else { return };
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
        if self.nodes[ROOT as usize].is_empty() {
            *self = Self::default();
        }
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
}
