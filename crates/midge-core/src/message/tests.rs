//! What a message says, what it is charged, and which of its bytes it shares.

use midge_codec::{PropertiesBuf, Property};

use super::*;

fn owned(topic: &str, payload_len: usize) -> OwnedMessage {
    OwnedMessage::new(topic, vec![7; payload_len])
}

fn kept(message: &OwnedMessage, origin: Origin, account: Account<'_>) -> SharedMessage {
    message
        .parts()
        .keep(None, 5, origin, Tick(1000), None, account)
}

/// A payload in the middle of a buffer that was read into.
fn within(buffer: &Bytes, payload_len: usize) -> MessageRef<'_> {
    let mut message = MessageRef::new("t", &buffer[1..=payload_len]);
    message.backing = Some(buffer);
    message
}

#[test]
fn a_kept_message_says_what_was_published() {
    let mut message = owned("a/b", 10);
    let plain = kept(&message, Origin::Host, Account::Host);
    assert_eq!((plain.qos(), plain.retain()), (QoS::AtMostOnce, false));
    assert_eq!((plain.topic(), plain.payload()), ("a/b", &[7; 10][..]));
    assert_eq!(plain.size(), 3 + 10);

    message.qos = QoS::ExactlyOnce;
    message.retain = true;
    message.expiry = Some(3);
    message.properties = PropertiesBuf::new();
    message
        .properties
        .push(Property::ContentType("text"))
        .unwrap();
    let full = kept(&message, Origin::Client("c".into()), Account::Host);
    assert_eq!((full.qos(), full.retain()), (QoS::ExactlyOnce, true));
    assert_eq!(full.origin(), &Origin::Client("c".into()));
    let block = message.properties.as_properties().as_bytes().len();
    assert_eq!(full.size(), 3 + 10 + block);
    assert_eq!(full.copied(), 10 + block);
    assert_eq!(full.parts(Tick(2000)).expiry, Some(2));
    assert_eq!(plain.parts(Tick(2000)).expiry, None);
}

#[test]
fn an_origin_has_a_client_if_a_client_published() {
    for client in [Origin::Client("c".into()), Origin::Will("c".into())] {
        assert_eq!(client.client_id(), Some("c"));
    }
    for other in [Origin::Host, Origin::Broker, Origin::Bridge("b".into())] {
        assert_eq!(other.client_id(), None);
    }
}

#[test]
fn each_receiver_is_charged_for_the_message_and_its_place() {
    let budget = Budget::new(0);
    let mut message = owned("a/b", 10);
    let account = Account::Receivers(&budget);

    let small = kept(&message, Origin::Host, account);
    assert_eq!(small.share(), RECEIVER + MESSAGE + 3 + 10);
    assert_eq!(small.cost(), small.share());
    let of_client = kept(&message, Origin::Client("four".into()), account);
    assert_eq!(of_client.share(), small.share() + 4);
    message.expiry = Some(1);
    let expires = kept(&message, Origin::Host, account);
    assert_eq!(expires.share(), small.share() + EXPIRES);
    assert_eq!(budget.total(), 0, "receivers are charged, not the message");

    // A large payload is not part of the share, but counts in the queue.
    let almost = kept(&owned("a/b", SHARE_FROM - 1), Origin::Host, account);
    assert_eq!(almost.share(), RECEIVER + MESSAGE + 3 + SHARE_FROM - 1);
    assert_eq!(almost.cost(), almost.share());
    assert_eq!(almost.copied(), SHARE_FROM - 1);
    let large = kept(&owned("a/b", SHARE_FROM + 5), Origin::Host, account);
    assert_eq!(large.share(), RECEIVER + MESSAGE + 3);
    assert_eq!(large.cost(), large.share() + SHARE_FROM + 5);
    assert_eq!(large.copied(), SHARE_FROM);
}

#[test]
fn what_is_shared_or_retained_is_charged_once() {
    let budget = Budget::new(0);
    let whole = MESSAGE + 5 + 10;

    let shared = kept(&owned("a/b/c", 10), Origin::Host, Account::Once(&budget));
    assert_eq!((budget.of(Part::Queues), shared.share()), (whole, RECEIVER));
    assert_eq!(shared.cost(), RECEIVER + whole);
    drop(shared);
    assert_eq!(budget.total(), 0);

    let mut message = owned("a/b/c", 10);
    message.retain = true;
    let retained = kept(&message, Origin::Host, Account::Receivers(&budget));
    assert_eq!(budget.of(Part::Retained), whole + RETAINED + 3 * LEVEL);
    assert_eq!(
        (budget.total(), retained.share()),
        (budget.of(Part::Retained), RECEIVER)
    );
    drop(retained);
    assert_eq!(budget.total(), 0);

    // A long topic would be charged to each of very many receivers.
    for (topic_len, charged) in [(SHARE_FROM - 1, false), (SHARE_FROM, true)] {
        let topic = "t".repeat(topic_len);
        let long = kept(
            &owned(&topic, 10),
            Origin::Host,
            Account::Receivers(&budget),
        );
        assert_eq!(budget.of(Part::Queues) > 0, charged, "{topic_len}");
        drop(long);
    }

    let moved = kept(&owned("a/b/c", 10), Origin::Host, Account::Host);
    let moved = moved.moved(Tick(0), Tick(0), Account::Once(&budget));
    assert_eq!(budget.of(Part::Queues), whole);
    assert_eq!(moved.share(), RECEIVER);
}

#[test]
fn a_message_that_moves_to_another_broker_expires_as_much_later() {
    let mut message = owned("t", 1);
    let stays = kept(&message, Origin::Host, Account::Host);
    assert_eq!(
        stays
            .moved(Tick(0), Tick(9), Account::Host)
            .parts(Tick(9))
            .expiry,
        None
    );

    message.expiry = Some(10);
    let expires = kept(&message, Origin::Host, Account::Host);
    let moved = expires.moved(Tick(4000), Tick(100_000), Account::Host);
    assert_eq!(moved.parts(Tick(100_000)).expiry, Some(7));
}

#[test]
fn large_payloads_and_own_buffers_are_shared_small_ones_copied() {
    let read = Bytes::from(vec![1; 4 * SHARE_FROM]);
    let is_shared =
        |message: &MessageRef<'_>| message.share_payload(None).as_ptr() == message.payload.as_ptr();

    assert!(!is_shared(&within(&read, SHARE_FROM - 1)));
    assert!(is_shared(&within(&read, SHARE_FROM)));
    assert!(!within(&read, SHARE_FROM).has_own_buffer());

    let own = Bytes::from(vec![1; 100]);
    let mut message = MessageRef::new("t", &own);
    assert!(!message.has_own_buffer() && !is_shared(&message));
    message.backing = Some(&own);
    assert!(message.has_own_buffer() && is_shared(&message));
}

#[test]
fn large_copies_and_own_buffers_of_the_host_are_charged() {
    let budget = Budget::new(0);
    let charged = |payload: &[u8]| {
        let copy = MessageRef::new("t", payload).share_payload(Some(&budget));
        assert_eq!(copy, payload);
        budget.of(Part::Payloads)
    };
    assert_eq!(charged(&vec![1; SHARE_FROM - 1]), 0);
    assert!(charged(&vec![1; SHARE_FROM]) >= SHARE_FROM);
    assert_eq!(budget.total(), 0, "as long as the copy is there");

    for (payload_len, is_charged) in [(SHARE_FROM - 1, false), (SHARE_FROM, true)] {
        let own = Bytes::from(vec![1; payload_len]);
        let mut place = None;
        let mut message = MessageRef::new("t", &own);
        message.backing = Some(&own);
        assert_eq!(message.is_large_and_own(), is_charged);
        message.charge(&budget, &mut place);
        assert_eq!(message.payload, own);
        assert_eq!(budget.of(Part::Payloads) >= SHARE_FROM, is_charged);
    }

    // A buffer that was read into has its charge.
    let read = Bytes::from(vec![1; 2 * SHARE_FROM]);
    assert!(!within(&read, SHARE_FROM).is_large_and_own());
}

#[test]
fn a_message_has_expired_at_its_moment() {
    let mut message = owned("t", 1);
    let stays = kept(&message, Origin::Host, Account::Host);
    assert!(!stays.is_expired(Tick(u64::MAX / 2)));

    message.expiry = Some(2); // from 1000 on
    let expires = kept(&message, Origin::Host, Account::Host);
    assert_eq!(expires.expires(), Tick(3000));
    assert!(!expires.is_expired(Tick(2999)) && expires.is_expired(Tick(3000)));
    assert_eq!(expires.remaining_expiry(Tick(2001)), Some(1));
    assert_eq!(expires.remaining_expiry(Tick(2000)), Some(1));
    assert_eq!(expires.remaining_expiry(Tick(1999)), Some(2));
}

#[test]
fn a_large_payload_that_moves_is_charged_to_the_other_broker() {
    let budget = Budget::new(0);
    for (payload_len, is_charged) in [(SHARE_FROM - 1, false), (SHARE_FROM, true)] {
        let kept = kept(&owned("t", payload_len), Origin::Host, Account::Host);
        let moved = kept.moved(Tick(0), Tick(0), Account::Receivers(&budget));
        assert_eq!(moved.payload(), kept.payload());
        assert_eq!(budget.of(Part::Payloads) >= SHARE_FROM, is_charged);
        drop(moved);
        assert_eq!(budget.total(), 0);
        assert_eq!(
            kept.moved(Tick(0), Tick(0), Account::Host).size(),
            kept.size()
        );
        assert_eq!(budget.total(), 0);
    }
}

#[test]
fn a_message_that_moves_has_all_of_it_charged() {
    let budget = Budget::new(0);
    let account = Account::Receivers(&budget);
    let mut message = owned("a/b", 10);
    message
        .properties
        .push(Property::ContentType(
            "a text that is longer than the topic",
        ))
        .unwrap();
    message.expiry = Some(9);
    let kept = kept(&message, Origin::Will("c".into()), account);
    let moved = kept.moved(Tick(0), Tick(0), account);
    assert_eq!((moved.share(), moved.cost()), (kept.share(), kept.cost()));
    assert_eq!(moved.size(), kept.size());
    assert!(moved.share() > RECEIVER + MESSAGE + 30);
}

#[test]
fn a_small_payload_stands_in_the_message_a_large_one_in_its_buffer() {
    let read = Bytes::from(vec![1; 2 * SHARE_FROM]);
    let keep =
        |message: MessageRef<'_>| message.keep(None, 0, Origin::Host, Tick(0), None, Account::Host);
    let small = keep(within(&read, 20));
    assert!(small.backing().is_none() && small.parts(Tick(0)).backing.is_none());
    assert_eq!(small.payload(), [1; 20]);

    let large = keep(within(&read, SHARE_FROM));
    let backing = large.parts(Tick(0)).backing.unwrap();
    assert_eq!(backing.as_ptr(), read[1..].as_ptr());
    assert_eq!(backing.len(), SHARE_FROM);
}
