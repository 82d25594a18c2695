//! A small blocking client for `midge pub` and `midge sub`.

use std::fmt::Display;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use midge_codec::{
    Ack, Connect, Disconnect, Packet, Properties, PropertiesBuf, Property, QoS, ReasonCode, Side,
    TopicError, TopicName, Version, Will, decode, encode, split,
};
use socket2::Socket;

use crate::Failure;
use crate::signals::Farewell;

/// Time for the broker to answer, and to take what is sent.
const ANSWER: Duration = Duration::from_secs(10);
/// Time for the broker to close the connection after DISCONNECT.
const CLOSE: Duration = Duration::from_secs(1);
const KEEP_ALIVE: u16 = 60;

pub(crate) const HOST: &str = "127.0.0.1";
pub(crate) const PORT: u16 = 1883;

/// Address and credentials of a connection.
#[derive(Args)]
pub(crate) struct Target {
    /// Where the broker is: mqtt://host:port or unix:///path. Without this, --host and --port the
    /// environment says it: MQTT_URL, or else MQTT_HOST and MQTT_PORT.
    #[arg(long, conflicts_with_all = ["host", "port"])]
    url: Option<String>,
    /// Host of the broker, 127.0.0.1 by default.
    #[arg(long)]
    host: Option<String>,
    /// Port of the broker, 1883 by default.
    #[arg(short, long)]
    port: Option<u16>,
    /// Protocol version.
    #[arg(short = 'V', long, value_enum, default_value = "5")]
    version: Protocol,
    /// Client identifier; the broker assigns one by default.
    #[arg(short, long, alias = "client-id")]
    id: Option<String>,
    /// Resume the session of this client identifier, and keep it at the end (Clean Start 0; for 5.0
    /// with a session that does not expire). Needs --id.
    #[arg(short = 'c', long, alias = "disable-clean-session", requires = "id")]
    no_clean: bool,
    /// User name.
    #[arg(short, long)]
    username: Option<String>,
    /// Password; without a user name for MQTT 5.0 only.
    #[arg(short = 'P', long)]
    password: Option<String>,
    /// Topic of a will message.
    #[arg(long)]
    will_topic: Option<String>,
    /// Payload of the will message.
    #[arg(long, default_value = "", requires = "will_topic")]
    will_payload: String,
}

/// A variable of the environment; an empty one counts as unset.
fn variable(name: &str) -> Option<String> {
    let value = std::env::var_os(name)?.to_string_lossy().into_owned();
    (!value.is_empty()).then_some(value)
}

impl Target {
    /// The address, from one source: a host of the command line is never joined with a port that the
    /// environment has for another broker.
    fn address(&self) -> Result<String, Failure> {
        if let Some(url) = &self.url {
            return Ok(url.clone());
        }

        if self.host.is_some() || self.port.is_some() {
            let host = self.host.as_deref().unwrap_or(HOST);
            return Ok(url_of("mqtt", host, self.port.unwrap_or(PORT)));
        }

        if let Some(url) = variable("MQTT_URL") {
            return Ok(url);
        }

        let host = variable("MQTT_HOST");
        let port = match variable("MQTT_PORT") {
            None => PORT,
            Some(text) => text.parse().map_err(|_| {
                Failure::new(format!(
                    "MQTT_PORT={text:?}: expected a port from 0 to 65535"
                ))
            })?,
        };
        Ok(url_of("mqtt", host.as_deref().unwrap_or(HOST), port))
    }

    /// Refuses an `option` that was given and needs 5.0, where another version is to be spoken: it
    /// would be dropped silently.
    pub(crate) fn needs_v5(&self, given: bool, option: &str) -> Result<(), Failure> {
        if !given || self.version == Protocol::V5 {
            return Ok(());
        }
        Err(Failure::new(format!("{option} needs MQTT 5.0: -V 5")))
    }

    fn check(&self) -> Result<(), Failure> {
        if let Some(topic) = &self.will_topic {
            check_topic(topic)?;
        }
        // MQTT-3.1.2-22 of 3.1.1.
        let alone = self.password.is_some() && self.username.is_none();
        self.needs_v5(alone, "--password without --username")
    }
}

/// An address of its parts; a literal of IPv6 gets its brackets.
pub(crate) fn url_of(scheme: &str, host: &str, port: u16) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("{scheme}://[{host}]:{port}")
    } else {
        format!("{scheme}://{host}:{port}")
    }
}

/// Checks what is published to.
pub(crate) fn check_topic(topic: &str) -> Result<(), Failure> {
    match TopicName::new(topic) {
        Ok(_) => Ok(()),
        Err(TopicError::Wildcard) => Err(Failure::new(format!(
            "{topic:?}: a topic name has no wildcards (+ and #); topic filters have them"
        ))),
        Err(error) => Err(Failure::new(format!("{topic:?}: {error}"))),
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Protocol {
    #[value(name = "3.1", aliases = ["31", "mqttv31"])]
    V31,
    #[value(name = "3.1.1", aliases = ["311", "mqttv311"])]
    V311,
    #[value(name = "5", aliases = ["5.0", "mqttv5"])]
    V5,
}

/// The writing half of a connection, shared with the thread that waits for signals. `None` once the
/// end was said or the connection broke.
#[derive(Clone)]
struct Writer(Arc<Mutex<Option<Socket>>>);

impl Writer {
    fn write(&self, bytes: &[u8]) -> std::io::Result<()> {
        let mut stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *stream {
            Some(stream) => stream.write_all(bytes),
            None => Err(ErrorKind::NotConnected.into()),
        }
    }

    /// The connection is of no use any more: nothing is said at its end.
    fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Sends DISCONNECT, the first time, so that the broker drops the will (MQTT-3.14.4-3). Waits
    /// until the broker has closed the connection, for [`CLOSE`] at most: an end with unread bytes
    /// would reset the connection, and could overtake the DISCONNECT.
    fn disconnect(&self, version: Version) -> std::io::Result<()> {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut stream) = taken else {
            return Ok(());
        };

        let mut out = Vec::new();
        let end = Packet::Disconnect(Disconnect {
            reason: ReasonCode::Success,
            properties: Properties::EMPTY,
        });
        encode(&end, version, &mut out).map_err(std::io::Error::other)?;
        stream.write_all(&out)?;
        stream.shutdown(Shutdown::Write)?;

        let deadline = Instant::now() + CLOSE;
        let mut buffer = [0; 16 * 1024];
        loop {
            let wait = deadline.saturating_duration_since(Instant::now());
            if wait.is_zero() || stream.set_read_timeout(Some(wait)).is_err() {
                return Ok(());
            }
            match stream.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Ok(()),
            }
        }
    }
}

/// A connected client. Every end of it that is not the broker's sends DISCONNECT.
pub(crate) struct Client {
    address: String,
    stream: Socket,
    writer: Writer,
    pub(crate) version: Version,
    bytes: Vec<u8>,
    /// Whether the broker has sent a packet.
    answered: bool,
    last_sent: Instant,
    /// Ends with the client.
    _farewell: Farewell,
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.writer.disconnect(self.version);
    }
}

impl Client {
    pub(crate) fn connect(target: &Target) -> Result<Self, Failure> {
        target.check()?;

        let version = match target.version {
            Protocol::V31 => Version::V31,
            Protocol::V311 => Version::V311,
            Protocol::V5 => Version::V5,
        };

        let address = target.address()?;
        let failed = |error: std::io::Error| Failure::new(format!("{address}: {error}"));
        let stream = open(&address)?;
        let writer = stream.try_clone().map_err(failed)?;
        writer.set_write_timeout(Some(ANSWER)).map_err(failed)?;
        let writer = Writer(Arc::new(Mutex::new(Some(writer))));

        // Before CONNECT: from then on the broker has a will to publish.
        let at_signal = writer.clone();
        let farewell = Farewell::start(move || {
            let _ = at_signal.disconnect(version);
        })?;

        let mut client = Self {
            address,
            stream,
            writer,
            version,
            bytes: Vec::new(),
            answered: false,
            last_sent: Instant::now(),
            _farewell: farewell,
        };

        let assigned = format!("midge-{}", std::process::id());
        let will = target.will_topic.as_deref().map(|topic| Will {
            qos: QoS::AtMostOnce,
            retain: false,
            topic,
            payload: target.will_payload.as_bytes(),
            properties: Properties::EMPTY,
        });

        let mut properties = PropertiesBuf::new();
        if target.no_clean && version == Version::V5 {
            properties
                .push(Property::SessionExpiryInterval(u32::MAX))
                .map_err(Failure::new)?;
        }

        client.send(&Packet::Connect(Connect {
            version,
            bridge: false,
            clean_start: !target.no_clean,
            keep_alive: KEEP_ALIVE,
            client_id: match (version, target.id.as_deref().unwrap_or_default()) {
                (Version::V31, "") => &assigned,
                (_, id) => id,
            },
            properties: properties.as_properties(),
            will,
            username: target.username.as_deref(),
            password: target.password.as_deref().map(str::as_bytes),
        }))?;

        let refusal = client.expect(|packet| match packet {
            Packet::Connack(connack) if connack.reason == ReasonCode::Success => Ok(Some(None)),
            Packet::Connack(connack) => Ok(Some(Some(refused(
                "connection",
                connack.reason,
                connack.properties.reason_string(),
            )))),
            _ => Ok(None),
        })?;
        match refusal {
            None => Ok(client),
            Some(refusal) => Err(client.lost(refusal.message)),
        }
    }

    /// A failure that names the broker.
    fn failed(&self, what: impl Display) -> Failure {
        Failure::new(format!("{}: {what}", self.address))
    }

    /// A failure after which there is no connection any more.
    fn lost(&self, what: impl Display) -> Failure {
        self.writer.forget();
        self.failed(what)
    }

    pub(crate) fn send(&mut self, packet: &Packet<'_>) -> Result<(), Failure> {
        let mut out = Vec::new();
        encode(packet, self.version, &mut out).map_err(Failure::new)?;
        if let Err(error) = self.writer.write(&out) {
            return Err(match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                    self.lost("the broker does not take what is sent")
                }
                _ => self.lost(error),
            });
        }
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
                None => return Err(self.failed("the broker does not answer")),
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
            if !self.answered && self.is_foreign() {
                return Err(self.foreign());
            }

            let raw = match split(&self.bytes, u32::MAX) {
                Ok(raw) => raw,
                Err(error) => return Err(self.malformed(error)),
            };
            if let Some(raw) = raw {
                let used = raw.len;
                let packet = match decode(raw, self.version, Side::Server) {
                    Ok(packet) => packet,
                    Err(error) => return Err(self.malformed(error)),
                };
                if let Packet::Disconnect(disconnect) = &packet {
                    let text = disconnect.properties.reason_string();
                    let ended = refused("connection", disconnect.reason, text);
                    return Err(self.lost(ended.message));
                }
                let result = handle(&packet)?;
                self.answered = true;
                self.bytes.drain(..used);
                return Ok(Some(result));
            }

            let ping = self.last_sent + Duration::from_secs(u64::from(KEEP_ALIVE) / 2);
            let until = deadline.map_or(ping, |deadline| deadline.min(ping));
            let wait = until.saturating_duration_since(Instant::now());
            if !wait.is_zero() && self.read(wait)? {
                continue;
            }

            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(None);
            }
            if Instant::now() >= ping {
                self.send(&Packet::Pingreq)?;
            }
        }
    }

    /// Reads what there is, or waits for it. Whether something came.
    fn read(&mut self, wait: Duration) -> Result<bool, Failure> {
        let mut buffer = [0; 16 * 1024];
        let read = self
            .stream
            .set_read_timeout(Some(wait))
            .and_then(|()| self.stream.read(&mut buffer));

        match read {
            Ok(0) if self.answered => Err(self.lost("the broker closed the connection")),
            Ok(0) if self.bytes.is_empty() => {
                Err(self.lost("the connection was closed without an answer"))
            }
            Ok(0) => Err(self.foreign()),
            Ok(count) => {
                self.bytes
                    .extend_from_slice(buffer.get(..count).unwrap_or_default());
                Ok(true)
            }
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) =>
            {
                Ok(false)
            }
            Err(error) => Err(self.lost(error)),
        }
    }

    /// Whether the first byte of the first packet is none that a broker answers CONNECT with.
    fn is_foreign(&self) -> bool {
        // CONNACK, DISCONNECT and AUTH.
        let first = self.bytes.first();
        first.is_some_and(|first| !matches!(first, 0x20 | 0xe0 | 0xf0))
    }

    /// What answers is no MQTT broker.
    fn foreign(&self) -> Failure {
        let start = self.bytes.get(..16).unwrap_or(&self.bytes);
        // An alert or handshake record, and the major version of all of TLS.
        let tls = matches!(start, [0x15 | 0x16, 3, ..]);
        let tls = if tls { "; this looks like TLS" } else { "" };
        self.lost(format!(
            "this is not an MQTT broker's answer: \"{}\"{tls}",
            start.escape_ascii()
        ))
    }

    fn malformed(&self, error: impl Display) -> Failure {
        if self.answered {
            self.lost(error)
        } else {
            self.lost(format!("this is not an MQTT broker's answer: {error}"))
        }
    }

    pub(crate) fn disconnect(self) -> Result<(), Failure> {
        let ended = self.writer.disconnect(self.version);
        ended.map_err(|error| self.failed(error))
    }
}

fn open(address: &str) -> Result<Socket, Failure> {
    let failed = |error: std::io::Error| Failure::new(format!("{address}: {error}"));
    match address.split_once("://") {
        #[cfg(unix)]
        Some(("unix", path)) => std::os::unix::net::UnixStream::connect(path)
            .map(Socket::from)
            .map_err(failed),
        Some(("mqtt" | "tcp", rest)) => {
            let rest = rest.trim_end_matches('/');

            // The colons of an address in brackets are not followed by a port.
            let has_port = rest.rsplit(']').next().is_some_and(|end| end.contains(':'));
            let rest = if has_port {
                rest.to_owned()
            } else {
                format!("{rest}:{PORT}")
            };
            let addresses: Vec<_> = rest.to_socket_addrs().map_err(failed)?.collect();
            let stream = dial(&addresses).map_err(failed)?;
            stream.set_nodelay(true).map_err(failed)?;
            Ok(stream.into())
        }
        _ => Err(Failure::new(format!(
            "{address}: expected mqtt://host:port or unix:///path"
        ))),
    }
}

/// Connects to the first address that answers within [`ANSWER`]. The failure is that of the last one.
fn dial(addresses: &[SocketAddr]) -> std::io::Result<TcpStream> {
    let mut failure = std::io::Error::new(ErrorKind::NotFound, "the host has no address");
    for address in addresses {
        match TcpStream::connect_timeout(address, ANSWER) {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
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
