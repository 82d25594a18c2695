//! What carries the bytes.

#[cfg(unix)]
use std::os::unix::net::UnixStream;

use midge_testkit::{Client, Publish, Subscribe};

use crate::common::{broker, broker_with};
use crate::{client, v311};

/// Covers: v3:MQTT-7.1.1-1
#[test]
fn mqtt311_7_1_1_1_tcp_loses_nothing_and_keeps_the_order() {
    let server = broker();
    let mut subscriber = client(&server, "subscriber");
    subscriber.subscribe("t", 0);

    let mut publisher = client(&server, "publisher");
    let block: Vec<u8> = (0..1_000_003u32)
        .map(|n| (n.wrapping_mul(n) >> 7) as u8)
        .collect();

    for _ in 0..5 {
        publisher.send(Publish::new("t", &block).bytes_for(4));
        let message = subscriber.receive();
        assert!(message.payload == block, "another payload");
    }

    // In the smallest pieces.
    let bytes = [
        Publish::new("t", "1").qos(1, 1).bytes_for(4),
        Publish::new("t", "2").qos(1, 2).bytes_for(4),
    ];
    publisher.send_in_pieces(bytes.concat(), 1);
    assert_eq!(subscriber.receive().text(), "1");
    assert_eq!(subscriber.receive().text(), "2");
}

/// Covers: v3:MQTT-7.1.1-1
#[cfg(unix)]
#[test]
fn mqtt311_7_1_1_1_other_streams_speak_the_same() {
    let folder = std::env::temp_dir().join(format!("midge v3 {}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");

    let path = folder.join("socket");
    let server = broker_with(|builder| builder.listen(format!("unix://{}", path.display())));
    let mut tcp = client(&server, "tcp");
    tcp.subscribe("t", 2);

    let connect = |client: &mut Client, name: &str| {
        client.send(v311(name).bytes());
        assert_eq!(client.expect_connack().code, 0);
        client.request(&Subscribe::new(0).filter("t", 2));
    };

    let mut unix = Client::over(UnixStream::connect(&path).expect("a listener"));
    connect(&mut unix, "unix");

    let pair = server.connect_fd().expect("a connection");
    let mut memory = Client::over(UnixStream::from(pair));
    connect(&mut memory, "memory");
    for round in 0..9u8 {
        let publisher = [&mut tcp, &mut unix, &mut memory]
            .into_iter()
            .nth(usize::from(round) % 3);
        publisher
            .expect("one of three")
            .publish("t", [round], round % 3);
        for client in [&mut tcp, &mut unix, &mut memory] {
            let message = client.receive();
            assert_eq!((message.payload, message.qos), (vec![round], round % 3));
        }
    }

    drop(server);
    std::fs::remove_dir_all(&folder).expect("the folder is there");
}
