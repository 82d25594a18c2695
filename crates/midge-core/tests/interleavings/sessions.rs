//! Sessions begin, resume and end from several sides at once.

use std::sync::Arc;

use midge_core::{Hub, Tick};
use midge_testkit::{Connect, Kind, PropsBuf, Subscribe, Will, ack, unsubscribe};
use shuttle::thread;

use crate::explore::explore;
use crate::world::{Client, START, audit, hub, is_connected, plain_hub, publish};

const EXPIRY_S: u32 = 100;
/// After the session's expiry.
const LATE: Tick = Tick(1000 * EXPIRY_S as u64);

fn persistent(client_id: &str) -> Connect {
    Connect::v5(client_id).clean(false).expiry(EXPIRY_S)
}

/// A hub that waits for CONNECT for ever, so that the clock can be moved.
fn patient_hub() -> Arc<Hub> {
    hub(|config| config.limits.connect_timeout_ms = 0, None)
}

/// A session without connection, with a subscription.
fn left_session(hub: &Arc<Hub>, connect: &Connect) -> Client {
    let mut client = Client::connect(hub, connect);
    client.say(&Subscribe::new(1).filter("t", 1).bytes());
    hub.lost(&client.link, START);
    client
}

/// A client reconnects while its session ends by `end`: either it finds the session whole, or a new
/// one.
fn reconnect_meets(end: fn(&Arc<Hub>)) {
    let hub = patient_hub();
    let old = left_session(&hub, &persistent("client"));
    let mut new = Client::accept(&hub);
    let mut publisher = Client::connect(&hub, &Connect::v5("publisher"));
    publisher.say(&publish("t", 1).qos(1, 1).bytes());
    let ender = hub.clone();

    let ends = thread::spawn(move || end(&ender));
    new.say(&persistent("client").bytes());
    ends.join().unwrap();
    publisher.say(&publish("t", 2).qos(1, 2).bytes());

    let present = new.connack().expect("CONNACK");
    assert_eq!(is_connected(&hub, "client"), new.link.ended().is_none());
    if new.is_open() {
        let expected: &[u32] = if present { &[1, 2] } else { &[] };
        assert_eq!(new.numbers(), expected, "Session Present {present}");
        let subscriptions = hub.subscriptions(Some("client")).len();
        assert_eq!(subscriptions, usize::from(present));
    }
    audit(hub, vec![old, new, publisher]);
}

#[test]
fn reconnect_when_the_session_expires() {
    explore(|| reconnect_meets(|hub| hub.fire(LATE)));
}

#[test]
fn reconnect_while_the_host_ends_the_session() {
    explore(|| {
        reconnect_meets(|hub| {
            hub.clear_session("client", START);
        });
    });
}

/// MQTT-3.1.3-9: a client reconnects when its will delay passes. The old will goes out at most once,
/// the new one not at all.
#[test]
fn reconnect_when_the_will_is_due() {
    explore(|| {
        let hub = patient_hub();
        let watcher = Client::subscriber(&hub, "watcher", "will", 0);
        let connect = |text: &str| persistent("client").will(Will::new("will", text).delay(10));
        let old = left_session(&hub, &connect("old"));
        let mut new = Client::accept(&hub);
        let timer = hub.clone();

        let fires = thread::spawn(move || timer.fire(Tick(10_000)));
        new.say(&connect("new").bytes());
        fires.join().unwrap();

        assert_eq!(new.connack(), Some(true));
        let wills = watcher.texts();
        assert!(wills.is_empty() || wills == ["old"], "{wills:?}");
        assert!(
            hub.sessions()
                .iter()
                .all(|s| s.has_will || &*s.client_id != "client")
        );
        audit(hub, vec![old, new, watcher]);
    });
}

/// MQTT-3.1.4-3: of several connections with one client identifier one stays.
fn takeovers(clean: bool) {
    let hub = plain_hub();
    let watcher = Client::subscriber(&hub, "watcher", "will", 0);
    let connect = move || {
        let will = Will::new("will", "gone");
        Connect::v5("client")
            .clean(clean)
            .expiry(EXPIRY_S)
            .will(will)
    };
    let first = Client::connect(&hub, &connect());
    let mut others = [Client::accept(&hub), Client::accept(&hub)];

    let handles: Vec<_> = {
        let [one, two] = others;
        [one, two]
            .into_iter()
            .map(|mut client| {
                thread::spawn(move || {
                    client.say(&connect().bytes());
                    client.say(&Subscribe::new(1).filter("t", 0).bytes());
                    client
                })
            })
            .collect()
    };
    others = handles
        .into_iter()
        .map(|handle| handle.join().unwrap())
        .collect::<Vec<_>>()
        .try_into()
        .unwrap_or_else(|_| unreachable!());
    let mut publisher = Client::connect(&hub, &Connect::v5("publisher"));
    publisher.say(&publish("t", 1).bytes());

    assert!(others.iter().all(|client| client.connack() == Some(!clean)));
    assert!(!first.is_open());
    let open: Vec<_> = others.iter().filter(|client| client.is_open()).collect();
    assert_eq!(open.len(), 1, "open connections");
    assert_eq!(watcher.texts().len(), 2, "wills of the others");
    let subscribed = hub.subscriptions(Some("client")).len();
    assert_eq!(open[0].numbers().len(), subscribed);
    assert!(!clean || subscribed == 1);
    let [one, two] = others;
    audit(hub, vec![first, one, two, publisher, watcher]);
}

#[test]
fn one_of_several_connections_stays() {
    explore(|| takeovers(false));
}

#[test]
fn one_of_several_clean_connections_stays() {
    explore(|| takeovers(true));
}

/// A late UNSUBSCRIBE or SUBSCRIBE of the old connection leaves the new one's subscriptions alone.
fn late_request(late: Vec<u8>, request: Vec<u8>, subscribed: bool) {
    let hub = plain_hub();
    let mut old = Client::connect(&hub, &persistent("client"));
    old.say(&Subscribe::new(1).filter("t", 0).bytes());
    let mut new = Client::accept(&hub);
    let mut publisher = Client::connect(&hub, &Connect::v5("publisher"));

    let requests = thread::spawn(move || {
        old.say(&late);
        old
    });
    new.say(&persistent("client").bytes());
    new.say(&request);
    let old = requests.join().unwrap();
    publisher.say(&publish("t", 1).bytes());

    assert_eq!(new.numbers().len(), usize::from(subscribed));
    let subscriptions = hub.subscriptions(Some("client")).len();
    assert_eq!(subscriptions, usize::from(subscribed));
    audit(hub, vec![old, new, publisher]);
}

#[test]
fn a_late_unsubscribe_leaves_the_new_subscription() {
    explore(|| {
        let late = unsubscribe(5, 2, &PropsBuf::new(), &["t"]);
        late_request(late, Subscribe::new(3).filter("t", 0).bytes(), true);
    });
}

#[test]
fn a_late_subscribe_does_not_undo_unsubscribe() {
    explore(|| {
        let late = Subscribe::new(2).filter("t", 0).bytes();
        let request = unsubscribe(5, 3, &PropsBuf::new(), &["t"]);
        late_request(late, request, false);
    });
}

/// Acknowledgements of the old connection meet what the new one is sent again: nothing is lost, and
/// the accounts come out even.
fn late_acknowledgement(qos: u8) {
    let hub = plain_hub();
    let mut old = Client::connect(&hub, &persistent("client").receive_maximum(2));
    old.say(&Subscribe::new(1).filter("t", qos).bytes());
    let mut publisher = Client::connect(&hub, &Connect::v5("publisher"));
    for number in 1..=3 {
        publisher.say(&publish("t", number).qos(qos, number).bytes());
    }
    let first = old.messages()[0].id;
    let mut new = Client::accept(&hub);

    let kind = if qos == 1 { Kind::Puback } else { Kind::Pubrec };
    let acknowledges = thread::spawn(move || {
        old.say(&ack(kind, first));
        old
    });
    new.say(&persistent("client").receive_maximum(2).bytes());
    let old = acknowledges.join().unwrap();
    finish(&mut new, kind);

    let mut seen = [old.numbers(), new.numbers()].concat();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, [1, 2, 3]);
    assert!(hub.is_settled(), "settled");
    assert_eq!(hub.stats(START).queued_bytes, 0);
    audit(hub, vec![old, new, publisher]);
}

/// Acknowledges until nothing new comes.
fn finish(client: &mut Client, kind: Kind) {
    let mut acknowledged = 0;
    loop {
        let packets = client.packets();
        if acknowledged == packets.len() {
            return;
        }
        for packet in &packets[acknowledged..] {
            match packet {
                midge_testkit::Packet::Publish(message) => client.say(&ack(kind, message.id)),
                midge_testkit::Packet::Ack(answer) if answer.kind == Kind::Pubrel => {
                    client.say(&ack(Kind::Pubcomp, answer.id));
                }
                _ => {}
            }
        }
        acknowledged = packets.len();
    }
}

#[test]
fn a_late_puback_meets_the_new_connection() {
    explore(|| late_acknowledgement(1));
}

#[test]
fn a_late_pubrec_meets_the_new_connection() {
    explore(|| late_acknowledgement(2));
}

/// Messages come while their session moves to another connection: none is lost, all keep their order.
fn delivery_meets_takeover(qos: u8) {
    let hub = plain_hub();
    let mut old = Client::connect(&hub, &persistent("client"));
    old.say(&Subscribe::new(1).filter("t", qos).bytes());
    let mut new = Client::accept(&hub);
    let mut publisher = Client::connect(&hub, &Connect::v5("publisher"));

    let publishes = thread::spawn(move || {
        for number in 1..=4 {
            publisher.say(&publish("t", number).qos(qos, number).bytes());
        }
        publisher
    });
    new.say(&persistent("client").bytes());
    let publisher = publishes.join().unwrap();

    let (before, after) = (old.numbers(), new.numbers());
    assert!(
        before.is_sorted() && after.is_sorted(),
        "{before:?} {after:?}"
    );
    if qos > 0 {
        // Nothing was acknowledged.
        assert_eq!(after, [1, 2, 3, 4], "after {before:?}");
    }
    audit(hub, vec![old, new, publisher]);
}

#[test]
fn qos0_meets_a_takeover() {
    explore(|| delivery_meets_takeover(0));
}

#[test]
fn qos1_meets_a_takeover() {
    explore(|| delivery_meets_takeover(1));
}

#[test]
fn qos2_meets_a_takeover() {
    explore(|| delivery_meets_takeover(2));
}

/// Retained messages are on their way while their session moves to another connection. What comes
/// live meanwhile waits behind them, and comes, too.
#[test]
fn retained_messages_meet_a_takeover() {
    explore(|| {
        let hub = plain_hub();
        let mut publisher = Client::connect(&hub, &Connect::v5("publisher"));
        for number in 1..=2 {
            let topic = format!("r/{number}");
            publisher.say(&publish(&topic, number).qos(1, number).retain().bytes());
        }
        let mut old = Client::connect(&hub, &persistent("client"));
        let mut new = Client::accept(&hub);

        let subscribes = thread::spawn(move || {
            old.say(&Subscribe::new(1).filter("r/+", 1).bytes());
            old
        });
        let publishes = thread::spawn(move || {
            publisher.say(&publish("r/3", 3).qos(1, 3).bytes());
            publisher
        });
        new.say(&persistent("client").bytes());
        let (old, publisher) = (subscribes.join().unwrap(), publishes.join().unwrap());

        let subscribed = !hub.subscriptions(Some("client")).is_empty();
        let (before, after) = (old.numbers(), new.numbers());
        let mut seen = [before.clone(), after.clone()].concat();
        seen.sort_unstable();
        seen.dedup();
        let all = if seen.contains(&3) { 3 } else { 2 };
        assert_eq!(
            seen.len(),
            if subscribed { all } else { 0 },
            "{before:?} {after:?}"
        );
        assert!(
            hub.sessions().iter().all(|session| session.queued == 0),
            "waits"
        );
        audit(hub, vec![old, new, publisher]);
    });
}

/// `limits.sessions` and `limits.connections` hold when several come at once.
#[test]
fn limits_hold_when_several_come_at_once() {
    explore(|| {
        let hub = hub(
            |config| {
                config.limits.sessions = 1;
                config.limits.connections = 2;
            },
            None,
        );
        let come = |client_id: &'static str| {
            let hub = hub.clone();
            thread::spawn(move || {
                let mut client = Client::try_accept(&hub)?;
                client.say(&Connect::v5(client_id).bytes());
                Some(client)
            })
        };
        let clients = [come("one"), come("two"), come("three")];
        let clients: Vec<Client> = clients
            .into_iter()
            .filter_map(|client| client.join().unwrap())
            .collect();

        assert_eq!(hub.stats(START).connections, 2);
        assert_eq!((clients.len(), hub.sessions().len()), (2, 1));
        audit(hub, clients);
    });
}

/// Keep alive meets packets: the connection has ended, or its silence is still watched.
#[test]
fn keep_alive_meets_a_packet() {
    explore(|| {
        let hub = plain_hub();
        let mut client = Client::connect(&hub, &Connect::v5("client").keep_alive(10));
        let (timer, at) = (hub.clone(), Tick(15_000));

        let fires = thread::spawn(move || timer.fire(at));
        client.say_at(&[0xC0, 0], Tick(14_000));
        fires.join().unwrap();

        let watched = hub.next_deadline();
        match client.link.ended() {
            Some(_) => assert_eq!(watched, None),
            None => assert!(watched.is_some(), "nobody watches"),
        }
        hub.fire(Tick(29_000));
        assert!(client.link.ended().is_some());
        audit(hub, vec![client]);
    });
}

/// Very many subscriptions of an ended session leave in slices, while its client comes again with the
/// same ones.
#[test]
fn subscriptions_leave_while_their_client_comes_again() {
    explore(|| {
        let hub = plain_hub();
        hub.on_work(Some(Arc::new(|| ())));
        // More than leave at once.
        let subscribe = (0..40).fold(Subscribe::new(1), |subscribe, number| {
            subscribe.filter(format!("f/{number}"), 0)
        });
        let mut old = Client::connect(&hub, &Connect::v5("client"));
        old.say(&subscribe.bytes());
        hub.lost(&old.link, START);
        let mut new = Client::connect(&hub, &Connect::v5("client"));
        let worker = hub.clone();

        let works = thread::spawn(move || while worker.work() {});
        new.say(&subscribe.bytes());
        works.join().unwrap();

        let mut publisher = Client::connect(&hub, &Connect::v5("publisher"));
        publisher.say(&publish("f/0", 1).bytes());
        publisher.say(&publish("f/39", 2).bytes());
        assert_eq!(new.numbers(), [1, 2]);
        assert_eq!(hub.stats(START).subscriptions, 40);
        audit(hub, vec![old, new, publisher]);
    });
}
