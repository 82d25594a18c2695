//! The same random script on several ways through the broker.
//!
//! A message may leave as it came, in a run of others, or step by step with all decisions made anew;
//! which way it takes must make no difference. A script follows from a seed and runs once on
//! each [`Way`], on one thread and with a clock of its own. Every client gets the same bytes, observers
//! the same events, the counters have the same values, or [`differs`] says where they part.
//!
//! On the way that shows everything, each message and receiver also has exactly one fate: see
//! [`fates`](self::Fates).

mod fates;
mod peer;
mod steps;
mod world;

use std::fmt::Write;

pub use fates::Fates;

use world::World;

/// A way through the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// No observer: messages may leave in runs, and as they came.
    Short,
    /// The messages of each client are counted, against a rate out of reach: step by step.
    Counted,
    /// An observer wants to see each message published and delivered: step by step.
    Watched,
    /// Sessions are stored: QoS 1 and 2 step by step, acknowledgements one by one.
    Stored,
}

/// What a script has come by, and what came of it.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    entries: Vec<Entry>,
    /// Packets of PUBLISH that clients sent.
    pub published: u64,
    /// Messages that clients got.
    pub received: u64,
    /// Messages that were dropped.
    pub dropped: u64,
    /// What went wrong with the fate of a message.
    pub fault: Option<String>,
    /// The script has so little room that all of it may be taken.
    is_narrow: bool,
    /// The script ended early: see [`World::step`].
    is_cut: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    /// What the script does next. Not compared: it is there to be told.
    Step(String),
    /// Bytes that a client got on one of its connections.
    Bytes(usize, Vec<u8>),
    /// What observers, counters and subscriptions of the host say.
    Fact(String),
}

impl Trace {
    fn step(&mut self, what: impl Into<String>) {
        self.entries.push(Entry::Step(what.into()));
    }

    fn fact(&mut self, what: impl Into<String>) {
        self.entries.push(Entry::Fact(what.into()));
    }

    /// Everything but the steps.
    fn results(&self) -> Vec<(usize, &Entry)> {
        let entries = self.entries.iter().enumerate();
        entries
            .filter(|(_, entry)| !matches!(entry, Entry::Step(_)))
            .collect()
    }

    /// What was done before the entry at `at`.
    fn steps_before(&self, at: usize) -> String {
        let steps = self.entries.iter().take(at);
        let steps: Vec<&str> = steps
            .filter_map(|entry| match entry {
                Entry::Step(what) => Some(what.as_str()),
                _ => None,
            })
            .collect();
        let from = steps.len().saturating_sub(TOLD);
        let mut told = String::new();
        for step in steps
            .iter()
            .take(1)
            .chain(&steps[from.max(1).min(steps.len())..])
        {
            let _ = writeln!(told, "  {step}");
        }
        told
    }
}

/// Steps that are told before the one that shows a difference, besides the first.
const TOLD: usize = 40;

/// Runs the script of a seed on one way.
#[must_use]
pub fn run(seed: u64, steps: usize, way: Way) -> Trace {
    let mut world = World::new(seed, way);
    for _ in 0..steps {
        world.step();
    }
    world.end()
}

/// Where the ways of a script part, if they do, and what the script did before.
#[must_use]
pub fn differs(seed: u64, steps: usize) -> (Trace, Option<String>) {
    let counted = run(seed, steps, Way::Counted);
    for way in [Way::Short, Way::Watched, Way::Stored] {
        let other = run(seed, steps, way);
        // What an observer and a store hold takes room that is missing for others.
        let is_alike = way == Way::Short || !counted.is_narrow;
        let difference = is_alike.then(|| part(&counted, &other, way)).flatten();
        let fault = (other.fault.as_ref())
            .map(|fault| format!("{fault}\n{}", other.steps_before(other.entries.len())));
        if let Some(told) = fault.or(difference) {
            return (counted, Some(told));
        }
    }
    (counted, None)
}

fn part(counted: &Trace, other: &Trace, way: Way) -> Option<String> {
    let (mine, its) = (counted.results(), other.results());
    let length = match counted.is_cut || other.is_cut {
        true => mine.len().min(its.len()),
        false => mine.len().max(its.len()),
    };

    let at = (0..length).find(|at| {
        let (mine, its) = (mine.get(*at), its.get(*at));
        mine.map(|(_, entry)| entry) != its.map(|(_, entry)| entry)
    })?;
    let (place, mine) = mine
        .get(at)
        .map_or((counted.entries.len(), None), |(place, entry)| {
            (*place, Some(*entry))
        });

    let its = its.get(at).map(|(_, entry)| *entry);
    Some(format!(
        "{:?}: {}\n{way:?}: {}\nafter\n{}",
        Way::Counted,
        tell(mine, its),
        tell(its, mine),
        counted.steps_before(place)
    ))
}

/// One side of a difference, from a little before it on.
fn tell(entry: Option<&Entry>, other: Option<&Entry>) -> String {
    match (entry, other) {
        (Some(Entry::Bytes(client, bytes)), Some(Entry::Bytes(_, others))) => {
            let same = bytes.iter().zip(others).take_while(|(a, b)| a == b).count();
            let from = same.saturating_sub(16);
            let some: Vec<u8> = bytes.iter().skip(from).take(64).copied().collect();
            format!(
                "client {client}, {} bytes, from {from}: {some:02x?}",
                bytes.len()
            )
        }
        (Some(entry), _) => format!("{entry:?}").chars().take(2000).collect(),
        (None, _) => "nothing more".into(),
    }
}
