//! A watchdog's view: the heartbeat grows while the broker works and stands still afterwards.

use midge::{Broker, Stop};

#[test]
fn the_heartbeat_grows_while_the_broker_works() {
    let broker = Broker::builder().start().unwrap();
    let first = broker.heartbeat();
    while broker.heartbeat() < first + 3 {
        std::thread::yield_now();
    }
    broker.stop(Stop::Now).unwrap();
    assert_eq!(broker.heartbeat(), broker.heartbeat());
}
