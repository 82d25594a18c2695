//! Back pressure: the reader of a connection must see that it does not take its answers.

use midge_core::MessageRef;
use midge_testkit::{Connect, Kind, Packet, PropsBuf, Publish, Subscribe, ack, unsubscribe};

use crate::world::{Client, START, hub};

/// One packet of each kind that is answered.
fn requests(round: u16) -> Vec<Vec<u8>> {
    let id = 10 * round;
    vec![
        vec![0xc0, 0],
        Publish::new("none", "p").qos(1, id + 1).bytes(),
        Publish::new("none", "p").qos(2, id + 2).bytes(),
        ack(Kind::Pubrel, id + 2),
        unsubscribe(5, id + 3, &PropsBuf::new(), &["u"]),
        Subscribe::new(id + 4).filter("t", 0).bytes(),
    ]
}

/// Covers: none
#[test]
fn answers_that_are_not_written_are_counted() {
    let hub = hub(|_| ());
    let mut client = Client::plain(&hub, "client");
    assert_eq!(client.connection.unwritten_replies(), 0);
    assert!(!client.connection.has_output());

    for round in 1..4 {
        let mut before = 0;
        for request in requests(round) {
            client.say(request);
            let now = client.connection.unwritten_replies();
            assert!(now > before, "an answer that is not counted");
            assert!(client.connection.has_output());
            before = now;
        }
        // The very bytes, and none of them counts when they are written.
        assert_eq!(client.write().len(), before);
        assert_eq!(client.connection.unwritten_replies(), 0);
        assert!(!client.connection.has_output());
    }
}

/// Covers: none
#[test]
fn answers_to_one_large_read_are_all_counted() {
    let hub = hub(|_| ());
    let mut client = Client::plain(&hub, "client");
    client.say([0xc0, 0].repeat(50_000));
    assert_eq!(client.connection.unwritten_replies(), 100_000);

    // Taken is not written.
    let taken = client.take();
    assert_eq!(taken.len(), 100_000);
    assert_eq!(client.connection.unwritten_replies(), 100_000);
    client.say([0xc0, 0]);
    assert_eq!(client.connection.unwritten_replies(), 100_002);
}

/// Covers: none
#[test]
fn messages_are_no_answers() {
    let hub = hub(|_| ());
    let mut client = Client::plain(&hub, "client");
    client.say(Subscribe::new(1).filter("t", 2).bytes());
    client.read();
    client.told();

    let mut publisher = Client::plain(&hub, "publisher");
    for qos in 0..3 {
        publisher.say(Publish::new("t", "p").qos(qos, 7).bytes());
        assert_eq!(client.told(), 1, "one notice a batch");
        assert_eq!(client.connection.unwritten_replies(), 0);
        assert!(!client.connection.has_output());
        assert_eq!(client.texts(), ["p"]);
    }
}

/// Covers: none
#[test]
fn a_writer_hears_whether_more_came_while_it_wrote() {
    let hub = hub(|_| ());
    let mut client = Client::plain(&hub, "client");
    client.say(Subscribe::new(1).filter("t", 0).bytes());
    client.read();
    let publish = |text: &str| {
        let message = MessageRef::new("t", text.as_bytes());
        let receipt = hub.publish_from_host(message, None, || START, false);
        assert_eq!(receipt.unwrap().matched(), 1);
    };

    publish("first");
    assert!(!hub.is_settled(), "it waits to be taken");
    assert!(!client.take().is_empty());
    assert!(!hub.is_settled(), "it was taken and may not be written");
    publish("second");
    assert!(client.take_next(true).is_some(), "more came");
    assert!(!hub.is_settled(), "it was taken and may not be written");
    assert!(client.take_next(true).is_none(), "nothing more came");
    assert!(hub.is_settled());

    // A connection that has lost its session writes what there is.
    let _new = Client::plain(&hub, "client");
    assert!(client.take_next(true).is_some());
}

/// Covers: none
#[test]
fn a_writer_hears_that_messages_wait_for_the_room_it_makes() {
    let hub = hub(|_| ());
    let mut client = Client::plain(&hub, "client");
    client.say(Subscribe::new(1).filter("t", 0).bytes());
    client.read();
    // More than an outbox takes, of which some stays in the queue.
    let payload = vec![b'x'; 3000];
    let mut publisher = Client::plain(&hub, "publisher");
    for _ in 0..100 {
        publisher.say(Publish::new("t", &payload).bytes());
    }

    let (mut bytes, mut rounds) = (client.take().len(), 1);
    while let Some(more) = client.take_next(true) {
        bytes += more.len();
        rounds += 1;
    }
    assert!(
        bytes > 100 * payload.len(),
        "{bytes} bytes in {rounds} rounds"
    );
    assert!(hub.is_settled());
}

/// Covers: v5:MQTT-3.3.4-9
#[test]
fn the_window_of_the_client_holds_messages_back_until_it_acknowledges() {
    let hub = hub(|_| ());
    let connect = Connect::v5("client").receive_maximum(2);
    let mut client = Client::connect(&hub, &connect);
    client.say(Subscribe::new(1).filter("t", 1).bytes());
    client.read();
    let mut publisher = Client::plain(&hub, "publisher");
    for number in 0..5u16 {
        let text = number.to_string();
        publisher.say(Publish::new("t", text).qos(1, 1 + number).bytes());
        publisher.read();
    }

    let mut ids: Vec<u16> = Vec::new();
    let mut texts: Vec<String> = Vec::new();
    let mut expected = 2;
    while texts.len() < 5 {
        for packet in client.read() {
            if let Packet::Publish(message) = packet {
                texts.push(message.text());
                ids.push(message.id);
            }
        }
        assert_eq!(texts.len(), expected);
        assert!(!hub.is_settled());
        // An acknowledgement that makes room leads to output, of which the reader hears.
        client.say(ack(Kind::Puback, ids.remove(0)));
        assert_eq!(client.connection.has_output(), expected < 5);
        expected += 1;
    }
    client.say(ack(Kind::Puback, ids.remove(0)));
    assert_eq!(texts, ["0", "1", "2", "3", "4"]);
    assert!(hub.is_settled());
}

/// Covers: none
#[test]
fn output_that_is_owed_is_not_forgotten_when_more_is() {
    let hub = hub(|_| ());
    let mut client = Client::connect(&hub, &Connect::v5("client").receive_maximum(1));
    client.say(Subscribe::new(1).filter("t", 1).bytes());
    client.read();
    let mut publisher = Client::plain(&hub, "publisher");
    publisher.say(
        [1, 2]
            .map(|id| Publish::new("t", "p").qos(1, id).bytes())
            .concat(),
    );
    let [Packet::Publish(message)] = &client.read()[..] else {
        panic!("one message");
    };

    client.say([0xc0, 0]);
    assert!(client.connection.has_output());
    client.say(ack(Kind::Puback, message.id));
    assert!(client.connection.has_output());
    assert_eq!(client.read().len(), 2);
}
