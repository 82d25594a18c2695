//! Runs a script from its setup to the end of the broker.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::Barrier;
use std::sync::atomic::Ordering;

use super::engine::Engine;
use super::hooks::{Pending, Rights, StressHooks, give};
use super::lane::Lane;
use super::line::{Clock, lock};
use super::script::{Script, Step, TOPICS};
use super::watcher::Watcher;
use super::whole::Place;
use super::world::World;
use crate::model::{self, Check, Checks, Finding, History, Kind, NEVER, Sending};

/// What came of a script.
#[derive(Debug, Default)]
pub struct Report {
    /// What the broker did wrong.
    pub findings: Vec<Finding>,
    /// Messages that were published.
    pub published: u64,
    /// PUBLISH packets that clients received.
    pub received: u64,
    /// Connections that were left while their client connected again.
    pub takeovers: u64,
    /// Everything that happened, if something is wrong.
    pub trace: Vec<String>,
}

/// Rounds after which clients that still get something are taken for endless.
const ROUNDS: usize = 10_000;

/// Attempts of a client to connect at the end: hooks may refuse a few.
const ATTEMPTS: usize = 30;

/// Runs a script on a broker.
#[must_use]
pub fn run(script: &Script, place: Place, checks: &Checks) -> Report {
    let pending = Arc::new(Pending::default());
    let rights = Arc::new(Rights::new(script.peers.len()));
    let clock = Arc::new(Clock::default());
    // The broker's threads ask when they like: their answers come from a thread of its own.
    let (answers, answering) = match place {
        Place::Core => (None, None),
        _ => {
            let (answers, due) = std::sync::mpsc::channel();
            let thread =
                std::thread::spawn(move || due.iter().for_each(|(to, says)| give(to, says)));
            (Some(answers), Some(thread))
        }
    };

    let hooks = StressHooks::new(&script.access, &pending, &rights, &clock, answers);
    let deliberate = hooks.panics.clone();
    let sets = hooks.sets();
    let held: Vec<_> = sets.iter().map(Arc::downgrade).collect();
    let engine = match Engine::start(place, script, sets) {
        Ok(engine) => engine,
        Err(error) => {
            let finding = Finding::new(Check::Gauge, format!("the broker does not start: {error}"));
            return Report {
                findings: vec![finding],
                ..Report::default()
            };
        }
    };
    let ends_when_full = script.tight == Some(midge_core::Overflow::Disconnect);
    let access = script.access.clone();
    let world = World::new(engine, clock, access, pending, rights, ends_when_full);
    let mut lanes: Vec<Lane> = (0..script.lanes.len())
        .map(|number| Lane::new(script, number))
        .collect();
    let mut watchers = [Watcher::new(&world, "t/#"), Watcher::new(&world, "w/#")];

    for step in &script.setup {
        let (Step::Connect { peer, .. } | Step::Subscribe { peer, .. }) = step else {
            continue;
        };
        for lane in lanes.iter_mut().filter(|lane| lane.owns(*peer)) {
            lane.step(&world, step);
        }
    }
    drain(&world, &mut lanes, &mut watchers);
    all_at_once(&world, script, &mut lanes, &mut watchers);

    come_back(&world, &mut lanes);
    drain(&world, &mut lanes, &mut watchers);
    idle(&world, &mut lanes, &mut watchers);
    for lane in &mut lanes {
        lane.look_at_receipts(&world);
    }
    let mut report = Report {
        received: world.publishes.load(Ordering::Relaxed),
        takeovers: lanes.iter().map(|lane| lane.takeovers).sum(),
        ..Report::default()
    };
    retained(&world, &lanes, script);
    counters(&world, deliberate.load(Ordering::SeqCst));
    empty(&world, &mut lanes);

    let (findings, receipts, history) = facts(world, script, lanes, watchers);
    report.published = history.sendings().count() as u64;
    report.findings = findings;
    if held.iter().any(|set| set.strong_count() > 0) {
        report
            .findings
            .push(Finding::new(Check::Leak, "something still holds the hooks"));
    } else if let Some(answering) = answering {
        let _ = answering.join(); // it ends with the hooks
    }
    let checks = &checks.clone().without(left_out(place, script));
    report.findings.extend(receipts);
    report.findings.extend(model::check(&history, checks));
    report.findings.retain(|finding| checks.has(finding.check));
    if !report.findings.is_empty() {
        report
            .findings
            .iter_mut()
            .for_each(|finding| finding.explain(&history));
        report.trace = model::trace(&history, |_, _| true);
        let peers = script.peers.iter().enumerate().rev();
        let plans = peers.map(|(index, plan)| format!("c{index} is {plan:?}"));
        plans.for_each(|plan| report.trace.insert(0, plan));
        report.trace.insert(0, format!("{:?}", script.access));
    }
    report
}

/// What can't be told of a whole broker: its clock is not that of the model while it moves, bytes that a
/// client does not read are lost.
fn left_out(place: Place, script: &Script) -> &'static [Check] {
    match place {
        Place::Core => &[],
        _ if script.moves_clock => &[Check::Counter, Check::Expired],
        _ => &[Check::Counter],
    }
}

/// All threads do their part of the script.
fn all_at_once(world: &World, script: &Script, lanes: &mut [Lane], watchers: &mut [Watcher]) {
    let barrier = Barrier::new(lanes.len());

    std::thread::scope(|scope| {
        let mut work = lanes.iter_mut().zip(&script.lanes);
        let first = work.next();
        let mut threads = Vec::new();
        for (lane, steps) in work {
            let barrier = &barrier;
            threads.push(scope.spawn(move || {
                barrier.wait();
                guarded(world, || lane.run(world, steps));
            }));
        }
        barrier.wait();
        if let Some((lane, steps)) = first {
            guarded(world, || {
                for part in steps.chunks(16) {
                    lane.run(world, part);
                    watchers.iter_mut().for_each(|watcher| watcher.read(world));
                }
            });
        }
        // Not the scope alone: what a thread keeps for itself is gone when it has been joined.
        for thread in threads {
            let _ = thread.join(); // its panics are findings already
        }
    });
}

/// A panic that reaches the threads of a script is a finding.
fn guarded(world: &World, work: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let what = text.unwrap_or_else(|| "a panic without text".into());
        world.find(Finding::new(Check::Panic, what));
    }
}

/// Every client is connected again.
fn come_back(world: &World, lanes: &mut [Lane]) {
    world.pending.answer_all();
    while world.serve(0) {}
    for lane in lanes {
        for peer in &mut lane.peers {
            for _ in 0..ATTEMPTS {
                if peer.connected {
                    break;
                }
                peer.connect(world, false, None);
            }
        }
    }
}

/// Everything that is on its way arrives and is acknowledged.
fn drain(world: &World, lanes: &mut [Lane], watchers: &mut [Watcher]) {
    for _ in 0..ROUNDS {
        let mut progress = world.pending.answer_all();
        for peer in lanes.iter_mut().flat_map(|lane| &mut lane.peers) {
            progress |= peer.sync(world, false);
            progress |= peer.acknowledge(world, usize::MAX);
            if peer.line.is_none() && !peer.history.sessions.is_empty() {
                peer.connect(world, false, None);
                progress = true;
            }
        }
        watchers.iter_mut().for_each(|watcher| watcher.read(world));
        if !progress {
            return;
        }
    }

    world.find(Finding::new(
        Check::Stuck,
        "clients get something without end",
    ));
}

/// Nothing moves any more: nothing may wait.
fn idle(world: &World, lanes: &mut [Lane], watchers: &mut [Watcher]) {
    watchers
        .iter_mut()
        .for_each(|watcher| watcher.settle(world));

    let sessions = world.engine.sessions();
    for peer in lanes.iter_mut().flat_map(|lane| &mut lane.peers) {
        let index = peer.index;
        let find = |what: String| world.find(Finding::new(Check::Stuck, what).client(index));
        let Some(line) = &mut peer.line else { continue };
        let view = sessions
            .iter()
            .find(|view| *view.client_id == *peer.history.client_id);
        match view {
            None => {
                let what = format!("c{index} is connected and has no session");
                world.find(Finding::new(Check::Gauge, what).client(index));
            }
            Some(view) if !view.connected => {
                let what = format!("c{index} is connected, its session is not");
                world.find(Finding::new(Check::Gauge, what).client(index));
            }
            Some(view) if view.queued + view.inflight > 0 => {
                find(format!(
                    "{} queued, {} in flight for c{index}",
                    view.queued, view.inflight
                ));
            }
            Some(_) => {}
        }

        let silent = line.silent_output();
        if silent > 0 {
            find(format!(
                "{silent} bytes of output for c{index} without a notification"
            ));
        }
        if !peer.outgoing.is_empty() {
            find(format!(
                "{:?} of c{index} are not answered",
                peer.outgoing.keys()
            ));
        }
    }
}

/// What is stored is what the client that watched all the time saw last.
fn retained(world: &World, lanes: &[Lane], script: &Script) {
    let watcher = lanes
        .iter()
        .flat_map(|lane| &lane.peers)
        .find(|peer| peer.index == 0);
    let Some(watcher) = watcher.filter(|peer| peer.connected && peer.attempts == 1) else {
        return;
    };

    for topic in TOPICS.iter().filter(|topic| topic.starts_with("r/")) {
        let seen = watcher
            .history
            .deliveries
            .iter()
            .rfind(|delivery| delivery.topic == *topic);
        let stored = world.engine.retained_on(topic, &world.clock);
        let expires = seen.is_some_and(|seen| seen.expiry.is_some());
        let seen = seen.map(|seen| seen.name);
        // What does not fit may be missing; an old one must not stay.
        let missing = script.tight.is_some() && stored.is_none();
        if seen != stored && !expires && !missing {
            let what = format!("{topic}: stored is {stored:?}, seen last was {seen:?}");
            let mut finding = Finding::new(Check::Retained, what).client(0);
            finding.names.extend(seen.into_iter().chain(stored));
            world.find(finding);
        }
    }
}

fn counters(world: &World, deliberate: u64) {
    let stats = world.engine.stats(&world.clock);
    let received = world.publishes.load(Ordering::Relaxed);
    if stats.dropped_total() > 0 {
        let dropped = midge_core::DropReason::ALL
            .iter()
            .filter(|reason| stats.dropped_by(**reason) > 0);
        let dropped: Vec<_> = dropped
            .map(|reason| format!("{} {}", stats.dropped_by(*reason), reason.name()))
            .collect();
        world.tell(format!("dropped: {}", dropped.join(", ")));
    }

    if stats.publish_sent != received {
        let what = format!(
            "publish_sent is {}, clients received {received}",
            stats.publish_sent
        );
        world.find(Finding::new(Check::Counter, what));
    }

    if stats.panics != deliberate {
        let what = format!(
            "panics is {}, hooks panicked {deliberate} times",
            stats.panics
        );
        world.find(Finding::new(Check::Panic, what));
    }
}

/// Every session is ended: nothing is left.
fn empty(world: &World, lanes: &mut [Lane]) {
    for peer in lanes.iter_mut().flat_map(|lane| &mut lane.peers) {
        // Known facts end here; what follows is only about gauges.
        if let Some(line) = peer.line.take() {
            line.close(&mut Vec::new(), true);
        }
    }

    for peer in lanes.iter().flat_map(|lane| &lane.peers) {
        world
            .engine
            .clear_session(&peer.history.client_id, &world.clock);
    }

    let stats = world.engine.stats(&world.clock);
    for (name, value) in [
        ("connections", stats.connections),
        ("clients", stats.clients),
        ("sessions", stats.sessions),
        ("subscriptions", stats.subscriptions),
        ("shared_subscriptions", stats.shared_subscriptions),
        ("queued_messages", stats.queued_messages),
        ("queued_bytes", stats.queued_bytes),
    ] {
        // A broker's tasks end a little later; they are counted when it has stopped.
        if value != 0 && (world.engine.is_core() || name != "connections") {
            world.find(Finding::new(
                Check::Gauge,
                format!("{name} is {value} at the end"),
            ));
        }
    }
}

/// Collects the facts, and ends the broker.
fn facts(
    world: World,
    script: &Script,
    mut lanes: Vec<Lane>,
    watchers: [Watcher; 2],
) -> (Vec<Finding>, Vec<Finding>, History) {
    let mut history = History {
        access: world.access.clone(),
        tick: world.clock.now().0,
        lossy: script.tight.is_some(),
        ..History::default()
    };

    for peer in lanes.iter_mut().flat_map(|lane| &mut lane.peers) {
        peer.note_overs(&world);
    }

    let mut peers: Vec<_> = Vec::new();
    for lane in &mut lanes {
        history.rights.append(&mut lane.rights);
        history.others.append(&mut lane.sent);
        peers.append(&mut lane.peers);
    }

    peers.sort_by_key(|peer| peer.index);
    for peer in peers {
        history.others.extend(wills(&peer.history, peer.index));
        history.clients.push(peer.history);
    }

    history
        .clients
        .extend(watchers.into_iter().map(Watcher::end));
    history.events = std::mem::take(&mut *lock(&world.events));

    let receipts = lanes
        .iter()
        .flat_map(|lane| lane.check_receipts(&history))
        .collect();
    drop(lanes);

    let mut findings = std::mem::take(&mut *lock(&world.findings));
    let World { engine, clock, .. } = world;
    if let Some(what) = engine.dispose(&clock) {
        findings.push(Finding::new(Check::Leak, what));
    }

    (findings, receipts, history)
}

/// The wills of a client as messages that may be published.
fn wills(client: &model::ClientHistory, index: usize) -> Vec<Sending> {
    let connections = client.connections.iter();
    let wills = connections.filter_map(|connection| {
        let will = connection.will.as_ref()?;
        Some(Sending {
            name: will.name,
            topic: will.topic.clone(),
            retain: false,
            expiry: None,
            from: if connection.up == NEVER {
                connection.at
            } else {
                connection.down
            },
            tick: 0,
            done: None,
            code: 0,
            over: NEVER,
            origin: Some(index),
        })
    });

    debug_assert!(wills.clone().all(|will| will.name.kind == Kind::Will));
    wills.collect()
}
