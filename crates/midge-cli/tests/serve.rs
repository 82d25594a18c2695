//! What a supervisor, a load balancer and a log collector meet: signals, health checks, logs that nothing
//! reads, descriptors that run out, outputs that are closed.

#![allow(clippy::unwrap_used)] // a test may fail

mod common;

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use common::{Server, midge, output, stderr};

/// A connection that has said something that is no CONNECT, and has been closed for it.
fn refused(server: &Server) {
    let mut client = TcpStream::connect(server.address()).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let _ = client.read(&mut [0; 8]);
}

/// A 3.1.1 client with a keep alive of 0.
fn client(server: &Server, id: u8) -> TcpStream {
    let mut client = TcpStream::connect(server.address()).unwrap();
    client
        .write_all(b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01")
        .unwrap();
    client.write_all(&[id]).unwrap();
    let mut connack = [0; 4];
    client.read_exact(&mut connack).unwrap();
    assert_eq!(connack, [0x20, 2, 0, 0]);
    client
}

#[test]
fn a_log_level_filters_and_does_not_switch() {
    for (level, warns, tells) in [
        ("off", 0, false),
        ("error", 0, false),
        ("warn", 1, false),
        ("info", 1, true),
        ("debug", 1, true),
    ] {
        let server = Server::start(&["--log", level]);
        refused(&server);
        drop(client(&server, b'c'));
        let (status, log) = server.signal("-TERM");
        assert_eq!(status, 0);
        assert_eq!(log.matches("WARN refused").count(), warns, "{level}: {log}");
        assert_eq!(log.contains("INFO connected"), tells, "{level}: {log}");
        assert_eq!(log.is_empty(), warns == 0 && !tells, "{level}: {log}");
    }
}

#[test]
fn a_health_check_is_no_warning() {
    let server = Server::start(&["--log", "warn"]);
    for _ in 0..20 {
        drop(TcpStream::connect(server.address()).unwrap());
    }
    refused(&server);
    let (status, log) = server.signal("-TERM");
    assert_eq!(status, 0);
    assert_eq!(
        (log.lines().count(), log.matches("refused").count()),
        (1, 1),
        "{log}"
    );
}

#[test]
fn a_log_that_is_not_read_holds_up_neither_clients_nor_the_end() {
    let server = Server::start(&["--log", "debug"]);
    // Some times as much as a pipe takes.
    for _ in 0..2000 {
        drop(client(&server, b'c'));
    }
    let address = server.address().to_owned();
    server.send("-TERM");
    let (status, log) = server.end();
    assert_eq!(status, 0);
    assert!(log.len() > 4096 && log.contains("INFO connected"));
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_standard_output_that_is_not_read_does_not_hold_up_the_end() {
    let (mut full, _unread) = UnixStream::pair().unwrap();
    full.set_nonblocking(true).unwrap();
    while full.write(&[b'x'; 4096]).is_ok() {}
    full.set_nonblocking(false).unwrap();
    let mut child = midge()
        .args(["serve", "--listen", "tcp://127.0.0.1:0", "--print-url"])
        .stdout(OwnedFd::from(full))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();

    // It serves.
    let mut line = String::new();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    log.read_line(&mut line).unwrap();
    let (_, address) = line.trim().split_once("mqtt://").unwrap();
    drop(TcpStream::connect(address).unwrap());
    let id = child.id().to_string();
    let sent = Command::new("kill").args(["-TERM", &id]).status().unwrap();
    assert!(sent.success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_hangup_ends_it_in_order_unless_it_is_to_be_ignored() {
    let with = |option: &str| {
        let mut command = Command::new("env");
        command.arg(option).arg(env!("CARGO_BIN_EXE_midge"));
        Server::of(command, &["--log", "info"])
    };
    let server = with("--default-signal=HUP");
    let mut client = client(&server, b'c');
    let (status, log) = server.signal("-HUP");
    assert_eq!(status, 0, "{log}");
    assert!(log.contains("stopping signal=\"SIGHUP\""), "{log}");
    // The client was told in order, and not reset.
    assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);

    let server = with("--ignore-signal=HUP");
    server.send("-HUP");
    let url = server.url.clone();
    assert!(
        output(&["pub", "--url", &url, "-t", "t", "-m", "x", "-q", "1"])
            .status
            .success()
    );
    let (status, log) = server.signal("-TERM");
    assert!(status == 0 && !log.contains("SIGHUP"), "{log}");
}

#[test]
fn a_second_signal_cuts_the_drain_short() {
    for (first, second) in [("-TERM", "-TERM"), ("-INT", "-TERM")] {
        let mut server = Server::start(&["--log", "info", "--drain", "86400000"]);
        let mut client = client(&server, b'c');
        client.write_all(b"\x82\x06\0\x01\0\x01t\x01").unwrap();
        client.read_exact(&mut [0; 5]).unwrap();
        let url = server.url.clone();
        assert!(
            output(&["pub", "--url", &url, "-t", "t", "-m", "x", "-q", "1"])
                .status
                .success()
        );
        // It is not acknowledged: the drain waits for that.
        server.send(first);
        server.log_until("stopping");
        server.send(second);
        let (status, log) = server.end();
        assert!(status == 0 && log.contains("stopping at once"), "{log}");
    }
}

#[test]
fn that_no_descriptor_is_left_is_told_once() {
    let mut command = Command::new("sh");
    let script = "ulimit -n 24; exec \"$0\" \"$@\"";
    command.args(["-c", script, env!("CARGO_BIN_EXE_midge")]);

    let mut server = Server::of(command, &["--log", "info"]);
    let address = server.address().to_owned();
    let clients: Vec<_> = (0..32)
        .map(|_| TcpStream::connect(&address).unwrap())
        .collect();
    let before = server.log_until("accept failed");
    drop(clients);

    let after = server.log_until("accepting again");
    let count = |lines: &[String]| lines.iter().filter(|line| line.contains("accept")).count();
    assert_eq!(
        (count(&before), count(&after)),
        (1, 1),
        "{before:?} {after:?}"
    );

    let (status, _) = server.signal("-TERM");
    assert_eq!(status, 0);
}

/// The writing end of a pipe whose reading end is closed.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[test]
fn outputs_that_are_closed_are_no_panic() {
    // As for a program that SIGPIPE ends, and nothing is said about it.
    let config = midge().arg("config").stdout(closed()).output().unwrap();
    assert_eq!(
        (config.status.code(), stderr(&config)),
        (Some(141), String::new())
    );

    let server = Server::start(&["--log", "off"]);
    let retained = [
        "pub",
        "--url",
        &server.url,
        "-t",
        "t",
        "-m",
        "x",
        "-r",
        "-q",
        "1",
    ];
    assert!(output(&retained).status.success());
    let subscribe = ["sub", "--url", &server.url, "-t", "t"];
    let sub = midge().args(subscribe).stdout(closed()).output().unwrap();
    assert_eq!(
        (sub.status.code(), stderr(&sub)),
        (Some(141), String::new())
    );

    // The status tells of the failure even if the text has no reader.
    let failed = midge()
        .args(["serve", "--listen", "nowhere"])
        .stderr(closed())
        .status()
        .unwrap();
    assert_eq!(failed.code(), Some(1));
}

#[test]
fn it_serves_without_anybody_to_print_to() {
    let directory = std::env::temp_dir().join(format!("midge-serve-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();

    let url = format!("unix://{}/socket?mode=0600", directory.display());
    let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
    for log in [closed(), full().into()] {
        let mut child = midge()
            .args(["serve", "--listen", &url, "--print-url", "--log", "debug"])
            .stdout(closed())
            .stderr(log)
            .spawn()
            .unwrap();
        let socket = directory.join("socket");
        while !socket.exists() {
            assert!(child.try_wait().unwrap().is_none());
            std::thread::yield_now();
        }
        let at = url.split('?').next().unwrap();
        let publish = ["pub", "--url", at, "-t", "t", "-m", "x", "-q", "1"];
        while !output(&publish).status.success() {
            assert!(child.try_wait().unwrap().is_none());
        }
        let id = child.id().to_string();
        Command::new("kill").args(["-TERM", &id]).status().unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }

    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn a_port_and_a_host_are_short_for_an_address() {
    for (arguments, start) in [
        (&["-p", "0"][..], "mqtt://127.0.0.1:"),
        (&["--port", "0", "--host", "127.0.0.2"], "mqtt://127.0.0.2:"),
        (
            &["--port", "0", "--set", "mqtt.maximum_qos=1"],
            "mqtt://127.0.0.1:",
        ),
    ] {
        let server = Server::listening(&[arguments, &["--log", "off"]].concat());
        let url = server.url.clone();
        let published = output(&["pub", "--url", &url, "-t", "t", "-m", "x", "-q", "1"]);
        assert_eq!(server.signal("-TERM").0, 0);
        assert!(url.starts_with(start), "{url}");
        assert!(published.status.success(), "{}", stderr(&published));
    }

    for address in ["1884", "127.0.0.1:1884"] {
        let ran = output(&["serve", "--listen", address]);
        assert!(
            stderr(&ran).contains("accepted: tcp://host:port"),
            "{}",
            stderr(&ran)
        );
    }
}

#[test]
fn a_refusal_says_who_and_why_once() {
    let server = Server::start(&["--log", "info"]);
    let mut stranger = TcpStream::connect(server.address()).unwrap();
    // 3.1.1, no Clean Session, no client identifier, user name "u".
    stranger
        .write_all(b"\x10\x0f\0\x04MQTT\x04\x80\0\0\0\0\0\x01u")
        .unwrap();
    let mut connack = [0; 4];
    stranger.read_exact(&mut connack).unwrap();

    let base = ["sub", "--url", &server.url, "-t", "t", "-c", "-W", "0"];
    let owner = output(&[&base[..], &["-i", "kept", "-u", "owner"]].concat());
    assert_eq!(owner.status.code(), Some(27), "{}", stderr(&owner));
    let other = output(&[&base[..], &["-i", "kept", "-u", "other"]].concat());
    assert_eq!(other.status.code(), Some(1));

    let mut client = TcpStream::connect(server.address()).unwrap();
    client
        .write_all(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03")
        .unwrap();
    let _ = client.read(&mut [0; 8]);

    let (_, log) = server.signal("-TERM");
    let lines: Vec<_> = log
        .lines()
        .filter(|line| line.contains("refused"))
        .collect();
    assert_eq!(lines.len(), 3, "{log}");
    assert!(
        lines[0].contains("username=\"u\"") && !lines[0].contains("client_id"),
        "{log}"
    );
    let who = "refused client_id=\"kept\" username=\"other\" ";
    assert!(lines[1].contains(who), "{log}");
    assert!(lines[1].contains("reason=\"Not authorized\""), "{log}");
    assert!(lines[2].contains("this looks like TLS"), "{log}");
    assert!(
        lines
            .iter()
            .all(|line| line.matches("refused").count() == 1),
        "{log}"
    );
}

#[test]
fn the_state_of_a_bridge_is_no_warning() {
    let server = Server::start(&["--log", "info"]);
    let base = ["pub", "--url", &server.url, "-m", "1", "-q", "1"];
    for topic in ["$SYS/broker/connection/x/state", "$SYS/x"] {
        output(&[&base[..], &["-t", topic]].concat());
    }
    let (_, log) = server.signal("-TERM");
    for (topic, level) in [
        ("topic=$SYS/broker/connection/x/state ", " INFO dropped "),
        ("topic=$SYS/x ", " WARN dropped "),
    ] {
        let line = log.lines().find(|line| line.contains(topic));
        assert!(line.is_some_and(|line| line.contains(level)), "{log}");
    }
}
