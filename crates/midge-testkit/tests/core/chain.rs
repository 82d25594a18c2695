//! Several sets of hooks: which are asked, in which order, and what they say together.

use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};

use midge::{QoS, ReasonCode, SubscriptionOptions};
use midge_core::{
    AuthReply, AuthStep, ClientInfo, ConnectRequest, Deferred, DeliveryVerdict, DisconnectReason,
    EnhancedVerdict, HookSet, Hooks, Hub, Interception, MemoryStore, Message, MessageRef, Origin,
    OwnedMessage, PublishError, Refusal, Resolver, Verdict,
};
use midge_testkit::{
    Connect, Kind, Packet, PropsBuf, Publish, Subscribe, Will, auth, disconnect, id,
};

use crate::world::{Client, START, hub_of};

/// What a set says to whatever it is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Says {
    Allow,
    Pass,
    Deny,
    Later,
    Panic,
}

use Says::{Allow, Deny, Later, Panic, Pass};

/// What all sets of a test have in common: which set was asked what, and answers that are owed.
#[derive(Default)]
struct Book {
    asked: Mutex<Vec<String>>,
    owed: Mutex<Vec<Resolver>>,
}

impl Book {
    /// What has been asked since the last time.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    fn owed(&self) -> Resolver {
        self.owed.lock().unwrap().pop().expect("an answer is owed")
    }
}

struct Member {
    name: &'static str,
    set: HookSet,
    says: Says,
    book: Arc<Book>,
}

impl Member {
    fn ask(&self, what: &str) -> Verdict {
        self.note(what);
        match self.says {
            Allow => Verdict::Allow,
            Pass => Verdict::Pass,
            Deny => Verdict::Deny(self.refusal()),
            Later => {
                let (resolver, verdict) = Verdict::defer();
                self.book.owed.lock().unwrap().push(resolver);
                verdict
            }
            Panic => unreachable!("it has panicked"),
        }
    }

    fn note(&self, what: &str) {
        let asked = format!("{} {what}", self.name);
        self.book.asked.lock().unwrap().push(asked);
        if self.says == Panic {
            std::panic::resume_unwind(Box::new("on purpose"));
        }
    }

    fn refusal(&self) -> Refusal {
        Refusal::new(ReasonCode::QuotaExceeded).text(self.name)
    }

    /// A message to which it has added its name.
    fn signed(&self, message: &MessageRef<'_>) -> Box<OwnedMessage> {
        let mut signed = OwnedMessage::from(message);
        signed.payload = [&signed.payload[..], b"+", self.name.as_bytes()]
            .concat()
            .into();
        Box::new(signed)
    }
}

impl Hooks for Member {
    fn set(&self) -> HookSet {
        self.set
    }

    fn authenticate(&self, request: &ConnectRequest) -> Verdict {
        self.ask(&request.client.client_id)
    }

    fn enhanced_auth(&self, step: &AuthStep) -> EnhancedVerdict {
        self.note(&format!("{} {}", step.method, step.first));
        match self.says {
            _ if *step.method != *self.name => EnhancedVerdict::Pass,
            Later => {
                let (resolver, deferred) = Deferred::new();
                self.book.owed.lock().unwrap().push(resolver);
                EnhancedVerdict::Defer(deferred)
            }
            _ if step.first => EnhancedVerdict::Now(AuthReply::Continue(None)),
            _ => EnhancedVerdict::Now(AuthReply::Accept(None)),
        }
    }

    fn authorize_publish(&self, _: &ClientInfo, message: &MessageRef<'_>) -> Verdict {
        self.ask(message.topic)
    }

    fn authorize_subscribe(
        &self,
        _: &ClientInfo,
        filter: &str,
        _: &SubscriptionOptions,
    ) -> Verdict {
        self.ask(filter)
    }

    fn authorize_receive(&self, client: &ClientInfo, _: &MessageRef<'_>) -> bool {
        self.note(&format!("{client:?}"));
        self.says != Deny
    }

    fn intercept_publish(&self, _: &Origin, message: &MessageRef<'_>) -> Interception {
        self.note(std::str::from_utf8(message.payload).unwrap());
        match self.says {
            Allow => Interception::Replace(self.signed(message)),
            Deny => Interception::Refuse(self.refusal()),
            _ => Interception::Forward,
        }
    }

    fn intercept_delivery(&self, _: &str, message: &Message, _: QoS) -> DeliveryVerdict {
        self.note(std::str::from_utf8(message.payload()).unwrap());
        match self.says {
            Allow => DeliveryVerdict::Replace(self.signed(&message.parts(START))),
            Deny => DeliveryVerdict::Drop,
            _ => DeliveryVerdict::Deliver,
        }
    }

    fn connected(&self, client: &ClientInfo, _: bool) {
        self.note(&format!("{} comes", client.client_id));
    }

    fn disconnected(&self, client: &ClientInfo, _: &DisconnectReason) {
        self.note(&format!("{} goes", client.client_id));
    }
}

/// A hub with the sets `a`, `b` and so on.
fn chain(set: HookSet, says: &[Says]) -> (Arc<Hub>, Arc<Book>) {
    let book = Arc::new(Book::default());
    let names = ["a", "b", "c", "d"];
    let sets = names.into_iter().zip(says).map(|(name, says)| {
        let book = book.clone();
        Arc::new(Member {
            name,
            set,
            says: *says,
            book,
        }) as Arc<dyn Hooks>
    });
    (hub_of(|_| (), sets.collect(), None), book)
}

/// Lets a connection go on once the answer that it waits for has been given.
fn go_on(client: &mut Client) {
    let mut context = Context::from_waker(Waker::noop());
    while client.connection.is_waiting() && client.connection.poll(&mut context, START).is_ready() {
    }
}

/// The code of the CONNACK that a client gets.
fn connack(client: &mut Client) -> u8 {
    match &client.read()[..] {
        [Packet::Connack(connack)] => connack.code,
        other => panic!("{other:?}"),
    }
}

/// Covers: none
#[test]
fn the_first_answer_says_whether_a_client_may_connect() {
    let cases = [
        (vec![Allow, Deny], 0, 1),
        (vec![Deny, Allow], 0x97, 1),
        (vec![Pass, Allow, Deny], 0, 2),
        (vec![Pass, Pass, Deny], 0x97, 3),
        // Without an answer it may not.
        (vec![Pass], 0x86, 1),
        (vec![Pass, Pass], 0x86, 2),
    ];
    for (says, code, asked) in cases {
        let (hub, book) = chain(HookSet::AUTHENTICATE, &says);
        let mut client = Client::accept(&hub);
        client.say(Connect::v5("client").bytes());
        assert_eq!(connack(&mut client), code, "{says:?}");
        assert_eq!(book.asked().len(), asked, "{says:?}");
    }
}

/// Covers: none
#[test]
fn the_first_no_says_whether_a_message_may_be_published() {
    let cases = [
        (vec![Allow, Deny, Allow], 0x97, 2),
        (vec![Deny, Allow], 0x97, 1),
        (vec![Pass, Allow, Pass], 0x10, 3),
        (vec![Pass, Pass], 0x10, 2),
    ];
    for (says, code, asked) in cases {
        let (hub, book) = chain(HookSet::AUTHORIZE_PUBLISH, &says);
        let mut client = Client::plain(&hub, "client");
        client.say(Publish::new("t", "p").qos(1, 1).bytes());
        let packets = client.read();
        let [Packet::Ack(ack)] = &packets[..] else {
            panic!("{packets:?}");
        };
        assert_eq!((ack.kind, ack.code), (Kind::Puback, code), "{says:?}");
        assert_eq!(book.asked().len(), asked, "{says:?}");

        // The host in the name of a client is asked about in the same way.
        let message = MessageRef::new("t", b"p");
        let published = hub.publish_from_host(message, Some("client"), || START, false);
        let refused = matches!(published, Err(PublishError::Refused(_)));
        assert_eq!(refused, code == 0x97, "{says:?}");
        assert_eq!(book.asked().len(), asked, "{says:?}");
    }
}

/// Covers: none
#[test]
fn answers_that_come_later_are_followed_by_the_next_set() {
    let set = HookSet::AUTHENTICATE
        .union(HookSet::AUTHORIZE_PUBLISH)
        .union(HookSet::AUTHORIZE_SUBSCRIBE);
    let (hub, book) = chain(set, &[Later, Allow, Later]);
    let mut client = Client::accept(&hub);
    client.say(Connect::v5("client").will(Will::new("w", "gone")).bytes());
    assert_eq!(book.asked(), ["a client"]);
    book.owed().pass();
    go_on(&mut client);

    // Authenticated by the second set; the will is asked about from the first one on.
    assert_eq!(book.asked(), ["b client", "a w"]);
    book.owed().allow();
    go_on(&mut client);
    assert_eq!(book.asked(), ["b w", "c w"]);
    book.owed().pass();
    go_on(&mut client);
    assert_eq!(connack(&mut client), 0);

    client.say(Publish::new("t", "p").qos(1, 1).bytes());
    book.owed().allow();
    go_on(&mut client);
    assert!(client.connection.is_waiting() && client.read().is_empty());
    book.owed().allow();
    go_on(&mut client);
    assert_eq!(client.acks(Kind::Puback), [1]);
    assert_eq!(book.asked(), ["a t", "b t", "c t"]);

    // Each filter has its own way through the sets; a no ends it.
    client.say(Subscribe::new(2).filter("x", 0).filter("y", 0).bytes());
    book.owed().deny(Refusal::new(ReasonCode::NotAuthorized));
    go_on(&mut client);
    book.owed().pass();
    go_on(&mut client);
    book.owed().allow();
    go_on(&mut client);
    assert_eq!(book.asked(), ["a x", "a y", "b y", "c y"]);
    let packets = client.read();
    let [Packet::Suback(suback)] = &packets[..] else {
        panic!("{packets:?}");
    };
    assert_eq!(suback.codes, [0x87, 0]);

    // An answer that never comes is a no, and nothing else is asked.
    client.say(Publish::new("t", "p").qos(1, 3).bytes());
    drop(book.owed());
    go_on(&mut client);
    assert_eq!(client.acks(Kind::Puback), [3]);
    assert_eq!(book.asked(), ["a t"]);
}

/// Covers: none
#[test]
fn a_client_that_is_taken_over_between_two_sets_publishes_nothing() {
    let (hub, book) = chain(HookSet::AUTHORIZE_PUBLISH, &[Later, Later]);
    let mut receiver = Client::plain(&hub, "receiver");
    receiver.say(Subscribe::new(1).filter("t", 0).bytes());
    receiver.read();
    let mut old = Client::plain(&hub, "client");
    old.say(Publish::new("t", "p").bytes());
    book.owed().allow();
    go_on(&mut old);
    let _new = Client::plain(&hub, "client");
    book.owed().allow();
    go_on(&mut old);
    assert_eq!(book.asked(), ["a t", "b t"]);
    assert!(old.link.ended().is_some() && receiver.texts().is_empty());
}

/// Covers: none
#[test]
fn an_exchange_belongs_to_the_set_that_knows_the_method() {
    let method = |name: &str| PropsBuf::new().text(id::AUTHENTICATION_METHOD, name);
    for says in [[Pass; 3], [Later; 3]] {
        let (hub, book) = chain(HookSet::ENHANCED_AUTH, &says);
        let mut client = Client::accept(&hub);
        client.say(Connect::v5("client").props(method("b")).bytes());
        let answer = |client: &mut Client, reply| {
            if says[0] == Later {
                book.owed().auth(reply);
                go_on(client);
            }
        };

        answer(&mut client, AuthReply::Continue(None));
        assert_eq!(book.asked(), ["a b true", "b b true"]);
        assert!(matches!(client.read()[..], [Packet::Auth(_)]));

        client.say(auth(0x18, &method("b")));
        answer(&mut client, AuthReply::Accept(None));
        assert_eq!(book.asked(), ["b b false"]);
        assert_eq!(connack(&mut client), 0);

        // Of re-authentication, too.
        client.say(auth(0x19, &method("b")));
        answer(&mut client, AuthReply::Accept(None));
        assert_eq!(book.asked(), ["b b true"]);
        assert!(matches!(client.read()[..], [Packet::Auth(_)]));

        let mut stranger = Client::accept(&hub);
        stranger.say(Connect::v5("stranger").props(method("x")).bytes());
        assert_eq!(connack(&mut stranger), 0x8C);
        assert_eq!(book.asked(), ["a x true", "b x true", "c x true"]);
    }
}

/// Covers: none
#[test]
fn a_will_that_others_think_about_gives_the_exchange_to_none_of_them() {
    let method = PropsBuf::new().text(id::AUTHENTICATION_METHOD, "a");
    let set = HookSet::ENHANCED_AUTH.union(HookSet::AUTHORIZE_PUBLISH);
    let (hub, book) = chain(set, &[Later; 3]);
    let mut client = Client::accept(&hub);
    let connect = Connect::v5("client").props(method.clone());
    client.say(connect.will(Will::new("w", "gone")).bytes());

    book.owed().auth(AuthReply::Accept(None));
    go_on(&mut client);
    for _ in 0..3 {
        book.owed().allow();
        go_on(&mut client);
    }
    assert_eq!(book.asked(), ["a a true", "a w", "b w", "c w"]);
    assert_eq!(connack(&mut client), 0);

    client.say(auth(0x19, &method));
    assert_eq!(book.asked(), ["a a true"]);
}

/// Covers: none
#[test]
fn a_set_that_finds_out_late_that_it_does_not_know_the_method_passes_it_on() {
    let method = PropsBuf::new().text(id::AUTHENTICATION_METHOD, "a");
    let (hub, book) = chain(HookSet::ENHANCED_AUTH, &[Later, Pass]);
    let connect = || {
        let mut client = Client::accept(&hub);
        client.say(Connect::v5("client").props(method.clone()).bytes());
        client
    };
    let mut client = connect();
    book.owed().pass();
    go_on(&mut client);
    assert_eq!(book.asked(), ["a a true", "b a true"]);
    assert_eq!(connack(&mut client), 0x8C);

    // Once the exchange has begun it is too late for that.
    let mut client = connect();
    book.owed().auth(AuthReply::Continue(None));
    go_on(&mut client);
    client.read();
    client.say(auth(0x18, &method));
    book.owed().pass();
    go_on(&mut client);
    assert_eq!(connack(&mut client), 0x8C);
    assert_eq!(book.asked(), ["a a true", "a a false"]);
}

/// Covers: none
#[test]
fn each_set_sees_what_those_before_have_made_of_a_message() {
    let both = [HookSet::INTERCEPT_PUBLISH, HookSet::INTERCEPT_DELIVERY];
    for (set, qos) in both.into_iter().flat_map(|set| [(set, 0), (set, 1)]) {
        let (hub, book) = chain(set, &[Allow, Pass, Allow]);
        let mut client = Client::plain(&hub, "client");
        client.say(Subscribe::new(1).filter("t", qos).bytes());
        client.read();
        client.say(Publish::new("t", "p").qos(qos, 1).bytes());
        assert_eq!(client.texts(), ["p+a+c"], "{set:?}");
        assert_eq!(book.asked(), ["a p", "b p+a", "c p+a"], "{set:?}");

        // The first that does not let it go on ends it.
        let (hub, book) = chain(set, &[Allow, Deny, Allow]);
        let mut client = Client::plain(&hub, "client");
        client.say(Subscribe::new(1).filter("t", qos).bytes());
        client.read();
        client.say(Publish::new("t", "p").qos(qos, 1).bytes());
        assert_eq!(client.texts(), [""; 0], "{set:?}");
        assert_eq!(book.asked(), ["a p", "b p+a"], "{set:?}");
        assert_eq!(hub.stats(START).dropped_total(), 1, "{set:?}");
    }
}

/// Covers: none
#[test]
fn a_message_is_authorized_by_all_before_it_is_changed_by_any() {
    let set = HookSet::AUTHORIZE_PUBLISH
        .union(HookSet::INTERCEPT_PUBLISH)
        .union(HookSet::INTERCEPT_DELIVERY);
    let (hub, book) = chain(set, &[Allow, Allow]);
    let mut client = Client::plain(&hub, "client");
    client.say(Subscribe::new(1).filter("t", 0).bytes());
    client.say(Publish::new("t", "p").bytes());
    let expected = ["a t", "b t", "a p", "b p+a", "a p+a+b", "b p+a+b+a"];
    assert_eq!(book.asked(), expected);
}

/// Covers: none
#[test]
fn the_first_no_keeps_a_message_from_its_receiver() {
    for (says, gets, asked) in [
        (vec![Allow, Pass], true, 2),
        (vec![Pass, Deny, Allow], false, 2),
        (vec![Deny, Allow], false, 1),
        // A panic is the no of the set that panics.
        (vec![Allow, Panic, Allow], false, 2),
    ] {
        let (hub, book) = chain(HookSet::AUTHORIZE_RECEIVE, &says);
        let mut client = Client::plain(&hub, "client");
        client.say(Subscribe::new(1).filter("t", 0).bytes());
        client.read();
        client.say(Publish::new("t", "p").bytes());
        assert_eq!(client.texts().len(), usize::from(gets), "{says:?}");
        assert_eq!(book.asked().len(), asked, "{says:?}");
        let panics = u64::from(says.contains(&Panic));
        assert_eq!(hub.stats(START).panics, panics, "{says:?}");
    }
}

/// Covers: none
#[test]
fn the_panic_of_one_set_is_the_end_of_its_client_and_no_other_is_asked() {
    let (hub, book) = chain(HookSet::AUTHORIZE_PUBLISH, &[Pass, Panic, Allow]);
    let mut client = Client::plain(&hub, "client");
    client.say(Publish::new("t", "p").bytes());
    assert_eq!(client.link.ended(), Some(&DisconnectReason::InternalError));
    assert_eq!(book.asked(), ["a t", "b t"]);
    assert_eq!(hub.stats(START).panics, 1);
}

/// Covers: none
#[test]
fn all_are_told_of_lives_even_if_one_panics() {
    let (hub, book) = chain(HookSet::LIFE, &[Panic, Allow]);
    let mut client = Client::plain(&hub, "client");
    client.say(disconnect(0, &PropsBuf::new()));
    let told = [
        "a client comes",
        "b client comes",
        "a client goes",
        "b client goes",
    ];
    assert_eq!(book.asked(), told);
    assert_eq!(hub.stats(START).panics, 2);
}

/// Covers: none
#[test]
fn a_set_is_asked_only_for_what_it_has() {
    let book = Arc::new(Book::default());
    let member = |name, set| {
        let (says, book) = (Deny, book.clone());
        Arc::new(Member {
            name,
            set,
            says,
            book,
        }) as Arc<dyn Hooks>
    };
    let sets = vec![
        member("a", HookSet::NONE),
        member("b", HookSet::AUTHORIZE_SUBSCRIBE),
        member("c", HookSet::AUTHORIZE_PUBLISH),
    ];
    let hub = hub_of(|_| (), sets, None);
    let mut client = Client::plain(&hub, "client");
    client.say(Publish::new("t", "p").bytes());
    client.say(Subscribe::new(1).filter("f", 0).bytes());
    assert_eq!(book.asked(), ["c t", "b f"]);
}

/// The client that a receiving hook was asked about, without what differs by run.
fn receiver(book: &Book) -> String {
    let asked = book.asked();
    let [asked] = &asked[..] else {
        panic!("{asked:?}");
    };
    asked.clone()
}

/// Covers: none
#[test]
fn a_receiver_is_known_also_while_it_is_away() {
    let store = MemoryStore::new();
    let member = |book: &Arc<Book>| {
        let (says, book) = (Allow, book.clone());
        Arc::new(Member {
            name: "a",
            set: HookSet::AUTHORIZE_RECEIVE,
            says,
            book,
        }) as Arc<dyn Hooks>
    };
    let publish = |hub: &Arc<Hub>| {
        let mut message = MessageRef::new("t", b"p");
        message.qos = QoS::AtLeastOnce;
        hub.publish_from_host(message, None, || START, false)
            .unwrap();
    };

    let book = Arc::new(Book::default());
    let hub = hub_of(|_| (), vec![member(&book)], Some(store.clone()));
    let connect = Connect::v5("client").user("user").clean(false).expiry(100);
    let mut client = Client::connect(&hub, &connect);
    client.say(Subscribe::new(1).filter("t", 1).bytes());
    client.read();
    publish(&hub);
    let known = receiver(&book);
    for part in [
        "\"client\"",
        "\"user\"",
        "\"peer\"",
        "\"test\"",
        "connection: 1",
    ] {
        assert!(known.contains(part), "{known}");
    }

    // As its last connection was.
    client.close();
    publish(&hub);
    assert_eq!(receiver(&book), known);
    drop(hub);

    // All that a store knows of it.
    let hub = hub_of(|_| (), vec![member(&book)], Some(store));
    publish(&hub);
    let known = receiver(&book);
    for part in [
        "\"client\"",
        "\"user\"",
        "peer: \"\"",
        "\"test\"",
        "connection: 0",
    ] {
        assert!(known.contains(part), "{known}");
    }
}
