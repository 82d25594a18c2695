//! Filters with wildcards, by level.

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
    below: Slot,
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
        self.children == 0 && self.plus == NONE && self.here.is_empty() && self.below.is_empty()
    }
}

#[derive(PartialEq, Eq, Hash)]
struct Edge {
    parent: u32,
    level: Box<str>,
}

#[derive(Hash)]
struct EdgeRef<'a> {
    parent: u32,
    level: &'a str,
}

impl Equivalent<Edge> for EdgeRef<'_> {
    fn equivalent(&self, edge: &Edge) -> bool {
        self.parent == edge.parent && *self.level == *edge.level
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
        self.edges.get(&EdgeRef { parent, level }).copied()
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
                "#" => return &mut self.nodes[at as usize].below,
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
                                level: level.into(),
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
        change(if below {
            &mut node.below
        } else {
            &mut node.here
        });
        while let Some((parent, level)) = path.pop() {
            if !self.nodes[at as usize].is_empty() {
                break;
            }
            if level == "+" {
                self.nodes[parent as usize].plus = NONE;
            } else {
                self.edges.remove(&EdgeRef { parent, level });
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
        if self.nodes.len() == 1 && self.nodes[0].below.is_empty() {
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
        if wildcards && !node.below.is_empty() {
            into.push(&node.below);
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
