//! When connections are closed, sessions over or the hub disposed of, nothing of them is left.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use midge::QoS;
use midge_core::{Hub, Link, OwnedMessage, Queue, QueueLimits, Receipt, Received, Tick};
use midge_testkit::{Connect, Kind, PropsBuf, Publish, Subscribe, Will, ack, disconnect};

use crate::world::{Client, START, hub};

/// Memory of a payload that says whether anything still has it.
struct Lent(Arc<[u8]>);

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Payloads whose owners are counted.
struct Payloads(Arc<[u8]>);

impl Payloads {
    fn new() -> Self {
        // Too large to be copied into a message.
        Self(vec![b'x'; 100_000].into())
    }

    /// How many messages have a payload of this kind.
    fn held(&self) -> usize {
        Arc::strong_count(&self.0) - 1
    }

    /// The host publishes one.
    fn publish(&self, hub: &Arc<Hub>, topic: &str, qos: QoS, retain: bool) -> Receipt {
        let mut message = OwnedMessage::new(topic, Bytes::from_owner(Lent(self.0.clone())));
        message.qos = qos;
        message.retain = retain;
        hub.publish_from_host(message.parts(), None, || START, true)
            .unwrap()
    }
}

/// Nothing counts any more but what counts for ever.
fn is_empty(hub: &Hub) {
    while hub.work() {}
    let stats = hub.stats(START);
    assert_eq!(
        (stats.connections, stats.clients, stats.sessions),
        (0, 0, 0)
    );
    assert_eq!((stats.subscriptions, stats.shared_subscriptions), (0, 0));
    assert_eq!((stats.queued_messages, stats.queued_bytes), (0, 0));
    assert_eq!(hub.next_deadline(), None);
    assert!(hub.clients().is_empty() && hub.sessions().is_empty());
    assert_eq!(stats.panics, 0);
}

/// Covers: none
#[test]
fn a_closed_connection_leaves_nothing() {
    let hub = hub(|_| ());
    let mut links: Vec<Weak<Link>> = Vec::new();
    let will = || Will::new("w", "p");
    let connects = [
        None,
        Some(Connect::v5("plain")),
        Some(Connect::v5("watched").keep_alive(30)),
        Some(Connect::new(4, "old").keep_alive(30)),
        Some(Connect::v5("testator").will(will())),
        Some(Connect::new(4, "").clean(false)), // refused
    ];
    for connect in &connects {
        let client = match connect {
            Some(connect) => Client::connect(&hub, connect),
            None => Client::accept(&hub),
        };
        assert_eq!(hub.stats(START).connections, 1);
        links.push(Arc::downgrade(&client.link));
        client.close();
        is_empty(&hub);
    }

    // Many at a time, and in another order than they came in.
    let mut clients: Vec<Client> = (connects.iter().flatten())
        .map(|connect| Client::connect(&hub, connect))
        .collect();
    clients.push(Client::accept(&hub));
    links.extend(clients.iter().map(|client| Arc::downgrade(&client.link)));
    clients.reverse();
    clients.into_iter().for_each(Client::close);
    is_empty(&hub);
    assert!(links.iter().all(|link| link.upgrade().is_none()), "a link");
    assert_eq!(Arc::strong_count(&hub), 1, "the hub");
}

/// Covers: none
#[test]
fn what_is_left_unread_and_unanswered_goes_with_the_session() {
    let hub = hub(|_| ());
    let payloads = Payloads::new();
    let mut reader = Client::plain(&hub, "reader");
    reader.say(Subscribe::new(1).filter("t/#", 2).bytes());
    reader.say(Subscribe::new(2).filter("$share/g/s", 1).bytes());
    reader.read();
    // In flight, in the outbox, in the queue; half a flow in the other direction.
    let mut receipts = Vec::new();
    for _ in 0..10 {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            receipts.push(payloads.publish(&hub, "t/1", qos, false));
        }
    }
    receipts.push(payloads.publish(&hub, "s", QoS::AtLeastOnce, false));
    reader.say(Publish::new("u", "p").qos(2, 9).bytes());
    assert!(payloads.held() > 0 && hub.stats(START).queued_bytes > 0);
    assert!(receipts.iter().any(|receipt| !receipt.is_acknowledged()));

    reader.close();
    is_empty(&hub);
    assert_eq!(payloads.held(), 0, "a message");
    assert!(receipts.iter().all(Receipt::is_acknowledged));
}

/// Covers: none
#[test]
fn a_session_that_is_over_leaves_nothing_however_it_ends() {
    let later = START.after_s(50);
    type End = fn(&Arc<Hub>, &Connect);
    let ends: [(&str, End); 4] = [
        ("it expires", |hub, _| hub.fire(START.after_s(50))),
        ("the host clears it", |hub, _| {
            assert!(hub.clear_session("sleeper", START));
        }),
        ("a clean start", |hub, connect| {
            Client::connect(hub, &Connect::v5(&connect.client_id)).close();
        }),
        ("it comes back and ends itself", |hub, connect| {
            let mut client = Client::connect(hub, &connect.clone().clean(false));
            client.say(disconnect(0, &PropsBuf::new().u32(0x11, 0)));
            client.close();
        }),
    ];

    for (what, end) in ends {
        let hub = hub(|_| ());
        let payloads = Payloads::new();
        let delayed = Will::new("w", "p").props(PropsBuf::new().u32(0x18, 20));
        let connect = Connect::v5("sleeper").expiry(50).will(delayed);
        let mut sleeper = Client::connect(&hub, &connect);
        sleeper.say(
            Subscribe::new(1)
                .filter("t", 1)
                .filter("$share/g/s", 1)
                .bytes(),
        );
        sleeper.read();
        payloads.publish(&hub, "t", QoS::AtLeastOnce, false);
        sleeper.close();
        payloads.publish(&hub, "t", QoS::AtLeastOnce, false);
        assert_eq!(payloads.held(), 2, "{what}");
        // The will, then the session.
        assert_eq!(hub.next_deadline(), Some(START.after_s(20)), "{what}");
        assert!(hub.next_deadline().is_some_and(|next| next < later));

        end(&hub, &connect);
        is_empty(&hub);
        assert_eq!(payloads.held(), 0, "{what}");
    }
}

/// Covers: none
#[test]
fn a_deadline_that_was_met_is_forgotten() {
    let hub = hub(|_| ());
    let delayed = Will::new("w", "p").props(PropsBuf::new().u32(0x18, 20));
    let connect = Connect::v5("sleeper").clean(false).expiry(50).will(delayed);
    for _ in 0..3 {
        // Gone and back before the will, or the session, is due.
        Client::connect(&hub, &connect).close();
        assert_eq!(hub.next_deadline(), Some(START.after_s(20)));
        let client = Client::connect(&hub, &connect);
        assert_eq!(
            hub.next_deadline(),
            None,
            "a deadline of a session that is used"
        );
        client.close();
    }

    hub.fire(START.after_s(20));
    assert_eq!(
        hub.next_deadline(),
        Some(START.after_s(50)),
        "only the session's"
    );
    hub.fire(START.after_s(50));
    assert_eq!(hub.next_deadline(), None);
    assert_eq!(hub.stats(START).sessions_expired, 1);
    is_empty(&hub);
}

/// Covers: none
#[test]
fn an_acknowledged_message_is_not_kept() {
    let hub = hub(|_| ());
    let payloads = Payloads::new();
    let mut client = Client::plain(&hub, "client");
    client.say(Subscribe::new(1).filter("t", 2).bytes());
    client.read();

    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let receipt = payloads.publish(&hub, "t", qos, false);
        for packet in client.read() {
            let midge_testkit::Packet::Publish(message) = packet else {
                panic!("{packet:?}");
            };
            match qos {
                QoS::AtMostOnce => {}
                QoS::AtLeastOnce => client.say(ack(Kind::Puback, message.id)),
                QoS::ExactlyOnce => {
                    client.say(ack(Kind::Pubrec, message.id));
                    client.read();
                    client.say(ack(Kind::Pubcomp, message.id));
                }
            }
        }
        assert!(receipt.is_acknowledged());
        assert_eq!(payloads.held(), 0, "{qos:?}");
        assert_eq!(hub.stats(START).queued_bytes, 0, "{qos:?}");
        assert!(hub.is_settled());
    }
}

/// Covers: none
#[test]
fn a_subscription_of_the_host_leaves_nothing() {
    let hub = hub(|_| ());
    let payloads = Payloads::new();
    let mut client = Client::plain(&hub, "client");
    client.say(Subscribe::new(1).filter("other", 0).bytes());
    for filters in [&["t"][..], &["t", "+", "$share/g/t"], &["#"]] {
        let queue = Arc::new(Queue::<Received>::new(QueueLimits::default()));
        let handle = hub
            .observe_messages(filters, QoS::ExactlyOnce, true, queue.clone(), START)
            .unwrap();
        // Often enough for the route to be remembered.
        for _ in 0..3 {
            let receipt = payloads.publish(&hub, "t", QoS::AtLeastOnce, false);
            assert!(receipt.matched() > 0);
        }
        drop(handle);

        assert!(queue.is_closed());
        assert_eq!(Arc::strong_count(&queue), 1, "the sink of {filters:?}");
        assert_eq!(
            payloads
                .publish(&hub, "t", QoS::AtLeastOnce, false)
                .matched(),
            0
        );
        // One for all plain filters, one for the group.
        let each = if filters.len() == 3 { 2 } else { 1 };
        assert_eq!(queue.len(), 3 * each);
        drop(queue);
        assert_eq!(payloads.held(), 0);
    }
}

/// Covers: none
#[test]
fn a_retained_message_goes_when_it_is_replaced_removed_or_too_old() {
    let hub = hub(|_| ());
    let payloads = Payloads::new();
    for _ in 0..3 {
        payloads.publish(&hub, "t", QoS::AtLeastOnce, true);
        assert_eq!((payloads.held(), hub.stats(START).retained), (1, 1));
    }
    assert!(hub.stats(START).retained_bytes >= 100_000);
    assert_eq!(hub.clear_retained("#", START), 1);
    assert_eq!((payloads.held(), hub.stats(START).retained_bytes), (0, 0));

    let mut message = OwnedMessage::new("t", Bytes::from_owner(Lent(payloads.0.clone())));
    message.expiry = Some(5);
    for _ in 0..2 {
        hub.set_retained(&message, START).unwrap();
        assert_eq!(hub.next_deadline(), Some(Tick(5_000)));
    }
    hub.clear_retained("t", START);
    assert_eq!(hub.next_deadline(), None, "a deadline of what is gone");
    hub.set_retained(&message, START).unwrap();
    drop(message);
    assert_eq!(payloads.held(), 1);
    hub.fire(Tick(5_000));
    let stats = hub.stats(Tick(5_000));
    assert_eq!(
        (payloads.held(), stats.retained, stats.retained_bytes),
        (0, 0, 0)
    );
    is_empty(&hub);
}

/// Covers: none
#[test]
fn a_hub_that_is_disposed_of_lets_go_of_everything() {
    let hub = hub(|_| ());
    let payloads = Payloads::new();
    let queue = Arc::new(Queue::<Received>::new(QueueLimits::default()));
    let events = Arc::new(Queue::new(QueueLimits::default()));
    hub.observe(midge_core::EventMask::LIFECYCLE, events.clone());
    let handle = hub
        .observe_messages(&["other"], QoS::ExactlyOnce, true, queue.clone(), START)
        .unwrap();
    let connect = Connect::v5("sleeper").expiry(50).keep_alive(30);
    let mut sleeper = Client::connect(&hub, &connect);
    sleeper.say(Subscribe::new(1).filter("t", 1).bytes());
    sleeper.read();
    let mut receipts = vec![payloads.publish(&hub, "t", QoS::AtLeastOnce, true)];
    sleeper.read(); // in flight
    let link = Arc::downgrade(&sleeper.link);
    hub.shut_down(START);
    assert!(sleeper.link.ended().is_some());
    assert!(
        Client::try_accept(&hub).is_none(),
        "it accepts no one any more"
    );
    sleeper.close();
    assert_eq!(hub.stats(START).sessions, 1, "kept for its expiry");
    assert!(payloads.held() > 0);

    hub.dispose(START);
    assert!(link.upgrade().is_none());
    assert!(queue.is_closed() && events.is_closed());
    assert_eq!(
        (Arc::strong_count(&queue), Arc::strong_count(&events)),
        (1, 1)
    );
    assert_eq!(hub.next_deadline(), None);
    let stats = hub.stats(START);
    assert_eq!(
        (stats.sessions, stats.retained, stats.queued_bytes),
        (0, 0, 0)
    );
    assert!(receipts.remove(0).is_acknowledged());
    assert_eq!(payloads.held(), 0, "a message");
    drop(handle);
    assert_eq!(Arc::strong_count(&hub), 1);
}
