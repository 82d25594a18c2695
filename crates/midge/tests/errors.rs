//! Errors lead to what caused them.

#![allow(clippy::unwrap_used)] // a test may fail

use std::error::Error;

use midge::{Broker, HookSet, Hooks, Interception, MessageRef, Origin, ReasonCode, Refusal};

/// Refuses everything.
struct No;

impl Hooks for No {
    fn set(&self) -> HookSet {
        HookSet::INTERCEPT_PUBLISH
    }

    fn intercept_publish(&self, _: &Origin, _: &MessageRef<'_>) -> Interception {
        let refusal = Refusal::new(ReasonCode::QuotaExceeded);
        Interception::Refuse(refusal.text("no more"))
    }
}

/// What an error says, and what each of its causes says.
fn chain(error: &dyn Error) -> Vec<String> {
    let mut texts = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        texts.push(error.to_string());
        cause = error.source();
    }
    texts
}

#[test]
fn an_error_has_its_cause_as_source() {
    let broker = Broker::builder()
        .hooks(No)
        .listen("tcp://127.0.0.1:0")
        .start()
        .unwrap();
    let refused = chain(&broker.publish("t", "x").unwrap_err());
    assert_eq!(refused[1..], ["Quota exceeded (0x97): no more"]);
    let unsent = midge::SendError::from(broker.publish("t", "x").unwrap_err());
    assert_eq!(chain(&unsent)[1..], refused);

    let taken = Broker::builder().listen(broker.url()).start().unwrap_err();
    assert_eq!(chain(&taken).len(), 2);
    let value = Broker::builder().threads(usize::MAX).start().unwrap_err();
    assert!(chain(&value)[1].contains("threads"), "{value}");
    let no_socket = midge::ConnectError::Io(std::io::ErrorKind::Other.into());
    assert_eq!(chain(&no_socket).len(), 2);

    let filter = broker.subscribe("a/#/b").unwrap_err();
    let text = "\"a/#/b\" is not a valid topic filter: topic filter: misplaced wildcard";
    assert_eq!(filter.to_string(), text);
    let deep = "a/".repeat(2000);
    let filter = broker.subscribe(&deep).unwrap_err();
    assert_eq!(filter.what, "topic filter has too many levels");
}
