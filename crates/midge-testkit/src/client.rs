//! One scripted connection.

use std::collections::VecDeque;
use std::fmt;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::build::{Connect, Publish, Subscribe, ack, unsubscribe};
use crate::ledger::Ledger;
use crate::packet::{Ack, Codes, Connack, Disconnect, Kind, Message, Packet};
use crate::parse::parse;
use crate::transport::Transport;
use crate::wire::PropsBuf;

/// How long a client waits for something that has to come. Only a failing test waits that long.
pub const DEADLINE: Duration = Duration::from_secs(10);

const PINGREQ: [u8; 2] = [0xc0, 0];

/// A scripted client over a byte stream.
///
/// Methods that begin with `expect` demand the next packet to be the named one and fail the test
/// otherwise. `publish`, `subscribe`, `unsubscribe` and `acknowledge` do a whole exchange; what
/// arrives in between is kept for later.
pub struct Client {
    stream: Box<dyn Transport>,
    bytes: Vec<u8>,
    /// How many of `bytes` are parsed.
    parsed: usize,
    kept: VecDeque<Packet>,
    ledger: Ledger,
    next_id: u16,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("ledger", &self.ledger)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// A client over a stream that has said nothing yet.
    #[must_use]
    pub fn over(stream: impl Transport + 'static) -> Self {
        stream
            .set_deadline(DEADLINE)
            .expect("a stream with a deadline");
        Self {
            stream: Box::new(stream),
            bytes: Vec::new(),
            parsed: 0,
            kept: VecDeque::new(),
            ledger: Ledger::new(),
            next_id: 1,
        }
    }

    /// Opens a TCP connection and says nothing yet.
    #[must_use]
    pub fn open(addr: SocketAddr) -> Self {
        Self::over(TcpStream::connect(addr).expect("a listener"))
    }

    /// Opens a TCP connection, sends a CONNECT and reads its CONNACK, whatever that says.
    #[must_use]
    #[track_caller]
    pub fn connect(addr: SocketAddr, connect: &Connect) -> (Self, Connack) {
        let mut client = Self::open(addr);
        client.send(connect.bytes());
        let connack = client.expect_connack();
        (client, connack)
    }

    /// A connected MQTT 5 client with a clean session that ends with its connection.
    #[must_use]
    #[track_caller]
    pub fn connect_v5(addr: SocketAddr, client_id: &str) -> Self {
        let (client, connack) = Self::connect(addr, &Connect::v5(client_id));
        assert_eq!(connack.code, 0, "{connack:?}");
        client
    }

    /// The protocol version of the CONNECT, 5 before that.
    #[must_use]
    pub fn version(&self) -> u8 {
        self.ledger.version
    }

    /// How many QoS 1 and 2 messages from the broker this client has not finished.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        self.ledger.open()
    }

    /// A packet identifier that this client has not used for a while.
    pub fn fresh_id(&mut self) -> u16 {
        let id = self.next_id;
        self.next_id = if id == u16::MAX { 1 } else { id + 1 };
        id
    }

    // --- sending ---------------------------------------------------------------------------------

    /// Sends bytes: packets, broken ones, several at once.
    ///
    /// A broker that has closed already is no error here, it shows when the test reads.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        self.ledger.outgoing(bytes);
        self.write(bytes);
    }

    /// Sends bytes in writes of at most `size` bytes.
    pub fn send_in_pieces(&mut self, bytes: impl AsRef<[u8]>, size: usize) {
        let bytes = bytes.as_ref();
        self.ledger.outgoing(bytes);
        for piece in bytes.chunks(size) {
            self.write(piece);
        }
    }

    /// Sends these bytes again and again until the broker takes no more for a moment, or `limit`
    /// is reached; says how many it took.
    pub fn send_what_is_taken(&mut self, bytes: &[u8], limit: usize) -> usize {
        let moment = Duration::from_millis(100);
        self.stream
            .set_deadline(moment)
            .expect("a stream with a deadline");
        let mut sent = 0;
        while sent < limit {
            // The broker may take any part; the next write goes on from there.
            match self.stream.write(&bytes[sent % bytes.len()..]) {
                Ok(count) => sent += count,
                Err(_) => break,
            }
        }
        self.stream
            .set_deadline(DEADLINE)
            .expect("a stream with a deadline");
        sent
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Err(error) = self.stream.write_all(bytes) {
            let stuck = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
            assert!(!stuck, "the broker took nothing for {DEADLINE:?}");
        }
    }

    /// Ends the stream towards the broker; what the broker has to say can still be read.
    pub fn end(&mut self) {
        let _ = self.stream.end(); // The broker may have closed before.
    }

    // --- receiving -------------------------------------------------------------------------------

    /// The next packet, or `None` at the end of the stream.
    #[track_caller]
    pub fn recv_or_end(&mut self) -> Option<Packet> {
        if let Some(packet) = self.kept.pop_front() {
            return Some(packet);
        }
        self.read_packet()
    }

    #[track_caller]
    fn read_packet(&mut self) -> Option<Packet> {
        loop {
            match parse(&self.bytes[self.parsed..], self.ledger.version) {
                Ok(Some((mut packet, size))) => {
                    self.parsed += size;
                    if let Err(what) = self.ledger.incoming(&mut packet, size) {
                        panic!("the broker broke a rule: {what}; {packet:?}");
                    }
                    return Some(packet);
                }
                Ok(None) => {}
                Err(what) => panic!("the broker sent a bad packet: {what}"),
            }
            if !self.fill() {
                assert!(
                    self.bytes.is_empty(),
                    "closed within a packet: {:02x?}",
                    self.bytes
                );
                return None;
            }
        }
    }

    /// Reads once; false at the end of the stream.
    #[track_caller]
    fn fill(&mut self) -> bool {
        self.bytes.drain(..std::mem::take(&mut self.parsed));
        let mut chunk = vec![0; 64 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => false,
            Ok(count) => {
                self.bytes.extend_from_slice(&chunk[..count]);
                true
            }
            Err(error) => match error.kind() {
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => false,
                ErrorKind::Interrupted => true,
                ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                    panic!("the broker said nothing for {DEADLINE:?}")
                }
                _ => panic!("reading failed: {error}"),
            },
        }
    }

    /// The next packet; the end of the stream fails the test.
    #[track_caller]
    pub fn recv(&mut self) -> Packet {
        self.recv_or_end()
            .unwrap_or_else(|| panic!("the broker closed the connection"))
    }

    /// Everything up to the end of the stream, as bytes and unchecked.
    #[track_caller]
    pub fn read_all(&mut self) -> Vec<u8> {
        assert!(self.kept.is_empty(), "{:?}", self.kept);
        while self.fill() {}
        std::mem::take(&mut self.bytes)
    }

    /// Reads until `wanted` says yes and keeps the other packets for later.
    #[track_caller]
    fn wait_for(&mut self, what: &str, mut wanted: impl FnMut(&Packet) -> bool) -> Packet {
        loop {
            let packet = self
                .read_packet()
                .unwrap_or_else(|| panic!("closed before {what}; kept: {:?}", self.kept));
            if wanted(&packet) {
                return packet;
            }
            assert!(
                !matches!(packet, Packet::Disconnect(_)),
                "{packet:?} instead of {what}; kept: {:?}",
                self.kept
            );
            self.kept.push_back(packet);
        }
    }

    /// The next packet is a CONNACK.
    #[track_caller]
    pub fn expect_connack(&mut self) -> Connack {
        match self.recv() {
            Packet::Connack(connack) => connack,
            other => panic!("{other:?} instead of CONNACK"),
        }
    }

    /// The next packet is a PUBLISH, which is not acknowledged.
    #[track_caller]
    pub fn expect_publish(&mut self) -> Message {
        match self.recv() {
            Packet::Publish(message) => message,
            other => panic!("{other:?} instead of PUBLISH"),
        }
    }

    /// The next packet is a PUBLISH with this topic and payload, which is not acknowledged.
    #[track_caller]
    pub fn expect_message(&mut self, topic: &str, payload: impl AsRef<[u8]>) -> Message {
        let message = self.expect_publish();
        let same = message.topic == topic && message.payload == payload.as_ref();
        assert!(
            same,
            "{message:?} instead of {topic:?} {:02x?}",
            payload.as_ref()
        );
        message
    }

    /// The next packet is a PUBLISH; its exchange is done to the end.
    #[track_caller]
    pub fn receive(&mut self) -> Message {
        let message = self.expect_publish();
        self.acknowledge(&message);
        message
    }

    /// Does the exchange of a message to the end: PUBACK, or PUBREC, PUBREL and PUBCOMP.
    #[track_caller]
    pub fn acknowledge(&mut self, message: &Message) {
        match message.qos {
            1 => self.send(ack(Kind::Puback, message.id)),
            2 => {
                self.send(ack(Kind::Pubrec, message.id));
                self.wait_for_ack(Kind::Pubrel, message.id);
                self.send(ack(Kind::Pubcomp, message.id));
            }
            _ => {}
        }
    }

    /// The next packet is this acknowledgement.
    #[track_caller]
    pub fn expect_ack(&mut self, kind: Kind, id: u16) -> Ack {
        match self.recv() {
            Packet::Ack(ack) if ack.kind == kind && ack.id == id => ack,
            other => panic!("{other:?} instead of {kind:?} {id}"),
        }
    }

    #[track_caller]
    fn wait_for_ack(&mut self, kind: Kind, id: u16) -> Ack {
        let what = format!("{kind:?} {id}");
        let wanted =
            |packet: &Packet| matches!(packet, Packet::Ack(a) if a.kind == kind && a.id == id);
        match self.wait_for(&what, wanted) {
            Packet::Ack(ack) => ack,
            _ => unreachable!("only an acknowledgement is wanted"),
        }
    }

    /// The next packet is the SUBACK with this identifier.
    #[track_caller]
    pub fn expect_suback(&mut self, id: u16) -> Codes {
        match self.recv() {
            Packet::Suback(codes) if codes.id == id => codes,
            other => panic!("{other:?} instead of SUBACK {id}"),
        }
    }

    /// The next packet is the UNSUBACK with this identifier.
    #[track_caller]
    pub fn expect_unsuback(&mut self, id: u16) -> Codes {
        match self.recv() {
            Packet::Unsuback(codes) if codes.id == id => codes,
            other => panic!("{other:?} instead of UNSUBACK {id}"),
        }
    }

    /// The next packet is a PINGRESP.
    #[track_caller]
    pub fn expect_pingresp(&mut self) {
        match self.recv() {
            Packet::Pingresp => {}
            other => panic!("{other:?} instead of PINGRESP"),
        }
    }

    /// Nothing has arrived and the connection works: the answers to two PINGREQs are the next
    /// packets.
    ///
    /// The broker handles the packets of a connection in order and routes a message before it
    /// acknowledges it. So after the acknowledgement of a publisher this shows that its message
    /// was not for this client, without any waiting. A PINGRESP may overtake messages that are
    /// ready at the same moment, but not those that were ready before its PINGREQ was sent: hence
    /// two, one after the other.
    #[track_caller]
    pub fn expect_nothing(&mut self) {
        for _ in 0..2 {
            self.send(PINGREQ);
            self.expect_pingresp();
        }
    }

    /// The broker has handled all that was sent so far; messages that arrive are kept.
    #[track_caller]
    pub fn barrier(&mut self) {
        for _ in 0..2 {
            self.send(PINGREQ);
            self.wait_for("PINGRESP", |packet| *packet == Packet::Pingresp);
        }
    }

    /// Everything that was delivered until now, each message acknowledged.
    #[track_caller]
    pub fn drain(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        loop {
            self.barrier();
            if self.kept.is_empty() {
                return messages;
            }
            // An acknowledgement may let the next message come, so look again afterwards.
            while !self.kept.is_empty() {
                messages.push(self.receive());
            }
        }
    }

    /// Throws away what was kept while the client waited for something else.
    pub fn discard(&mut self) {
        self.kept.clear();
    }

    /// The stream ends here, with nothing before it.
    #[track_caller]
    pub fn expect_closed(&mut self) {
        if let Some(packet) = self.recv_or_end() {
            panic!("{packet:?} instead of a closed connection");
        }
    }

    /// The stream ends here, perhaps after a DISCONNECT or CONNACK with one of these codes.
    #[track_caller]
    pub fn expect_closed_with(&mut self, codes: &[u8]) {
        match self.recv_or_end() {
            None => return,
            Some(
                Packet::Disconnect(Disconnect { code, .. }) | Packet::Connack(Connack { code, .. }),
            ) if codes.contains(&code) => {}
            Some(other) => panic!("{other:?} instead of a refusal with {codes:02x?}"),
        }
        self.expect_closed();
    }

    /// The broker says DISCONNECT with this code and closes.
    #[track_caller]
    pub fn expect_disconnect(&mut self, code: u8) -> Disconnect {
        self.expect_disconnect_of(&[code])
    }

    /// The broker says DISCONNECT with one of these codes and closes.
    #[track_caller]
    pub fn expect_disconnect_of(&mut self, codes: &[u8]) -> Disconnect {
        match self.recv_or_end() {
            Some(Packet::Disconnect(packet)) if codes.contains(&packet.code) => {
                self.expect_closed();
                packet
            }
            other => panic!("{other:02x?} instead of DISCONNECT with {codes:02x?}"),
        }
    }

    /// The broker answers CONNECT with this code and closes.
    #[track_caller]
    pub fn expect_refused(&mut self, code: u8) -> Connack {
        let connack = self.expect_connack();
        assert_eq!(connack.code, code, "{connack:02x?}");
        self.expect_closed();
        connack
    }

    // --- whole exchanges -------------------------------------------------------------------------

    /// Publishes and waits until the broker has taken it over, also for QoS 0.
    #[track_caller]
    pub fn publish(&mut self, topic: &str, payload: impl AsRef<[u8]>, qos: u8) {
        let code = self.deliver(&Publish::new(topic, payload).qos(qos, 0));
        assert!(code < 0x80, "refused with {code:#04x}");
    }

    /// Publishes a retained message and waits until the broker has taken it over.
    #[track_caller]
    pub fn retain(&mut self, topic: &str, payload: impl AsRef<[u8]>, qos: u8) {
        let code = self.deliver(&Publish::new(topic, payload).qos(qos, 0).retain());
        assert!(code < 0x80, "refused with {code:#04x}");
    }

    /// Publishes, does the exchange to the end and returns the reason code of PUBACK or PUBREC,
    /// 0 for QoS 0. A packet identifier of 0 is replaced by a fresh one.
    #[track_caller]
    pub fn deliver(&mut self, publish: &Publish) -> u8 {
        let mut publish = publish.clone();
        if publish.id == 0 {
            publish.id = self.fresh_id();
        }

        self.send(publish.bytes_for(self.version()));
        match publish.qos {
            0 => {
                self.barrier();
                0
            }
            1 => self.wait_for_ack(Kind::Puback, publish.id).code,
            _ => {
                let code = self.wait_for_ack(Kind::Pubrec, publish.id).code;
                if code < 0x80 {
                    self.send(ack(Kind::Pubrel, publish.id));
                    let complete = self.wait_for_ack(Kind::Pubcomp, publish.id);
                    assert_eq!(complete.code, 0, "{complete:?}");
                }
                code
            }
        }
    }

    /// Subscribes; all of the QoS has to be granted.
    #[track_caller]
    pub fn subscribe(&mut self, filter: &str, qos: u8) {
        let id = self.fresh_id();
        let codes = self.request(&Subscribe::new(id).filter(filter, qos));
        assert_eq!(codes.codes, [qos], "{codes:?}");
    }

    /// Sends a SUBSCRIBE and waits for its SUBACK. An identifier of 0 is replaced by a fresh one.
    #[track_caller]
    pub fn request(&mut self, subscribe: &Subscribe) -> Codes {
        let mut subscribe = subscribe.clone();
        if subscribe.id == 0 {
            subscribe.id = self.fresh_id();
        }
        self.send(subscribe.bytes_for(self.version()));
        let id = subscribe.id;
        let wanted = |packet: &Packet| matches!(packet, Packet::Suback(codes) if codes.id == id);
        match self.wait_for("SUBACK", wanted) {
            Packet::Suback(codes) => codes,
            _ => unreachable!("only a SUBACK is wanted"),
        }
    }

    /// Unsubscribes and returns the codes of the UNSUBACK.
    #[track_caller]
    pub fn unsubscribe(&mut self, filters: &[&str]) -> Vec<u8> {
        let id = self.fresh_id();
        self.send(unsubscribe(self.version(), id, &PropsBuf::new(), filters));
        let wanted = |packet: &Packet| matches!(packet, Packet::Unsuback(codes) if codes.id == id);
        match self.wait_for("UNSUBACK", wanted) {
            Packet::Unsuback(codes) => codes.codes,
            _ => unreachable!("only an UNSUBACK is wanted"),
        }
    }

    /// Says DISCONNECT and waits until the broker has closed, so that its session has let go.
    #[track_caller]
    pub fn disconnect(mut self) {
        self.send([0xe0, 0]);
        self.expect_closed();
    }

    /// Ends the stream without DISCONNECT and waits until the broker has closed, so that its
    /// session has let go. Returns what was on its way.
    #[track_caller]
    pub fn cut(mut self) -> Vec<Packet> {
        self.end();
        let mut packets = Vec::new();
        while let Some(packet) = self.recv_or_end() {
            packets.push(packet);
        }
        packets
    }
}
