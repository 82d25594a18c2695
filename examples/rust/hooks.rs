//! A host that decides which clients may connect, publish and receive, with two sets of hooks: a list of
//! banned users, and behind it the rules of a ward.
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

/// Users that may not connect, though the ward still has their passwords. All others pass to the next set
/// of hooks.
struct Banned(&'static [&'static str]);

impl Hooks for Banned {
    fn set(&self) -> HookSet {
        HookSet::AUTHENTICATE
    }

    fn authenticate(&self, request: &ConnectRequest) -> Verdict {
        match request.client.username.as_deref() {
            Some(user) if self.0.contains(&user) => Verdict::Deny(Refusal::new(ReasonCode::Banned)),
            _ => Verdict::Pass,
        }
    }
}

/// Nurses and displays read everything of their ward; devices only write; alarms are for nurses alone.
struct Ward;

impl Hooks for Ward {
    fn set(&self) -> HookSet {
        HookSet::AUTHENTICATE
            .union(HookSet::AUTHORIZE_PUBLISH)
            .union(HookSet::AUTHORIZE_RECEIVE)
    }

    fn authenticate(&self, request: &ConnectRequest) -> Verdict {
        let password = request.password.as_deref().unwrap_or_default();
        match request.client.username.as_deref() {
            Some("nurse" | "former-nurse") if password == b"care" => Verdict::Allow,
            Some("display") if password == b"wall" => Verdict::Allow,
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
    /// messages of `ward/7/alarm`, however the filter is written. It goes by the user name, which the
    /// password proves: a client chooses its identifier as it likes.
    fn authorize_receive(&self, client: &ClientInfo, message: &MessageRef<'_>) -> bool {
        !message.topic.ends_with("/alarm") || client.username.as_deref() == Some("nurse")
    }
}

fn client(broker: &Broker, id: &str, user: &str, password: &str) -> (Client, Connection) {
    let mut options = MqttOptions::new(id, "127.0.0.1", broker.port());
    options.set_credentials(user, password);
    options.set_keep_alive(Duration::from_secs(30));
    Client::new(options, 16)
}

/// The return code of a connection that is refused.
fn refusal(
    broker: &Broker,
    id: &str,
    user: &str,
    password: &str,
) -> Result<ConnectReturnCode, Box<dyn Error>> {
    let (_client, mut connection) = client(broker, id, user, password);
    match connection.iter().next() {
        Some(Err(ConnectionError::ConnectionRefused(code))) => Ok(code),
        other => Err(format!("not refused: {other:?}").into()),
    }
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
        .hooks(Banned(&["former-nurse"]))
        .hooks(Ward)
        .start()?;

    // A wrong password, and a user of the list with the right one.
    let code = refusal(&broker, "stranger", "nurse", "guess")?;
    println!("a stranger is refused: {code:?}");
    assert_eq!(code, ConnectReturnCode::BadUserNamePassword);
    let code = refusal(&broker, "nurse-2", "former-nurse", "care")?;
    println!("a banned user is refused: {code:?}");
    assert_eq!(code, ConnectReturnCode::NotAuthorized);

    // A nurse and a display for visitors, both with a filter that covers everything. The display's
    // identifier begins like a nurse's, which helps it nothing.
    let subscribed = |packet: &Packet| matches!(packet, Packet::SubAck(_)).then_some(());
    let (nurse, mut at_nurse) = client(&broker, "nurse-1", "nurse", "care");
    nurse.subscribe("#", QoS::AtLeastOnce)?;
    until(&mut at_nurse, subscribed)?;
    let (display, mut at_display) = client(&broker, "nurse-display", "display", "wall");
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
