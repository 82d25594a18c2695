//! Where a broker listens, and what it leaves behind.

#![allow(clippy::unwrap_used)] // a test may fail

mod common;

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Barrier;

use common::join;
use midge::{Broker, ListenAddr, ListenerOptions, StartError, Stop, TcpSettings};
use midge_testkit::{Client, Connect, Transport};
use socket2::{Domain, SockAddr, Socket, Type};

/// A path for a socket that no other test has, with its directory.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let directory = format!("midge-listeners-{}-{name}", std::process::id());
        let directory = std::env::temp_dir().join(directory);
        fs::create_dir_all(&directory).unwrap();
        Self(directory)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("socket")
    }

    fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn start(addresses: &[&str]) -> Result<Broker, StartError> {
    let listen = |builder: midge::Builder, address: &&str| builder.listen(*address);
    addresses.iter().fold(Broker::builder(), listen).start()
}

/// Connects as a 3.1.1 client and reads CONNACK.
fn answers(stream: impl Transport + 'static) {
    join(Client::over(stream), &Connect::new(4, "c"));
}

fn bind_error(result: Result<Broker, StartError>) -> std::io::Error {
    match result {
        Err(StartError::Bind { source, .. }) => source,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_broker_removes_no_socket_but_its_own() {
    let place = Place::new("successor");
    let first = start(&[&place.url()]).unwrap();
    fs::remove_file(place.socket()).unwrap();
    let second = start(&[&place.url()]).unwrap();
    first.stop(Stop::Now).unwrap();
    answers(UnixStream::connect(place.socket()).unwrap());

    // Whatever else is in its place by then stays, too.
    fs::remove_file(place.socket()).unwrap();
    fs::write(place.socket(), "something else").unwrap();
    second.stop(Stop::Now).unwrap();
    assert_eq!(fs::read(place.socket()).unwrap(), b"something else");
    assert_eq!(
        bind_error(start(&[&place.url()])).kind(),
        ErrorKind::AddrInUse
    );
}

#[test]
fn a_socket_without_a_listener_is_replaced_and_goes_with_the_broker() {
    let place = Place::new("stale");
    drop(std::os::unix::net::UnixListener::bind(place.socket()).unwrap());
    assert!(place.socket().exists());
    let broker = start(&[&place.url()]).unwrap();
    answers(UnixStream::connect(place.socket()).unwrap());
    broker.stop(Stop::Now).unwrap();
    assert!(!place.socket().exists());
}

#[test]
fn of_brokers_that_replace_a_stale_socket_at_once_one_has_it() {
    const AT_ONCE: usize = 4;
    let place = Place::new("race");
    for _ in 0..50 {
        drop(std::os::unix::net::UnixListener::bind(place.socket()).unwrap());
        let begin = Barrier::new(AT_ONCE);
        let started: Vec<_> = std::thread::scope(|scope| {
            let start = || {
                begin.wait();
                start(&[&place.url()])
            };
            let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(start)).collect();
            threads.into_iter().map(|one| one.join().unwrap()).collect()
        });

        let (winners, losers): (Vec<_>, Vec<_>) = started.into_iter().partition(Result::is_ok);
        assert_eq!((winners.len(), losers.len()), (1, AT_ONCE - 1));
        for loser in losers {
            assert_eq!(bind_error(loser).kind(), ErrorKind::AddrInUse);
        }
        answers(UnixStream::connect(place.socket()).unwrap());
    }
    assert!(!place.socket().exists());
}

#[test]
fn a_socket_of_a_process_too_busy_to_answer_stays() {
    let place = Place::new("busy");
    let (address, path) = (SockAddr::unix(place.socket()).unwrap(), place.socket());
    let socket = || Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    let busy = socket();
    busy.bind(&address).unwrap();
    busy.listen(1).unwrap();

    let mut waiting = Vec::new();
    loop {
        let client = socket();
        client.set_nonblocking(true).unwrap();
        match client.connect(&address) {
            Ok(()) => waiting.push(client),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }

    let inode = |path: &Path| fs::metadata(path).unwrap().ino();
    let before = inode(&path);
    assert_eq!(
        bind_error(start(&[&place.url()])).kind(),
        ErrorKind::AddrInUse
    );
    assert_eq!(inode(&path), before);
}

#[test]
fn the_mode_of_a_socket_is_what_was_asked_for() {
    let place = Place::new("mode");
    for (text, mode) in [("0660", 0o660), ("600", 0o600), ("0777", 0o777)] {
        let broker = start(&[&format!("{}?mode={text}", place.url())]).unwrap();
        let permissions = fs::metadata(place.socket()).unwrap().permissions();
        assert_eq!(permissions.mode() & 0o7777, mode);
        assert_eq!(broker.addrs(), [ListenAddr::Unix(place.socket())]);
        assert_eq!(broker.url(), place.url());
        answers(UnixStream::connect(place.socket()).unwrap());
    }
    for wrong in ["?mode=0888", "?mode=", "?mode=rw", "?mood=0660", "?"] {
        let error = start(&[&format!("{}{wrong}", place.url())]).unwrap_err();
        assert!(matches!(error, StartError::Address { .. }), "{wrong}");
        assert!(error.to_string().contains("?mode=0660"), "{error}");
    }
    assert!(!place.socket().exists());
}

#[test]
fn a_name_has_a_listener_on_each_of_its_addresses_and_one_port() {
    let mut known: Vec<_> = ("localhost", 0).to_socket_addrs().unwrap().collect();
    known.retain(|address| TcpListener::bind(address).is_ok());
    known.sort();
    known.dedup();
    assert!(!known.is_empty());
    let broker = start(&["tcp://localhost:0"]).unwrap();
    let tcp = |address: &ListenAddr| match address {
        ListenAddr::Tcp(address) => *address,
        other => panic!("{other}"),
    };
    let mut addresses: Vec<SocketAddr> = broker.addrs().iter().map(tcp).collect();
    addresses.sort();
    known
        .iter_mut()
        .for_each(|address| address.set_port(broker.port()));
    assert_eq!(addresses, known);
    for address in addresses {
        answers(TcpStream::connect(address).unwrap());
    }

    // A second one finds the port taken, and the error says which address.
    let again = bind_error(start(&[&format!("tcp://localhost:{}", broker.port())]));
    assert_eq!(again.kind(), ErrorKind::AddrInUse);
    let named = known.len() == 1 || again.to_string().contains(&broker.port().to_string());
    assert!(named, "{again}");
}

/// A port that was free on all addresses a moment ago.
fn free_port(of: &str) -> u16 {
    TcpListener::bind(of).unwrap().local_addr().unwrap().port()
}

#[test]
fn ipv4_and_ipv6_may_have_the_same_port() {
    if TcpListener::bind("[::]:0").is_err() {
        println!("skipped: this machine has no IPv6");
        return;
    }
    for hosts in [
        ["0.0.0.0", "[::]"],
        ["[::]", "0.0.0.0"],
        ["127.0.0.1", "[::]"],
    ] {
        // Another process may take a port that was free.
        let broker = (0..16).find_map(|_| {
            let port = free_port("[::]:0");
            let addresses = hosts.map(|host| format!("tcp://{host}:{port}"));
            match start(&addresses.each_ref().map(String::as_str)) {
                Ok(broker) => Some(broker),
                Err(error) => {
                    println!("{error}");
                    None
                }
            }
        });
        let broker = broker.unwrap();
        assert_eq!(broker.addrs().len(), 2);
        for host in ["127.0.0.1", "::1"] {
            answers(TcpStream::connect((host, broker.port())).unwrap());
        }
    }

    // Alone, IPv6 takes both where the operating system has it so.
    let listener = TcpListener::bind("[::]:0").unwrap();
    let both = TcpStream::connect(("127.0.0.1", listener.local_addr().unwrap().port())).is_ok();
    let broker = start(&["tcp://[::]:0"]).unwrap();
    let v4 = TcpStream::connect(("127.0.0.1", broker.port()));
    assert_eq!(v4.is_ok(), both);
}

#[test]
fn a_host_that_is_not_known_is_an_error_of_the_system_that_names_it() {
    // Reserved: it never exists (RFC 6761).
    let error = start(&["tcp://127.0.0.1:0", "tcp://no-such-host.invalid:1883"]).unwrap_err();
    assert!(matches!(error, StartError::Bind { .. }), "{error:?}");
    assert!(
        error.to_string().contains("host \"no-such-host.invalid\""),
        "{error}"
    );
}

/// The timer that the system has armed for the broker's end of a connection: 2 is keep-alive.
#[cfg(target_os = "linux")]
fn timer(broker: &Broker, client: &TcpStream) -> String {
    while broker.stats().connections == 0 {
        std::thread::yield_now();
    }
    let hex = |address: SocketAddr| format!(":{:04X}", address.port());
    let (local, remote) = (
        hex(broker.addr().unwrap()),
        hex(client.local_addr().unwrap()),
    );
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let mut rows = table.lines().map(|line| line.split_whitespace().collect());
    let is_it = |row: &Vec<&str>| row[1].ends_with(&local) && row[2].ends_with(&remote);
    let row = rows.find(is_it).unwrap();
    row[5].split(':').next().unwrap().to_owned()
}

#[test]
#[cfg(target_os = "linux")]
fn the_system_probes_an_idle_client_unless_it_is_told_not_to() {
    for (seconds, expected) in [("60", "02"), ("0", "00")] {
        let builder = Broker::builder().listen("tcp://127.0.0.1:0");
        let builder = builder.set("tcp.keepalive_s", seconds).unwrap();
        let broker = builder.start().unwrap();
        let client = TcpStream::connect(broker.addr().unwrap()).unwrap();
        assert_eq!(timer(&broker, &client), expected);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn the_options_of_a_listener_are_its_own() {
    let mut unprobed = TcpSettings::default();
    unprobed.keepalive_s = 0;
    let options = ListenerOptions::new("tcp://127.0.0.1:0").tcp(unprobed);
    let broker = Broker::builder().listener("unprobed", options).start();
    let broker = broker.unwrap();
    let client = TcpStream::connect(broker.addr().unwrap()).unwrap();
    assert_eq!(timer(&broker, &client), "00");

    let place = Place::new("options");
    let options = ListenerOptions::new(format!("{}?mode=0600", place.url())).mode(0o660);
    let addresses = broker.add_listener("local", options).unwrap();
    assert_eq!(addresses, [ListenAddr::Unix(place.socket())]);
    let permissions = fs::metadata(place.socket()).unwrap().permissions();
    assert_eq!(permissions.mode() & 0o7777, 0o660);

    // Its file goes with it.
    assert!(broker.remove_listener("local"));
    while place.socket().exists() {
        std::thread::yield_now();
    }
}
