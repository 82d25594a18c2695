//! Transports and listeners that a host brings itself, and listeners that come and go.

// The streams that are made faulty are socket pairs.
#![cfg(unix)]
// A test that cannot go on fails; what it prints is shown when it does.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::print_stdout)]

mod common;

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use midge::io::{DirectWrite, Incoming, Listener, Tcp, Transport, Unix, UnixDirect};
use midge::{
    Broker, ClientInfo, DisconnectReason, Event, HookSet, Hooks, ListenAddr, ListenerOptions,
    StartError, Stop,
};
use midge_testkit::faulty::{Faults, Faulty, FaultyTcp};
use midge_testkit::{Client, Connect, Kind, Publish, Subscribe, Will, ack};
use tokio::io::ReadBuf;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Accepts the broker's ends of socket pairs, from a channel. The end of the channel is the listener's.
struct Pairs {
    incoming: UnboundedReceiver<UnixStream>,
    faults: Faults,
}

/// The clients' side of [`Pairs`].
struct Dialer(UnboundedSender<UnixStream>);

impl Pairs {
    fn new(faults: Faults) -> (Dialer, Self) {
        let (dial, incoming) = unbounded_channel();
        (Dialer(dial), Self { incoming, faults })
    }
}

impl Dialer {
    fn open(&self) -> Client {
        let (client, broker) = UnixStream::pair().unwrap();
        broker.set_nonblocking(true).unwrap();
        self.0.send(broker).expect("a listener");
        Client::over(client)
    }

    fn connect(&self, connect: &Connect) -> Client {
        let mut client = self.open();
        client.send(connect.bytes());
        assert_eq!(client.expect_connack().code, 0);
        client
    }
}

impl Listener for Pairs {
    type Transport = Faulty<Unix>;

    fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Incoming<Faulty<Unix>>>>> {
        self.incoming.poll_recv(cx).map(|stream| {
            let stream = tokio::net::UnixStream::from_std(stream?);
            Some(stream.map(|stream| {
                self.faults.seed += 1;
                let transport = Faulty::new(Unix::new(stream), self.faults.clone());
                Incoming::new(transport, "pair")
            }))
        })
    }
}

fn pairs(faults: Faults) -> (Broker, Dialer) {
    let (dialer, listener) = Pairs::new(faults);
    let builder = Broker::builder().listener_of("pairs", listener);
    (builder.start().unwrap(), dialer)
}

/// All of QoS in both directions, with payloads from nothing to more than any buffer takes at once.
fn exchange(mut publisher: Client, mut subscriber: Client) {
    subscriber.subscribe("t", 2);
    for size in [0, 1, 100, 5_000, 70_000, 1_500_000] {
        let payload = vec![size as u8; size];
        for qos in 0..3 {
            publisher.publish("t", &payload, qos);
            let message = subscriber.receive();
            assert_eq!((message.qos, &message.payload), (qos, &payload));
        }
    }

    // Many at once: what waits for the subscriber is more than one flush takes.
    let many: Vec<_> = (1..=2_000u16)
        .map(|id| Publish::new("t", id.to_be_bytes().repeat(100)).qos(1, id))
        .collect();
    publisher.send(many.iter().flat_map(Publish::bytes).collect::<Vec<_>>());
    for publish in &many {
        let message = subscriber.receive();
        assert_eq!(message.payload, publish.id.to_be_bytes().repeat(100));
        subscriber.send(ack(Kind::Puback, message.id));
    }
    for publish in &many {
        publisher.expect_ack(Kind::Puback, publish.id);
    }
    publisher.expect_nothing();
    subscriber.expect_nothing();
}

/// Covers: none
#[test]
fn a_transport_that_cuts_and_hesitates_carries_everything() {
    for seed in [1, 1_000] {
        let (_broker, dialer) = pairs(Faults::new(seed));
        let publisher = dialer.connect(&Connect::v5("publisher"));
        exchange(publisher, dialer.connect(&Connect::v5("subscriber")));
    }
}

/// Covers: none
#[test]
fn transports_of_all_kinds_meet_in_one_broker() {
    let (dialer, listener) = Pairs::new(Faults::new(7));
    let faulty = FaultyTcp::bind(Faults::new(8)).unwrap();
    let broker = Broker::builder()
        .listen("tcp://127.0.0.1:0")
        .listener_of("pairs", listener)
        .listener_of("faulty", faulty)
        .start()
        .unwrap();

    let over = |name: &str, listener: SocketAddr| Client::connect_v5(listener, name);
    let addr = broker.addr().unwrap();
    let faulty = tcp(&broker.addrs_of("faulty"));
    exchange(over("p1", addr), dialer.connect(&Connect::v5("s1")));
    exchange(dialer.connect(&Connect::v5("p2")), over("s2", faulty));
    exchange(over("p3", faulty), over("s3", addr));
    assert_eq!(
        broker.addrs(),
        [ListenAddr::Tcp(addr), ListenAddr::Tcp(faulty)]
    );
}

fn tcp(addresses: &[ListenAddr]) -> SocketAddr {
    match addresses {
        [ListenAddr::Tcp(address)] => *address,
        other => panic!("{other:?}"),
    }
}

/// Bytes as a transport that seals them sends them: each bit the other way round.
fn seal(bytes: &mut [u8]) {
    bytes.iter_mut().for_each(|byte| *byte = !*byte);
}

/// A transport that seals what it sends in records, as TLS does: a record that the socket takes a part of
/// stays here until the rest has left. Any thread may seal and send.
struct Sealing {
    socket: Unix,
    out: Arc<Mutex<Sealed>>,
}

struct Sealed {
    direct: Option<UnixDirect>,
    record: Vec<u8>,
}

/// The longest record.
const RECORD: usize = 16 * 1024;

impl Sealed {
    fn seal(&mut self, slices: &[IoSlice<'_>]) -> usize {
        let bytes = slices.iter().flat_map(|slice| slice.iter());
        self.record.extend(bytes.take(RECORD));
        seal(&mut self.record);
        self.record.len()
    }

    /// Sends what is left of a record.
    fn send(&mut self, mut write: impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<()> {
        while !self.record.is_empty() {
            let written = write(&self.record)?;
            self.record.drain(..written);
        }
        Ok(())
    }

    fn send_directly(&mut self) -> io::Result<()> {
        let mut direct = self.direct.take().unwrap();
        let sent = self.send(|record| direct.try_write(&[IoSlice::new(record)]));
        self.direct = Some(direct);
        sent
    }
}

struct SealingDirect(Arc<Mutex<Sealed>>);

impl DirectWrite for SealingDirect {
    fn try_write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut out = self.0.lock().unwrap();
        out.send_directly()?;
        let count = out.seal(slices);
        match out.send_directly() {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => Ok(count),
        }
    }

    fn try_flush(&mut self) -> io::Result<()> {
        self.0.lock().unwrap().send_directly()
    }

    fn has_unread(&self) -> bool {
        let out = self.0.lock().unwrap();
        out.direct.as_ref().is_some_and(DirectWrite::has_unread)
    }
}

impl Sealing {
    fn new(socket: Unix) -> Self {
        let (direct, record) = (None, Vec::new());
        let out = Arc::new(Mutex::new(Sealed { direct, record }));
        Self { socket, out }
    }
}

impl Transport for Sealing {
    type Direct = SealingDirect;

    fn direct(&mut self) -> Option<SealingDirect> {
        self.out.lock().unwrap().direct = self.socket.direct();
        Some(SealingDirect(self.out.clone()))
    }

    fn move_to(mut self, runtime: &Handle) -> io::Result<Self> {
        self.socket = self.socket.move_to(runtime)?;
        Ok(self)
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(self.socket.poll_read(cx, buffer))?;
        seal(&mut buffer.filled_mut()[before..]);
        Poll::Ready(Ok(()))
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_flush(cx))?;
        let count = self.out.lock().unwrap().seal(slices);
        match self.poll_flush(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(count)),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = &mut self.socket;
        let sent = self.out.lock().unwrap().send(|record| {
            match socket.poll_write(cx, &[IoSlice::new(record)]) {
                Poll::Ready(written) => written,
                Poll::Pending => Err(ErrorKind::WouldBlock.into()),
            }
        });
        match sent {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Poll::Pending,
            sent => Poll::Ready(sent),
        }
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_shutdown(cx)
    }
}

/// The client's side of [`Sealing`].
struct Unsealing(UnixStream);

impl Read for Unsealing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(buffer)?;
        seal(&mut buffer[..count]);
        Ok(count)
    }
}

impl Write for Unsealing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut bytes = bytes.to_vec();
        seal(&mut bytes);
        self.0.write_all(&bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl midge_testkit::Transport for Unsealing {
    fn set_deadline(&self, limit: Duration) -> io::Result<()> {
        self.0.set_deadline(limit)
    }

    fn end(&self) -> io::Result<()> {
        self.0.end()
    }
}

/// A client over a transport that seals, whose broker's end belongs to `runtime` at first.
fn sealed(broker: &Broker, runtime: &Handle) -> Client {
    let (client, server) = UnixStream::pair().unwrap();
    server.set_nonblocking(true).unwrap();
    let _entered = runtime.enter();
    let server = Unix::new(tokio::net::UnixStream::from_std(server).unwrap());
    broker.attach(Sealing::new(server), "sealed").unwrap();
    Client::over(Unsealing(client))
}

/// Covers: none
#[test]
fn a_publishing_thread_seals_and_writes_at_once() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let broker = Broker::builder().runtime(runtime.handle().clone());
    let broker = broker.start().unwrap();
    let mut client = sealed(&broker, runtime.handle());
    let mut client = runtime.block_on(async move {
        let connected = tokio::task::spawn_blocking(move || {
            client.send(Connect::v5("client").bytes());
            assert_eq!(client.expect_connack().code, 0);
            client.subscribe("t", 0);
            client
        });
        connected.await.unwrap()
    });

    // No thread drives the runtime now.
    broker.publish("t", "x").unwrap();
    client.expect_message("t", "x");
}

/// Covers: none
#[test]
fn records_that_the_socket_takes_in_parts_arrive_whole() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let broker = Broker::builder().start().unwrap();
    let connect = |name| {
        let mut client = sealed(&broker, runtime.handle());
        client.send(Connect::v5(name).bytes());
        assert_eq!(client.expect_connack().code, 0);
        client
    };
    exchange(connect("publisher"), connect("subscriber"));
}

/// Covers: none
#[test]
fn a_transport_that_breaks_off_is_a_lost_connection() {
    let mut faults = Faults::new(2);
    let connect = Connect::v5("client").will(Will::new("will", "gone"));
    // In the middle of the next packet.
    faults.cut_after = Some(connect.bytes().len() as u64 + 1);
    let (broker, dialer) = pairs(faults);
    let (events, wills) = (broker.events(), broker.subscribe("will").unwrap());

    let mut client = dialer.connect(&connect);
    client.send([0xc0, 0]);
    assert_eq!(wills.recv().unwrap().payload(), b"gone");
    client.expect_closed();
    loop {
        if let Event::ClientDisconnected { reason, .. } = events.recv().unwrap().event {
            assert_eq!(reason, DisconnectReason::ConnectionLost);
            break;
        }
    }
}

/// Covers: none
#[test]
fn a_transport_that_alters_bytes_ends_one_connection() {
    let mut faults = Faults::new(3);
    let connect = Connect::v5("client").bytes();
    // The type of the packet behind CONNECT.
    faults.alters = Some(connect.len() as u64);
    let (broker, dialer) = pairs(faults);

    let mut client = dialer.open();
    client.send(connect);
    assert_eq!(client.expect_connack().code, 0);
    client.send(Subscribe::new(1).filter("t", 0).bytes());
    client.expect_disconnect_of(&[0x81, 0x82]);
    client.expect_closed();
    assert_eq!(broker.stats().panics, 0);
}

/// Covers: none
#[test]
fn a_connection_that_was_made_elsewhere_is_attached() {
    let broker = Broker::builder().start().unwrap();
    let (client, server) = UnixStream::pair().unwrap();
    server.set_nonblocking(true).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let server = {
        let _entered = runtime.enter();
        Unix::new(tokio::net::UnixStream::from_std(server).unwrap())
    };
    // It moves to the broker's runtime: nothing drives this one any more.
    broker.attach(server, "elsewhere").unwrap();
    drop(runtime);

    let mut client = Client::over(client);
    client.send(Connect::v5("client").bytes());
    assert_eq!(client.expect_connack().code, 0);
    client.subscribe("t", 1);
    broker.publish("t", "x").unwrap();
    client.expect_message("t", "x");
    assert_eq!(&*broker.clients()[0].info.peer, "elsewhere");
}

/// Notes the listeners of those who connect.
struct Listeners(mpsc::Sender<String>);

impl Hooks for Listeners {
    fn set(&self) -> HookSet {
        HookSet::LIFE
    }

    fn connected(&self, client: &ClientInfo, _: bool) {
        let _ = self.0.send(client.listener.to_string());
    }
}

/// Waits for an event that no other thread tells of.
fn until(mut done: impl FnMut() -> bool) {
    while !done() {
        std::thread::yield_now();
    }
}

/// Covers: none
#[test]
fn listeners_come_and_go_while_the_broker_runs() {
    let (tell, told) = mpsc::channel();
    let broker = Broker::builder()
        .listener("first", "tcp://127.0.0.1:0")
        .hooks(Listeners(tell))
        .start()
        .unwrap();

    let options = ListenerOptions::new("tcp://127.0.0.1:0");
    let second = tcp(&broker.add_listener("second", options).unwrap());
    assert_eq!(broker.addrs_of("second"), [ListenAddr::Tcp(second)]);
    assert_eq!(broker.addrs().len(), 2);
    let mut client = Client::connect_v5(second, "client");
    assert_eq!(told.recv().unwrap(), "second");
    let _other = Client::connect_v5(tcp(&broker.addrs_of("first")), "other");
    assert_eq!(told.recv().unwrap(), "first");

    // The name is taken until the listener goes. Then its port is free, and its clients stay.
    let again = || broker.add_listener("second", "tcp://127.0.0.1:0");
    let taken = again().unwrap_err();
    assert!(matches!(taken, StartError::Address { .. }), "{taken}");
    assert!(broker.remove_listener("second"));
    assert!(!broker.remove_listener("second"));
    assert!(broker.addrs_of("second").is_empty());
    until(|| TcpListener::bind(second).is_ok());
    client.subscribe("t", 1);
    broker.publish("t", "x").unwrap();
    client.expect_message("t", "x");
    again().unwrap();

    // One without a name has that of its address.
    let named = Broker::builder()
        .listen("tcp://127.0.0.1:0")
        .start()
        .unwrap();
    assert!(named.remove_listener(&named.url()));
    assert_eq!(named.port(), 0);

    broker.stop(Stop::Now).unwrap();
    assert!(matches!(again(), Err(StartError::Stopped)));
}

/// Covers: none
#[test]
fn two_listeners_of_one_name_do_not_start() {
    let builder = Broker::builder()
        .listener("a", "tcp://127.0.0.1:0")
        .listener("a", "tcp://127.0.0.1:0");
    let error = builder.start().unwrap_err();
    let told = "cannot listen on a: another listener has this name";
    assert_eq!(error.to_string(), told);
}

/// Covers: none
#[test]
fn a_listener_that_ends_leaves_its_name() {
    let (broker, dialer) = pairs(Faults::new(4));
    let mut client = dialer.connect(&Connect::v5("client"));
    drop(dialer);
    client.expect_nothing();

    let mut dialer = None;
    until(|| {
        let (next, listener) = Pairs::new(Faults::new(5));
        dialer = Some(next);
        broker.add_listener_of("pairs", listener).is_ok()
    });
    let mut other = dialer.unwrap().connect(&Connect::v5("other"));
    other.expect_nothing();
    client.expect_nothing();
}

/// Panics when it is asked for a connection.
struct Broken;

impl Listener for Broken {
    type Transport = Tcp;

    fn poll_accept(&mut self, _: &mut Context<'_>) -> Poll<Option<io::Result<Incoming<Tcp>>>> {
        panic!("broken")
    }
}

/// Covers: none
#[test]
fn a_listener_that_panics_ends_and_no_other() {
    let broker = Broker::builder()
        .listen("tcp://127.0.0.1:0")
        .listener_of("broken", Broken)
        .start()
        .unwrap();
    until(|| {
        !broker.remove_listener("broken") || broker.add_listener_of("broken", Broken).is_err()
    });
    let mut client = Client::connect_v5(broker.addr().unwrap(), "client");
    client.expect_nothing();
}

/// Fails, and then accepts.
struct Failing {
    errors: Vec<ErrorKind>,
    listener: Pairs,
}

impl Listener for Failing {
    type Transport = Faulty<Unix>;

    fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Incoming<Faulty<Unix>>>>> {
        match self.errors.pop() {
            Some(error) => Poll::Ready(Some(Err(error.into()))),
            None => self.listener.poll_accept(cx),
        }
    }
}

/// Covers: none
#[test]
fn a_listener_goes_on_after_errors() {
    let (dialer, listener) = Pairs::new(Faults::new(6));
    let errors = vec![ErrorKind::OutOfMemory, ErrorKind::ConnectionAborted];
    let failing = Failing { errors, listener };
    let builder = Broker::builder().listener_of("failing", failing);
    let _broker = builder.start().unwrap();
    dialer.connect(&Connect::v5("client")).expect_nothing();
}
