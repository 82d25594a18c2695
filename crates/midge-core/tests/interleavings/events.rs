//! Events of connections and sessions come in the order of what happened, whichever thread records them.

use std::sync::Arc;

use midge_core::{Event, EventMask, Observed, Queue, QueueLimits};
use midge_testkit::{Connect, PropsBuf, Subscribe, disconnect};
use shuttle::thread;

use crate::explore::explore;
use crate::world::{Client, audit, plain_hub};

/// What a host notes of one client identifier: the connection and the session that it has now.
#[derive(Default)]
struct Table {
    connection: Option<u64>,
    session: Option<u64>,
}

impl Table {
    fn note(&mut self, event: &Event) {
        match event {
            Event::ClientConnected {
                connection,
                session,
                session_present,
                ..
            } => {
                assert_eq!(self.connection, None, "the one before has ended: {event:?}");
                let expected = session_present.then_some(*session);
                assert_eq!(self.session, expected, "{event:?}");
                (self.connection, self.session) = (Some(*connection), Some(*session));
            }

            Event::ClientDisconnected {
                connection,
                session,
                ..
            } => {
                assert_eq!(self.connection, Some(*connection), "{event:?}");
                assert_eq!(self.session, Some(*session), "{event:?}");
                self.connection = None;
            }
            Event::SessionEnded { session, .. } => {
                let now = (self.connection, self.session);
                assert_eq!(now, (None, Some(*session)), "{event:?}");
                self.session = None;
            }
            Event::Subscribed { connection, .. } => {
                assert_eq!(self.connection, Some(*connection), "{event:?}");
            }
            other => panic!("{other:?}"),
        }
    }
}

fn takes_over(clean: bool, expiry: u32) {
    let hub = plain_hub();
    let events = Arc::new(Queue::<Observed>::new(QueueLimits::default()));
    hub.observe(EventMask::LIFECYCLE, events.clone());
    let connect = Connect::v5("client").clean(clean).expiry(expiry);
    let opened: Vec<_> = (0..2).map(|_| Client::accept(&hub)).collect();

    let threads: Vec<_> = (opened.into_iter().zip(1..))
        .map(|(mut client, packet_id)| {
            let connect = connect.clone();
            thread::spawn(move || {
                client.say(&connect.bytes());
                client.say(&Subscribe::new(packet_id).filter("t", 0).bytes());
                client.say(&disconnect(4, &PropsBuf::new()));
                client
            })
        })
        .collect();
    let clients: Vec<_> = threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect();

    let mut table = Table::default();
    while let Ok(Some(observed)) = events.try_recv() {
        table.note(&observed.event);
    }
    assert_eq!(table.connection, None);
    assert_eq!(table.session.is_some(), expiry > 0);
    hub.unobserve(&events);
    audit(hub, clients);
}

#[test]
fn a_session_that_goes_on() {
    explore(|| takes_over(false, 9));
}

#[test]
fn a_session_that_begins_anew() {
    explore(|| takes_over(true, 9));
}

#[test]
fn a_session_that_ends_with_its_connection() {
    explore(|| takes_over(false, 0));
}
