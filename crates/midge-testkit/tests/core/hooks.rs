//! Hooks in the midst of a read: what came before is not forgotten, and who has lost the connection
//! is told no more.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::task::{Context, Poll, Waker};

use midge::{QoS, ReasonCode};
use midge_core::{
    AuthReply, AuthStep, ClientInfo, Deferred, DisconnectReason, EnhancedVerdict, Event, EventMask,
    HookSet, Hooks, Hub, Interception, MessageRef, Observed, Origin, Queue, QueueLimits, Refusal,
    Resolver, Verdict,
};
use midge_testkit::{Connect, Kind, Packet, PropsBuf, Publish, Subscribe, Will, ack, unsubscribe};

use crate::positions::Slow;
use crate::world::{Client, START, hub_with};

/// Thinks about what is published to `think`.
#[derive(Default)]
struct Thinks(Mutex<Option<Resolver>>);

impl Hooks for Thinks {
    fn set(&self) -> HookSet {
        HookSet::AUTHORIZE_PUBLISH
    }

    fn authorize_publish(&self, _: &ClientInfo, message: &MessageRef<'_>) -> Verdict {
        if message.topic != "think" {
            return Verdict::Allow;
        }
        let (resolver, verdict) = Verdict::defer();
        *self.0.lock().unwrap() = Some(resolver);
        verdict
    }
}

/// Covers: none
#[test]
fn what_an_answer_leads_to_is_told_at_once() {
    let hooks = Arc::new(Thinks::default());
    let hub = hub_with(|_| (), Some(hooks.clone()), None);
    let mut receiver = Client::plain(&hub, "receiver");
    receiver.say(Subscribe::new(1).filter("think", 1).bytes());
    receiver.read();
    receiver.told();
    let mut publisher = Client::plain(&hub, "publisher");
    publisher.say(Publish::new("think", "p").qos(1, 1).bytes());
    assert!(publisher.connection.is_waiting());
    assert!(publisher.read().is_empty());
    let mut context = Context::from_waker(Waker::noop());
    assert!(publisher.connection.poll(&mut context, START).is_pending());

    hooks.0.lock().unwrap().take().unwrap().allow();
    let answered = publisher.connection.poll(&mut context, START);
    assert_eq!(answered, Poll::Ready(()));
    assert!(!publisher.connection.is_waiting());
    assert_eq!(receiver.told(), 1);
    assert_eq!(receiver.texts(), ["p"]);
    assert!(publisher.connection.has_output());
    assert!(publisher.connection.unwritten_replies() > 0);
    assert_eq!(publisher.acks(Kind::Puback), [1]);
}

/// Gives the connection to another one while it is asked.
#[derive(Default)]
struct TakesOver {
    hub: OnceLock<Weak<Hub>>,
    new: Mutex<Option<Client>>,
}

impl Hooks for TakesOver {
    fn set(&self) -> HookSet {
        HookSet::AUTHORIZE_PUBLISH
    }

    fn authorize_publish(&self, client: &ClientInfo, message: &MessageRef<'_>) -> Verdict {
        if message.topic == "take over" {
            let hub = self.hub.get().and_then(Weak::upgrade).unwrap();
            let connect = Connect::v5(&*client.client_id).clean(false).expiry(9);
            *self.new.lock().unwrap() = Some(Client::connect(&hub, &connect));
        }
        Verdict::Allow
    }
}

/// Covers: v5:MQTT-3.14.4-1
#[test]
fn nothing_comes_after_disconnect_when_a_hook_has_ended_the_connection() {
    for stored in [false, true] {
        let hooks = Arc::new(TakesOver::default());
        let store = stored.then(|| Arc::new(Slow::default()));
        let kept = store
            .clone()
            .map(|store| store as Arc<dyn midge_core::Store>);
        let hub = hub_with(|_| (), Some(hooks.clone()), kept);
        hooks.hub.set(Arc::downgrade(&hub)).unwrap();
        let commit = || {
            if let Some(store) = &store {
                store.commit(store.applied());
            }
        };

        let connect = Connect::v5("client").clean(false).expiry(9);
        let mut old = Client::connect(&hub, &connect);
        commit();
        old.read();
        old.say(
            [
                [0xc0, 0].to_vec(),
                Publish::new("t", "p").qos(2, 1).bytes(),
                Publish::new("take over", "p").qos(1, 2).bytes(),
                Publish::new("late", "p").qos(1, 3).bytes(),
            ]
            .concat(),
        );
        commit();
        let packets = old.read();
        let [Packet::Disconnect(end)] = &packets[..] else {
            panic!("stored: {stored}: {packets:?}");
        };
        assert_eq!(end.code, 0x8e);

        // What was taken is known to the session.
        let mut new = hooks.new.lock().unwrap().take().unwrap();
        new.say(Publish::new("t", "p").qos(2, 1).dup().bytes());
        new.say(ack(Kind::Pubrel, 1));
        commit();
        let packets = new.read();
        assert!(
            packets
                .iter()
                .all(|packet| !matches!(packet, Packet::Ack(ack) if ack.code >= 0x80)),
            "{packets:?}"
        );
    }
}

/// While it is asked about a message for `first`, `second` unsubscribes.
#[derive(Default)]
struct Leaves {
    second: Mutex<Option<Client>>,
    asked: Mutex<Vec<String>>,
}

impl Hooks for Leaves {
    fn set(&self) -> HookSet {
        HookSet::AUTHORIZE_RECEIVE
    }

    fn authorize_receive(&self, client: &ClientInfo, _: &MessageRef<'_>) -> bool {
        let client_id = client.client_id.to_string();
        let leaves = (client_id == "first").then(|| self.second.lock().unwrap().take());
        self.asked.lock().unwrap().push(client_id);
        if let Some(mut second) = leaves.flatten() {
            second.say(unsubscribe(5, 2, &PropsBuf::new(), &["t"]));
            let packets = second.read();
            assert!(matches!(packets[..], [Packet::Unsuback(_)]), "{packets:?}");
            second.told();
            *self.second.lock().unwrap() = Some(second);
        }
        true
    }
}

/// Covers: none
#[test]
fn nothing_comes_after_unsuback_although_hooks_were_asked_before() {
    let hooks = Arc::new(Leaves::default());
    let hub = hub_with(|_| (), Some(hooks.clone()), None);
    let [mut first, second] = ["first", "second"].map(|name| {
        let mut client = Client::plain(&hub, name);
        client.say(Subscribe::new(1).filter("t", 1).bytes());
        client.read();
        client
    });
    *hooks.second.lock().unwrap() = Some(second);
    let mut publisher = Client::plain(&hub, "publisher");
    publisher.say(Publish::new("t", "p").qos(1, 1).bytes());

    assert_eq!(publisher.acks(Kind::Puback), [1]);
    assert_eq!(first.texts(), ["p"]);
    let mut second = hooks.second.lock().unwrap().take().unwrap();
    assert_eq!(second.told(), 0, "a notice of what is not for it");
    assert!(second.read().is_empty());
    // No receiver is asked about twice for one message.
    let mut asked = hooks.asked.lock().unwrap().clone();
    let all = asked.len();
    asked.sort();
    asked.dedup();
    assert_eq!(asked.len(), all);
}

/// Publishes `3` to the client that it is asked about for `2`, when that has waited.
#[derive(Default)]
struct Adds {
    hub: OnceLock<Weak<Hub>>,
    armed: AtomicBool,
}

impl Hooks for Adds {
    fn set(&self) -> HookSet {
        HookSet::AUTHORIZE_RECEIVE
    }

    fn authorize_receive(&self, _: &ClientInfo, message: &MessageRef<'_>) -> bool {
        if message.payload == b"2" && self.armed.swap(false, Ordering::Relaxed) {
            let hub = self.hub.get().and_then(Weak::upgrade).unwrap();
            let mut message = MessageRef::new("t", b"3");
            message.qos = QoS::AtLeastOnce;
            hub.publish_from_host(message, None, || START, false)
                .unwrap();
        }
        true
    }
}

/// Covers: v5:MQTT-4.6.0-5
#[test]
fn nothing_overtakes_what_hooks_are_asked_about() {
    let hooks = Arc::new(Adds::default());
    let hub = hub_with(|_| (), Some(hooks.clone()), None);
    hooks.hub.set(Arc::downgrade(&hub)).unwrap();
    let mut client = Client::connect(&hub, &Connect::v5("client").receive_maximum(1));
    client.say(Subscribe::new(1).filter("t", 1).bytes());
    client.read();
    let mut publisher = Client::plain(&hub, "publisher");
    for (id, text) in [(1, "1"), (2, "2")] {
        publisher.say(Publish::new("t", text).qos(1, id).bytes());
    }
    hooks.armed.store(true, Ordering::Relaxed);

    for text in ["1", "2", "3"] {
        let packets = client.read();
        let [Packet::Publish(message)] = &packets[..] else {
            panic!("{packets:?}");
        };
        assert_eq!(message.text(), text);
        client.say(ack(Kind::Puback, message.id));
    }
    assert!(
        !hooks.armed.load(Ordering::Relaxed),
        "it was asked when 2 was to leave"
    );
}

/// Thinks about each filter of a SUBSCRIBE, and about each step of an authentication.
#[derive(Default)]
struct ThinksOfAll {
    filters: Mutex<Vec<String>>,
    resolver: Mutex<Option<Resolver>>,
}

impl Hooks for ThinksOfAll {
    fn set(&self) -> HookSet {
        HookSet::AUTHORIZE_SUBSCRIBE.union(HookSet::ENHANCED_AUTH)
    }

    fn authorize_subscribe(
        &self,
        _: &ClientInfo,
        filter: &str,
        _: &midge::SubscriptionOptions,
    ) -> Verdict {
        self.filters.lock().unwrap().push(filter.to_owned());
        let (resolver, verdict) = Verdict::defer();
        *self.resolver.lock().unwrap() = Some(resolver);
        verdict
    }

    fn enhanced_auth(&self, _: &AuthStep) -> EnhancedVerdict {
        let (resolver, deferred) = Deferred::new();
        *self.resolver.lock().unwrap() = Some(resolver);
        EnhancedVerdict::Defer(deferred)
    }
}

impl ThinksOfAll {
    fn resolver(&self) -> Resolver {
        self.resolver.lock().unwrap().take().expect("a question")
    }
}

/// Covers: none
#[test]
fn each_filter_is_asked_about_once_and_answered_in_its_place() {
    let hooks = Arc::new(ThinksOfAll::default());
    let hub = hub_with(|_| (), Some(hooks.clone()), None);
    let mut client = Client::plain(&hub, "client");
    let subscribe = Subscribe::new(1).filter("a", 0).filter("b", 1);
    client.say(subscribe.filter("c", 2).filter("d", 1).bytes());
    let mut context = Context::from_waker(Waker::noop());
    for allowed in [true, false, true, false] {
        assert!(client.connection.is_waiting());
        assert!(client.connection.poll(&mut context, START).is_pending());
        match allowed {
            true => hooks.resolver().allow(),
            false => hooks
                .resolver()
                .deny(Refusal::new(ReasonCode::QuotaExceeded)),
        }
        assert!(client.connection.poll(&mut context, START).is_ready());
    }
    while client.connection.gives_way() {
        let _ = client.connection.poll(&mut context, START);
    }

    assert_eq!(*hooks.filters.lock().unwrap(), ["a", "b", "c", "d"]);
    let packets = client.read();
    let [Packet::Suback(suback)] = &packets[..] else {
        panic!("{packets:?}");
    };
    assert_eq!(suback.codes, [0, 0x97, 2, 0x97]);
    let mut granted: Vec<_> = (hub.subscriptions(Some("client")).iter())
        .map(|view| view.filter.to_string())
        .collect();
    granted.sort();
    assert_eq!(granted, ["a", "c"]);
}

/// Covers: none
#[test]
fn an_authentication_that_goes_on_does_not_outlive_the_connect_timeout() {
    let hooks = Arc::new(ThinksOfAll::default());
    let hub = hub_with(
        |config| config.limits.connect_timeout_ms = 5_000,
        Some(hooks.clone()),
        None,
    );
    let connect = Connect::v5("client").props(PropsBuf::new().text(0x15, "method"));
    let mut client = Client::connect(&hub, &connect);
    let mut context = Context::from_waker(Waker::noop());
    hooks
        .resolver()
        .auth(AuthReply::Continue(Some("more".into())));
    assert!(client.connection.poll(&mut context, START).is_ready());
    let packets = client.read();
    assert!(matches!(packets[..], [Packet::Auth(_)]), "{packets:?}");

    hub.fire(midge_core::Tick(4_999));
    assert!(client.link.ended().is_none());
    hub.fire(midge_core::Tick(5_000));
    assert_eq!(client.link.ended(), Some(&DisconnectReason::ConnectTimeout));
}

/// Covers: none
#[test]
fn data_of_an_authentication_that_fits_into_no_packet_ends_it() {
    let hooks = Arc::new(ThinksOfAll::default());
    let hub = hub_with(|_| (), Some(hooks.clone()), None);
    let connect = Connect::v5("client").props(PropsBuf::new().text(0x15, "method"));
    let mut client = Client::connect(&hub, &connect);
    let mut context = Context::from_waker(Waker::noop());
    let data = vec![b'x'; 70_000];
    hooks
        .resolver()
        .auth(AuthReply::Continue(Some(data.into())));
    assert!(client.connection.poll(&mut context, START).is_ready());

    assert!(client.link.ended().is_some());
    let packets = client.read();
    assert!(
        !packets
            .iter()
            .any(|packet| matches!(packet, Packet::Auth(_)))
    );
}

/// Hears of sessions, and refuses wills.
#[derive(Default)]
struct Hears(Mutex<Vec<String>>);

impl Hooks for Hears {
    fn set(&self) -> HookSet {
        HookSet::LIFE.union(HookSet::INTERCEPT_PUBLISH)
    }

    fn intercept_publish(&self, _: &Origin, message: &MessageRef<'_>) -> Interception {
        match message.topic {
            "refused" => Interception::Refuse(Refusal::new(ReasonCode::NotAuthorized)),
            _ => Interception::Forward,
        }
    }

    fn session_started(&self, client_id: &str) {
        self.0.lock().unwrap().push(format!("{client_id} starts"));
    }

    fn session_ended(&self, client_id: &str) {
        self.0.lock().unwrap().push(format!("{client_id} ends"));
    }

    fn connected(&self, client: &ClientInfo, session_present: bool) {
        let name = &client.client_id;
        let text = format!("{name} connects, {session_present}");
        self.0.lock().unwrap().push(text);
    }

    fn disconnected(&self, client: &ClientInfo, _: &DisconnectReason) {
        let text = format!("{} goes", client.client_id);
        self.0.lock().unwrap().push(text);
    }
}

/// Covers: none
#[test]
fn hooks_hear_of_sessions_once_each() {
    let hooks = Arc::new(Hears::default());
    let hub = hub_with(|_| (), Some(hooks.clone()), None);
    let connect = Connect::v5("a").clean(false).expiry(9);
    Client::connect(&hub, &connect).close();
    Client::connect(&hub, &connect).close();
    hub.fire(START.after_s(9));
    let mut heard = std::mem::take(&mut *hooks.0.lock().unwrap());
    heard[..2].sort(); // both at once
    let expected = [
        "a connects, false",
        "a starts",
        "a goes",
        "a connects, true",
        "a goes",
        "a ends",
    ];
    assert_eq!(heard, expected);
}

/// Covers: none
#[test]
fn a_will_that_is_refused_is_not_told_of_as_sent() {
    let hub = hub_with(|_| (), Some(Arc::new(Hears::default())), None);
    let events = Arc::new(Queue::new(QueueLimits::default()));
    hub.observe(EventMask::WILL_SENT, events.clone());
    for topic in ["refused", "sent"] {
        let connect = Connect::v5("client").will(Will::new(topic, "w"));
        Client::connect(&hub, &connect).close();
    }
    let mut seen = Vec::new();
    events.drain_into(&mut seen, 9).unwrap();
    let topics: Vec<_> = (seen.iter())
        .map(|seen: &Observed| match &seen.event {
            Event::WillSent { topic, .. } => topic.to_string(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(topics, ["sent"]);
}
