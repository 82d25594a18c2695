//! Every message and receiver has one fate. Random traffic is summed up in `differential.rs`.

use std::sync::Arc;

use midge::DropReason;
use midge_core::Hub;
use midge_testkit::{Connect, Kind, Publish, Subscribe, ack};

use crate::world::{Client, START, hub};

fn member(client_id: &str) -> Connect {
    Connect::v5(client_id).clean(false).expiry(100)
}

fn join(hub: &Arc<Hub>, connect: &Connect) -> Client {
    let mut client = Client::connect(hub, connect);
    client.say(Subscribe::new(1).filter("$share/g/t", 1).bytes());
    client.read();
    client
}

/// Covers: v5:MQTT-3.1.2-25
#[test]
fn what_is_too_large_for_one_member_goes_to_another_and_is_no_drop() {
    for in_flight in [false, true] {
        let hub = hub(|_| ());
        let first = member("first");
        let mut client = join(&hub, &first);
        let mut publisher = Client::plain(&hub, "publisher");
        if !in_flight {
            client.close();
            publisher.say(Publish::new("t", vec![b'x'; 100]).qos(1, 1).bytes());
        } else {
            publisher.say(Publish::new("t", vec![b'x'; 100]).qos(1, 1).bytes());
            assert_eq!(client.texts().len(), 1);
            client.close();
        }
        let mut other = join(&hub, &member("other"));

        // It is back, and takes less than before.
        let mut client = Client::connect(&hub, &first.clone().maximum_packet_size(50));
        assert!(client.texts().is_empty());
        assert_eq!(other.texts().len(), 1, "in flight: {in_flight}");
        other.say(ack(Kind::Puback, 1));
        let stats = hub.stats(START);
        assert_eq!(stats.dropped_total(), 0);
        assert_eq!((stats.queued_messages, stats.queued_bytes), (0, 0));

        // No member takes it: one drop.
        other.close();
        assert!(hub.clear_session("other", START));
        publisher.say(Publish::new("t", vec![b'x'; 100]).qos(1, 2).bytes());
        assert!(client.texts().is_empty());
        let stats = hub.stats(START);
        assert_eq!(stats.dropped_total(), 1);
        assert_eq!(stats.dropped_by(DropReason::PacketTooLarge), 1);
    }
}
