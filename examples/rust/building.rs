//! A smart building: sensors with ordinary clients, a dashboard that sees them through wildcards,
//! last values that are retained, availability by will.
//!
//! `cargo run --example building`

#![allow(clippy::print_stdout)] // an example talks to its reader

use std::error::Error;
use std::time::Duration;

use midge::{Broker, Stop, Subscription};
use rumqttc::{Client, Connection, Event, LastWill, MqttOptions, Packet, QoS};

const WAIT: Duration = Duration::from_secs(10);

/// One room's sensor box.
struct Sensor {
    room: &'static str,
    client: Client,
    connection: Connection,
}

impl Sensor {
    fn connect(broker: &Broker, room: &'static str) -> Result<Self, Box<dyn Error>> {
        let mut options = MqttOptions::new(format!("sensor-{room}"), "127.0.0.1", broker.port());

        // If the sensor is lost, every subscriber of its availability is told.
        let availability = format!("building/{room}/availability");
        options.set_last_will(LastWill::new(
            &availability,
            "offline",
            QoS::AtLeastOnce,
            true,
        ));

        let (client, connection) = Client::new(options, 16);
        client.publish(availability, QoS::AtLeastOnce, true, "online")?;

        let mut sensor = Self {
            room,
            client,
            connection,
        };

        sensor.until_acknowledged(1)?;
        Ok(sensor)
    }

    fn report(&mut self, values: &[(&str, &str)]) -> Result<(), Box<dyn Error>> {
        for (quantity, value) in values {
            let topic = format!("building/{}/{quantity}", self.room);
            self.client.publish(topic, QoS::AtLeastOnce, true, *value)?;
        }
        self.until_acknowledged(values.len())
    }

    fn until_acknowledged(&mut self, mut count: usize) -> Result<(), Box<dyn Error>> {
        for event in self.connection.iter() {
            if matches!(event?, Event::Incoming(Packet::PubAck(_))) {
                count -= 1;
            }
            if count == 0 {
                break;
            }
        }
        Ok(())
    }
}

fn show(dashboard: &Subscription, count: usize) -> Result<Vec<String>, Box<dyn Error>> {
    let mut lines = Vec::new();
    for _ in 0..count {
        let message = dashboard.recv_timeout(WAIT)?;
        lines.push(format!(
            "{} = {}",
            message.topic(),
            String::from_utf8_lossy(message.payload())
        ));
    }
    for line in &lines {
        println!("  {line}");
    }
    Ok(lines)
}

fn main() -> Result<(), Box<dyn Error>> {
    let broker = Broker::builder().listen("tcp://127.0.0.1:0").start()?;
    println!("the building's broker: {}", broker.url());

    let temperatures = broker.subscribe("building/+/temperature")?;
    let mut lab = Sensor::connect(&broker, "lab")?;
    let mut hall = Sensor::connect(&broker, "hall")?;
    lab.report(&[
        ("temperature", "21.5"),
        ("humidity", "40"),
        ("air/co2", "650"),
    ])?;
    hall.report(&[
        ("temperature", "19.0"),
        ("humidity", "45"),
        ("air/co2", "480"),
    ])?;
    println!("temperatures, as they come:");
    let lines = show(&temperatures, 2)?;
    assert_eq!(
        lines,
        [
            "building/lab/temperature = 21.5",
            "building/hall/temperature = 19.0"
        ]
    );

    println!("a dashboard that opens later starts with the last values:");
    let dashboard = broker.subscribe("building/lab/#")?;
    let lines = show(&dashboard, 4)?;
    assert!(lines.contains(&"building/lab/air/co2 = 650".to_owned()));
    assert!(lines.contains(&"building/lab/availability = online".to_owned()));

    println!("the lab's sensor loses its power:");
    drop(lab);
    let lines = show(&dashboard, 1)?;
    assert_eq!(lines, ["building/lab/availability = offline"]);

    let online = broker.retained("building/+/availability");
    let online = online
        .iter()
        .filter(|message| message.payload() == b"online")
        .count();
    println!("rooms that are online: {online} of 2");
    assert_eq!(online, 1);
    broker.stop(Stop::Now)?;
    Ok(())
}
