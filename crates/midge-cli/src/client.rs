//! A small blocking client for `midge pub` and `midge sub`.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use midge_codec::{
    Ack, Connect, Disconnect, Packet, Properties, PropertiesBuf, Property, QoS, ReasonCode, Side,
    Version, Will, decode, encode, split,
};

use crate::Failure;

/// Time for the broker to answer.
const ANSWER: Duration = Duration::from_secs(10);
const KEEP_ALIVE: u16 = 60;

/// Where and as who to connect.
#[derive(Args)]
pub(crate) struct Target {
    /// Where the broker is: mqtt://host:port or unix:///path.
    #[arg(long, env = "MQTT_URL", conflicts_with_all = ["host", "port"])]
    url: Option<String>,
    /// Host of the broker.
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Port of the broker.
    #[arg(short, long, default_value = "1883")]
    port: u16,
    /// Protocol version.
    #[arg(short = 'V', long, value_enum, default_value = "5")]
    version: Protocol,
    /// Client identifier; the broker assigns one by default.
    #[arg(short, long = "id", default_value = "")]
    client_id: String,
    /// User name.
    #[arg(short, long)]
    username: Option<String>,
    /// Password.
    #[arg(short = 'P', long)]
    password: Option<String>,
    /// Topic of a will message.
    #[arg(long)]
    will_topic: Option<String>,
    /// Payload of the will message.
    #[arg(long, default_value = "", requires = "will_topic")]
    will_payload: String,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Protocol {
    #[value(name = "3.1")]
    V31,
    #[value(name = "3.1.1")]
    V311,
    #[value(name = "5")]
    V5,
}

trait Stream: Read + Write {
    fn read_timeout(&self, timeout: Option<Duration>) -> std::io::Result<()>;
}

impl Stream for TcpStream {
    fn read_timeout(&self, timeout: Option<Duration>) -> std::io::Result<()> {
        self.set_read_timeout(timeout)
    }
}

impl Stream for UnixStream {
    fn read_timeout(&self, timeout: Option<Duration>) -> std::io::Result<()> {
        self.set_read_timeout(timeout)
    }
}

/// A connected client.
pub(crate) struct Client {
    stream: Box<dyn Stream>,
    pub(crate) version: Version,
    bytes: Vec<u8>,
    last_sent: Instant,
}

impl Client {
    pub(crate) fn connect(target: &Target) -> Result<Self, Failure> {
        let version = match target.version {
            Protocol::V31 => Version::V31,
            Protocol::V311 => Version::V311,
            Protocol::V5 => Version::V5,
        };

        let mut client = Self {
            stream: open(target)?,
            version,
            bytes: Vec::new(),
            last_sent: Instant::now(),
        };

        let assigned = format!("midge-{}", std::process::id());
        let will = target.will_topic.as_deref().map(|topic| Will {
            qos: QoS::AtMostOnce,
            retain: false,
            topic,
            payload: target.will_payload.as_bytes(),
            properties: Properties::EMPTY,
        });

        client.send(&Packet::Connect(Connect {
            version,
            bridge: false,
            clean_start: true,
            keep_alive: KEEP_ALIVE,
            client_id: match (version, &*target.client_id) {
                (Version::V31, "") => &assigned,
                (_, id) => id,
            },
            properties: Properties::EMPTY,
            will,
            username: target.username.as_deref(),
            password: target.password.as_deref().map(str::as_bytes),
        }))?;
        client.expect(|packet| match packet {
            Packet::Connack(connack) if connack.reason == ReasonCode::Success => Ok(Some(())),
            Packet::Connack(connack) => Err(refused(
                "connection",
                connack.reason,
                connack.properties.reason_string(),
            )),
            _ => Ok(None),
        })?;
        Ok(client)
    }

    pub(crate) fn send(&mut self, packet: &Packet<'_>) -> Result<(), Failure> {
        let mut out = Vec::new();
        encode(packet, self.version, &mut out).map_err(Failure::new)?;
        self.stream.write_all(&out).map_err(Failure::new)?;
        self.last_sent = Instant::now();
        Ok(())
    }

    pub(crate) fn acknowledge(
        &mut self,
        kind: fn(Ack<'static>) -> Packet<'static>,
        packet_id: u16,
    ) -> Result<(), Failure> {
        let ack = Ack {
            packet_id,
            reason: ReasonCode::Success,
            properties: Properties::EMPTY,
        };
        self.send(&kind(ack))
    }

    /// Reads packets until `found` gives something, for as long as an answer may take.
    pub(crate) fn expect<T>(
        &mut self,
        mut found: impl FnMut(&Packet<'_>) -> Result<Option<T>, Failure>,
    ) -> Result<T, Failure> {
        let deadline = Instant::now() + ANSWER;
        loop {
            match self.next(Some(deadline), &mut found)? {
                Some(Some(value)) => return Ok(value),
                Some(None) => {}
                None => return Err(Failure::new("the broker does not answer")),
            }
        }
    }

    /// Handles the next packet; `None` if none came by the deadline. Keeps the connection alive.
    pub(crate) fn next<T>(
        &mut self,
        deadline: Option<Instant>,
        handle: impl FnOnce(&Packet<'_>) -> Result<T, Failure>,
    ) -> Result<Option<T>, Failure> {
        loop {
            if let Some(raw) = split(&self.bytes, u32::MAX).map_err(Failure::new)? {
                let used = raw.len;
                let packet = decode(raw, self.version, Side::Server).map_err(Failure::new)?;
                if let Packet::Disconnect(disconnect) = &packet {
                    let text = disconnect.properties.reason_string();
                    return Err(refused("connection", disconnect.reason, text));
                }
                let result = handle(&packet)?;
                self.bytes.drain(..used);
                return Ok(Some(result));
            }
            let ping = self.last_sent + Duration::from_secs(u64::from(KEEP_ALIVE) / 2);
            let until = deadline.map_or(ping, |deadline| deadline.min(ping));
            let wait = until.saturating_duration_since(Instant::now());
            if !wait.is_zero() {
                self.stream.read_timeout(Some(wait)).map_err(Failure::new)?;
                let mut buffer = [0; 16 * 1024];
                match self.stream.read(&mut buffer) {
                    Ok(0) => return Err(Failure::new("the broker closed the connection")),
                    Ok(count) => {
                        self.bytes
                            .extend_from_slice(buffer.get(..count).unwrap_or_default());
                        continue;
                    }
                    Err(error)
                        if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(Failure::new(error)),
                }
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(None);
            }
            if Instant::now() >= ping {
                self.send(&Packet::Pingreq)?;
            }
        }
    }

    pub(crate) fn disconnect(mut self) -> Result<(), Failure> {
        self.send(&Packet::Disconnect(Disconnect {
            reason: ReasonCode::Success,
            properties: Properties::EMPTY,
        }))
    }
}

fn open(target: &Target) -> Result<Box<dyn Stream>, Failure> {
    let address = match &target.url {
        Some(url) => url.clone(),
        None => format!("mqtt://{}:{}", target.host, target.port),
    };

    let failed = |error: std::io::Error| Failure::new(format!("{address}: {error}"));
    match address.split_once("://") {
        Some(("unix", path)) => Ok(Box::new(UnixStream::connect(path).map_err(failed)?)),
        Some(("mqtt" | "tcp", rest)) => {
            let rest = rest.trim_end_matches('/');
            // The colons of an address in brackets are not followed by a port.
            let has_port = rest.rsplit(']').next().is_some_and(|end| end.contains(':'));
            let rest = if has_port {
                rest.to_owned()
            } else {
                format!("{rest}:1883")
            };
            let addresses: Vec<_> = rest.to_socket_addrs().map_err(failed)?.collect();
            let stream = TcpStream::connect(&addresses[..]).map_err(failed)?;
            stream.set_nodelay(true).map_err(failed)?;
            Ok(Box::new(stream))
        }
        _ => Err(Failure::new(format!(
            "{address}: expected mqtt://host:port or unix:///path"
        ))),
    }
}

pub(crate) fn refused(what: &str, reason: ReasonCode, text: Option<&str>) -> Failure {
    let text = text.map(|text| format!(" ({text})")).unwrap_or_default();
    Failure::new(format!("{what} refused: {}{text}", reason.name()))
}

/// Properties with user properties given as `name=value`.
pub(crate) fn user_properties(pairs: &[(String, String)]) -> Result<PropertiesBuf, Failure> {
    let mut properties = PropertiesBuf::new();
    for (name, value) in pairs {
        properties
            .push(Property::UserProperty(name, value))
            .map_err(Failure::new)?;
    }
    Ok(properties)
}
