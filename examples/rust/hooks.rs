//! A host that decides which clients may connect, publish, subscribe and receive.
//!
//! `cargo run --example hooks`

#![allow(clippy::print_stdout)] // an example talks to its reader

use std::error::Error;
use std::time::Duration;

use midge::{
    Broker, ClientInfo, ConnectRequest, HookSet, Hooks, MessageRef, ReasonCode, Refusal, Stop,
    Verdict,
};
use rumqttc::{
    Client, ConnectReturnCode, Connection, ConnectionError, Event, MqttOptions, Packet, QoS,
};

/// Nurses read everything of their ward; devices only write; alarms are for nurses alone.
struct Ward;

impl Hooks for Ward {
    fn set(&self) -> HookSet {
        HookSet::AUTHENTICATE
            .and(HookSet::AUTHORIZE_PUBLISH)
            .and(HookSet::AUTHORIZE_RECEIVE)
    }

    fn authenticate(&self, request: &ConnectRequest) -> Verdict {
        let password = request.password.as_deref().unwrap_or_default();
        match request.client.username.as_deref() {
            Some("nurse") if password == b"care" => Verdict::Allow,
            Some("device") if password == b"beep" => Verdict::Allow,
            _ => Verdict::Deny(
                Refusal::new(ReasonCode::BadUserNameOrPassword).text("ask the ward's office"),
            ),
        }
    }

    fn authorize_publish(&self, client: &ClientInfo, message: &MessageRef<'_>) -> Verdict {
        let is_device = client.username.as_deref() == Some("device");
        match is_device && message.topic.starts_with("ward/") {
            true => Verdict::Allow,
            false => Verdict::deny(),
        }
    }

    /// A rule about what may be read belongs here: `#`, `+/7/alarm` and `$share/g/ward/#` all bring
    /// messages of `ward/7/alarm`, however the filter is written.
    fn authorize_receive(&self, client: &ClientInfo, message: &MessageRef<'_>) -> bool {
        !message.topic.ends_with("/alarm") || client.client_id.starts_with("nurse")
    }
}

fn client(broker: &Broker, id: &str, user: &str, password: &str) -> (Client, Connection) {
    let mut options = MqttOptions::new(id, "127.0.0.1", broker.port());
    options.set_credentials(user, password);
    options.set_keep_alive(Duration::from_secs(30));
    Client::new(options, 16)
}

/// Reads up to a packet that `wanted` takes.
fn until<T>(
    connection: &mut Connection,
    wanted: impl Fn(&Packet) -> Option<T>,
) -> Result<T, Box<dyn Error>> {
    for event in connection.iter() {
        if let Event::Incoming(packet) = event?
            && let Some(found) = wanted(&packet)
        {
            return Ok(found);
        }
    }
    Err("the connection ended".into())
}

fn main() -> Result<(), Box<dyn Error>> {
    let broker = Broker::builder()
        .listen("tcp://127.0.0.1:0")
        .hooks(Ward)
        .start()?;

    // A wrong password.
    let (_stranger, mut connection) = client(&broker, "stranger", "nurse", "guess");
    let refused = connection.iter().next().ok_or("no answer")?;
    assert!(matches!(
        refused,
        Err(ConnectionError::ConnectionRefused(
            ConnectReturnCode::BadUserNamePassword
        ))
    ));
    println!("a stranger is refused");

    // A nurse and a visitor's display, both with a filter that covers everything.
    let subscribed = |packet: &Packet| matches!(packet, Packet::SubAck(_)).then_some(());
    let (nurse, mut at_nurse) = client(&broker, "nurse-1", "nurse", "care");
    nurse.subscribe("#", QoS::AtLeastOnce)?;
    until(&mut at_nurse, subscribed)?;
    let (display, mut at_display) = client(&broker, "display-1", "nurse", "care");
    display.subscribe("#", QoS::AtLeastOnce)?;
    until(&mut at_display, subscribed)?;

    // A device reports.
    let (device, mut at_device) = client(&broker, "device-7", "device", "beep");
    device.publish("ward/7/alarm", QoS::AtLeastOnce, false, "high")?;
    device.publish("ward/7/spo2", QoS::AtLeastOnce, false, "97")?;
    until(&mut at_device, |packet| {
        matches!(packet, Packet::PubAck(ack) if ack.pkid == 2).then_some(())
    })?;

    let topic = |packet: &Packet| match packet {
        Packet::Publish(publish) => Some(publish.topic.clone()),
        _ => None,
    };
    let first = until(&mut at_nurse, topic)?;
    println!("the nurse sees first: {first}");
    assert_eq!(first, "ward/7/alarm");
    let first = until(&mut at_display, topic)?;
    println!("the display sees first: {first}");
    assert_eq!(first, "ward/7/spo2");

    broker.stop(Stop::Now)?;
    Ok(())
}
