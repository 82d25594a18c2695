//! Home appliances over MQTT 5: commands, state that is retained, request and response with
//! correlation data.
//!
//! `cargo run --example appliances`

#![allow(clippy::print_stdout)] // an example talks to its reader

use std::error::Error;
use std::thread;
use std::time::Duration;

use midge::{Broker, Condition, Property, QoS, Stop};
use rumqttc::v5::mqttbytes::QoS as ClientQoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PublishProperties};
use rumqttc::v5::{Client, Event, MqttOptions};

const WAIT: Duration = Duration::from_secs(10);

/// A washing machine: obeys `home/washer/set`, keeps `home/washer/state`, answers requests.
fn washer(port: u16) -> Result<(), Box<dyn Error + Send + Sync>> {
    let (client, mut connection) = Client::new(MqttOptions::new("washer", "127.0.0.1", port), 16);
    client.subscribe("home/washer/+", ClientQoS::AtLeastOnce)?;

    let mut state = "idle".to_owned();
    for event in connection.iter() {
        let packet = match event {
            Ok(Event::Incoming(packet)) => packet,
            Ok(Event::Outgoing(_)) => continue,
            Err(_) => break, // the broker has stopped
        };
        match packet {
            Packet::Publish(publish) if publish.topic == "home/washer/set" => {
                state = String::from_utf8_lossy(&publish.payload).into_owned();
                client.publish(
                    "home/washer/state",
                    ClientQoS::AtLeastOnce,
                    true,
                    state.clone(),
                )?;
            }

            Packet::Publish(publish) if publish.topic == "home/washer/ask" => {
                let asked = publish.properties.unwrap_or_default();
                let Some(answer_to) = asked.response_topic else {
                    continue;
                };
                let properties = PublishProperties {
                    correlation_data: asked.correlation_data,
                    ..Default::default()
                };
                let answer = format!("I am {state}");
                client.publish_with_properties(
                    answer_to,
                    ClientQoS::AtLeastOnce,
                    false,
                    answer,
                    properties,
                )?;
            }
            _ => {}
        }
    }

    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let broker = Broker::builder().listen("tcp://127.0.0.1:0").start()?;
    let port = broker.port();
    let machine = thread::spawn(move || washer(port));

    // Messages from before its subscription do not reach the machine.
    let subscribed = Condition::Subscribers {
        topic: "home/washer/set",
        clients: 1,
    };
    broker.wait_for(subscribed, WAIT)?;

    println!("command: cotton 60");
    let states = broker.subscribe("home/+/state")?;
    broker
        .message("home/washer/set")
        .payload("cotton 60")
        .qos(QoS::AtLeastOnce)
        .send()?;
    let state = states.recv_timeout(WAIT)?;
    println!(
        "the washer reports: {}",
        String::from_utf8_lossy(state.payload())
    );
    assert_eq!(state.payload(), b"cotton 60");
    assert_eq!(
        broker.retained("home/washer/state")[0].payload(),
        b"cotton 60"
    );

    println!("request with correlation data 7");
    let answers = broker.subscribe("home/controller/answers")?;
    broker
        .message("home/washer/ask")
        .qos(QoS::AtLeastOnce)
        .response_topic("home/controller/answers")
        .correlation_data(&[7])
        .send()?;
    let answer = answers.recv_timeout(WAIT)?;
    println!("response: {}", String::from_utf8_lossy(answer.payload()));
    assert_eq!(answer.payload(), b"I am cotton 60");
    assert!(
        answer
            .properties()
            .iter()
            .any(|p| p == Property::CorrelationData(&[7]))
    );

    broker.stop(Stop::Now)?;
    // Its connection has ended, and with it the machine's loop.
    let _ = machine.join();
    Ok(())
}
