//! Filters with wildcards, by level.

use std::hash::{Hash, Hasher};

use hashbrown::{Equivalent, HashMap};

use super::subs::Slot;

const ROOT: u32 = 0;
const NONE: u32 = u32::MAX;

/// A trie in an arena. All edges are in one table, keyed by parent and level.
pub(super) struct Trie {
    nodes: Vec<Node>,
    free: Vec<u32>,
    edges: HashMap<Edge, u32>,
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

/// The text of a level: nearly all are short and need no memory of their own.
enum Level {
    Short(u8, [u8; SHORT]),
    #[allow(clippy::box_collection)] // one word, so that an edge is small
    Long(Box<String>),
}

const SHORT: usize = 14;

impl Level {
    fn new(text: &str) -> Self {
        let mut bytes = [0; SHORT];
        match (bytes.get_mut(..text.len()), u8::try_from(text.len())) {
            (Some(place), Ok(len)) => {
                place.copy_from_slice(text.as_bytes());
                Self::Short(len, bytes)
            }
            _ => Self::Long(Box::new(text.into())),
        }
    }

    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short(len, bytes) => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Self::Long(text) => text.as_bytes(),
        }
    }
}

struct Edge {
    parent: u32,
    level: Level,
}

impl PartialEq for Edge {
    fn eq(&self, other: &Self) -> bool {
        self.parent == other.parent && self.level.as_bytes() == other.level.as_bytes()
    }
}

impl Eq for Edge {}

impl Hash for Edge {
    fn hash<H: Hasher>(&self, state: &mut H) {
        EdgeRef {
            parent: self.parent,
            level: self.level.as_bytes(),
        }
        .hash(state);
    }
}

#[derive(Hash)]
struct EdgeRef<'a> {
    parent: u32,
    level: &'a [u8],
}

impl<'a> EdgeRef<'a> {
    fn new(parent: u32, level: &'a str) -> Self {
        Self {
            parent,
            level: level.as_bytes(),
        }
    }
}

impl Equivalent<Edge> for EdgeRef<'_> {
    fn equivalent(&self, edge: &Edge) -> bool {
        self.parent == edge.parent && self.level == edge.level.as_bytes()
    }
}

impl Default for Trie {
    fn default() -> Self {
        Self {
            nodes: vec![Node::new()],
            free: Vec::new(),
            edges: HashMap::new(),
        }
    }
}

impl Trie {
    fn child(&self, parent: u32, level: &str) -> Option<u32> {
        self.edges.get(&EdgeRef::new(parent, level)).copied()
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
                        self.nodes[at as usize].children += 1;
                        self.edges.insert(
                            Edge {
                                parent: at,
                                level: Level::new(level),
                            },
                            node,
                        );
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
                self.edges.remove(&EdgeRef::new(parent, level));
                self.nodes[parent as usize].children -= 1;
            }
            self.free.push(at);
            at = parent;
        }
        if self.edges.is_empty() && self.nodes[ROOT as usize].is_empty() {
            *self = Self::default();
        }
    }

    /// Collects the slots of all filters that match.
    pub(super) fn matches<'a>(&'a self, topic: &str, into: &mut Vec<&'a Slot>) {
        if self.nodes.len() == 1 && self.nodes[0].below.is_none() {
            return;
        }
        // Wildcards at the first level do not match topics that begin with $ (MQTT-4.7.2-1).
        self.descend(ROOT, Some(topic), !topic.starts_with('$'), into);
    }

    fn descend<'a>(
        &'a self,
        at: u32,
        rest: Option<&str>,
        wildcards: bool,
        into: &mut Vec<&'a Slot>,
    ) {
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
        let (level, rest) = match rest.split_once('/') {
            Some((level, rest)) => (level, Some(rest)),
            None => (rest, None),
        };
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
