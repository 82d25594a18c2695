//! A connection's end meets its beginning.

use std::sync::Arc;

use midge_core::{Hub, Link, Tick};
use midge_testkit::{Connect, PropsBuf, Will, disconnect};
use shuttle::thread;

use crate::explore::explore;
use crate::world::{Client, START, audit, is_connected, plain_hub};

/// Past the connect timeout.
const LATE: Tick = Tick(20_000);

/// CONNECT meets something that ends the connection. Either the client is connected when both are
/// through, or its connection has ended; and its will goes out once if it had a session, else never.
fn connect_meets(end: fn(&Arc<Hub>, &Arc<Link>)) {
    let hub = plain_hub();
    let watcher = Client::subscriber(&hub, "watcher", "will", 0);
    let mut client = Client::accept(&hub);
    let (ender, link) = (hub.clone(), client.link.clone());

    let ends = thread::spawn(move || end(&ender, &link));
    let will = Will::new("will", "gone");
    client.say(&Connect::v5("client").will(will).bytes());
    ends.join().unwrap();

    let had_session = client.connack().is_some();
    let ended = client.link.ended().is_some();
    assert!(had_session || ended, "no session, and not ended");
    assert_eq!(
        is_connected(&hub, "client"),
        !ended,
        "connected, and not ended"
    );
    let wills = watcher.texts().len();
    assert_eq!(wills, usize::from(had_session && ended), "the will");
    audit(hub, vec![client, watcher]);
}

#[test]
fn connect_at_the_connect_timeout() {
    explore(|| connect_meets(|hub, _| hub.fire(LATE)));
}

#[test]
fn connect_while_the_transport_breaks() {
    explore(|| connect_meets(|hub, link| hub.lost(link, START)));
}

#[test]
fn connect_while_the_host_disconnects() {
    explore(|| {
        connect_meets(|hub, _| {
            let reason = midge_codec::ReasonCode::AdministrativeAction;
            hub.disconnect("client", reason, START);
        });
    });
}

#[test]
fn connect_while_the_host_ends_the_session() {
    explore(|| {
        connect_meets(|hub, _| {
            hub.clear_session("client", START);
        });
    });
}

/// CONNECT meets the end of everything: nobody stays, and wills go out.
#[test]
fn connect_at_shutdown() {
    explore(|| {
        let hub = plain_hub();
        let mut client = Client::accept(&hub);
        let ender = hub.clone();

        let ends = thread::spawn(move || ender.shut_down(START));
        client.say(&Connect::v5("client").bytes());
        ends.join().unwrap();

        assert!(client.link.ended().is_some(), "ended");
        assert!(!is_connected(&hub, "client"));
        audit(hub, vec![client]);
    });
}

/// Two ways to end meet: the will goes out exactly once, or not at all if DISCONNECT was first.
fn ends_twice(end: fn(&Arc<Hub>, &Arc<Link>)) {
    let hub = plain_hub();
    let watcher = Client::subscriber(&hub, "watcher", "will", 0);
    let will = Will::new("will", "gone");
    let mut client = Client::connect(&hub, &Connect::v5("client").will(will));
    let (ender, link) = (hub.clone(), client.link.clone());

    let ends = thread::spawn(move || end(&ender, &link));
    client.say(&disconnect(0, &PropsBuf::new()));
    ends.join().unwrap();

    let reason = client.link.ended().expect("ended");
    let withdrawn = matches!(reason, midge_core::DisconnectReason::ByClient(_));
    assert_eq!(watcher.texts().len(), usize::from(!withdrawn), "{reason:?}");
    audit(hub, vec![client, watcher]);
}

#[test]
fn disconnect_while_the_transport_breaks() {
    explore(|| ends_twice(|hub, link| hub.lost(link, START)));
}

#[test]
fn disconnect_while_the_host_ends_the_session() {
    explore(|| {
        ends_twice(|hub, _| {
            hub.clear_session("client", START);
        });
    });
}
