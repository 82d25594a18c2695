//! Chapter 4.8: shared subscriptions.

use midge_testkit::{
    Client, Connect, Kind, Message, Packet, Publish, Subscribe, ack, ack_code, id,
};

use crate::common::{Holder, Server, broker, broker_set, props};

fn persistent(name: &str) -> Connect {
    Connect::v5(name).clean(false).expiry(600)
}

/// A member that has got everything so far, since it was alone, and a member that joined later.
fn owner_and_other(server: &Server, owner: &Connect, qos: u8, messages: u8) -> (Client, Client) {
    let mut owner = server.begin(owner);
    owner.subscribe("$share/g/t", 2);
    let mut publisher = server.client("publisher");
    for number in 0..messages {
        publisher.publish("t", [number], qos);
    }
    let mut other = server.begin(&persistent("other"));
    other.subscribe("$share/g/t", 2);
    (owner, other)
}

/// Covers: v5:MQTT-4.8.2-1, v5:MQTT-4.8.2-2, NN5-109
#[test]
fn mqtt_4_8_2_1_a_shared_filter_has_a_name_and_a_filter() {
    let server = broker();
    for filter in [
        "$share//a",
        "$share/",
        "$share//",
        "$share/g",
        "$share/g/",
        "$share/+/a",
        "$share/#/a",
        "$share/g#/a",
        "$share/g+/a",
        "$share/#",
        "$share/+",
    ] {
        println!("{filter}");
        let bytes = Subscribe::new(1).filter(filter, 0).bytes();
        server.refuses(Holder::Subscribe, &bytes, &[0x81, 0x82, 0x8f]);
        let bytes = midge_testkit::unsubscribe(5, 1, &props(), &[filter]);
        server.refuses(Holder::Unsubscribe, &bytes, &[0x81, 0x82, 0x8f]);
    }

    let mut client = server.client("client");
    for (filter, topic) in [
        ("$share/g//a", "/a"),
        ("$share/g/a", "a"),
        ("$share/g h/\u{e9}", "\u{e9}"),
    ] {
        client.subscribe(filter, 0);
        client.publish(topic, "p", 0);
        client.expect_message(topic, "p");
        client.unsubscribe(&[filter]);
    }

    // These are filters like any other.
    client.subscribe("$share", 0);
    client.subscribe("$sharex/a", 0);
    server.publish("$sharex/a", "p").expect("a host may");
    client.expect_message("$sharex/a", "p");
}

/// Covers: v5:MQTT-4.8.2-3
#[test]
fn mqtt_4_8_2_3_the_qos_of_each_member_is_kept() {
    let server = broker();
    let mut members: Vec<Client> = (0..3)
        .map(|qos| {
            let mut client = server.client(&format!("member {qos}"));
            client.subscribe("$share/g/t", qos);
            client
        })
        .collect();
    let mut publisher = server.client("publisher");
    let mut count = 0;
    for sent in 0..3 {
        for _ in 0..9 {
            publisher.publish("t", [sent], sent);
        }
        for (granted, member) in (0..).zip(&mut members) {
            let messages = member.drain();
            assert!(!messages.is_empty(), "the turn of {granted} never came");
            count += messages.len();
            for message in messages {
                assert_eq!(message.qos, sent.min(granted));
            }
        }
    }

    assert_eq!(count, 27);
}

/// Covers: v5:MQTT-4.8.2-4
#[test]
fn mqtt_4_8_2_4_a_qos_2_delivery_stays_with_its_member() {
    let server = broker();
    let (mut owner, mut other) = owner_and_other(&server, &persistent("owner"), 2, 2);
    let first = owner.expect_message("t", [0]);
    let second = owner.expect_message("t", [1]);
    owner.send(ack(Kind::Pubrec, first.id));
    owner.expect_ack(Kind::Pubrel, first.id);
    owner.cut();
    other.expect_nothing();
    server.pass(60);
    other.expect_nothing();

    let mut owner = server.resume(&persistent("owner"));
    let mut released = false;
    for _ in 0..2 {
        match owner.recv() {
            Packet::Ack(release) => {
                assert_eq!((release.kind, release.id), (Kind::Pubrel, first.id));
                released = true;
                owner.send(ack(Kind::Pubcomp, first.id));
            }
            Packet::Publish(again) => {
                assert!(again.dup && again.id == second.id, "{again:?}");
                owner.acknowledge(&again);
            }
            packet => panic!("{packet:?}"),
        }
    }

    assert!(released);
    owner.expect_nothing();
    other.expect_nothing();
}

/// Covers: v5:MQTT-4.8.2-5
#[test]
fn mqtt_4_8_2_5_a_qos_2_delivery_ends_with_the_session() {
    let server = broker();
    let short = Connect::v5("owner").clean(false).expiry(1);
    let (mut owner, mut other) = owner_and_other(&server, &short, 2, 2);
    let first = owner.expect_message("t", [0]);
    owner.expect_message("t", [1]);
    owner.send(ack(Kind::Pubrec, first.id));
    owner.expect_ack(Kind::Pubrel, first.id);
    owner.cut();
    server.pass(3);
    other.expect_nothing();
    server.begin(&short).expect_nothing();
    other.expect_nothing();
}

/// Covers: v5:MQTT-4.8.2-6
#[test]
fn mqtt_4_8_2_6_what_a_member_refuses_goes_to_no_other() {
    let server = broker();

    for (qos, kind) in [(1, Kind::Puback), (2, Kind::Pubrec)] {
        let (mut owner, mut other) = owner_and_other(&server, &persistent("owner"), qos, 3);
        for (number, code) in [0x80, 0x97, 0x99].into_iter().enumerate() {
            let message = owner.expect_message("t", [number as u8]);
            owner.send(ack_code(kind, message.id, code));
        }
        owner.expect_nothing();
        other.expect_nothing();
        owner.cut();
        server.resume(&persistent("owner")).expect_nothing();
        server.pass(1000);
        other.expect_nothing();
        other.disconnect();
        for name in ["owner", "other"] {
            server.begin(&Connect::v5(name)).disconnect();
        }
    }
}

/// Covers: NN5-102
#[test]
fn nn5_102_an_open_qos_1_delivery_goes_on_when_the_session_ends() {
    let server = broker();
    let short = Connect::v5("owner").clean(false).expiry(5);
    let (mut owner, mut other) = owner_and_other(&server, &short, 1, 2);
    let done = owner.expect_message("t", [0]);
    let open = owner.expect_message("t", [1]);
    owner.acknowledge(&done);
    owner.expect_nothing();
    owner.cut();
    server.pass(6);
    let message = other.expect_message("t", [1]);
    assert!(!message.dup && message.qos == open.qos, "{message:?}");
    other.expect_nothing();
}

/// Covers: NN5-102
#[test]
fn nn5_102_what_waits_for_a_member_goes_on_when_its_session_ends() {
    let server = broker();
    let short = Connect::v5("owner")
        .clean(false)
        .expiry(5)
        .receive_maximum(1);
    let (mut owner, mut other) = owner_and_other(&server, &short, 1, 4);
    owner.expect_message("t", [0]);
    owner.cut();
    server.pass(6);
    let numbers: Vec<u8> = other
        .drain()
        .iter()
        .map(|message| message.payload[0])
        .collect();
    assert_eq!(numbers, [0, 1, 2, 3]);
}

/// Covers: NN5-100, NN5-106, NN5-101
#[test]
fn nn5_100_each_group_gets_one_copy() {
    let server = broker();
    let mut publisher = server.client("publisher");
    let mut plain = server.watcher("t");
    let mut groups: Vec<Vec<Client>> = ["g", "h"]
        .map(|group| {
            let member = |number: u8| {
                let mut client = server.client(&format!("{group} {number}"));
                client.subscribe(&format!("$share/{group}/t"), number % 3);
                client
            };
            (0..3).map(member).collect()
        })
        .into();

    // A client that is a member and has a plain subscription too.
    groups[1][0].subscribe("t", 1);
    for number in 0..30u8 {
        publisher.publish("t", [number], number % 3);
    }

    assert_eq!(plain.drain().len(), 30);
    for (index, group) in groups.iter_mut().enumerate() {
        let mut counts = [0; 256];
        for (number, member) in group.iter_mut().enumerate() {
            let messages = member.drain();
            let plain = if (index, number) == (1, 0) { 30 } else { 0 };
            assert_eq!(messages.len(), 10 + plain, "round robin");
            for message in messages {
                counts[usize::from(message.payload[0])] += 1;
            }
        }
        assert!(
            counts[..30].iter().all(|count| *count == 1 + index),
            "{index}: {counts:?}"
        );
    }
}

/// Covers: NN5-103
#[test]
fn nn5_103_connected_members_come_first() {
    let server = broker();
    let mut offline = server.begin(&persistent("offline"));
    offline.subscribe("$share/g/t", 1);
    offline.disconnect();

    let mut publisher = server.client("publisher");
    let mut online = server.begin(&persistent("online"));
    online.subscribe("$share/g/t", 1);
    for number in 0..6u8 {
        publisher.publish("t", [number], 1);
        assert_eq!(online.receive().payload, [number]);
    }

    online.disconnect();

    // Without a connected member the messages wait with one of them.
    for number in 0..6u8 {
        publisher.publish("t", [number], 1);
    }

    let mut waited = 0;
    for name in ["offline", "online"] {
        waited += server.resume(&persistent(name)).drain().len();
    }

    assert_eq!(waited, 6);
}

/// Covers: NN5-104
#[test]
fn nn5_104_subscribing_twice_adds_no_weight() {
    let server = broker();
    let mut publisher = server.client("publisher");
    let mut eager = server.client("eager");
    let mut modest = server.client("modest");
    for _ in 0..3 {
        eager.subscribe("$share/g/t", 1);
    }

    modest.subscribe("$share/g/t", 1);
    for _ in 0..10 {
        publisher.publish("t", "p", 1);
    }

    assert_eq!((eager.drain().len(), modest.drain().len()), (5, 5));
    assert_eq!(eager.unsubscribe(&["$share/g/t"]), [0]);
    assert_eq!(eager.unsubscribe(&["$share/g/t"]), [0x11]);
    for _ in 0..4 {
        publisher.publish("t", "p", 1);
        modest.receive();
    }

    eager.expect_nothing();
}

/// Covers: NN5-105
#[test]
fn nn5_105_a_group_ends_with_its_last_member() {
    let server = broker();
    let mut publisher = server.client("publisher");
    let mut member = server.begin(&Connect::v5("member"));
    member.subscribe("$share/g/t", 1);
    assert_eq!(member.unsubscribe(&["$share/g/t"]), [0]);
    assert_eq!(
        publisher.deliver(&Publish::new("t", "lost").qos(1, 0)),
        0x10
    );
    member.subscribe("$share/g/t", 1);
    member.disconnect();
    assert_eq!(
        publisher.deliver(&Publish::new("t", "lost").qos(1, 0)),
        0x10
    );

    let mut next = server.client("next");
    next.subscribe("$share/g/t", 1);
    next.expect_nothing();
    publisher.publish("t", "new", 1);
    next.expect_message("t", "new");
}

/// Covers: NN5-095
#[test]
fn nn5_095_a_shared_subscription_gets_no_retained_messages() {
    let server = broker();
    server.client("publisher").retain("t", "r", 1);
    let mut client = server.client("client");
    for options in [0x00, 0x10, 0x20, 0x08] {
        client.request(&Subscribe::new(0).filter("$share/g/t", options | 1));
        client.expect_nothing();
    }
    let mut next = server.client("next");
    next.subscribe("$share/g/#", 1);
    next.expect_nothing();
}

/// Covers: NN5-078
#[test]
fn nn5_078_each_member_has_its_own_subscription_identifier() {
    let server = broker();
    let mut publisher = server.client("publisher");
    let mut members: Vec<Client> = (1..3usize)
        .map(|number| {
            let mut client = server.client(&format!("member {number}"));
            let subscribe = Subscribe::new(0)
                .filter("$share/g/t", 0)
                .subscription_id(number);
            client.request(&subscribe);
            client
        })
        .collect();

    for _ in 0..4 {
        publisher.publish("t", "p", 0);
    }

    for (number, member) in (1..).zip(&mut members) {
        for _ in 0..2 {
            assert_eq!(member.expect_publish().props.subscription_ids(), [number]);
        }
        member.expect_nothing();
    }
}

/// Covers: NN5-078
#[test]
fn nn5_078_a_message_that_has_waited_has_the_identifier_of_its_member() {
    let server = broker();
    let connect = persistent("member").receive_maximum(1);
    let mut member = server.begin(&connect);
    let subscribe = Subscribe::new(0).filter("$share/g/t", 1).subscription_id(7);
    member.request(&subscribe);
    member.disconnect();

    let mut publisher = server.client("publisher");
    publisher.publish("t", "first", 1);
    publisher.publish("t", "second", 1);

    let mut member = server.resume(&connect);
    for text in ["first", "second"] {
        let message = member.expect_message("t", text);
        assert_eq!(message.props.subscription_ids(), [7]);
        member.acknowledge(&message);
    }
}

/// Covers: NN5-084
#[test]
fn nn5_084_what_is_too_large_for_one_member_goes_to_another() {
    let server = broker();
    let mut publisher = server.client("publisher");
    let mut small = server.connect(&Connect::v5("small").maximum_packet_size(50));
    small.subscribe("$share/g/t", 1);
    let mut large = server.client("large");
    large.subscribe("$share/g/t", 1);
    for _ in 0..5 {
        publisher.publish("t", [b'x'; 100], 1);
    }
    assert_eq!(large.drain().len(), 5);
    small.expect_nothing();
    for _ in 0..4 {
        publisher.publish("t", "small", 1);
    }
    assert_eq!(small.drain().len() + large.drain().len(), 4);
}

/// Covers: NN5-107
#[test]
fn nn5_107_each_member_gets_its_share_in_order() {
    let server = broker_set(&[("limits.inflight", "3")]);
    let mut publisher = server.client("publisher");
    let mut members = ["one", "two"].map(|name| {
        let mut client = server.client(name);
        client.subscribe("$share/g/t", 1);
        client
    });

    for number in 0..100u8 {
        publisher.publish("t", [number], 1);
    }

    let mut all = Vec::new();
    for member in &mut members {
        let numbers: Vec<u8> = member
            .drain()
            .into_iter()
            .map(|message: Message| message.payload[0])
            .collect();
        assert!(numbers.is_sorted(), "{numbers:?}");
        all.extend(numbers);
    }

    all.sort_unstable();
    assert!(all.iter().copied().eq(0..100), "{all:?}");
}

/// Covers: NN5-100, NN5-107
#[test]
fn a_burst_is_shared_by_members_of_all_kinds() {
    for qos in [1, 2] {
        let server = broker();
        let mut publisher = server.client("publisher");
        let mut plain = server.client("plain");
        plain.subscribe("$share/g/t", 2);
        let mut low = server.client("low");
        low.subscribe("$share/g/t", 0);
        let mut numbered = server.client("numbered");
        let request = Subscribe::new(0).filter("$share/g/t", 2);
        numbered.request(&request.subscription_id(7));
        let mut old = server.connect(&Connect::new(4, "old"));
        old.subscribe("$share/g/t", 2);

        publisher.publish("t", [0], qos);
        let burst = |number: u8| Publish::new("t", [number]).qos(qos, number.into()).bytes();
        publisher.send((1..40).flat_map(burst).collect::<Vec<u8>>());
        let kind = if qos == 1 { Kind::Puback } else { Kind::Pubrec };
        for number in 1..40 {
            publisher.expect_ack(kind, number);
        }
        let mut all = Vec::new();
        for (mut member, granted) in [(plain, 2), (low, 0), (numbered, 2), (old, 2)] {
            let messages = member.drain();
            assert_eq!(messages.len(), 10);
            assert!(
                messages
                    .iter()
                    .all(|message| message.qos == qos.min(granted))
            );
            let numbers: Vec<u8> = messages.iter().map(|message| message.payload[0]).collect();
            assert!(numbers.is_sorted(), "{numbers:?}");
            all.extend(numbers);
        }
        all.sort_unstable();
        assert!(all.iter().copied().eq(0..40), "{all:?}");
    }
}

/// Covers: NN5-119
#[test]
fn nn5_119_shared_responders_answer_each_question_once() {
    let server = broker();
    let mut asker = server.client("asker");
    asker.subscribe("answers/asker", 1);

    let mut responders = ["one", "two"].map(|name| {
        let mut client = server.client(name);
        client.subscribe("$share/workers/questions", 1);
        client
    });

    for number in 0..6u8 {
        let block = props()
            .text(id::RESPONSE_TOPIC, "answers/asker")
            .text(id::CORRELATION_DATA, [number]);
        asker.deliver(&Publish::new("questions", [number]).qos(1, 0).props(block));
    }

    let mut answered = Vec::new();
    for responder in &mut responders {
        for question in responder.drain() {
            let topic = question
                .props
                .text(id::RESPONSE_TOPIC)
                .expect("a response topic");
            let data = question
                .props
                .binary(id::CORRELATION_DATA)
                .expect("correlation data");
            let block = props().text(id::CORRELATION_DATA, data);
            responder.deliver(
                &Publish::new(topic, &question.payload)
                    .qos(1, 0)
                    .props(block),
            );
            let answer = asker.receive();
            assert_eq!(
                answer.props.binary(id::CORRELATION_DATA),
                Some(&question.payload[..])
            );
            answered.push(question.payload[0]);
        }
    }

    answered.sort_unstable();
    assert_eq!(answered, [0, 1, 2, 3, 4, 5]);
}

/// Covers: NN5-108
#[test]
fn nn5_108_older_clients_share_unless_the_option_says_no() {
    for (option, shared) in [("true", true), ("false", false)] {
        let server = broker_set(&[("mqtt.shared_v3", option)]);
        let mut members = [3, 4].map(|version| {
            let mut client = server.connect(&Connect::new(version, format!("v{version}")));
            client.subscribe("$share/g/t", 1);
            client
        });
        let mut publisher = server.client("publisher");
        publisher.publish("t", "1", 1);
        publisher.publish("t", "2", 1);
        let counts = members.each_mut().map(|member| member.drain().len());
        assert_eq!(counts, if shared { [1, 1] } else { [0, 0] });
        server.publish("$share/g/t", "3").expect("a host may");
        let counts = members.each_mut().map(|member| member.drain().len());
        assert_eq!(counts, if shared { [0, 0] } else { [1, 1] });
    }
}
