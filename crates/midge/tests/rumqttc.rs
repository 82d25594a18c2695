//! rumqttc as a real client, 3.1.1 and 5.

#![allow(clippy::unwrap_used)] // a test may fail

use std::time::Duration;

use midge::{Broker, Event, EventMask, QoS, Stop};

const WAIT: Duration = Duration::from_secs(10);

fn broker() -> Broker {
    Broker::builder()
        .listen("tcp://127.0.0.1:0")
        .start()
        .unwrap()
}

/// Covers: v3:MQTT-7.0.0-2
#[test]
fn version_3_1_1_in_every_qos_with_will_and_resumed_session() {
    use rumqttc::{
        Client, Event as ClientEvent, LastWill, MqttOptions, Outgoing, Packet, QoS as Q,
    };

    let broker = broker();
    let events = broker.events_with(EventMask::CLIENT_DISCONNECTED, 16);
    let options = || {
        let mut options = MqttOptions::new("client", "127.0.0.1", broker.port());
        options.set_clean_session(false);
        options.set_last_will(LastWill::new("will", "gone", Q::AtLeastOnce, true));
        options
    };

    let watcher = broker.subscribe("#").unwrap();
    let (client, mut connection) = Client::new(options(), 16);
    client.subscribe("echo", Q::ExactlyOnce).unwrap();
    for (payload, qos) in [
        ("0", Q::AtMostOnce),
        ("1", Q::AtLeastOnce),
        ("2", Q::ExactlyOnce),
    ] {
        client.publish("echo", qos, false, payload).unwrap();
    }

    let mut echoed = Vec::new();
    let mut completed = false;
    for event in connection.iter() {
        match event.unwrap() {
            ClientEvent::Incoming(Packet::Publish(publish)) => {
                echoed.push((publish.payload.to_vec(), publish.qos as u8));
            }
            ClientEvent::Outgoing(Outgoing::PubComp(_)) => completed = true,
            _ => {}
        }
        // QoS 2 is acknowledged to the end before the connection is cut.
        if echoed.len() == 3 && completed {
            break;
        }
    }

    let expected: Vec<_> = (0..3).map(|n: u8| (vec![b'0' + n], n)).collect();
    assert_eq!(echoed, expected);
    drop((client, connection));
    events.recv_timeout(WAIT).unwrap();

    let will = loop {
        let message = watcher.recv_timeout(WAIT).unwrap();
        if message.topic() == "will" {
            break message;
        }
    };

    assert_eq!(will.payload(), b"gone");
    broker
        .message("echo")
        .payload("away")
        .qos(QoS::AtLeastOnce)
        .send()
        .unwrap();

    let (_client, mut connection) = Client::new(options(), 16);
    let mut present = false;
    for event in connection.iter() {
        match event.unwrap() {
            ClientEvent::Incoming(Packet::ConnAck(ack)) => present = ack.session_present,
            ClientEvent::Incoming(Packet::Publish(publish)) => {
                assert_eq!(&publish.payload[..], b"away");
                break;
            }
            _ => {}
        }
    }

    assert!(present);
    broker.stop(Stop::Now).unwrap();
}

#[test]
fn version_5_in_every_qos_with_retained_messages() {
    use rumqttc::v5::mqttbytes::QoS as Q;
    use rumqttc::v5::mqttbytes::v5::Packet;
    use rumqttc::v5::{Client, Event as ClientEvent, MqttOptions};

    let broker = broker();
    let events = broker.events_with(EventMask::PUBLISHED, 16);
    broker
        .message("state/a")
        .payload("kept")
        .retain(true)
        .qos(QoS::AtLeastOnce)
        .send()
        .unwrap();
    assert!(matches!(
        events.recv_timeout(WAIT).unwrap().event,
        Event::Published { .. }
    ));

    let options = MqttOptions::new("client", "127.0.0.1", broker.port());
    let (client, mut connection) = Client::new(options, 16);
    client.subscribe("state/+", Q::ExactlyOnce).unwrap();

    let mut seen = Vec::new();
    for event in connection.iter() {
        if let ClientEvent::Incoming(Packet::Publish(publish)) = event.unwrap() {
            if publish.retain {
                for qos in [Q::AtMostOnce, Q::AtLeastOnce, Q::ExactlyOnce] {
                    client.publish("state/b", qos, false, "live").unwrap();
                }
            }
            seen.push((publish.topic.to_vec(), publish.qos as u8, publish.retain));
        }
        if seen.len() == 4 {
            break;
        }
    }

    assert_eq!(seen[0], (b"state/a".to_vec(), 1, true));
    assert_eq!(
        seen[1..].iter().map(|(_, qos, _)| *qos).collect::<Vec<_>>(),
        [0, 1, 2]
    );
    broker.stop(Stop::Now).unwrap();
}
