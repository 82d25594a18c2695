//! All versions on one port.

use midge_testkit::{Connect, Publish};

use crate::common::{broker, props};
use crate::{v311, watcher};

/// Covers: NN5-037, NN5-139, NN5-140
#[test]
fn nn5_037_every_version_talks_to_every_other() {
    let server = broker();
    let versions = [3, 4, 5];
    let mut clients: Vec<_> = versions
        .iter()
        .map(|v| server.connect(&Connect::new(*v, format!("c{v}"))))
        .collect();
    for client in &mut clients {
        client.subscribe("all", 2);
    }
    for from in 0..3 {
        for qos in 0..3 {
            let payload = format!("{from} {qos}");
            let version = versions[from];
            let mut publish = Publish::new("all", &payload).qos(qos, 77);
            if version == 5 {
                publish = publish.props(props().user("n", "v"));
            }
            let mut publisher = server.connect(&Connect::new(version, "publisher"));
            publisher.deliver(&publish);
            for (to, client) in clients.iter_mut().enumerate() {
                let message = client.receive();
                assert_eq!((message.text(), message.qos), (payload.clone(), qos));
                let expected = if version == 5 && versions[to] == 5 {
                    vec![("n", "v")]
                } else {
                    vec![]
                };
                assert_eq!(message.props.users(), expected);
            }
        }
    }
}

/// Covers: NN5-033, NN5-141
#[test]
fn nn5_033_a_session_goes_from_version_to_version() {
    let server = broker();
    let mut publisher = crate::client(&server, "publisher");
    let mut first = server.begin(&v311("roamer").clean(false));
    first.subscribe("t", 1);
    first.cut();
    for version in [5, 3, 4, 5] {
        publisher.publish("t", version.to_string(), 1);
        let mut connect = Connect::new(version, "roamer").clean(false);
        if version == 5 {
            connect = connect.expiry(1000);
        }
        let mut client = server.connect(&connect);
        client.expect_message("t", version.to_string());
        let mut kicked = client;
        assert!(server.disconnect("roamer", midge::ReasonCode::AdministrativeAction));
        let codes: &[u8] = if version == 5 { &[0x98] } else { &[] };
        kicked.expect_closed_with(codes);
        // Not acknowledged: it comes again.
        let mut client = server.connect(&connect);
        let again = client.receive();
        assert!(again.dup);
        client.barrier();
    }
}

/// Covers: NN5-139
#[test]
fn nn5_139_expiry_works_for_older_subscribers() {
    let server = broker();
    let kept = v311("kept").clean(false);
    let mut client = server.connect(&kept);
    client.subscribe("t", 1);
    client.cut();
    let mut publisher = server.client("publisher");
    publisher.deliver(&Publish::new("t", "short").qos(1, 1).expiry(5));
    publisher.deliver(&Publish::new("t", "long").qos(1, 2).expiry(50));
    server.pass(5);
    let mut client = server.resume(&kept);
    client.expect_message("t", "long");
    client.expect_nothing();
    watcher(&server, "t").expect_nothing();
}
