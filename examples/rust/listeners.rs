//! A gateway with two doors: machines of the hall connect without a password to one listener, people to
//! another one with theirs; a third listener is there for as long as a technician works.
//!
//! `cargo run --example listeners`

#![allow(clippy::print_stdout)] // an example talks to its reader

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use midge::{
    Broker, ClientInfo, ConnectRequest, HookSet, Hooks, ListenAddr, ListenerOptions, MessageRef,
    Stop, TcpSettings, Verdict,
};
use rumqttc::{Client, Connection, ConnectionError, Event, MqttOptions, Packet, QoS};

/// What each listener lets its clients do.
struct Doors;

impl Hooks for Doors {
    fn set(&self) -> HookSet {
        HookSet::AUTHENTICATE.union(HookSet::AUTHORIZE_PUBLISH)
    }

    fn authenticate(&self, request: &ConnectRequest) -> Verdict {
        let is_known = request.client.username.as_deref() == Some("shift")
            && request.password.as_deref() == Some(b"early".as_slice());
        match &*request.client.listener {
            "hall" | "service" => Verdict::Allow,
            "office" if is_known => Verdict::Allow,
            _ => Verdict::deny(),
        }
    }

    /// Measurements of the hall come from the hall alone.
    fn authorize_publish(&self, client: &ClientInfo, message: &MessageRef<'_>) -> Verdict {
        match &*client.listener {
            "office" if message.topic.starts_with("hall/") => Verdict::deny(),
            _ => Verdict::Allow,
        }
    }
}

/// Where the listener of this name has its port.
fn port(broker: &Broker, listener: &str) -> Result<SocketAddr, Box<dyn Error>> {
    match broker.addrs_of(listener)[..] {
        [ListenAddr::Tcp(address)] => Ok(address),
        ref other => Err(format!("{listener} listens on {other:?}").into()),
    }
}

fn client(address: SocketAddr, id: &str, user: Option<(&str, &str)>) -> (Client, Connection) {
    let mut options = MqttOptions::new(id, address.ip().to_string(), address.port());
    options.set_keep_alive(Duration::from_secs(30));
    if let Some((name, password)) = user {
        options.set_credentials(name, password);
    }
    Client::new(options, 16)
}

/// Reads up to the packet that `is_it` knows.
fn until(
    connection: &mut Connection,
    is_it: impl Fn(&Packet) -> bool,
) -> Result<(), Box<dyn Error>> {
    for event in connection.iter() {
        if matches!(event?, Event::Incoming(packet) if is_it(&packet)) {
            return Ok(());
        }
    }
    Err("the connection ended".into())
}

fn main() -> Result<(), Box<dyn Error>> {
    // Connections of the office are asked after a minute whether they are still there.
    let mut patient = TcpSettings::default();
    patient.keepalive_s = 60;
    let broker = Broker::builder()
        .listener("hall", "tcp://127.0.0.1:0")
        .listener(
            "office",
            ListenerOptions::new("tcp://127.0.0.1:0").tcp(patient),
        )
        .hooks(Doors)
        .start()?;
    let (hall, office) = (port(&broker, "hall")?, port(&broker, "office")?);
    println!("the hall connects to {hall}, the office to {office}");

    // Without a password the other door stays closed.
    let (_refused, mut stranger) = client(office, "press", None);
    match stranger.iter().next() {
        Some(Err(ConnectionError::ConnectionRefused(code))) => {
            println!("without a password the office says: {code:?}");
        }
        other => return Err(format!("not refused: {other:?}").into()),
    }

    let (shift, mut screen) = client(office, "screen", Some(("shift", "early")));
    shift.subscribe("hall/#", QoS::AtLeastOnce)?;
    until(&mut screen, |packet| matches!(packet, Packet::SubAck(_)))?;

    let (press, mut machine) = client(hall, "press", None);
    press.publish("hall/press/force", QoS::AtLeastOnce, false, "120 kN")?;
    until(&mut machine, |packet| matches!(packet, Packet::PubAck(_)))?;
    until(
        &mut screen,
        |packet| matches!(packet, Packet::Publish(message) if message.payload == "120 kN"),
    )?;
    println!("the office sees what the press measures");

    // A door for an hour: connections that came through it stay when it is closed.
    broker.add_listener("service", "tcp://127.0.0.1:0")?;
    let service = port(&broker, "service")?;
    let (technician, mut laptop) = client(service, "technician", None);
    until(&mut laptop, |packet| matches!(packet, Packet::ConnAck(_)))?;
    assert!(broker.remove_listener("service") && broker.addrs_of("service").is_empty());
    technician.publish("hall/press/zero", QoS::AtLeastOnce, false, "now")?;
    until(&mut laptop, |packet| matches!(packet, Packet::PubAck(_)))?;
    println!("the service door is closed again, and the technician still at work");

    broker.stop(Stop::Now)?;
    Ok(())
}
