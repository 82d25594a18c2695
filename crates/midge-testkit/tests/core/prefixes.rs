//! Every prefix: a scenario's batches are cut after each one in turn, a new hub starts from what is
//! left, and clients that keep to the specification go on.
//!
//! Nothing that was acknowledged is missing then, nothing comes twice at QoS 2, the messages of one
//! publisher come in order, and no session is back that a CONNACK has ended.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use midge_core::{
    ClientInfo, HookSet, Hooks, Hub, MemoryStore, MessageRef, Op, OwnedMessage, Position,
    Recovered, Store, Tick,
};
use midge_testkit::{Connect, Kind, Packet, Publish, Subscribe, Will, ack};
use proptest::prelude::*;

use crate::world::{Client, START, hub_with, stored_hub};

/// A store that keeps the batches, and commits them when it is told.
#[derive(Default)]
struct Batches {
    applied: Mutex<Vec<Vec<Op>>>,
    committed: AtomicU64,
    notify: Mutex<Option<Arc<dyn Fn() + Send + Sync>>>,
}

impl Batches {
    fn applied(&self) -> usize {
        self.applied.lock().unwrap().len()
    }

    fn committed_now(&self) -> usize {
        usize::try_from(self.committed.load(Ordering::Acquire)).unwrap()
    }

    /// Commits all but the last `behind`.
    fn commit(&self, behind: usize) {
        let upto = self.applied().saturating_sub(behind) as u64;
        self.committed.fetch_max(upto, Ordering::AcqRel);
        let notify = self.notify.lock().unwrap().clone();
        if let Some(notify) = notify {
            notify();
        }
    }

    /// A store with the first `count` batches.
    fn prefix(&self, count: usize) -> Arc<MemoryStore> {
        let store = MemoryStore::new();
        for batch in &self.applied.lock().unwrap()[..count] {
            store.apply(batch.clone(), START);
        }
        store
    }
}

impl Store for Batches {
    fn load(&self) -> Recovered {
        Recovered::default()
    }

    fn apply(&self, batch: Vec<Op>, _: Tick) -> Position {
        let mut applied = self.applied.lock().unwrap();
        applied.push(batch);
        applied.len() as u64
    }

    fn committed(&self) -> Position {
        self.committed.load(Ordering::Acquire)
    }

    fn on_commit(&self, notify: Arc<dyn Fn() + Send + Sync>) {
        *self.notify.lock().unwrap() = Some(notify);
    }
}

/// Hooks that decide per receiver, while whose answer is awaited the hub hands over what is recorded.
#[derive(Default)]
struct Cuts(OnceLock<Weak<Hub>>);

impl Hooks for Cuts {
    fn set(&self) -> HookSet {
        HookSet::AUTHORIZE_RECEIVE
    }

    fn authorize_receive(&self, _: &ClientInfo, _: &MessageRef<'_>) -> bool {
        let hub = self.0.get().and_then(Weak::upgrade).expect("a hub");
        let mut kept = OwnedMessage::new("kept", "by the host");
        kept.retain = true;
        hub.set_retained(&kept, START).expect("kept");
        true
    }
}

/// A hub that resumes from a store.
fn start(store: Arc<dyn Store>, asks: bool) -> Arc<Hub> {
    if !asks {
        return stored_hub(store);
    }
    let hooks = Arc::new(Cuts::default());
    let hub = hub_with(|_| (), Some(hooks.clone()), Some(store));
    hooks.0.set(Arc::downgrade(&hub)).expect("one hub");
    hub
}

/// The name of a message: its publisher and its number there.
type Name = (usize, u32);

/// What a client keeps that loses nothing itself: its session state, and what its user has seen.
#[derive(Clone, Debug, Default)]
struct Memory {
    /// Messages that it has published and the broker has not finished: by packet identifier, with the
    /// QoS, and whether PUBREC has come.
    unfinished: BTreeMap<u16, (Name, u8, bool)>,
    /// Packet identifiers of QoS 2 messages that it has received and not been told to forget.
    known: BTreeSet<u16>,
    seen: Vec<(Name, u8)>,
    next: u32,
    /// A CONNACK has said that there was no session.
    begun_anew: bool,
    /// What has come since then.
    since: BTreeSet<Name>,
    subscribed: bool,
}

/// A client, connected or not.
struct Side {
    memory: Memory,
    client: Option<Client>,
    /// CONNACK has come: nothing is published before, because it would be sent a second time then.
    greeted: bool,
    /// Acknowledgements that it has not sent yet.
    owed: VecDeque<Vec<u8>>,
    connect: Connect,
}

/// What has become known outside the broker.
#[derive(Clone, Debug, Default)]
struct Outside {
    /// Messages that were acknowledged, and at which QoS.
    acknowledged: BTreeMap<Name, u8>,
    /// For each receiver, the messages that it must get: published when its subscription was
    /// acknowledged.
    due: Vec<BTreeSet<Name>>,
    /// For each receiver, the messages that were finished before its session began anew.
    past: Vec<BTreeSet<Name>>,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A publisher sends a message.
    Publish {
        publisher: usize,
        qos: u8,
        retain: bool,
    },
    /// A receiver sends the acknowledgements that it owes, all but some.
    Acknowledge { receiver: usize, but: usize },
    /// A client's connection is lost, and it comes back.
    Reconnect { client: usize },
    /// A client connects while it is connected.
    TakeOver { client: usize },
    /// A connection is lost.
    Lose { client: usize },
    /// A receiver begins anew.
    CleanStart { receiver: usize },
    /// The store commits, all but some batches.
    Commit { behind: usize },
}

const PUBLISHERS: usize = 2;
/// The last two share one subscription.
const RECEIVERS: usize = 4;
const SHARING: usize = 2;

fn receiver(number: usize) -> usize {
    PUBLISHERS + number
}

impl Side {
    fn new(client: usize) -> Self {
        let name = format!("client {client}");
        let connect = Connect::v5(&name).clean(false).expiry(1000);
        let connect = match client {
            // The end of its session publishes it.
            4 => connect.will(Will::new("will", "").qos(1).delay(500)),
            _ => connect,
        };
        Self {
            memory: Memory::default(),
            client: None,
            greeted: false,
            owed: VecDeque::new(),
            connect,
        }
    }

    fn resumed(memory: &Memory, client: usize) -> Self {
        Self {
            memory: memory.clone(),
            ..Self::new(client)
        }
    }

    /// Connects; CONNACK comes when it may.
    fn connect(&mut self, hub: &Arc<Hub>, clean: bool) {
        self.owed.clear();
        let mut client = Client::accept(hub);
        client.say(self.connect.clone().clean(clean).bytes());
        self.client = Some(client);
        self.greeted = false;
        if clean {
            self.memory.begun_anew = false;
        }
    }

    fn lose(&mut self) {
        if let Some(client) = self.client.take() {
            client.close();
        }
        self.owed.clear();
    }

    fn publish(&mut self, name: Name, qos: u8, retain: bool) {
        let Some(client) = &mut self.client else {
            return;
        };
        let packet_id = (1..).find(|id| !self.memory.unfinished.contains_key(id));
        let packet_id = packet_id.expect("an identifier");
        self.memory.unfinished.insert(packet_id, (name, qos, false));
        client.say(message(name, qos, packet_id, retain).bytes());
    }
}

fn message((publisher, number): Name, qos: u8, packet_id: u16, retain: bool) -> Publish {
    let text = format!("{publisher} {number}");
    let message = Publish::new(format!("t/{publisher}"), text).qos(qos, packet_id);
    if retain { message.retain() } else { message }
}

/// The message of a payload; `None` for a will.
fn name(text: &str) -> Option<Name> {
    let (publisher, number) = text.split_once(' ')?;
    Some((publisher.parse().ok()?, number.parse().ok()?))
}

/// All clients of a hub.
struct Play {
    hub: Arc<Hub>,
    sides: Vec<Side>,
    outside: Outside,
    /// Owed acknowledgements are sent at once.
    prompt: bool,
}

impl Play {
    fn new(hub: Arc<Hub>) -> Self {
        let outside = Outside {
            due: vec![BTreeSet::new(); RECEIVERS],
            past: vec![BTreeSet::new(); RECEIVERS],
            ..Outside::default()
        };
        Self {
            hub,
            sides: (0..PUBLISHERS + RECEIVERS).map(Side::new).collect(),
            outside,
            prompt: false,
        }
    }

    /// Lets clients read and answer until nothing more comes.
    fn settle(&mut self) {
        loop {
            let mut came = false;
            for client in 0..self.sides.len() {
                let Some(connected) = &mut self.sides[client].client else {
                    continue;
                };
                for packet in connected.read() {
                    came = true;
                    self.heard(client, packet);
                }
                if self.prompt {
                    came |= self.acknowledge(client, 0);
                }
            }
            if !came {
                return;
            }
        }
    }

    fn acknowledge(&mut self, client: usize, but: usize) -> bool {
        let side = &mut self.sides[client];
        let Some(connected) = &mut side.client else {
            return false;
        };
        let mut sent = false;
        while side.owed.len() > but
            && let Some(answer) = side.owed.pop_front()
        {
            connected.say(answer);
            sent = true;
        }
        sent
    }

    fn say(&mut self, client: usize, bytes: &[u8]) {
        if let Some(connected) = &mut self.sides[client].client {
            connected.say(bytes);
        }
    }

    fn heard(&mut self, client: usize, packet: Packet) {
        match packet {
            Packet::Connack(connack) => self.connected(client, connack.session_present),
            Packet::Suback(_) => self.sides[client].memory.subscribed = true,
            Packet::Publish(message) => {
                let memory = &mut self.sides[client].memory;
                let text = message.text();
                let is_new = message.qos < 2 || memory.known.insert(message.id);
                if let Some(name) = name(&text).filter(|_| is_new) {
                    memory.seen.push((name, message.qos));
                    memory.since.insert(name);
                }
                let answer = match message.qos {
                    0 => return,
                    1 => Kind::Puback,
                    _ => Kind::Pubrec,
                };
                self.sides[client].owed.push_back(ack(answer, message.id));
            }
            Packet::Ack(answer) => self.answered(client, answer.kind, answer.id),
            _ => {}
        }
    }

    fn connected(&mut self, client: usize, present: bool) {
        let side = &mut self.sides[client];
        side.greeted = true;
        if !present {
            side.memory.known.clear();
            side.memory.begun_anew = true;
            side.memory.since.clear();
            side.memory.subscribed = false;
            if let Some(receiver) = client.checked_sub(PUBLISHERS) {
                // What was acknowledged before does not come any more, but retained.
                let acknowledged = self.outside.acknowledged.keys();
                self.outside.past[receiver].extend(acknowledged);
                self.outside.due[receiver].clear();
            }
        }

        // In their order (MQTT-4.6.0-1).
        let mut unfinished: Vec<_> = (self.sides[client].memory.unfinished.iter())
            .map(|(packet_id, (name, qos, released))| (*name, *qos, *released, *packet_id))
            .collect();
        unfinished.sort_unstable();

        for (name, qos, released, packet_id) in unfinished {
            match released {
                true => self.say(client, &ack(Kind::Pubrel, packet_id)),
                false => {
                    let again = message(name, qos, packet_id, false).dup();
                    self.say(client, &again.bytes());
                }
            }
        }

        if let Some(receiver) = client.checked_sub(PUBLISHERS)
            && !self.sides[client].memory.subscribed
        {
            // Retained messages have a test of their own.
            let subscribe = match receiver < SHARING {
                true => Subscribe::new(1)
                    .filter("t/0", 0x20 | 2)
                    .filter("t/1", 0x20 | 1)
                    .filter("will", 0x20 | 2),
                false => Subscribe::new(1).filter("$share/g/t/+", 2),
            };
            self.say(client, &subscribe.bytes());
        }
    }

    fn answered(&mut self, client: usize, kind: Kind, packet_id: u16) {
        let unfinished = &mut self.sides[client].memory.unfinished;
        match kind {
            Kind::Puback | Kind::Pubrec => {
                let Some((name, qos, released)) = unfinished.get_mut(&packet_id) else {
                    return;
                };
                *released = true;
                self.outside.acknowledged.insert(*name, *qos);
                if kind == Kind::Puback {
                    unfinished.remove(&packet_id);
                } else {
                    self.say(client, &ack(Kind::Pubrel, packet_id));
                }
            }
            Kind::Pubcomp => {
                unfinished.remove(&packet_id);
            }
            Kind::Pubrel => {
                self.sides[client].memory.known.remove(&packet_id);
                self.sides[client]
                    .owed
                    .push_back(ack(Kind::Pubcomp, packet_id));
            }
        }
    }

    fn step(&mut self, step: Step, store: &Batches) {
        match step {
            Step::Publish {
                publisher,
                qos,
                retain,
            } => {
                let side = &mut self.sides[publisher];
                if side.client.is_none() || !side.greeted || !side.memory.begun_anew {
                    return;
                }
                let name = (publisher, side.memory.next);
                side.memory.next += 1;
                side.publish(name, qos, retain);
                for receiver_number in 0..RECEIVERS {
                    if self.sides[receiver(receiver_number)].memory.subscribed {
                        self.outside.due[receiver_number].insert(name);
                    }
                }
            }
            Step::Acknowledge { receiver: at, but } => {
                self.acknowledge(receiver(at), but);
            }

            Step::Reconnect { client } => {
                self.sides[client].lose();
                let hub = self.hub.clone();
                self.sides[client].connect(&hub, false);
            }
            Step::TakeOver { client } => {
                let hub = self.hub.clone();
                let before = self.sides[client].client.take();
                self.sides[client].connect(&hub, false);
                if let Some(before) = before {
                    before.close();
                }
            }

            Step::Lose { client } => self.sides[client].lose(),

            Step::CleanStart { receiver: at } => {
                let client = receiver(at);
                self.sides[client].lose();
                let hub = self.hub.clone();
                self.sides[client].connect(&hub, true);
                // Until its CONNACK nothing is promised either way.
                self.sides[client].memory.subscribed = false;
                self.outside.due[at].clear();
            }
            Step::Commit { behind } => store.commit(behind),
        }
        self.settle();
    }
}

/// What the clients know when the broker is cut off.
struct Moment {
    memories: Vec<Memory>,
    outside: Outside,
    committed: usize,
    applied: usize,
}

fn play(steps: &[Step], asks: bool) -> (Arc<Batches>, Vec<Moment>) {
    let store = Arc::new(Batches::default());
    let mut play = Play::new(start(store.clone(), asks));
    for client in 0..PUBLISHERS + RECEIVERS {
        let hub = play.hub.clone();
        play.sides[client].connect(&hub, false);
        store.commit(0);
        play.settle();
        store.commit(0);
        play.settle();
    }

    let mut moments = Vec::new();
    for step in steps {
        play.step(*step, &store);
        moments.push(Moment {
            memories: play.sides.iter().map(|side| side.memory.clone()).collect(),
            outside: play.outside.clone(),
            committed: store.committed_now(),
            applied: store.applied(),
        });
    }
    (store, moments)
}

/// Starts a hub from a prefix, and lets the clients go on.
fn go_on(store: Arc<dyn Store>, asks: bool, moment: &Moment) -> Result<(), TestCaseError> {
    let mut play = Play::new(start(store, asks));
    play.outside = moment.outside.clone();
    play.prompt = true;
    for (client, memory) in moment.memories.iter().enumerate() {
        play.sides[client] = Side::resumed(memory, client);
    }
    for client in 0..play.sides.len() {
        let hub = play.hub.clone();
        play.sides[client].connect(&hub, false);
        play.settle();
    }
    check(&play)
}

fn check(play: &Play) -> Result<(), TestCaseError> {
    let acknowledged = &play.outside.acknowledged;
    let mut shared: Vec<(Name, u8)> = Vec::new();
    for number in 0..RECEIVERS {
        let seen = &play.sides[receiver(number)].memory.seen;
        if number >= SHARING {
            shared.extend(seen);
        }

        let twice = |name: &Name| {
            let times = seen.iter().filter(|(seen, qos)| seen == name && *qos == 2);
            times.count() > 1
        };
        for name in acknowledged.keys() {
            prop_assert!(
                !twice(name),
                "{name:?} twice at receiver {number}: {seen:?}"
            );
            let is_due = number < SHARING && play.outside.due[number].contains(name);
            let has_come = seen.iter().any(|(seen, _)| seen == name);
            prop_assert!(
                !is_due || has_come,
                "{name:?} is missing at receiver {number}: {seen:?}"
            );
        }

        if number < SHARING {
            let memory = &play.sides[receiver(number)].memory;
            let back: Vec<_> = memory
                .since
                .intersection(&play.outside.past[number])
                .collect();
            prop_assert!(
                back.is_empty(),
                "receiver {number} has its old session: {back:?}"
            );
            for publisher in 0..PUBLISHERS {
                let mut first = Vec::new();
                // One that was published before the subscription may come when it is sent again.
                let due = &play.outside.due[number];
                for (name, _) in seen.iter().filter(|(name, _)| due.contains(name)) {
                    if name.0 == publisher && !first.contains(&name.1) {
                        first.push(name.1);
                    }
                }
                prop_assert!(first.is_sorted(), "order at receiver {number}: {first:?}");
            }
        }
    }

    let due = (play.outside.due.iter().skip(SHARING))
        .cloned()
        .reduce(|one, other| &one & &other)
        .unwrap_or_default();
    for name in acknowledged.keys().filter(|name| due.contains(name)) {
        let has_come = shared.iter().any(|(seen, _)| seen == name);
        prop_assert!(has_come, "{name:?} is missing in the group: {shared:?}");
    }
    Ok(())
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let client = 0..PUBLISHERS + RECEIVERS;
    let step = prop_oneof![
        8 => (0..PUBLISHERS, 1..=2_u8, any::<bool>()).prop_map(|(publisher, qos, retain)| {
            Step::Publish { publisher, qos, retain }
        }),
        6 => (0..RECEIVERS, 0..3_usize).prop_map(|(receiver, but)| {
            Step::Acknowledge { receiver, but }
        }),
        1 => client.clone().prop_map(|client| Step::Reconnect { client }),
        1 => client.clone().prop_map(|client| Step::TakeOver { client }),
        1 => client.prop_map(|client| Step::Lose { client }),
        1 => (0..RECEIVERS).prop_map(|receiver| Step::CleanStart { receiver }),
        6 => (0..3_usize).prop_map(|behind| Step::Commit { behind }),
    ];
    prop::collection::vec(step, 1..24)
}

fn every_prefix(steps: &[Step], asks: bool) -> Result<(), TestCaseError> {
    let (store, moments) = play(steps, asks);
    for (at, moment) in moments.iter().enumerate() {
        for count in moment.committed..=moment.applied {
            let gone_on = go_on(store.prefix(count), asks, moment);
            gone_on.map_err(|error| {
                let steps = &steps[..=at];
                TestCaseError::fail(format!("{error} after {count} batches and {steps:?}"))
            })?;
        }
    }
    Ok(())
}

/// A few, for `PROPTEST_CASES` to ask for more.
fn cases() -> u32 {
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => ProptestConfig::default().cases,
        None => 24,
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Covers: v5:MQTT-4.3.2-4, v5:MQTT-4.3.3-8, v5:MQTT-4.4.0-1, v5:MQTT-4.6.0-5
    #[test]
    fn clients_go_on_from_every_prefix(steps in steps(), asks in any::<bool>()) {
        every_prefix(&steps, asks)?;
    }
}
