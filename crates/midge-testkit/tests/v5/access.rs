//! What a host decides: authentication, authorization, interception.

use std::sync::{Arc, Mutex};

use midge::{
    ClientInfo, ConnectRequest, HookSet, Hooks, Interception, MessageRef, Origin, OwnedMessage,
    ReasonCode, Refusal, Resolver, SubscriptionOptions, Verdict,
};
use midge_testkit::{Connect, Kind, Publish, Subscribe, Will, ack, id};

use crate::common::{Server, broker_with, props};

/// Optional bytes as text.
fn text(bytes: Option<&[u8]>) -> String {
    String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
}

/// Accepts clients with the password, and denies all topics below "denied".
#[derive(Default)]
struct Rules {
    seen: Mutex<Vec<String>>,
    waiting: Mutex<Vec<Resolver>>,
}

impl Hooks for Rules {
    fn set(&self) -> HookSet {
        HookSet::AUTHENTICATE
            .union(HookSet::AUTHORIZE_PUBLISH)
            .union(HookSet::AUTHORIZE_SUBSCRIBE)
            .union(HookSet::INTERCEPT_PUBLISH)
    }

    fn authenticate(&self, request: &ConnectRequest) -> Verdict {
        let client = &request.client;
        let user = client.username.as_deref().unwrap_or("-");
        let password = text(request.password.as_deref());
        let seen = format!("{} {user} {password}", client.client_id);
        self.seen.lock().expect("no panic before").push(seen);

        let deny = |reason| Verdict::Deny(Refusal::new(reason));
        match (user, password.as_str()) {
            ("user" | "-", "password") if &*client.client_id == "owned" && user == "-" => {
                deny(ReasonCode::NotAuthorized)
            }
            ("user" | "-", "password") => Verdict::Allow,
            ("banned", _) => deny(ReasonCode::Banned),
            ("moved", _) => {
                let moved = Refusal::new(ReasonCode::ServerMoved);
                Verdict::Deny(moved.server_reference("one:1883 two"))
            }
            ("elsewhere", _) => {
                let other = Refusal::new(ReasonCode::UseAnotherServer);
                Verdict::Deny(other.server_reference("three"))
            }
            ("later", _) => {
                let (resolver, verdict) = Verdict::defer();
                self.waiting.lock().expect("no panic before").push(resolver);
                verdict
            }
            _ => deny(ReasonCode::BadUserNameOrPassword),
        }
    }

    fn authorize_publish(&self, _client: &ClientInfo, message: &MessageRef<'_>) -> Verdict {
        if message.topic.starts_with("denied") {
            let refusal = Refusal::new(ReasonCode::NotAuthorized);
            return Verdict::Deny(refusal.text("a reason that takes more than a few bytes"));
        }
        if message.topic == "slow" {
            let (resolver, verdict) = Verdict::defer();
            self.waiting.lock().expect("no panic before").push(resolver);
            return verdict;
        }
        Verdict::Allow
    }

    fn authorize_subscribe(
        &self,
        _client: &ClientInfo,
        filter: &str,
        _options: &SubscriptionOptions,
    ) -> Verdict {
        if filter.starts_with("denied") {
            let refusal = Refusal::new(ReasonCode::NotAuthorized);
            return Verdict::Deny(refusal.text("a reason that takes more than a few bytes"));
        }
        Verdict::Allow
    }

    fn intercept_publish(&self, _origin: &Origin, message: &MessageRef<'_>) -> Interception {
        match message.topic {
            "renamed" => {
                let other = OwnedMessage::new("new name", message.payload.to_vec());
                Interception::Replace(Box::new(other))
            }
            "full" => Interception::Refuse(Refusal::new(ReasonCode::QuotaExceeded)),
            _ => Interception::Forward,
        }
    }
}

/// A broker with the rules, and the rules.
fn ruled() -> (Server, Arc<Rules>) {
    let rules = Arc::new(Rules::default());
    let server = broker_with(|builder| builder.shared_hooks(rules.clone()));
    (server, rules)
}

fn allowed(name: &str) -> Connect {
    Connect::v5(name).user("user").password("password")
}

/// Covers: v5:MQTT-3.1.4-2, v5:MQTT-3.2.2-7, v5:MQTT-3.2.2-6, v5:MQTT-3.1.4-4, NN5-146
#[test]
fn mqtt_3_1_4_2_who_is_refused_gets_a_code_and_is_closed() {
    let (server, _) = ruled();
    let connect = allowed("client").expiry(600);
    server.begin(&connect).disconnect();

    let unknown = Connect::v5("client").user("nobody").password("password");
    let wrong = Connect::v5("client").user("user").password("wrong");
    let none = Connect::v5("client");
    let banned = Connect::v5("client").user("banned").password("x");
    for (refused, code) in [(unknown, 0x86), (wrong, 0x86), (none, 0x86), (banned, 0x8a)] {
        for clean in [true, false] {
            // Which part was wrong is not told: the answers are the same.
            let connack = server
                .say(refused.clone().clean(clean).bytes())
                .expect_refused(code);
            assert!(
                !connack.session_present && connack.props.is_empty(),
                "{connack:?}"
            );
        }
    }

    server.resume(&connect);
}

/// Covers: v5:MQTT-3.1.4-6
#[test]
fn mqtt_3_1_4_6_a_refused_client_has_no_effect() {
    let (server, _) = ruled();
    let mut watcher = server.connect(&allowed("watcher"));
    watcher.subscribe("#", 0);
    let wrong = Connect::v5("client").user("user").password("wrong");
    let wrong = wrong.will(Will::new("will", "w"));
    let behind = [
        wrong.bytes(),
        Publish::new("t", "p").retain().bytes(),
        Subscribe::new(1).filter("t", 0).bytes(),
        vec![0xc0, 0],
    ];
    server.say(behind.concat()).expect_refused(0x86);
    watcher.expect_nothing();
    assert!(server.retained("#").is_empty());
}

/// Covers: v5:MQTT-3.1.3-1, NN5-013, NN5-125, NN5-143
#[test]
fn mqtt_3_1_3_1_the_authenticator_sees_what_the_client_sent() {
    let (server, rules) = ruled();
    let will = Will::new("will", "payload").props(props().user("n", "v"));
    server.connect(&allowed("full").will(will)).disconnect();
    server
        .connect(&Connect::v5("no user").password("password"))
        .disconnect();
    server.connect(&allowed("owned")).disconnect();

    let stranger = Connect::v5("owned").password("password");
    server.say(stranger.bytes()).expect_refused(0x87);

    let seen = rules.seen.lock().expect("no panic before").clone();
    assert_eq!(
        seen,
        [
            "full user password",
            "no user - password",
            "owned user password",
            "owned - password"
        ]
    );
}

/// Covers: NN5-053, NN5-054
#[test]
fn nn5_053_a_redirected_client_is_told_where_to_go() {
    let (server, _) = ruled();
    for (user, code, reference) in [
        ("moved", 0x9d, "one:1883 two"),
        ("elsewhere", 0x9c, "three"),
    ] {
        let connack = server
            .say(Connect::v5("client").user(user).bytes())
            .expect_refused(code);
        assert_eq!(connack.props.text(id::SERVER_REFERENCE), Some(reference));
    }
}

/// Covers: NN5-023, v5:MQTT-3.1.4-2
#[test]
fn nn5_023_a_will_needs_permission() {
    let (server, _) = ruled();
    let connect = allowed("client")
        .expiry(60)
        .will(Will::new("denied/will", "w"));
    server.say(connect.bytes()).expect_refused(0x87);
    server.begin(&allowed("client").clean(false));
}

/// Covers: NN5-089, v5:MQTT-4.3.2-4, v5:MQTT-3.4.2-2, v5:MQTT-3.5.2-2
#[test]
fn nn5_089_a_denied_publish_is_refused_and_the_connection_stays() {
    let (server, _) = ruled();
    let mut watcher = server.connect(&allowed("watcher"));
    watcher.subscribe("#", 2);
    for (limit, told) in [(u32::MAX, true), (13, false)] {
        let mut client = server.connect(&allowed("client").maximum_packet_size(limit));
        client.publish("denied/x", "p", 0);
        client.send(Publish::new("denied/x", "p").qos(1, 1).retain().bytes());
        let puback = client.expect_ack(Kind::Puback, 1);
        assert_eq!(
            (puback.code, puback.props.has(id::REASON_STRING)),
            (0x87, told)
        );
        client.send(Publish::new("denied/x", "p").qos(2, 2).bytes());
        let pubrec = client.expect_ack(Kind::Pubrec, 2);
        assert_eq!(
            (pubrec.code, pubrec.props.has(id::REASON_STRING)),
            (0x87, told)
        );
        assert_eq!(client.deliver(&Publish::new("full", "p").qos(1, 0)), 0x97);
        assert_eq!(client.deliver(&Publish::new("full", "p").qos(2, 0)), 0x97);
        watcher.expect_nothing();
        client.publish("allowed", "p", 1);
        watcher.expect_message("allowed", "p");
        client.expect_nothing();
    }

    assert!(server.retained("#").is_empty());
}

/// Covers: v5:MQTT-4.3.3-9
#[test]
fn mqtt_4_3_3_9_after_a_refusal_the_identifier_is_free() {
    let (server, _) = ruled();
    let mut watcher = server.connect(&allowed("watcher"));
    watcher.subscribe("#", 2);

    let mut client = server.connect(&allowed("client"));
    client.send(Publish::new("denied/x", "1").qos(2, 7).bytes());
    assert_eq!(client.expect_ack(Kind::Pubrec, 7).code, 0x87);
    client.send(ack(Kind::Pubrel, 7));
    assert_eq!(client.expect_ack(Kind::Pubcomp, 7).code, 0x92);
    client.send(Publish::new("denied/x", "2").qos(2, 7).bytes());
    assert_eq!(client.expect_ack(Kind::Pubrec, 7).code, 0x87);
    client.send(Publish::new("allowed", "3").qos(2, 7).bytes());
    assert_eq!(client.expect_ack(Kind::Pubrec, 7).code, 0);
    client.send(Publish::new("allowed", "3").qos(2, 7).dup().bytes());
    assert!(client.expect_ack(Kind::Pubrec, 7).code < 0x80);
    client.send(ack(Kind::Pubrel, 7));
    assert_eq!(client.expect_ack(Kind::Pubcomp, 7).code, 0);
    watcher.expect_message("allowed", "3");
    watcher.expect_nothing();
}

/// Covers: v5:MQTT-3.8.4-1, v5:MQTT-3.8.4-5, v5:MQTT-3.8.4-7, v5:MQTT-3.9.3-1, v5:MQTT-3.9.2-1, NN5-133
#[test]
fn mqtt_3_8_4_7_a_denied_filter_gets_its_code_and_nothing_else() {
    let (server, _) = ruled();
    let mut publisher = server.connect(&allowed("publisher"));

    for limit in [u32::MAX, 13] {
        let mut client = server.connect(&allowed("client").maximum_packet_size(limit));
        let mixed = Subscribe::new(0)
            .filter("a", 2)
            .filter("denied/#", 1)
            .filter("b", 0)
            .filter("$share/g/c", 1);
        assert_eq!(client.request(&mixed).codes, [2, 0x87, 0, 1]);
        let denied = client.request(&Subscribe::new(0).filter("denied", 1));
        assert_eq!(denied.codes, [0x87]);
        assert_eq!(
            denied.props.has(id::REASON_STRING),
            limit > 13,
            "{denied:?}"
        );
        for topic in ["a", "b", "c"] {
            publisher.publish(topic, "p", 1);
            assert_eq!(client.receive().topic, topic);
        }
        server.publish("denied/x", "p").expect("a host may");
        client.expect_nothing();
        assert_eq!(client.unsubscribe(&["denied/#", "a"]), [0x11, 0]);
    }
}

/// Covers: NN5-062
#[test]
fn nn5_062_a_topic_changes_only_where_the_host_says_so() {
    let (server, _) = ruled();
    let mut watcher = server.connect(&allowed("watcher"));
    watcher.subscribe("#", 0);
    let mut client = server.connect(&allowed("client"));
    client.publish("renamed", "p", 1);
    watcher.expect_message("new name", "p");
    client.publish("kept", "p", 1);
    watcher.expect_message("kept", "p");
}

/// Covers: NN5-073
#[test]
fn nn5_073_an_alias_is_set_before_the_publish_is_denied() {
    let (server, _) = ruled();
    let mut watcher = server.connect(&allowed("watcher"));
    watcher.subscribe("#", 0);
    let mut client = server.connect(&allowed("client"));
    assert_eq!(
        client.deliver(&Publish::new("denied", "p").qos(1, 0).alias(1)),
        0x87
    );
    assert_eq!(
        client.deliver(&Publish::new("", "p").qos(1, 0).alias(1)),
        0x87
    );
    client.deliver(&Publish::new("t", "p").qos(1, 0).alias(1));
    client.deliver(&Publish::new("", "q").qos(1, 0).alias(1));
    watcher.expect_message("t", "p");
    watcher.expect_message("t", "q");
    watcher.expect_nothing();
}

/// Covers: NN5-040, NN5-041
#[test]
fn nn5_040_a_client_that_is_not_let_in_yet_cannot_fill_memory() {
    let (server, rules) = ruled();
    let mut client = server.say(Connect::v5("client").user("later").bytes());
    let mut other = server.connect(&allowed("other"));
    other.subscribe("t", 0);
    while rules.waiting.lock().expect("no panic before").is_empty() {
        other.expect_nothing();
    }

    let before = server.stats().bytes_received;

    // As much as the sockets take, and not a byte more, is on its way.
    let flood = Publish::new("t", vec![b'x'; 60_000]).bytes();
    let sent = client.send_what_is_taken(&flood, 64 << 20);
    assert!(
        sent < 64 << 20,
        "the broker took {sent} bytes of an unknown client"
    );
    other.expect_nothing();

    let read = server.stats().bytes_received - before;
    assert!(read < 1 << 20, "{read} bytes were read");

    let resolver = rules.waiting.lock().expect("no panic before").pop();
    resolver
        .expect("a resolver")
        .deny(Refusal::new(ReasonCode::NotAuthorized));
    client.expect_refused(0x87);
    other.expect_nothing();
}

/// Covers: NN5-151
#[test]
fn nn5_151_a_slow_hook_holds_up_its_client_only() {
    let (server, rules) = ruled();
    let mut watcher = server.connect(&allowed("watcher"));
    watcher.subscribe("#", 1);

    let mut client = server.connect(&allowed("client").keep_alive(2));
    client.send(Publish::new("slow", "p").qos(1, 1).bytes());
    client.send([0xc0, 0]);
    while rules.waiting.lock().expect("no panic before").is_empty() {
        watcher.expect_nothing();
    }

    let mut other = server.connect(&allowed("other"));
    other.publish("t", "p", 1);
    assert_eq!(watcher.receive().topic, "t");

    // The time that the host takes is not the client's silence.
    server.pass(4);

    let resolver = rules.waiting.lock().expect("no panic before").pop();
    resolver.expect("a resolver").allow();
    client.expect_ack(Kind::Puback, 1);
    client.expect_pingresp();
    assert_eq!(watcher.receive().topic, "slow");

    // No answer in time is a no.
    client.send(Publish::new("slow", "q").qos(1, 2).bytes());
    while rules.waiting.lock().expect("no panic before").is_empty() {
        watcher.expect_nothing();
    }

    server.pass(6);
    assert_eq!(client.expect_ack(Kind::Puback, 2).code, 0x87);
    client.expect_nothing();
    watcher.expect_nothing();
}

/// Covers: NN5-141
#[test]
fn nn5_141_older_clients_get_the_codes_they_know() {
    let (server, _) = ruled();

    for version in [3, 4] {
        let connect = |user: &str, password: &str| {
            Connect::new(version, "client")
                .user(user)
                .password(password)
        };
        for (refused, code) in [
            (connect("nobody", "x"), 4),
            (connect("banned", "x"), 5),
            (connect("moved", "x"), 3),
            (
                connect("user", "password").will(Will::new("denied", "w")),
                5,
            ),
        ] {
            server.say(refused.bytes()).expect_refused(code);
        }

        let mut long = Connect::new(version, "x".repeat(2000));
        long.user = Some(b"user".to_vec());
        long.password = Some(b"password".to_vec());
        server.say(long.bytes()).expect_refused(2);
        let mut client = server.connect(&connect("user", "password"));
        let mixed = Subscribe::new(0).filter("denied/x", 1).filter("a", 1);
        // 3.1 has no code for failure.
        let failure = if version == 3 { 1 } else { 0x80 };
        assert_eq!(client.request(&mixed).codes, [failure, 1]);
        server.publish("denied/x", "p").expect("a host may");
        client.expect_nothing();
        // A PUBLISH cannot be refused, so it is acknowledged and dropped.
        client.publish("denied/x", "p", 1);
        client.publish("denied/x", "p", 2);
        client.publish("a", "p", 1);
        assert_eq!(client.receive().topic, "a");
        client.expect_nothing();
        // Everything else is just closed.
        client.send(Publish::new("a/#", "p").bytes_for(version));
        client.expect_closed();
    }
}
