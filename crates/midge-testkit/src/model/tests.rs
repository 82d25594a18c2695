//! Each check finds its fault in a history that was made up.

use super::*;

/// A client that is connected from the start, with one session.
fn client(name: &str, version: u8) -> ClientHistory {
    let mut client = ClientHistory {
        client_id: name.into(),
        version,
        ..ClientHistory::default()
    };
    client.begin_session(Span { from: 1, to: 2 });
    client.connections.push(connection(1, 2));
    client
}

fn connection(number: u16, up: Moment) -> ConnectionFact {
    ConnectionFact {
        number,
        session: 0,
        at: up - 1,
        up,
        down: NEVER,
        over: NEVER,
        synced: 1_000,
        will: None,
        said_goodbye: false,
        cut: false,
        tick: 0,
    }
}

fn subscription(filter: &str, qos: u8) -> SubscriptionFact {
    SubscriptionFact {
        filter: filter.into(),
        qos,
        no_local: false,
        as_published: false,
        retain_handling: 0,
        id: 0,
        session: 0,
        on: Span { from: 5, to: 6 },
        off: None,
        replaced: false,
        refused: false,
    }
}

fn name(number: u32, connection: u16, qos: u8) -> Name {
    Name {
        kind: Kind::Client,
        publisher: 0,
        number,
        connection,
        qos,
    }
}

fn sending(name: Name, topic: &str, from: Moment) -> Sending {
    Sending {
        name,
        topic: topic.into(),
        retain: false,
        expiry: None,
        from,
        tick: 0,
        done: Some(from + 5),
        code: 0,
        over: NEVER,
        origin: Some(0),
    }
}

fn delivery(name: Name, topic: &str, qos: u8, at: Moment) -> Delivery {
    Delivery {
        name,
        marks: 0,
        topic: topic.into(),
        qos,
        dup: false,
        retain: false,
        ids: Vec::new(),
        expiry: None,
        at,
        tick: 0,
        session: 0,
        connection: 1,
        known: false,
        finished: at,
    }
}

/// A publisher, and a receiver that subscribes to `t/a`; `sent` are numbers and QoS, in order.
fn scene(sent: &[(u32, u8)]) -> History {
    let mut publisher = client("p", 5);
    let mut at = 10;
    for (number, qos) in sent {
        publisher
            .sendings
            .push(sending(name(*number, 1, *qos), "t/a", at));
        at += 10;
    }
    let mut receiver = client("r", 5);
    receiver.subscriptions.push(subscription("t/a", 2));
    History {
        clients: vec![publisher, receiver],
        ..History::default()
    }
}

fn receive(history: &mut History, number: u32, qos: u8, at: Moment) -> &mut Delivery {
    let deliveries = &mut history.clients[1].deliveries;
    deliveries.push(delivery(name(number, 1, qos), "t/a", qos, at));
    deliveries.last_mut().expect("one was pushed")
}

#[track_caller]
fn finds(history: &History, expected: &[Check]) {
    let mut found: Vec<Check> = check(history, &Checks::all())
        .iter()
        .map(|finding| finding.check)
        .collect();
    found.sort();
    found.dedup();
    assert_eq!(found, expected);
}

#[test]
fn what_is_right_has_no_finding() {
    let mut history = scene(&[(1, 0), (2, 1), (3, 2)]);
    for (number, qos) in [(1, 0), (2, 1), (3, 2)] {
        receive(&mut history, number, qos, 100 + u64::from(number));
    }
    receive(&mut history, 2, 1, 110).dup = true;
    finds(&history, &[]);
}

#[test]
fn what_must_come_and_does_not_is_lost() {
    finds(&scene(&[(1, 1)]), &[Check::Lost]);
    finds(&scene(&[(1, 0)]), &[Check::LostQos0]);

    let mut cut = scene(&[(1, 0)]);
    cut.clients[1].connections[0].down = 12;
    finds(&cut, &[]);
    let mut ended = scene(&[(1, 1)]);
    ended.clients[1].end_session(Span::since(200));
    finds(&ended, &[]);
    let mut refused = scene(&[(1, 1)]);
    refused.clients[0].sendings[0].code = 0x87;
    finds(&refused, &[]);
    let mut late = scene(&[(1, 1)]);
    late.clients[1].subscriptions[0].on.to = 12;
    finds(&late, &[]);
}

#[test]
fn a_replaced_subscription_covers_without_a_gap() {
    let mut history = scene(&[(1, 1)]);
    let facts = &mut history.clients[1].subscriptions;
    facts[0].off = Some(Span { from: 9, to: 20 });
    facts.push(SubscriptionFact {
        on: Span { from: 9, to: 20 },
        ..subscription("t/a", 1)
    });
    finds(&history, &[]);
    history.clients[1].subscriptions[0].replaced = true;
    finds(&history, &[Check::Lost]);
}

#[test]
fn repetitions_are_found() {
    for (qos, expected) in [
        (0, Check::Repeated),
        (1, Check::Repeated),
        (2, Check::Qos2Twice),
    ] {
        let mut history = scene(&[(1, qos)]);
        receive(&mut history, 1, qos, 100);
        receive(&mut history, 1, qos, 101);
        finds(&history, &[expected]);
    }

    let mut both_copies = scene(&[(1, 2)]);
    both_copies.clients[0]
        .sendings
        .push(sending(name(1, 2, 2), "t/a", 30));
    receive(&mut both_copies, 1, 2, 100);
    receive(&mut both_copies, 1, 2, 101).name.connection = 2;
    finds(&both_copies, &[Check::Qos2Twice]);
}

#[test]
fn order_is_that_of_the_publisher() {
    let mut history = scene(&[(1, 1), (2, 1)]);
    receive(&mut history, 2, 1, 100);
    receive(&mut history, 1, 1, 101);
    finds(&history, &[Check::Order]);

    let mut history = scene(&[(1, 1), (2, 1)]);
    history.clients[0].sendings[1].name.connection = 2;
    receive(&mut history, 2, 1, 100).name.connection = 2;
    receive(&mut history, 1, 1, 101);
    finds(&history, &[Check::OldAfterNew]);
}

#[test]
fn nothing_comes_without_a_subscription() {
    let mut history = scene(&[(1, 1)]);
    history.clients[1].subscriptions[0].off = Some(Span { from: 7, to: 9 });
    receive(&mut history, 1, 1, 100);
    finds(&history, &[Check::Unasked]);

    let mut history = scene(&[(1, 1)]);
    receive(&mut history, 1, 1, 100);
    receive(&mut history, 9, 1, 101);
    finds(&history, &[Check::Unasked]);
}

#[test]
fn no_local_and_hooks_hide() {
    let mut own = scene(&[(1, 1)]);
    own.clients[0].sendings[0].origin = Some(1);
    own.clients[1].subscriptions[0].no_local = true;
    finds(&own, &[]);
    receive(&mut own, 1, 1, 100);
    finds(&own, &[Check::NoLocal]);

    let mut refused = scene(&[(1, 1)]);
    refused.clients[0].sendings[0].code = 0x87;
    receive(&mut refused, 1, 1, 100);
    finds(&refused, &[Check::Denied]);

    let mut taken = scene(&[(1, 1)]);
    taken.access.receives = true;
    // The right is a function of names: one that it allows.
    taken.access.seed = (0..)
        .find(|seed| {
            Access {
                seed: *seed,
                ..taken.access.clone()
            }
            .reaches("r", "t/a")
        })
        .expect("most seeds allow it");
    taken.rights.push(RightChange {
        client: 1,
        span: Span { from: 3, to: 4 },
        allowed: false,
    });
    finds(&taken, &[]);
    receive(&mut taken, 1, 1, 100);
    finds(&taken, &[Check::Denied]);
}

#[test]
fn the_form_is_the_right_one() {
    type Spoil = fn(&mut Delivery);
    let spoils: [Spoil; 5] = [
        |one| one.qos = 0,
        |one| one.retain = true,
        |one| one.ids = vec![7],
        |one| one.marks = MARK_PUBLISH,
        |one| one.topic = "t/b".into(),
    ];
    for spoil in spoils {
        let mut history = scene(&[(1, 1)]);
        spoil(receive(&mut history, 1, 1, 100));
        finds(&history, &[Check::Form]);
    }
}

#[test]
fn expiry_counts_down() {
    for (left, waited_ms, expected) in [
        (Some(10), 0, None),
        (Some(7), 3_500, None),
        (Some(11), 0, Some(Check::Expired)),
        (Some(2), 3_500, Some(Check::Expired)),
    ] {
        let mut history = scene(&[(1, 1)]);
        history.clients[0].sendings[0].expiry = Some(10);
        let delivery = receive(&mut history, 1, 1, 100);
        (delivery.expiry, delivery.tick) = (left, waited_ms);
        finds(&history, expected.as_slice());
    }
}

#[test]
fn a_group_gives_each_message_to_one_member() {
    let group = || SubscriptionFact {
        id: 3,
        ..subscription("$share/g/s/a", 2)
    };
    let mut history = scene(&[]);
    history.clients[0]
        .sendings
        .push(sending(name(1, 1, 1), "s/a", 10));
    history.clients[1].subscriptions = vec![group()];
    history.clients.push(client("second", 5));
    history.clients[2].subscriptions = vec![group()];
    finds(&history, &[Check::SharedLost]);

    for receiver in [1, 2] {
        let one = Delivery {
            ids: vec![3],
            ..delivery(name(1, 1, 1), "s/a", 1, 100)
        };
        history.clients[receiver].deliveries.push(one);
        let expected: &[Check] = if receiver == 1 {
            &[]
        } else {
            &[Check::SharedTwice]
        };
        finds(&history, expected);
    }

    // It moves on when its member is gone.
    history.clients[1].end_session(Span { from: 101, to: 102 });
    finds(&history, &[]);
}

#[test]
fn wills_come_when_they_are_due() {
    let will = Name {
        kind: Kind::Will,
        publisher: 0,
        number: 1,
        connection: 1,
        qos: 1,
    };
    let scene = |ended: bool| {
        let mut history = scene(&[]);
        history.clients[1].subscriptions = vec![subscription("w/p", 1)];
        let fact = WillFact {
            name: will,
            topic: "w/p".into(),
            delay: 0,
        };
        let connection = &mut history.clients[0].connections[0];
        connection.will = Some(fact);
        if ended {
            (connection.down, connection.over) = (50, 60);
        }
        let sending = Sending {
            done: None,
            from: connection.down,
            ..sending(will, "w/p", 1)
        };
        history.others.push(sending);
        history
    };
    finds(&scene(true), &[Check::Will]);
    finds(&scene(false), &[]);

    let mut came = scene(true);
    came.clients[1]
        .deliveries
        .push(delivery(will, "w/p", 1, 70));
    finds(&came, &[]);
    came.clients[0].connections[0].said_goodbye = true;
    finds(&came, &[Check::Will]);

    let mut early = scene(false);
    early.others[0].from = 1;
    early.clients[1]
        .deliveries
        .push(delivery(will, "w/p", 1, 70));
    finds(&early, &[Check::Will]);
}
