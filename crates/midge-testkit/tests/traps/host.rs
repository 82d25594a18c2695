//! A broker is a guest in its host's process.

use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use midge::{Broker, StartError, Stop};
use midge_testkit::{Client, Connect};

use crate::VERSIONS;
use crate::common::broker;

fn local(port: u16) -> Result<Broker, StartError> {
    Broker::builder()
        .listen(format!("tcp://127.0.0.1:{port}"))
        .start()
}

/// Covers: NN5-134
#[test]
fn a_port_in_use_is_an_error_of_start() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("an address").port();
    for _ in 0..3 {
        let error = local(port).expect_err("the port is taken");
        assert!(matches!(error, StartError::Bind { .. }), "{error:?}");
        assert!(error.to_string().contains(&port.to_string()), "{error}");
    }

    // With a good listener before it: that one is let go again.
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let other = free.local_addr().expect("an address").port();
    drop(free);

    let both = Broker::builder()
        .listen(format!("tcp://127.0.0.1:{other}"))
        .listen(format!("tcp://127.0.0.1:{port}"))
        .start();
    assert!(both.is_err());
    TcpListener::bind(("127.0.0.1", other)).expect("it is free again");
    drop(taken);
    local(port).expect("the port is free now");
}

/// Covers: NN5-127
#[test]
fn a_broker_can_be_stopped_and_frees_its_port() {
    let mut port = 0;
    for how in [Stop::Now, Stop::Drain(Duration::from_secs(5)), Stop::Now] {
        let broker = local(port).expect("the port is free");
        port = broker.port();
        let listener = broker.addr().expect("a listener");
        let mut clients: Vec<Client> = VERSIONS
            .iter()
            .map(|version| {
                let connect = Connect::new(*version, format!("client {version}"));
                Client::connect(listener, &connect).0
            })
            .collect();
        let mut silent = Client::open(listener);
        broker.stop(how).expect("no thread of the broker");
        for client in &mut clients {
            if client.version() == 5 {
                client.expect_disconnect(0x8b);
            } else {
                client.expect_closed();
            }
        }
        assert!(silent.read_all().is_empty());
        assert!(TcpStream::connect(listener).is_err(), "still listening");
        // Again, and what is asked of a stopped broker, is no harm.
        broker.stop(how).expect("stopped already");
        assert!(broker.publish("t", "p").is_err());
        assert!(broker.is_stopped());
    }

    // Dropping the last handle is enough.
    let broker = local(port).expect("the port is free");
    let other = broker.clone();
    drop(broker);

    let listener = other.addr().expect("a listener");
    Client::connect_v5(listener, "client").disconnect();
    drop(other);
    local(port).expect("the port is free again");
}

/// Tells the test below that it runs in a process of its own.
const ALONE: &str = "MIDGE_TEST_ALONE";

/// A life of a broker with all that might make one write a file.
fn life_of_a_broker() {
    let server = broker();
    for version in VERSIONS {
        let mut client = server.connect(&crate::kept(version, "client"));
        client.subscribe("t", 2);
        client.retain("t", "r", 2);
        client.cut();
        server.publish("t", "p").expect("a message");
        server.pass(1_000_000);
    }

    // What is kept is kept in memory.
    let mut client = server.resume(&crate::kept(5, "client"));

    // Its own retained message live three times, and twice as it subscribed again.
    assert_eq!(client.drain().len(), 5);
    assert_eq!(server.retained("t").len(), 1);

    let port = server.port();
    assert!(local(port).is_err());
    server
        .stop(Stop::Drain(Duration::from_secs(5)))
        .expect("no thread of the broker");
    drop(server);
    drop(local(port).expect("the port is free"));
    println!("the process lives on");
}

/// Covers: v3:MQTT-4.1.0-1, U311-17
#[test]
fn no_file_is_written_and_the_process_lives_on() {
    if std::env::var_os(ALONE).is_some() {
        return life_of_a_broker();
    }

    let folder = std::env::temp_dir().join(format!("midge files {}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");

    let program = std::env::current_exe().expect("a program");
    let name = "host::no_file_is_written_and_the_process_lives_on";
    let output = Command::new(program)
        .args(["--exact", "--nocapture", name])
        .env(ALONE, "1")
        .current_dir(&folder)
        .env("HOME", &folder)
        .env("TMPDIR", &folder)
        .env("XDG_CONFIG_HOME", &folder)
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(said.contains("the process lives on"), "{said}");

    let left: Vec<_> = std::fs::read_dir(&folder).expect("a folder").collect();
    assert!(left.is_empty(), "{left:?}");
    std::fs::remove_dir(&folder).expect("an empty folder");
}
