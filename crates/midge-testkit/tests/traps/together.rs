//! What goes right alone and wrong together: reconnections, hooks, queues, shared groups.

#![allow(clippy::unwrap_used)] // a test may fail

use std::sync::{Arc, Condvar, Mutex};

use midge::{
    Broker, ClientInfo, DeliveryVerdict, DropReason, HookSet, Hooks, KeptMessage, MessageRef,
    OwnedMessage, QoS, Resolver, Verdict,
};
use midge_testkit::{Client, Kind, Publish, Subscribe, Will, ack};

use crate::common::{Server, broker, broker_set, broker_with};
use crate::{VERSIONS, client, kept};

/// Answers later whether a client may publish.
#[derive(Default)]
struct Later(Mutex<Vec<Resolver>>);

impl Later {
    /// The answer to the oldest open question, once it was asked.
    fn answer(&self) {
        loop {
            let waiting = self.0.lock().unwrap().pop();
            if let Some(resolver) = waiting {
                return resolver.allow();
            }
            std::thread::yield_now();
        }
    }
}

impl Hooks for Later {
    fn set(&self) -> HookSet {
        HookSet::AUTHORIZE_PUBLISH
    }

    fn authorize_publish(&self, _: &ClientInfo, message: &MessageRef<'_>) -> Verdict {
        if !message.topic.starts_with("later") {
            return Verdict::Allow;
        }
        let (resolver, verdict) = Verdict::defer();
        self.0.lock().unwrap().push(resolver);
        verdict
    }
}

fn dropped(server: &Server, reason: DropReason) -> u64 {
    server.stats().dropped_by(reason)
}

/// Covers: v5:MQTT-4.3.3-10, v3:MQTT-4.3.3-2
#[test]
fn a_message_that_was_not_decided_is_not_known_to_the_next_connection() {
    for version in VERSIONS {
        let hooks = Arc::new(Later::default());
        let server = broker_with(|builder| builder.shared_hooks(hooks.clone()));
        let mut watcher = server.watcher("later/+");
        let connect = kept(version, "client");
        let mut client = server.begin(&connect);

        client.send(Publish::new("later/1", "p").qos(2, 7).bytes_for(version));
        let unanswered = loop {
            let asked = hooks.0.lock().unwrap().pop();
            if let Some(resolver) = asked {
                break resolver;
            }
            std::thread::yield_now();
        };
        // Nothing is read while an answer is awaited: the broker does not see this end.
        drop(client);
        let mut client = server.connect(&connect);
        unanswered.allow();
        let again = Publish::new("later/1", "p").qos(2, 7).dup();
        client.send(again.bytes_for(version));
        hooks.answer();

        client.expect_ack(Kind::Pubrec, 7);
        client.send(ack(Kind::Pubrel, 7));
        assert_eq!(client.expect_ack(Kind::Pubcomp, 7).code, 0);
        let message = watcher.expect_message("later/1", "p");
        watcher.acknowledge(&message);
        watcher.expect_nothing();
    }
}

/// Messages that expired while a client was away do not hold up the one behind them.
///
/// Covers: v5:MQTT-3.3.2-5
#[test]
fn a_living_message_behind_many_expired_ones_needs_no_help() {
    let server = broker_set(&[("limits.session_queue_messages", "20000")]);
    let connect = kept(5, "client");
    let mut client = server.begin(&connect);
    client.subscribe("t", 1);
    client.disconnect();

    for _ in 0..10_000 {
        let message = server.message("t").qos(QoS::AtLeastOnce);
        let expiry = std::time::Duration::from_secs(1);
        message.message_expiry(expiry).send().unwrap();
    }
    server
        .message("t")
        .payload("living")
        .qos(QoS::AtLeastOnce)
        .send()
        .unwrap();
    server.pass(2);

    let mut client = server.resume(&connect);
    client.expect_message("t", "living");
    assert_eq!(dropped(&server, DropReason::Expired), 10_000);
}

type Decide = dyn Fn(&Broker, &str, &MessageRef<'_>) -> bool + Send + Sync;

/// Decides about each receiver; may use the broker meanwhile.
struct Receivers {
    broker: Mutex<Option<std::sync::Weak<Server>>>,
    decide: Box<Decide>,
}

impl Hooks for Receivers {
    fn set(&self) -> HookSet {
        HookSet::AUTHORIZE_RECEIVE
    }

    fn authorize_receive(&self, client: &ClientInfo, message: &MessageRef<'_>) -> bool {
        let broker = self
            .broker
            .lock()
            .unwrap()
            .as_ref()
            .and_then(std::sync::Weak::upgrade);

        broker.is_none_or(|broker| (self.decide)(&broker, &client.client_id, message))
    }
}

fn with_receivers(
    decide: impl Fn(&Broker, &str, &MessageRef<'_>) -> bool + Send + Sync + 'static,
) -> Arc<Server> {
    let hooks = Arc::new(Receivers {
        broker: Mutex::default(),
        decide: Box::new(decide),
    });
    let server = Arc::new(broker_with(|builder| builder.shared_hooks(hooks.clone())));
    *hooks.broker.lock().unwrap() = Some(Arc::downgrade(&server));
    server
}

fn member(server: &Server, name: &str) -> Client {
    let mut member = client(server, 5, name);
    member.subscribe("$share/g/t", 1);
    member
}

/// Covers: none
#[test]
fn a_group_loses_nothing_while_one_member_may_have_it() {
    let server = with_receivers(|_, client_id, _| client_id == "c");
    let mut members = ["a", "b", "c"].map(|name| member(&server, name));

    for number in 0..9u8 {
        let receipt = server
            .message("t")
            .payload([number].to_vec())
            .send()
            .unwrap();
        assert_eq!(receipt.dropped().count(), 0);
    }

    for number in 0..9u8 {
        members[2].expect_message("t", [number]);
    }
    members.iter_mut().for_each(Client::expect_nothing);
}

/// Covers: none
#[test]
fn a_member_that_leaves_while_a_hook_thinks_gets_nothing_and_the_group_loses_nothing() {
    let server = with_receivers(|broker, client_id, _| {
        // The first member in turn leaves at this very moment.
        if client_id == "a"
            || broker
                .sessions()
                .iter()
                .all(|session| &*session.client_id != "a")
        {
            broker.clear_session("a");
            return true;
        }
        false
    });
    let mut leaves = member(&server, "a");
    let mut stays = member(&server, "b");

    server
        .message("t")
        .payload("x")
        .qos(QoS::AtLeastOnce)
        .send()
        .unwrap();

    stays.expect_message("t", "x");
    leaves.expect_disconnect(0x98);
}

/// Covers: none
#[test]
fn a_message_that_moves_to_another_member_is_asked_about_again() {
    let server = with_receivers(|_, client_id, _| client_id != "b");
    let mut leaves = member(&server, "a");
    let mut stays = ["b", "c"].map(|name| member(&server, name));
    for number in 0..4u8 {
        let message = server.message("t").payload([number].to_vec());
        message.qos(QoS::AtLeastOnce).send().unwrap();
    }
    leaves.expect_publish();

    leaves.cut();
    for _ in 0..4 {
        let message = stays[1].expect_publish();
        stays[1].acknowledge(&message);
    }

    stays.iter_mut().for_each(Client::expect_nothing);
}

/// Covers: NN5-144
#[test]
fn rights_taken_away_are_asked_again_for_what_is_queued() {
    let denied = Arc::new(Mutex::new(false));
    let server = with_receivers({
        let denied = denied.clone();
        move |_, _, message| !(*denied.lock().unwrap() && message.payload == b"secret")
    });
    for version in VERSIONS {
        *denied.lock().unwrap() = false;
        let connect = kept(version, "client");
        let mut client = server.begin(&connect);
        client.subscribe("t", 1);
        client.disconnect();
        for payload in ["one", "secret", "two", "secret"] {
            server
                .message("t")
                .payload(payload)
                .qos(QoS::AtLeastOnce)
                .send()
                .unwrap();
        }
        let before = dropped(&server, DropReason::RefusedByHook);
        *denied.lock().unwrap() = true;

        let mut client = server.connect(&connect);
        for payload in ["one", "two"] {
            let message = client.expect_message("t", payload);
            client.acknowledge(&message);
        }
        client.expect_nothing();

        let dropped = dropped(&server, DropReason::RefusedByHook);
        assert_eq!(dropped - before, 2);
        assert_eq!(server.stats().queued_bytes, 0);
        server.clear_session("client");
    }
}

/// The window opens message by message; each one is asked about when it leaves the queue.
///
/// Covers: NN5-144
#[test]
fn what_waits_for_the_window_is_asked_about_when_it_leaves() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let server = with_receivers({
        let asked = asked.clone();
        move |_, _, message| {
            asked.lock().unwrap().push(message.payload.to_vec());
            true
        }
    });
    let mut client = server.connect(&kept(5, "client").receive_maximum(1));
    client.subscribe("t", 1);
    for number in 0..300u16 {
        let message = server.message("t").payload(number.to_be_bytes().to_vec());
        message.qos(QoS::AtLeastOnce).send().unwrap();
    }

    for number in 0..300u16 {
        let message = client.expect_message("t", number.to_be_bytes());
        client.acknowledge(&message);
    }

    client.expect_nothing();
    let asked = asked.lock().unwrap();
    let count = |number: u16| asked.iter().filter(|p| **p == number.to_be_bytes()).count();
    assert_eq!(count(0), 1);
    assert!((1..300).all(|number| count(number) >= 2));
}

/// Covers: none
#[test]
fn a_full_store_does_not_go_on_serving_what_was_replaced() {
    let server = broker_set(&[("limits.retained_bytes", "2000")]);
    for version in VERSIONS {
        let mut watcher = client(&server, version, "watcher");
        watcher.subscribe("t", 0);
        let mut publisher = client(&server, version, "publisher");
        publisher.retain("t", "old", 0);
        watcher.expect_message("t", "old");

        let large = vec![b'x'; 4000];
        publisher.retain("t", &large, 0);
        watcher.expect_message("t", &large);

        let mut late = client(&server, version, "late");
        late.subscribe("t", 0);
        late.expect_nothing();
        assert!(server.retained("t").is_empty());
        let refused = server.set_retained("t", large);
        assert!(refused.is_err());
    }
}

/// Covers: v5:MQTT-3.8.3-3
#[test]
fn mqtt_3_8_3_3_no_local_holds_for_whatever_is_published_in_the_name_of_the_client() {
    let server = broker();
    let connect = kept(5, "client").will(Will::new("t/will", "gone"));
    let mut client = server.begin(&connect);
    let request = Subscribe::new(1).filter("t/#", 0x04 | 1);
    client.request(&request);
    let mut watcher = server.watcher("t/#");

    server
        .message("t/host")
        .payload("x")
        .from_client("client")
        .send()
        .unwrap();
    server.message("t/host").payload("y").send().unwrap();
    watcher.expect_message("t/host", "x");
    watcher.expect_message("t/host", "y");
    client.expect_message("t/host", "y");
    client.cut();
    watcher.expect_message("t/will", "gone");

    let mut client = server.resume(&connect);
    client.expect_nothing();
}

/// A receipt is about the receivers of its moment, not about later subscriptions.
///
/// Covers: none
#[test]
fn a_receipt_ends_although_the_message_is_retained() {
    let server = broker();
    let mut client = server.connect(&kept(5, "client").receive_maximum(1));
    client.subscribe("other", 1);
    let receipt = server
        .message("t")
        .payload("x")
        .qos(QoS::AtLeastOnce)
        .retain(true)
        .send()
        .unwrap();
    assert!(receipt.is_acknowledged());

    server
        .message("other")
        .qos(QoS::AtLeastOnce)
        .send()
        .unwrap();
    let first = client.expect_message("other", "");
    client.subscribe("t", 1);
    assert!(receipt.is_acknowledged());
    client.acknowledge(&first);
    let replayed = client.expect_message("t", "x");
    client.acknowledge(&replayed);
    client.barrier();

    assert!(receipt.is_acknowledged());
}

/// Stops at the last message until the first one has arrived.
#[derive(Default)]
struct Gate {
    arrived: Mutex<bool>,
    opened: Condvar,
}

impl Hooks for Gate {
    fn set(&self) -> HookSet {
        HookSet::AUTHORIZE_PUBLISH
    }

    fn authorize_publish(&self, _: &ClientInfo, message: &MessageRef<'_>) -> Verdict {
        if message.payload == b"last" {
            let patience = std::time::Duration::from_secs(10);
            let waits = |arrived: &mut bool| !*arrived;
            let arrived = self.arrived.lock().unwrap();
            let (arrived, _) = (self.opened)
                .wait_timeout_while(arrived, patience, waits)
                .unwrap();
            assert!(*arrived, "the first message waits for the last one");
        }
        Verdict::Allow
    }
}

/// Covers: none
#[test]
fn the_first_message_of_a_read_does_not_wait_for_the_hooks_of_all() {
    let gate = Arc::new(Gate::default());
    let server = broker_with(|builder| builder.threads(1).shared_hooks(gate.clone()));
    let mut watcher = server.watcher("t");
    let mut client = server.client("client");

    let mut packets = Vec::new();
    for _ in 0..500 {
        packets.extend(Publish::new("t", "x").bytes());
    }
    packets.extend(Publish::new("t", "last").bytes());
    client.send(packets);
    watcher.expect_message("t", "x");
    *gate.arrived.lock().unwrap() = true;
    gate.opened.notify_all();

    for _ in 1..500 {
        watcher.expect_message("t", "x");
    }
    watcher.expect_message("t", "last");
}

/// Changes what one client gets.
struct Changes;

impl Hooks for Changes {
    fn set(&self) -> HookSet {
        HookSet::INTERCEPT_DELIVERY
    }

    fn intercept_delivery(&self, client_id: &str, _: &KeptMessage, _: QoS) -> DeliveryVerdict {
        if client_id == "a" {
            let mut other = OwnedMessage::new("t", "for a");
            other.qos = QoS::AtLeastOnce;
            return DeliveryVerdict::Replace(Box::new(other));
        }
        DeliveryVerdict::Deliver
    }
}

/// Covers: none
#[test]
fn a_message_changed_for_one_member_moves_unchanged() {
    let server = broker_with(|builder| builder.hooks(Changes));
    let mut leaves = member(&server, "a");
    let message = server.message("t").payload("x");
    message.qos(QoS::AtLeastOnce).send().unwrap();
    leaves.expect_message("t", "for a");

    let mut stays = member(&server, "b");
    leaves.cut();

    stays.expect_message("t", "x");
}
