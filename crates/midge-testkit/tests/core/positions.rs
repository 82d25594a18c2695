//! The positions of a store: what a client is told leaves when they are committed, not before.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};

use midge_core::{Hub, MemoryStore, Op, Position, Recovered, Store, Tick};
use midge_testkit::{Connect, Kind, Packet, PropsBuf, Publish, Subscribe, Will, ack, disconnect};

use crate::world::{Client, START, stored_hub};

type Notify = Arc<dyn Fn() + Send + Sync>;

/// A store whose positions are ten apart, which commits when a test says so.
#[derive(Default)]
pub(crate) struct Slow {
    ops: Mutex<Vec<Vec<Op>>>,
    batches: AtomicUsize,
    committed: AtomicU64,
    /// Each batch is committed at once.
    prompt: bool,
    notify: Mutex<Option<Notify>>,
}

impl Slow {
    fn prompt() -> Arc<Self> {
        Arc::new(Self {
            prompt: true,
            ..Self::default()
        })
    }

    /// Commits up to a position, and says so.
    pub(crate) fn commit(&self, position: Position) {
        self.committed.store(position, Ordering::Release);
        let notify = self.notify.lock().unwrap().clone();
        notify.unwrap()();
    }

    pub(crate) fn applied(&self) -> Position {
        10 * self.batches.load(Ordering::Acquire) as u64
    }

    /// What was recorded since the last time.
    fn ops(&self) -> Vec<Op> {
        self.batches().into_iter().flatten().collect()
    }

    /// The same, batch by batch.
    fn batches(&self) -> Vec<Vec<Op>> {
        std::mem::take(&mut self.ops.lock().unwrap())
    }
}

impl Store for Slow {
    fn load(&self) -> Recovered {
        Recovered::default()
    }

    fn apply(&self, batch: Vec<Op>, _: Tick) -> Position {
        assert!(!batch.is_empty(), "a batch without changes");
        self.ops.lock().unwrap().push(batch);
        let position = 10 * (self.batches.fetch_add(1, Ordering::AcqRel) as u64 + 1);
        if self.prompt {
            self.committed.store(position, Ordering::Release);
        }
        position
    }

    fn committed(&self) -> Position {
        self.committed.load(Ordering::Acquire)
    }

    fn on_commit(&self, notify: Notify) {
        *self.notify.lock().unwrap() = Some(notify);
    }
}

fn retained(topic: &str, id: u16) -> Vec<u8> {
    Publish::new(topic, "p").qos(1, id).retain().bytes()
}

/// Covers: none
#[test]
fn an_answer_leaves_at_its_position_and_not_before() {
    let store = Arc::new(Slow::default());
    let hub = stored_hub(store.clone());
    let mut first = Client::plain(&hub, "first");
    let mut second = Client::plain(&hub, "second");
    first.say(retained("a", 1));
    assert_eq!(store.applied(), 10);
    second.say(retained("b", 2));
    assert_eq!(store.applied(), 20);
    first.told();
    second.told();

    for early in [1, 9] {
        store.commit(early);
        assert_eq!((first.told(), second.told()), (0, 0), "at {early}");
        assert!(
            first.take().is_empty() && second.take().is_empty(),
            "at {early}"
        );
    }
    for position in [10, 19] {
        store.commit(position);
        assert_eq!(second.told(), 0, "at {position}");
        assert!(second.take().is_empty(), "at {position}");
    }
    assert_eq!(first.told(), 1, "once");
    assert_eq!(first.acks(Kind::Puback), [1]);
    store.commit(20);
    assert_eq!((first.told(), second.told()), (0, 1));
    assert_eq!(second.acks(Kind::Puback), [2]);
}

/// Covers: none
#[test]
fn what_is_behind_an_answer_that_waits_waits_with_it_and_nothing_before() {
    let store = Arc::new(Slow::default());
    let hub = stored_hub(store.clone());
    let mut client = Client::plain(&hub, "client");
    // The store is always one batch behind.
    for id in 1..20 {
        client.say(retained("a", id));
        assert_eq!(store.applied(), 10 * u64::from(id));
        store.commit(store.applied() - 10);
        let expected: Vec<_> = (id > 1).then(|| id - 1).into_iter().collect();
        assert_eq!(client.acks(Kind::Puback), expected);
    }
    client.say([0xc0, 0]);
    assert!(client.take().is_empty(), "the last is not committed");
    store.commit(store.applied());
    let packets = client.read();
    assert!(
        matches!(packets[..], [Packet::Ack(_), Packet::Pingresp]),
        "{packets:?}"
    );
    // What comes next does not wait for what is committed.
    client.say([0xc0, 0]);
    assert!(matches!(client.read()[..], [Packet::Pingresp]));
}

/// Covers: none
#[test]
fn a_store_that_is_prompt_holds_nothing_back() {
    let store = Slow::prompt();
    let hub = stored_hub(store.clone());
    let mut client = Client::connect(&hub, &Connect::v5("client").expiry(100));
    client.say(retained("a", 1));
    assert_eq!(client.acks(Kind::Puback), [1]);
    client.say(Subscribe::new(2).filter("a", 1).bytes());
    let packets = client.read();
    assert!(matches!(packets[0], Packet::Suback(_)), "{packets:?}");
    assert!(matches!(packets[1], Packet::Publish(_)), "{packets:?}");
}

/// Covers: none
#[test]
fn every_kind_of_answer_waits() {
    let store = Slow::prompt();
    let hub = stored_hub(store);
    drop(hub);

    let store = Arc::new(Slow::default());
    let hub = stored_hub(store.clone());
    let mut client = Client::connect(&hub, &Connect::v5("client").expiry(100));
    store.commit(store.applied());
    client.read();
    let requests = [
        Subscribe::new(1).filter("t", 2).bytes(),
        Publish::new("t", "p").qos(2, 2).bytes(),
        ack(Kind::Pubrel, 2),
        Publish::new("t", "p").qos(1, 3).bytes(),
        midge_testkit::unsubscribe(5, 4, &PropsBuf::new(), &["t"]),
    ];
    for (number, request) in requests.into_iter().enumerate() {
        let before = store.applied();
        client.say(request);
        assert!(store.applied() > before, "request {number} is recorded");
        // A message at QoS 1 waits for nothing.
        let early = client.read();
        let waits = |packet: &Packet| matches!(packet, Packet::Publish(message) if message.qos < 2);
        assert!(early.iter().all(waits), "request {number}: {early:?}");
        store.commit(store.applied());
        assert!(client.told() > 0, "request {number}");
        assert!(!client.read().is_empty(), "request {number}");
    }
}

/// Covers: none
#[test]
fn a_connack_that_speaks_of_a_recorded_session_waits() {
    let store = Arc::new(Slow::default());
    let hub = stored_hub(store.clone());
    let lasting = Connect::v5("client").expiry(100);
    let connects = [
        (lasting.clone(), "made"),
        (lasting.clone().clean(false), "resumed"),
        (lasting.clone(), "replaced"),
        (Connect::v5("client"), "ended"),
    ];
    for (connect, what) in connects {
        let mut client = Client::accept(&hub);
        client.say(connect.bytes());
        assert!(client.take().is_empty(), "{what}");
        store.commit(store.applied());
        assert!(client.told() > 0, "{what}");
        let packets = client.read();
        assert!(matches!(packets[..], [Packet::Connack(_)]), "{packets:?}");
    }

    // One that has nothing to do with any leaves at once.
    Client::accept(&hub).say(lasting.bytes());
    let mut other = Client::accept(&hub);
    other.say(Connect::v5("other").bytes());
    assert!(matches!(other.read()[..], [Packet::Connack(_)]));

    // But not while the end of its session is still to be committed.
    store.commit(store.applied());
    assert!(hub.clear_session("client", START));
    let mut client = Client::accept(&hub);
    client.say(Connect::v5("client").clean(false).bytes());
    assert!(client.take().is_empty());
    store.commit(store.applied());
    assert!(matches!(client.read()[..], [Packet::Connack(_)]));
}

/// Covers: none
#[test]
fn a_message_at_qos_2_leaves_when_it_is_committed_one_at_qos_1_at_once() {
    let store = Arc::new(Slow::default());
    let hub = stored_hub(store.clone());
    let mut client = Client::connect(&hub, &Connect::v5("client").expiry(100));
    store.commit(store.applied());
    client.say(Subscribe::new(1).filter("t", 2).bytes());
    store.commit(store.applied());
    client.read();

    let mut publisher = Client::plain(&hub, "publisher");
    publisher.say(Publish::new("t", "first").qos(1, 1).bytes());
    assert_eq!(client.texts(), ["first"], "at once");
    publisher.say(Publish::new("t", "second").qos(2, 2).bytes());
    assert!(client.take().is_empty(), "before the commit");
    store.commit(store.applied());
    assert!(client.told() > 0);
    let packets = client.read();
    let [Packet::Publish(second)] = &packets[..] else {
        panic!("{packets:?}");
    };

    // What its client has received is committed before it is told to forget it.
    let released = second.id;
    client.say(ack(Kind::Pubrec, released));
    assert!(client.take().is_empty());
    store.commit(store.applied());
    assert_eq!(client.acks(Kind::Pubrel), [released]);
}

/// The batch in which the first change of a kind was recorded, and all changes of it.
fn batch_with(batches: &[Vec<Op>], is_it: impl Fn(&Op) -> bool) -> &[Op] {
    let found = batches.iter().find(|batch| batch.iter().any(&is_it));
    found.expect("recorded")
}

/// Covers: none
#[test]
fn an_end_and_what_it_brings_are_one_batch() {
    let store = Slow::prompt();
    let hub = stored_hub(store.clone());
    let will = Will::new("will", "gone").qos(1);
    let mut first = Client::connect(&hub, &Connect::v5("leaving").expiry(100).will(will));
    first.say(Subscribe::new(1).filter("$share/g/t", 1).bytes());
    let mut publisher = Client::plain(&hub, "publisher");
    publisher.say(Publish::new("t", "shared").qos(1, 1).bytes());
    first.read();
    let mut staying = Client::connect(&hub, &Connect::v5("staying").expiry(100));
    let filters = Subscribe::new(1).filter("$share/g/t", 1).filter("will", 1);
    staying.say(filters.bytes());
    store.batches();

    assert!(hub.clear_session("leaving", START));
    let batches = store.batches();
    let batch = batch_with(&batches, |op| matches!(op, Op::SessionEnded { .. }));
    let taken: Vec<_> = (batch.iter())
        .filter_map(|op| match op {
            Op::Taken { delivery, .. } => Some(delivery.message.topic().to_owned()),
            _ => None,
        })
        .collect();
    assert_eq!(taken.len(), 2, "{batches:?}");
    assert!(taken.contains(&"t".to_owned()) && taken.contains(&"will".to_owned()));
}

/// The expiry and the end of a session as they were recorded.
fn sessions(ops: Vec<Op>) -> Vec<Option<u32>> {
    let session = |op| match op {
        Op::Session { session, .. } => Some(Some(session.expiry_s)),
        Op::SessionEnded { .. } => Some(None),
        _ => None,
    };
    ops.into_iter().filter_map(session).collect()
}

/// Covers: none
#[test]
fn an_expiry_changed_at_disconnect_is_recorded() {
    let leave = |seconds| disconnect(0, &PropsBuf::new().u32(0x11, seconds));
    for (expiry, recorded) in [(7, Some(7)), (6000, Some(6000)), (0, None)] {
        let store = Slow::prompt();
        let hub = stored_hub(store.clone());
        let mut client = Client::connect(&hub, &Connect::v5("client").expiry(100));
        assert_eq!(sessions(store.ops()), [Some(100)]);
        client.say(leave(expiry));
        assert_eq!(sessions(store.ops()).last(), Some(&recorded));
        assert_eq!(hub.sessions().len(), usize::from(recorded.is_some()));
        if let Some(seconds) = recorded {
            assert_eq!(hub.next_deadline(), Some(START.after_s(seconds.into())));
        }
    }
}

/// Covers: none
#[test]
fn connections_that_waited_for_a_commit_are_not_kept() {
    let store = Arc::new(Slow::default());
    let hub = stored_hub(store.clone());
    let mut client = Client::plain(&hub, "client");
    client.say(retained("a", 1));
    let link: Weak<_> = Arc::downgrade(&client.link);
    client.close();
    store.commit(10);
    assert!(link.upgrade().is_none());

    // Nor does the store keep the hub.
    let hub: Weak<Hub> = {
        let weak = Arc::downgrade(&hub);
        drop(hub);
        weak
    };
    assert!(hub.upgrade().is_none());
    store.commit(20);
}

/// Covers: none
#[test]
fn what_a_store_gives_back_expires_in_its_time() {
    for (expiry, deadline) in [(50, Some(START.after_s(50))), (u32::MAX, None)] {
        let store = MemoryStore::new();
        let hub = stored_hub(store.clone());
        let mut client = Client::connect(&hub, &Connect::v5("client").expiry(expiry));
        client.say(
            Subscribe::new(1)
                .filter("t", 1)
                .filter("$share/g/t", 1)
                .bytes(),
        );
        client.close();
        drop(hub);

        let hub = stored_hub(store.clone());
        let stats = hub.stats(START);
        assert_eq!((stats.sessions, stats.clients), (1, 0));
        assert_eq!((stats.subscriptions, stats.shared_subscriptions), (2, 1));
        assert_eq!(hub.next_deadline(), deadline);
        hub.fire(START.after_s(50));
        while hub.work() {}
        let left = u64::from(deadline.is_none());
        assert_eq!(hub.stats(START).sessions, left);
        assert_eq!(hub.stats(START).shared_subscriptions, left);
        drop(hub);
        assert_eq!(stored_hub(store).stats(START).sessions, left);
    }
}

/// Covers: none
#[test]
fn what_waits_is_charged_again_after_a_restart() {
    let store = MemoryStore::new();
    let hub = stored_hub(store.clone());
    let connect = Connect::v5("client").clean(false).expiry(50);
    let mut client = Client::connect(&hub, &connect);
    client.say(Subscribe::new(1).filter("t", 1).bytes());
    client.read();
    let mut publisher = Client::plain(&hub, "publisher");
    for id in 1..4 {
        publisher.say(Publish::new("t", "in flight").qos(1, id).bytes());
    }
    client.read();
    client.close();
    for id in 4..6 {
        publisher.say(Publish::new("t", "queued").qos(1, id).bytes());
    }

    let held = |hub: &Hub| {
        let sessions = hub.sessions();
        let session = sessions
            .iter()
            .find(|session| &*session.client_id == "client");
        let of_session = session.map(|session| (session.queued_bytes, session.inflight));
        let stats = hub.stats(START);
        (
            of_session.unwrap(),
            stats.queued_bytes,
            stats.queued_messages,
        )
    };
    let before = held(&hub);
    assert_eq!((before.0.1, before.2), (3, 2));
    drop((publisher, hub));

    let hub = stored_hub(store);
    assert_eq!(held(&hub), before);
    let mut client = Client::accept(&hub);
    client.say(connect.bytes());
    for packet in client.read() {
        if let Packet::Publish(message) = packet {
            client.say(ack(Kind::Puback, message.id));
        }
    }
    assert_eq!(held(&hub), ((0, 0), 0, 0));
}
