//! What every store has to pass.

use std::sync::Arc;
use std::time::Duration;

use midge::{Broker, Clock, Event, EventMask, Stop};
use midge_codec::{PropertiesBuf, Property, QoS, RetainHandling, SubscriptionOptions, Version};
use midge_core::{
    Config, Hub, MemoryStore, Op, Origin, OwnedMessage, Recovered, SharedMessage, Store,
    StoredDelivery, StoredMessage, StoredSession, StoredSubscription, StoredWill, Tick,
};

use crate::{Client, Connect, DEADLINE, Kind, Publish, Subscribe, Will, ack};

/// Opens a store with what the stores before have kept in the same place.
type Open = Box<dyn Fn() -> Arc<dyn Store>>;

/// Runs a kind of store through every change and through brokers that stop and start again. `empty`
/// makes a place where nothing is kept, and says how a store of it is opened. A store that is opened has
/// no predecessor any more, and what it commits is committed without being asked.
///
/// # Panics
///
/// Where the store does not give back what it was given.
pub fn store_suite(empty: impl Fn() -> Open) {
    every_change_comes_back(&empty());
    a_row_says_what_the_session_knows(&empty());
    exchanges_are_finished(&empty());
    retained_messages_stay(&empty());
    a_will_is_published_after_its_delay(&empty());
    a_shared_message_moves_to_another_member(&empty());
    the_time_away_counts(&empty());
    what_no_client_made_is_left_out(&empty());
}

/// After each batch a store that is opened anew gives back what a store in memory does.
fn every_change_comes_back(open: &Open) {
    let model = MemoryStore::new();
    let mut at = 0;
    for batch in changes() {
        at += 1000;
        let store = open();
        let _ = store.load();
        store.apply(batch.clone(), Tick(at));
        drop(store);
        model.apply(batch.clone(), Tick(at));
        let (found, expected) = (described(open().load()), described(model.load()));
        assert_eq!(found, expected, "after {batch:?}");
    }
    let store = open();
    let first = store.apply(changes().swap_remove(0), Tick(at));
    assert!(store.apply(changes().swap_remove(0), Tick(at)) > first);
}

/// Batches with every kind of change, every field other than its default once at least.
fn changes() -> Vec<Vec<Op>> {
    let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
    let session = |client_id: &Arc<str>, session| Op::Session {
        client_id: client_id.clone(),
        session,
    };
    let taken = |client_id: &Arc<str>, delivery| Op::Taken {
        client_id: client_id.clone(),
        delivery,
    };
    let done = |message_id, packet_id| Op::Done {
        client_id: "a".into(),
        message_id,
        packet_id,
    };
    let subscribed = |subscription| Op::Subscribed {
        client_id: "a".into(),
        subscription,
    };

    let mut known = StoredSession::new(3600);
    known.username = Some("user".into());
    known.listener = "inside".into();
    known.version = Version::V311;
    let mut away = known.clone();
    away.disconnected = Some(Tick(500));
    (away.identifiers, away.sent) = (70_000, 9);
    let mut willed = StoredSession::new(u32::MAX);
    willed.will = Some(StoredWill::new(will(), 30));

    let options = SubscriptionOptions {
        qos: QoS::ExactlyOnce,
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::DoNotSend,
    };
    let mut shared = StoredSubscription::new("$share/g/t/+", SubscriptionOptions::default());
    shared.shared = true;
    let mut numbered = StoredSubscription::new("t/#", options);
    numbered.subscription_id = Some(268_435_455);

    let (twice, full) = (message(3, "t/1", Origin::Host), full_message(9));
    let mut group = StoredDelivery::new(full.clone(), QoS::ExactlyOnce, 9);
    group.retain = true;
    group.subscription_ids = vec![1, 2, 3];
    group.group = Some("$share/g/t/+".into());
    group.original = Some(message(8, "t/2", Origin::Will("w".into())));
    let plain = |packet_id| StoredDelivery::new(twice.clone(), QoS::AtLeastOnce, packet_id);

    vec![
        vec![session(&a, known), session(&b, willed)],
        vec![
            subscribed(StoredSubscription::new("t/#", options)),
            subscribed(shared),
            subscribed(numbered),
            subscribed(StoredSubscription::new("u", options)),
        ],
        vec![
            taken(&a, plain(7)),
            taken(&a, plain(8)),
            taken(&b, plain(7)),
            taken(&a, group),
        ],
        vec![Op::Released {
            client_id: a.clone(),
            message_id: 9,
            packet_id: 9,
        }],
        vec![done(3, 7), session(&a, away)],
        [30, 31, 65535]
            .map(|packet_id| Op::Opened {
                client_id: "a".into(),
                packet_id,
            })
            .into(),
        vec![
            Op::Closed {
                client_id: a.clone(),
                packet_id: 31,
            },
            Op::Unsubscribed {
                client_id: a.clone(),
                filter: "u".into(),
            },
        ],
        ["r", "r", "s"]
            .into_iter()
            .zip([10, 12, 11])
            .map(|(topic, id)| Op::Retained {
                message: message(id, topic, Origin::Bridge("far".into())),
            })
            .collect(),
        vec![
            Op::RetainedRemoved { topic: "s".into() },
            // Of a session that is not there.
            Op::Closed {
                client_id: "c".into(),
                packet_id: 1,
            },
            Op::SessionEnded { client_id: b },
        ],
    ]
}

fn properties() -> PropertiesBuf {
    let mut properties = PropertiesBuf::new();
    properties
        .push(Property::UserProperty("unit", "K"))
        .unwrap();
    properties.push(Property::ContentType("text")).unwrap();
    properties
}

fn will() -> OwnedMessage {
    let mut will = OwnedMessage::new("w", "gone");
    will.qos = QoS::AtLeastOnce;
    will.retain = true;
    will.expiry = Some(60);
    will.properties = properties();
    will
}

fn message(id: u64, topic: &str, origin: Origin) -> SharedMessage {
    let mut message = StoredMessage::new(id, topic, "payload");
    message.origin = origin;
    message.into()
}

/// A message with all that a message may have.
fn full_message(id: u64) -> SharedMessage {
    let mut message = StoredMessage::new(id, "t/1", vec![b'x'; 20_000]);
    message.qos = QoS::ExactlyOnce;
    message.retain = true;
    message.origin = Origin::Client("c".into());
    message.expires = Tick(90_000);
    message.properties = properties();
    message.into()
}

/// What a store gives back as text, the same for the same content.
fn described(mut recovered: Recovered) -> String {
    recovered.sessions.sort_by(|one, other| one.0.cmp(&other.0));
    recovered
        .retained
        .sort_by(|one, other| one.topic().cmp(other.topic()));
    let mut lines = vec![format!("{:?}", (recovered.last_message_id, recovered.at))];
    for (client_id, mut known) in recovered.sessions {
        lines.push(format!("{client_id}: {:?}", known.session));
        known.subscriptions.sort_by(|a, b| a.filter.cmp(&b.filter));
        known.open.sort_unstable();
        lines.push(format!("{:?} {:?}", known.subscriptions, known.open));
        for delivery in known.deliveries {
            let message = StoredMessage::from(&*delivery.message);
            let original = delivery.original.as_deref().map(StoredMessage::from);
            let terms = (delivery.qos, delivery.retain, delivery.subscription_ids);
            let flow = (delivery.group, delivery.packet_id, delivery.released);
            lines.push(format!("{message:?} {original:?} {terms:?} {flow:?}"));
        }
    }
    let retained = recovered.retained.iter();
    lines.extend(retained.map(|message| format!("{:?}", StoredMessage::from(&**message))));
    lines.join("\n")
}

/// A broker whose clock stands still.
fn start(store: Arc<dyn Store>) -> Broker {
    let builder = Broker::builder().listen("tcp://127.0.0.1:0");
    builder
        .clock(Clock::Manual)
        .set("sys.interval_s", "0")
        .unwrap()
        .store(store)
        .start()
        .unwrap()
}

fn join(broker: &Broker, connect: &Connect, present: bool) -> Client {
    let (client, connack) = Client::connect(broker.addr().unwrap(), connect);
    assert_eq!((connack.code, connack.session_present), (0, present));
    client
}

/// Takes a connection away, and waits until the broker has seen it.
fn cut(broker: &Broker, client: Client) {
    let events = broker.events_with(EventMask::CLIENT_DISCONNECTED, 16);
    client.cut();
    events.recv_timeout(DEADLINE).unwrap();
}

fn durable(client_id: &str) -> Connect {
    Connect::v5(client_id).clean(false).expiry(3600)
}

fn a_row_says_what_the_session_knows(open: &Open) {
    let broker = start(open());
    broker.clock().advance(Duration::from_secs(5));
    let client = join(
        &broker,
        &Connect::new(4, "a").clean(false).user("user"),
        false,
    );
    broker.clock().advance(Duration::from_secs(5));
    let listener = broker.clients()[0].info.listener.clone();
    cut(&broker, client);
    broker.stop(Stop::Now).unwrap();

    let recovered = open().load();
    let (client_id, known) = &recovered.sessions[0];
    let row = &known.session;
    assert_eq!((&**client_id, row.version), ("a", Version::V311));
    assert_eq!(row.username.as_deref(), Some("user"));
    assert_eq!(row.disconnected, Some(Tick(10_000)));
    assert_eq!((&row.listener, listener.is_empty()), (&listener, false));
}

/// One message is at PUBREC, one sent, one waits; one of the client is open.
fn exchanges_are_finished(open: &Open) {
    let broker = start(open());
    let mut client = join(&broker, &durable("a"), false);
    let subscribe = Subscribe::new(0).filter("t", 2).subscription_id(7);
    client.request(&subscribe);
    let mut publisher = join(&broker, &Connect::v5("p"), false);
    publisher.publish("t", "1", 2);
    publisher.publish("t", "2", 1);
    let first = client.expect_message("t", "1");
    let second = client.expect_message("t", "2");
    client.send(ack(Kind::Pubrec, first.id));
    client.expect_ack(Kind::Pubrel, first.id);
    let own = Publish::new("u", "own").qos(2, 30);
    client.send(own.bytes());
    client.expect_ack(Kind::Pubrec, 30);
    cut(&broker, client);
    publisher.publish("t", "3", 2);
    broker.stop(Stop::Now).unwrap();

    let broker = start(open());
    let seen = broker.subscribe("u").unwrap();
    let mut client = join(&broker, &durable("a"), true);
    client.expect_ack(Kind::Pubrel, first.id);
    let again = client.expect_message("t", "2");
    assert_eq!((again.id, again.dup, again.qos), (second.id, true, 1));
    let third = client.expect_message("t", "3");
    assert_eq!((third.dup, third.qos), (false, 2));
    for message in [&again, &third] {
        assert_eq!(message.props.subscription_ids(), [7]);
        client.acknowledge(message);
    }
    client.send(ack(Kind::Pubcomp, first.id));
    client.send(own.dup().bytes());
    client.expect_ack(Kind::Pubrec, 30);
    client.send(ack(Kind::Pubrel, 30));
    assert_eq!(client.expect_ack(Kind::Pubcomp, 30).code, 0);
    client.expect_nothing();
    assert!(
        seen.try_recv().is_none(),
        "the repetition was taken already"
    );
    cut(&broker, client);
    broker.stop(Stop::Now).unwrap();

    let broker = start(open());
    let mut client = join(&broker, &durable("a"), true);
    client.expect_nothing();
    client.cut();
    join(&broker, &durable("a").clean(true), false).cut();
    broker.stop(Stop::Now).unwrap();
}

fn retained_messages_stay(open: &Open) {
    let broker = start(open());
    let mut publisher = join(&broker, &Connect::v5("p"), false);
    let kept = Publish::new("r", "kept").qos(1, 1).retain().expiry(10);
    publisher.send(kept.bytes());
    publisher.expect_ack(Kind::Puback, 1);
    publisher.retain("gone", "x", 1);
    broker.clock().advance(Duration::from_secs(4));
    publisher.retain("gone", "", 1);
    broker.stop(Stop::Now).unwrap();

    let broker = start(open());
    let kept = broker.retained("#");
    assert_eq!((kept.len(), kept[0].payload()), (1, &b"kept"[..]));
    assert_eq!(kept[0].message_expiry(), Some(6));
    broker.stop(Stop::Now).unwrap();
}

fn a_will_is_published_after_its_delay(open: &Open) {
    let broker = start(open());
    let will = Will::new("w", "gone").qos(1).delay(10);
    let client = join(&broker, &durable("a").will(will), false);
    cut(&broker, client);
    broker.stop(Stop::Now).unwrap();

    let broker = start(open());
    let mut watcher = join(&broker, &Connect::v5("watcher"), false);
    watcher.subscribe("w", 1);
    watcher.expect_nothing();
    broker.clock().advance(Duration::from_secs(10));
    let will = watcher.expect_message("w", "gone");
    watcher.acknowledge(&will);
    broker.stop(Stop::Now).unwrap();

    // Once.
    let known = open().load().sessions;
    assert!(known.iter().all(|(_, known)| known.session.will.is_none()));
}

fn a_shared_message_moves_to_another_member(open: &Open) {
    let broker = start(open());
    let mut client = join(&broker, &Connect::v5("a").clean(false).expiry(50), false);
    client.subscribe("$share/g/t", 1);
    cut(&broker, client);
    let mut publisher = join(&broker, &Connect::v5("p"), false);
    publisher.publish("t", "for any", 1);
    broker.stop(Stop::Now).unwrap();

    let broker = start(open());
    let events = broker.events_with(EventMask::SESSION_ENDED, 16);
    let mut other = join(&broker, &Connect::v5("other"), false);
    other.subscribe("$share/g/t", 1);
    other.expect_nothing();
    broker.clock().advance(Duration::from_secs(50));
    let ended = events.recv_timeout(DEADLINE).unwrap().event;
    assert!(matches!(ended, Event::SessionEnded { .. }), "{ended:?}");
    let moved = other.expect_message("t", "for any");
    other.acknowledge(&moved);
    broker.stop(Stop::Now).unwrap();
}

/// A hub that goes on with a store, without `$SYS`.
fn resume(store: Arc<dyn Store>) -> Arc<Hub> {
    let mut config = Config::default();
    config.sys.interval_s = 0;
    Hub::new(config, None, Some(store), "suite", Tick(0))
}

fn the_time_away_counts(open: &Open) {
    let mut session = StoredSession::new(100);
    session.disconnected = Some(Tick(10_000));
    let client_id = "a".into();
    let store = open();
    store.apply(vec![Op::Session { client_id, session }], Tick(10_000));
    let message = message(1, "r", Origin::Host);
    store.apply(vec![Op::Retained { message }], Tick(50_000));
    drop(store);

    let hub = resume(open());
    assert_eq!(hub.next_deadline(), Some(Tick(60_000)));
}

/// Nothing that a damaged place gives back does harm.
fn what_no_client_made_is_left_out(open: &Open) {
    let client_id: Arc<str> = "a".into();
    let options = SubscriptionOptions::default();
    let subscribed = |filter: &str, id| {
        let mut subscription = StoredSubscription::new(filter, options);
        subscription.subscription_id = id;
        Op::Subscribed {
            client_id: "a".into(),
            subscription,
        }
    };
    let taken = |id, topic: &str, qos, packet_id| {
        let mut delivery = StoredDelivery::new(message(id, topic, Origin::Host), qos, packet_id);
        delivery.released = true;
        Op::Taken {
            client_id: "a".into(),
            delivery,
        }
    };
    let store = open();
    store.apply(
        vec![
            Op::Session {
                client_id: client_id.clone(),
                session: StoredSession::new(100),
            },
            subscribed("a/#/b", None),
            subscribed("", None),
            subscribed("b", Some(0)),
            subscribed("c", Some(u32::MAX)),
            subscribed("d", Some(1)),
            taken(1, "t", QoS::AtLeastOnce, 0),
            taken(2, "t", QoS::AtLeastOnce, 5),
            taken(3, "t", QoS::ExactlyOnce, 5),
            taken(4, "t/+", QoS::ExactlyOnce, 6),
            taken(5, "", QoS::ExactlyOnce, 7),
            Op::Opened {
                client_id,
                packet_id: 0,
            },
            Op::Retained {
                message: message(u64::MAX, "#", Origin::Host),
            },
        ],
        Tick(0),
    );
    drop(store);

    let hub = resume(open());
    let stats = hub.stats(Tick(0));
    assert_eq!((stats.subscriptions, stats.queued_messages), (1, 1));
    let sessions = hub.sessions();
    assert_eq!(sessions[0].inflight, 1);
    assert!(hub.retained("#", Tick(0)).is_empty());
}
