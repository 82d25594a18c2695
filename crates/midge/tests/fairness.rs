//! What all others get done while one client sends as fast as it can.

#![allow(clippy::unwrap_used)] // a test may fail

mod common;

use std::os::unix::net;
use std::time::Duration;

use common::publish;
use midge::{Broker, Stop};
use midge_testkit::{Connect, Publish, Subscribe};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::runtime::Builder;

const WAIT: Duration = Duration::from_secs(20);
/// Bytes of the broker's read buffer, and of the small messages themselves.
const READ: u64 = 64 * 1024 + 100;

/// A connection of this client identifier.
async fn connect(broker: &Broker, client_id: &str) -> UnixStream {
    let stream = net::UnixStream::from(broker.connect_fd().unwrap());
    stream.set_nonblocking(true).unwrap();
    let mut stream = UnixStream::from_std(stream).unwrap();
    let connect = Connect::new(4, client_id).bytes();
    stream.write_all(&connect).await.unwrap();
    expect(&mut stream, &[0x20, 2, 0, 0]).await;
    stream
}

/// A subscriber of a topic.
async fn subscribe(broker: &Broker, client_id: &str, topic: &str) -> UnixStream {
    let mut stream = connect(broker, client_id).await;
    let subscribe = Subscribe::new(1).filter(topic, 0).bytes_for(4);
    stream.write_all(&subscribe).await.unwrap();
    expect(&mut stream, &[0x90, 3, 0, 1, 0]).await;
    stream
}

async fn expect(stream: &mut UnixStream, bytes: &[u8]) {
    let mut got = vec![0; bytes.len()];
    let reading = stream.read_exact(&mut got);
    tokio::time::timeout(WAIT, reading).await.unwrap().unwrap();
    assert_eq!(got, bytes);
}

/// What the broker reads of a flood between a message of another client and its delivery, at most.
async fn flood(broker: &Broker, payload: usize) -> u64 {
    let mut sink = subscribe(broker, "s", "t").await;
    let mut flooder = connect(broker, "f").await;
    let packet = publish(b'x', payload);
    let packets = packet.repeat((1 << 20) / packet.len() + 1);
    let flooding = tokio::spawn(async move { while flooder.write_all(&packets).await.is_ok() {} });
    let sinking = tokio::spawn(async move {
        let mut buffer = vec![0; 1 << 20];
        while sink.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
    });

    let mut receiver = subscribe(broker, "r", "p").await;
    let mut sender = connect(broker, "p").await;
    let message = Publish::new("p", "!").bytes_for(4);
    let mut most = 0;
    for _ in 0..500 {
        let before = broker.stats().bytes_received;
        sender.write_all(&message).await.unwrap();
        expect(&mut receiver, &message).await;
        most = most.max(broker.stats().bytes_received - before);
    }

    flooding.abort();
    sinking.abort();
    most
}

#[test]
fn a_small_message_overtakes_a_flood() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        // Larger packets are read further ahead: all that the socket holds, which is less than four of
        // those reads, but not twice.
        for (payload, reads) in [(16, 1), (256, 1), (4_096, 4), (60_000, 4), (1_000_000, 4)] {
            let builder = Broker::builder().runtime(runtime.handle().clone());
            let broker = builder.start().unwrap();
            let most = flood(&broker, payload).await;
            assert!(most <= reads * READ, "{most} bytes of a flood of {payload}");
            broker.stop_async(Stop::Now).await.unwrap();
        }
    });
}
