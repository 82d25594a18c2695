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
    connect_with_keep_alive_meets(0, end);
}

fn connect_with_keep_alive_meets(seconds: u16, end: fn(&Arc<Hub>, &Arc<Link>)) {
    let hub = plain_hub();
    let watcher = Client::subscriber(&hub, "watcher", "will", 0);
    let mut client = Client::accept(&hub);
    let (ender, link) = (hub.clone(), client.link.clone());

    let ends = thread::spawn(move || end(&ender, &link));
    let will = Will::new("will", "gone");
    let connect = Connect::v5("client").keep_alive(seconds).will(will);
    client.say(&connect.bytes());
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

/// At the same moment the deadline for CONNECT becomes the one for keep alive.
#[test]
fn connect_with_keep_alive_at_the_connect_timeout() {
    explore(|| connect_with_keep_alive_meets(100, |hub, _| hub.fire(LATE)));
}

/// What lay unread when the time was up is handled: CONNECT was in time, and the deadline for keep
/// alive is armed, whichever comes first.
#[test]
fn connect_that_lies_unread_at_the_connect_timeout() {
    explore(|| {
        let hub = plain_hub();
        let mut client = Client::accept(&hub);
        client.lie_unread();
        let firing = hub.clone();

        let fires = thread::spawn(move || firing.fire(LATE));
        let connect = Connect::v5("client").keep_alive(100);
        client.say_late(&connect.bytes(), LATE);
        fires.join().unwrap();
        client.judge_if_overdue(LATE);

        assert!(is_connected(&hub, "client"), "it was in time");
        let silent = LATE.after_ms(150_000);
        assert_eq!(hub.next_deadline(), Some(silent), "keep alive");
        audit(hub, vec![client]);
    });
}

/// A PINGREQ lies unread at the end of keep alive, and something else does not count.
#[test]
fn pings_that_lie_unread_at_the_end_of_keep_alive() {
    for (bytes, lives) in [(&[0xC0, 0][..], true), (&[0xC0], false)] {
        explore(move || {
            let hub = plain_hub();
            let connect = Connect::v5("client").keep_alive(10);
            let mut client = Client::connect(&hub, &connect);
            client.lie_unread();
            let firing = hub.clone();

            let fires = thread::spawn(move || firing.fire(LATE));
            client.say_late(bytes, LATE);
            fires.join().unwrap();
            client.judge_if_overdue(LATE);

            assert_eq!(is_connected(&hub, "client"), lives);
            let silent = LATE.after_ms(15_000);
            assert_eq!(hub.next_deadline(), lives.then_some(silent), "keep alive");
            audit(hub, vec![client]);
        });
    }
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

/// CONNECT meets the end of everything: no connection stays, and wills go out.
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

/// A connection comes in while everything ends: it is refused, or ended.
#[test]
fn accept_at_shutdown() {
    explore(|| {
        let hub = plain_hub();
        let watcher = Client::subscriber(&hub, "watcher", "will", 0);
        let will = Will::new("will", "gone");
        let willing = Client::connect(&hub, &Connect::v5("willing").will(will));
        let ender = hub.clone();

        let ends = thread::spawn(move || ender.shut_down(START));
        let mut client = Client::try_accept(&hub);
        if let Some(client) = &mut client {
            client.say(&Connect::v5("client").bytes());
        }
        ends.join().unwrap();

        assert!(client.iter().all(|client| client.link.ended().is_some()));
        assert_eq!(watcher.texts(), ["gone"]);
        assert!(hub.clients().is_empty());
        audit(hub, client.into_iter().chain([watcher, willing]).collect());
    });
}

/// A connection that comes in while everything ends, and says nothing: it does not wait for its
/// timeout.
#[test]
fn a_silent_connection_at_shutdown() {
    explore(|| {
        let hub = plain_hub();
        let ender = hub.clone();

        let ends = thread::spawn(move || ender.shut_down(START));
        let client = Client::try_accept(&hub);
        ends.join().unwrap();

        assert!(client.iter().all(|client| client.link.ended().is_some()));
        audit(hub, client.into_iter().collect());
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
