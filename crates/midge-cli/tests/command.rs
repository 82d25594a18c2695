//! The command as its users meet it.

#![allow(clippy::unwrap_used)] // a test may fail

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use common::{Server, midge, output, stderr};

#[test]
fn serve_publishes_and_stops_on_signals() {
    for signal in ["-TERM", "-INT"] {
        let server = Server::start(&["--log", "info"]);
        let url = server.url.clone();
        for version in ["3.1", "3.1.1", "5"] {
            for qos in ["0", "1", "2"] {
                let topic = format!("t/{version}/{qos}");
                let base = ["--url", &url, "-V", version, "-t", &topic, "-q", qos];
                let publish = [&["pub"], &base[..], &["-m", "payload", "-r"]].concat();
                assert!(output(&publish).status.success());
                let subscribe = [&["sub"], &base[..], &["-n", "1", "-v"]].concat();
                let got = output(&subscribe);
                assert_eq!(
                    String::from_utf8_lossy(&got.stdout),
                    format!("{topic} payload\n")
                );
            }
        }
        let (status, log) = server.signal(signal);
        assert_eq!(status, 0);
        assert!(
            log.contains("connected") && log.contains("stopping"),
            "{log}"
        );
    }
}

#[test]
fn mistakes_are_explained() {
    let server = Server::start(&["--log", "off"]);
    let port = server.url.rsplit(':').next().unwrap();
    let busy = output(&["serve", "--listen", &format!("tcp://127.0.0.1:{port}")]);
    assert_eq!(busy.status.code(), Some(1));
    assert!(stderr(&busy).contains("in use"), "{}", stderr(&busy));

    let unknown = output(&["serve", "--set", "limits.inflght=1"]);
    assert!(
        stderr(&unknown).contains("limits.inflight"),
        "{}",
        stderr(&unknown)
    );

    let value = output(&["serve", "--set", "limits.inflight=many"]);
    assert!(stderr(&value).contains("1 to 65535"), "{}", stderr(&value));

    let topic = output(&["pub", "--url", &server.url, "-t", "a/+", "-m", "x"]);
    assert_eq!(topic.status.code(), Some(1));

    let filter = output(&["sub", "--url", &server.url, "-t", "a/#/b"]);
    assert_eq!(filter.status.code(), Some(1));

    let system = output(&[
        "pub",
        "--url",
        &server.url,
        "-t",
        "$SYS/x",
        "-m",
        "x",
        "-q",
        "1",
    ]);
    assert!(stderr(&system).contains("refused"), "{}", stderr(&system));
}

#[test]
fn exec_gives_the_command_a_broker_and_its_status_back() {
    let midge = env!("CARGO_BIN_EXE_midge");
    let script = format!(
        "{midge} pub -t t -m hello -r -q 1 && {midge} sub -t t -n 1 --json && \
         test \"$MQTT_URL\" = \"mqtt://$MQTT_HOST:$MQTT_PORT\" && exit 7"
    );
    let ran = output(&["exec", "--", "sh", "-c", &script]);
    assert_eq!(ran.status.code(), Some(7), "{}", stderr(&ran));
    let line = r#"{"topic":"t","payload":"hello","qos":0,"retain":true}"#;
    assert_eq!(String::from_utf8_lossy(&ran.stdout).trim(), line);
    assert_eq!(
        output(&["exec", "--", "no-such-command-here"])
            .status
            .code(),
        Some(127)
    );
    let killed = output(&["exec", "--", "sh", "-c", "kill -KILL $$"]);
    assert_eq!(killed.status.code(), Some(128 + 9));
}

#[test]
fn exec_passes_signals_on() {
    let script = "exec 3<&0; trap 'exit 9' TERM; trap 'exit 8' INT; cat <&3 & echo ready; wait";

    for (signal, status) in [("-TERM", 9), ("-INT", 8)] {
        let mut child = midge()
            .args(["exec", "--", "sh", "-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        let id = child.id().to_string();
        Command::new("kill").args([signal, &id]).status().unwrap();
        // Open until then: its end is the end of cat, and so of the script.
        let stdin = child.stdin.take();
        assert_eq!(child.wait().unwrap().code(), Some(status));
        drop(stdin);
    }
}

#[test]
fn a_unix_socket_and_a_url_without_port_will_do() {
    let directory = std::env::temp_dir().join(format!("midge-socket-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();

    let url = format!("unix://{}/broker", directory.display());
    let server = Server::start(&["--listen", &url, "--log", "off"]);
    let base = ["--url", &url, "-t", "t", "-q", "2"];
    let payload = directory.join("payload");
    std::fs::write(&payload, "from a file").unwrap();

    let published = output(&[&["pub", "-r", "-f", payload.to_str().unwrap()], &base[..]].concat());
    assert!(published.status.success(), "{}", stderr(&published));

    let got = output(&[&["sub", "-n", "1"], &base[..]].concat());
    assert_eq!(String::from_utf8_lossy(&got.stdout), "from a file\n");

    let (status, _) = server.signal("-TERM");
    assert_eq!(status, 0);
    std::fs::remove_dir_all(&directory).unwrap();
    for url in ["mqtt://[::1]/", "mqtt://127.0.0.1"] {
        // Refused or answered: the address has been understood.
        let ran = output(&["sub", "--url", url, "-t", "t", "-W", "0"]);
        assert!(!stderr(&ran).contains("invalid"), "{}", stderr(&ran));
    }
}

#[test]
fn a_configuration_file_sets_everything() {
    let directory = std::env::temp_dir().join(format!("midge-config-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();

    let file = directory.join("midge.toml");
    let printed = output(&["config"]);
    let text = String::from_utf8(printed.stdout).unwrap();
    let text = text.replace("tcp://127.0.0.1:1883", "tcp://127.0.0.1:0");
    std::fs::write(&file, text.replace("maximum_qos = 2", "maximum_qos = 0")).unwrap();

    let path = file.to_str().unwrap();
    let server = Server::listening(&["--config", path, "--log", "off"]);
    let refused = output(&["pub", "--url", &server.url, "-t", "t", "-m", "x", "-q", "1"]);
    drop(server);
    assert!(
        stderr(&refused).contains("QoS not supported"),
        "{}",
        stderr(&refused)
    );
    std::fs::write(&file, "lisen = \"x\"\n").unwrap();

    let wrong = output(&["serve", "--config", path]);
    std::fs::remove_dir_all(&directory).unwrap();
    assert!(stderr(&wrong).contains("lisen"), "{}", stderr(&wrong));
}
