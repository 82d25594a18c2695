//! `midge pub` and `midge sub`: where they connect to, how they end, what they say.

#![allow(clippy::unwrap_used)] // a test may fail

mod common;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output, Stdio};
use std::thread;

use common::{Server, midge, output, stderr};

/// Runs the command with variables of the environment.
fn with(variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = midge();
    command.envs(variables.iter().copied());
    command.args(arguments).output().unwrap()
}

#[test]
fn the_command_line_wins_over_the_environment() {
    let server = Server::start(&["--log", "off"]);
    let (host, port) = server.address().rsplit_once(':').unwrap();
    let nowhere = ("MQTT_URL", "unix:///nowhere/at/all");
    let publish = ["pub", "-t", "t", "-m", "x", "-q", "1"];

    for address in [
        &["-p", port][..],
        &["--host", host, "--port", port],
        &["--url", &server.url],
    ] {
        let arguments = [&publish[..], address].concat();
        for variables in [&[nowhere][..], &[("MQTT_HOST", "x"), ("MQTT_PORT", "x")]] {
            let ran = with(variables, &arguments);
            assert!(ran.status.success(), "{variables:?}: {}", stderr(&ran));
        }
    }

    // An empty variable counts as unset, and the URL says more than its parts.
    for variables in [
        &[("MQTT_URL", &*server.url)][..],
        &[("MQTT_URL", &*server.url), ("MQTT_PORT", "1")],
        &[("MQTT_URL", ""), ("MQTT_HOST", host), ("MQTT_PORT", port)],
        &[("MQTT_URL", ""), ("MQTT_HOST", ""), ("MQTT_PORT", port)],
    ] {
        let ran = with(variables, &publish);
        assert!(ran.status.success(), "{variables:?}: {}", stderr(&ran));
    }

    let wrong = with(&[("MQTT_URL", ""), ("MQTT_PORT", "many")], &publish);
    assert!(stderr(&wrong).contains("MQTT_PORT=\"many\": expected a port"));

    let ran = with(&[nowhere], &publish);
    assert!(
        stderr(&ran).contains("unix:///nowhere/at/all: "),
        "{}",
        stderr(&ran)
    );

    let both = output(&[&publish[..], &["--url", &server.url, "-p", port]].concat());
    assert_eq!(both.status.code(), Some(2));
}

#[test]
fn every_planned_end_says_disconnect() {
    let mut server = Server::start(&["--log", "debug"]);
    let url = server.url.clone();
    let retained = [
        "pub", "--url", &url, "-t", "r", "-m", "x", "-r", "-q", "1", "-i", "p",
    ];
    assert!(output(&retained).status.success());

    let base = [
        "sub",
        "--url",
        &url,
        "-i",
        "s",
        "--will-topic",
        "w",
        "--will-payload",
        "gone",
    ];
    let ends = |server: &mut Server, status: i32, more: &[&str], out: Stdio| {
        let mut child = midge()
            .args([&base[..], more].concat())
            .stdout(out)
            .spawn()
            .unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(status), "{more:?}");
        let log = server.log_until("disconnected client_id=s").concat();
        assert!(log.contains("reason=by_client (Success"), "{more:?}: {log}");
    };

    ends(&mut server, 27, &["-t", "none", "-W", "0"], Stdio::null());
    ends(&mut server, 0, &["-t", "r", "-C", "1"], Stdio::null());
    ends(&mut server, 0, &["-t", "r", "-n", "1"], Stdio::null());

    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    ends(&mut server, 141, &["-t", "r"], writer.into());

    for (name, number) in [("-INT", 2), ("-TERM", 15), ("-HUP", 1)] {
        let mut command = Command::new("env");
        let mut child = command
            .args(["--default-signal=INT,TERM,HUP", env!("CARGO_BIN_EXE_midge")])
            .args([&base[..], &["-t", "none"]].concat())
            .spawn()
            .unwrap();
        server.log_until("subscribed client_id=s");
        let id = child.id().to_string();
        assert!(
            Command::new("kill")
                .args([name, &id])
                .status()
                .unwrap()
                .success()
        );
        assert_eq!(child.wait().unwrap().signal(), Some(number));
        let log = server.log_until("disconnected client_id=s").concat();
        assert!(log.contains("reason=by_client (Success"), "{name}: {log}");
    }

    let (_, log) = server.signal("-TERM");
    assert!(!log.contains("will published"), "{log}");
}

#[test]
fn a_second_signal_does_not_wait_for_the_broker() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("mqtt://{}", listener.local_addr().unwrap());
    let mut child = midge()
        .args(["sub", "--url", &url, "-t", "t", "-V", "3.1.1"])
        .spawn()
        .unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    let mut connect = [0; 14];
    stream.read_exact(&mut connect).unwrap();

    let id = child.id().to_string();
    let send = |name: &str| {
        Command::new("kill").args([name, &id]).status().unwrap();
    };
    send("-TERM");
    // DISCONNECT came; this broker does not close the connection.
    let mut disconnect = [0; 2];
    stream.read_exact(&mut disconnect).unwrap();
    assert_eq!(disconnect, [0xe0, 0]);
    send("-TERM");
    assert_eq!(child.wait().unwrap().signal(), Some(15));
}

/// What `midge sub` says to something that answers CONNECT with these bytes and closes.
fn said_to(answer: &'static [u8]) -> (String, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("mqtt://{}", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = [0; 256];
        assert_ne!(stream.read(&mut buffer).unwrap(), 0);
        stream.write_all(answer).unwrap();
    });
    let ran = output(&["sub", "--url", &url, "-t", "t"]);
    server.join().unwrap();
    assert_eq!(ran.status.code(), Some(1));
    (url, stderr(&ran))
}

#[test]
fn what_is_no_broker_is_named() {
    for (answer, tls) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], false),
        (b"HTTP", false),
        (b"SSH-2.0-OpenSSH\r\n", false),
        (b"220 mail.example ESMTP\r\n", false),
        (b"\x20\xff\xff\xff\xff\xff", false),
        (b"\x20\x03\x07\0\0", false),
        (b"\x15\x03\x03\0\x02\x02\x28", true),
    ] {
        let (url, said) = said_to(answer);
        let expected = format!("midge: {url}: this is not an MQTT broker's answer: ");
        assert!(said.starts_with(&expected), "{said}");
        assert_eq!(said.contains("this looks like TLS"), tls, "{said}");
    }

    let (url, said) = said_to(b"");
    let closed = format!("midge: {url}: the connection was closed without an answer\n");
    assert_eq!(said, closed);

    let (url, said) = said_to(b"\x20\x03\0\0\0");
    assert_eq!(
        said,
        format!("midge: {url}: the broker closed the connection\n")
    );

    let (url, said) = said_to(b"\x20\x03\0\x87\0");
    assert_eq!(
        said,
        format!("midge: {url}: connection refused: Not authorized\n")
    );
}

#[test]
fn topics_that_cannot_be_published_to_are_named() {
    for arguments in [
        &["pub", "-t", "a/#", "-m", "x"][..],
        &["pub", "-t", "t", "-m", "x", "--will-topic", "a/#"],
        &["sub", "-t", "t", "--will-topic", "a/#"],
    ] {
        let ran = output(arguments);
        let expected = "midge: \"a/#\": a topic name has no wildcards (+ and #)";
        assert!(stderr(&ran).starts_with(expected), "{}", stderr(&ran));
    }
    let ran = output(&["pub", "-t", "", "-m", "x"]);
    assert_eq!(stderr(&ran), "midge: \"\": topic: empty\n");
}

#[test]
fn what_needs_5_is_refused_before() {
    for (options, what) in [
        (&["--property", "a=b"][..], "--property"),
        (&["-P", "secret"], "--password without --username"),
    ] {
        for version in ["3.1", "3.1.1", "311"] {
            let base = ["pub", "-t", "t", "-m", "x", "-V", version];
            let ran = output(&[&base[..], options].concat());
            assert_eq!(ran.status.code(), Some(1));
            assert_eq!(
                stderr(&ran),
                format!("midge: {what} needs MQTT 5.0: -V 5\n")
            );
        }
    }
}

#[test]
fn a_session_is_kept_and_resumed_on_demand() {
    let server = Server::start(&["--log", "off"]);
    for version in ["3.1", "3.1.1", "5"] {
        let topic = format!("t/{version}");
        let base = ["--url", &server.url, "-V", version, "-t", &topic, "-q", "1"];
        let kept = ["sub", "-i", "keeper", "-c"];
        let waits = output(&[&kept[..], &base, &["-W", "0"]].concat());
        assert_eq!(waits.status.code(), Some(27), "{}", stderr(&waits));

        for payload in ["1", "2"] {
            let sent = output(&[&["pub", "-m", payload][..], &base].concat());
            assert!(sent.status.success(), "{}", stderr(&sent));
        }
        // They come before SUBACK.
        let got = output(&[&kept[..], &base, &["-C", "2"]].concat());
        assert_eq!(String::from_utf8_lossy(&got.stdout), "1\n2\n");

        // Without it the session is cleared.
        let clean = ["sub", "--client-id", "keeper"];
        let clean = output(&[&clean[..], &base, &["-W", "0"]].concat());
        assert_eq!(clean.status.code(), Some(27));
        let sent = output(&[&["pub", "-m", "3"][..], &base].concat());
        assert!(sent.status.success());
        let got = output(&[&kept[..], &base, &["-W", "0"]].concat());
        assert!(got.stdout.is_empty());
    }

    let nobody = output(&["sub", "-c", "-t", "t"]);
    assert!(stderr(&nobody).contains("--id"), "{}", stderr(&nobody));
}
