//! What observers see of connections and sessions, in which order, and how they are told apart.

use std::sync::{Arc, Mutex, OnceLock, Weak};

use midge::{DisconnectReason, Event, EventKind, EventMask};
use midge_codec::{ReasonCode, SubscriptionOptions};
use midge_core::{
    AuthReply, ClientInfo, ConnectRequest, HookSet, Hooks, Hub, Observed, Queue, QueueLimits,
    Refusal, Resolver, Verdict,
};
use midge_testkit::{Connect, Kind, Publish, Subscribe, Will, ack, disconnect, unsubscribe};

use crate::world::{Client, START, hub, hub_with};

fn watch(hub: &Arc<Hub>, mask: EventMask) -> Arc<Queue<Observed>> {
    let events = Arc::new(Queue::new(QueueLimits::default()));
    hub.observe(mask, events.clone());
    events
}

/// Kind, connection and session of each event.
fn all(events: &Queue<Observed>) -> Vec<(&'static str, Option<u64>, Option<u64>)> {
    let mut seen = Vec::new();
    while let Ok(Some(Observed { event, .. })) = events.try_recv() {
        seen.push((event.kind().name(), event.connection(), event.session()));
    }

    seen
}

/// Covers: none
#[test]
fn a_takeover_is_told_in_the_order_in_which_it_happens() {
    for clean in [false, true] {
        let hub = hub(|_| ());
        let events = watch(&hub, EventMask::LIFECYCLE);
        let connect = Connect::v5("client").clean(clean).expiry(100);
        let will = Will::new("gone", "w");
        let _old = Client::connect(&hub, &connect.clone().will(will));
        let _new = Client::connect(&hub, &connect);
        let expected = match clean {
            false => vec![
                ("connected", Some(1), Some(1)),
                ("disconnected", Some(1), Some(1)),
                ("connected", Some(2), Some(1)),
                ("will_sent", None, Some(1)),
            ],
            true => vec![
                ("connected", Some(1), Some(1)),
                ("disconnected", Some(1), Some(1)),
                ("session_ended", None, Some(1)),
                ("connected", Some(2), Some(2)),
                ("will_sent", None, Some(1)),
            ],
        };
        assert_eq!(all(&events), expected);
    }
}

/// Covers: none
#[test]
fn what_an_interrupted_subscribe_leaves_is_told_of() {
    let hub = hub(|_| ());
    let events = watch(&hub, EventMask::SUBSCRIBED);
    let connect = Connect::v5("client").clean(false).expiry(100);
    let mut client = Client::connect(&hub, &connect);
    let many = (0..900).fold(Subscribe::new(1), |subscribe, number| {
        subscribe.filter(format!("{number}/a/b/c"), 0)
    });
    client.connection.receive(&many.bytes(), None, START);
    assert!(client.connection.gives_way(), "the first slice");
    client.close();

    let kept = hub.stats(START).subscriptions;
    assert!((1..900).contains(&kept));
    assert_eq!(all(&events).len() as u64, kept);
}

/// Covers: none
#[test]
fn every_event_says_which_connection_and_session_it_concerns() {
    let hub = hub(|_| ());
    let events = watch(&hub, EventMask::ALL);
    let mut client = Client::plain(&hub, "client");
    client.say(Subscribe::new(1).filter("t", 2).bytes());
    client.read();
    client.say(Publish::new("t", "p").qos(1, 1).bytes());
    client.read();
    client.say(ack(Kind::Puback, 1));
    client.say(unsubscribe(5, 2, &Default::default(), &["t"]));
    client.say(Publish::new("$SYS/x", "p").bytes());
    let (mine, own) = (Some(1), Some(1));
    let expected = [
        ("connected", mine, own),
        ("subscribed", mine, own),
        ("delivered", mine, own),
        ("published", mine, own),
        ("acknowledged", mine, own),
        ("unsubscribed", mine, own),
        ("dropped", mine, own),
    ];
    assert_eq!(all(&events), expected);

    // What a session does not get, and the order of one read.
    let message = midge_core::MessageRef::new("t", b"host");
    client.say(Subscribe::new(3).filter("t", 0).bytes());
    client.read();
    let mut publisher = Client::plain(&hub, "publisher");
    let gone = Client::connect(&hub, &Connect::v5("gone").clean(false).expiry(9));
    drop(all(&events));
    hub.publish_from_host(message, None, || START, false)
        .unwrap();
    publisher.say(
        [
            Publish::new("t", "p").bytes(),
            disconnect(0, &Default::default()),
        ]
        .concat(),
    );
    gone.close();
    let expected = [
        ("delivered", Some(1), Some(1)),
        ("published", None, None),
        ("delivered", Some(1), Some(1)),
        ("published", Some(2), Some(2)),
        ("disconnected", Some(2), Some(2)),
        ("session_ended", None, Some(2)),
        ("disconnected", Some(3), Some(3)),
    ];
    assert_eq!(all(&events), expected);
    assert_eq!(hub.clients()[0].connection, 1);
    assert_eq!(client.link.number(), 1);
}

/// Refuses every client.
struct Refusing;

impl Hooks for Refusing {
    fn set(&self) -> HookSet {
        HookSet::AUTHENTICATE.union(HookSet::ENHANCED_AUTH)
    }

    fn authenticate(&self, _: &ConnectRequest) -> Verdict {
        Verdict::Deny(Refusal::new(ReasonCode::Banned).text("not today"))
    }

    fn enhanced_auth(&self, _: &midge_core::AuthStep) -> midge_core::EnhancedVerdict {
        let refusal = Refusal::new(ReasonCode::NotAuthorized).text("not so");
        midge_core::EnhancedVerdict::Now(AuthReply::Refuse(refusal))
    }
}

/// Client identifier, user name, text and reason of the one refusal.
fn refusal(events: &Queue<Observed>) -> (String, Option<String>, Option<String>, DisconnectReason) {
    let seen = events.try_recv().unwrap().expect("a refusal").event;
    let Event::ConnectionRefused {
        client_id,
        username,
        text,
        reason,
        ..
    } = seen
    else {
        panic!("{seen:?}");
    };
    assert!(events.try_recv().unwrap().is_none());
    let owned = |text: Option<Arc<str>>| text.map(|text| text.to_string());
    (client_id.to_string(), owned(username), owned(text), reason)
}

/// Covers: none
#[test]
fn a_refusal_says_whom_it_concerns_and_why() {
    let hub = hub_with(
        |config| {
            config.mqtt.versions.v31 = false;
            config.limits.client_id_bytes = 20;
            config.strict.dollar_publish = true;
        },
        Some(Arc::new(Refusing)),
        None,
    );
    let events = watch(&hub, EventMask::CONNECTION_REFUSED);
    let connect = |version| Connect::new(version, "client").user("user");
    let text = |text: &str| Some(text.to_owned());
    let method = midge_testkit::PropsBuf::new().text(midge_testkit::id::AUTHENTICATION_METHOD, "m");
    let long = "x".repeat(21);

    let cases = [
        (connect(5), text("not today"), ReasonCode::Banned),
        (connect(4), text("not today"), ReasonCode::Banned),
        (
            connect(5).props(method),
            text("not so"),
            ReasonCode::NotAuthorized,
        ),
        (connect(3), None, ReasonCode::UnsupportedProtocolVersion),
        (
            connect(5).will(Will::new("$x", "w")),
            text("clients may not publish to topics that begin with $"),
            ReasonCode::NotAuthorized,
        ),
        (
            Connect::v5(&long).user("user"),
            text("the client identifier is too long"),
            ReasonCode::ClientIdentifierNotValid,
        ),
    ];
    for (connect, text, reason) in cases {
        let mut client = Client::accept(&hub);
        client.say(connect.bytes());
        let client_id = String::from_utf8(connect.client_id).unwrap();
        let reason = DisconnectReason::Refused(reason);
        let user = Some("user".to_owned());
        assert_eq!(refusal(&events), (client_id, user, text, reason));
    }

    // Nothing is known of a client that has not sent anything.
    let client = Client::accept(&hub);
    client.close();
    let lost = DisconnectReason::ConnectionLost;
    assert_eq!(refusal(&events), (String::new(), None, None, lost));
}

/// Thinks for ever.
#[derive(Default)]
struct Thinking(Mutex<Option<Resolver>>);

impl Hooks for Thinking {
    fn set(&self) -> HookSet {
        HookSet::AUTHENTICATE
    }

    fn authenticate(&self, _: &ConnectRequest) -> Verdict {
        let (resolver, deferred) = midge_core::Deferred::new();
        *self.0.lock().unwrap() = Some(resolver);
        Verdict::Defer(deferred)
    }
}

/// Covers: none
#[test]
fn a_client_given_up_while_a_hook_thinks_is_known() {
    let hub = hub_with(|_| (), Some(Arc::new(Thinking::default())), None);
    let events = watch(&hub, EventMask::CONNECTION_REFUSED);
    let mut client = Client::accept(&hub);
    client.say(Connect::v5("client").user("user").bytes());
    client.close();
    let (user, lost) = (Some("user".to_owned()), DisconnectReason::ConnectionLost);
    assert_eq!(refusal(&events), ("client".to_owned(), user, None, lost));
}

/// What hooks are told of connections: number, and whether it began.
#[derive(Default)]
struct Told(Mutex<Vec<(u64, bool)>>);

impl Hooks for Told {
    fn set(&self) -> HookSet {
        HookSet::LIFE
    }

    fn connected(&self, client: &ClientInfo, _session_present: bool) {
        self.0.lock().unwrap().push((client.connection, true));
    }

    fn disconnected(&self, client: &ClientInfo, _reason: &DisconnectReason) {
        self.0.lock().unwrap().push((client.connection, false));
    }
}

/// Covers: none
#[test]
fn hooks_tell_the_connections_of_one_client_apart_as_events_do() {
    let told = Arc::new(Told::default());
    let hub = hub_with(|_| (), Some(told.clone()), None);
    let events = watch(&hub, EventMask::CLIENT_CONNECTED);
    let _old = Client::plain(&hub, "client");
    let _new = Client::connect(&hub, &Connect::v5("client"));

    let numbers: Vec<_> = all(&events).into_iter().map(|event| event.1).collect();
    assert_eq!(numbers, [Some(1), Some(2)]);
    let told = told.0.lock().unwrap();
    assert_eq!(*told, [(1, true), (1, false), (2, true)]);
}

/// Kind and message number of the events that are about messages.
fn numbered(events: &Queue<Observed>) -> Vec<(EventKind, Option<u64>)> {
    let mut seen = Vec::new();
    while let Ok(Some(Observed { event, .. })) = events.try_recv() {
        if event.topic().is_some() {
            seen.push((event.kind(), event.message_number()));
        }
    }

    seen
}

/// Covers: none
#[test]
fn all_events_about_one_message_have_its_number() {
    let hub = hub(|_| ());
    let events = watch(&hub, EventMask(EventMask::ALL.0 & !EventMask::SUBSCRIBED.0));
    let durable = |id| Connect::v5(id).clean(false).expiry(100);
    let will = Will::new("t", "w");
    let mut there = Client::connect(&hub, &durable("there"));
    let mut gone = Client::connect(&hub, &durable("gone").will(will));
    for client in [&mut there, &mut gone] {
        client.say(Subscribe::new(1).filter("t", 1).bytes());
        client.read();
    }
    gone.close();

    // A message of QoS 0 that is not kept has a number, too.
    let mut publisher = Client::plain(&hub, "publisher");
    publisher.say(Publish::new("t", "p").bytes());
    publisher.say(Publish::new("t", "p").qos(1, 1).bytes());
    publisher.say(Publish::new("$SYS/x", "p").bytes());
    let seen = numbered(&events);
    let kinds: Vec<_> = seen.iter().map(|(kind, _)| *kind).collect();
    use EventKind::{Delivered, Dropped, Published, WillSent};
    let of_will = [Delivered, Dropped, Published, WillSent];
    let of_messages = [Delivered, Dropped, Published, Delivered, Published, Dropped];
    assert_eq!(kinds, [&of_will[..], &of_messages[..]].concat());

    let numbers: Vec<_> = seen.iter().map(|(_, number)| *number).collect();
    assert_eq!(numbers[..4], [numbers[0]; 4]);
    assert_eq!(numbers[4..7], [numbers[4]; 3]);
    assert_eq!(numbers[7..9], [numbers[7]; 2]);
    assert!(Some(0) < numbers[0] && numbers[0] < numbers[4] && numbers[4] < numbers[7]);
    assert_eq!(numbers[9], None, "it was not taken");
}

/// Covers: none
#[test]
fn an_event_has_one_number_for_all_who_see_it() {
    let hub = hub(|_| ());
    let (all, some) = (
        watch(&hub, EventMask::ALL),
        watch(&hub, EventMask::CLIENT_DISCONNECTED),
    );
    Client::plain(&hub, "a").close();
    Client::plain(&hub, "b").close();

    let numbers = |events: &Queue<Observed>| {
        let seen = std::iter::from_fn(|| events.try_recv().unwrap());
        seen.map(|observed| (observed.number, observed.event.kind()))
            .collect::<Vec<_>>()
    };
    let (all, some) = (numbers(&all), numbers(&some));
    let ended = |(_, kind): &(u64, EventKind)| *kind == EventKind::ClientDisconnected;
    assert_eq!(some, all.iter().copied().filter(ended).collect::<Vec<_>>());
    let numbers: Vec<_> = all.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
}

/// Begins to watch while it is asked.
#[derive(Default)]
struct Watches {
    hub: OnceLock<Weak<Hub>>,
    events: Mutex<Option<Arc<Queue<Observed>>>>,
}

impl Watches {
    fn watch(&self, mask: EventMask) -> Verdict {
        let hub = self.hub.get().and_then(Weak::upgrade).expect("a hub");
        *self.events.lock().unwrap() = Some(watch(&hub, mask));
        Verdict::Allow
    }

    fn seen(&self) -> Vec<(&'static str, Option<u64>, Option<u64>)> {
        let events = self.events.lock().unwrap().take();
        all(&events.expect("it was asked"))
    }
}

impl Hooks for Watches {
    fn set(&self) -> HookSet {
        HookSet::AUTHENTICATE.union(HookSet::AUTHORIZE_SUBSCRIBE)
    }

    fn authenticate(&self, _: &ConnectRequest) -> Verdict {
        self.watch(EventMask::CLIENT_CONNECTED)
    }

    fn authorize_subscribe(&self, _: &ClientInfo, _: &str, _: &SubscriptionOptions) -> Verdict {
        self.watch(EventMask::SUBSCRIBED)
    }
}

/// An observer that comes while a packet is worked on, and finds the state before it, is told of the
/// change: a wait for a state relies on it.
///
/// Covers: none
#[test]
fn a_change_is_told_to_an_observer_that_comes_before_it() {
    let hooks = Arc::new(Watches::default());
    let hub = hub_with(|_| (), Some(hooks.clone()), None);
    hooks.hub.set(Arc::downgrade(&hub)).expect("one hub");

    let mut client = Client::plain(&hub, "client");
    assert_eq!(hooks.seen(), [("connected", Some(1), Some(1))]);

    client.say(Subscribe::new(1).filter("t", 0).bytes());
    assert_eq!(hooks.seen(), [("subscribed", Some(1), Some(1))]);
}
