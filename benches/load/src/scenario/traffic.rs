//! `p2p`, `fanin`, `fanout`, `shared`: messages from publishers to subscribers.

use super::{Target, measure, report, run_options, subscribe_all};
use crate::args::Args;
use crate::engine::{Message, Role, TopicGen};
use crate::error::Result;
use crate::json::Json;

/// Senders and their receivers.
struct Shape {
    pubs: usize,
    subs: usize,
    window: u64,
}

fn shape(scenario: &str, args: &Args, size: usize) -> Result<Shape> {
    let (pubs, subs) = match scenario {
        "fanin" => (50, 1),
        "fanout" => (1, 1000),
        _ => (10, 10),
    };
    let pubs = args.count("pubs", pubs)?.max(1);
    let subs = if scenario == "p2p" {
        pubs
    } else {
        args.count("subs", subs)?.max(1)
    };
    // At most 16 MiB under way, so that the sockets and not a queue hold them.
    let fitting = (16 * 1024 * 1024 / (size * pubs)).clamp(2, 256) as u64;
    let window = args.int("window", if scenario == "fanout" { 32 } else { fitting })?;
    Ok(Shape { pubs, subs, window })
}

fn filter(scenario: &str, index: usize) -> String {
    match scenario {
        "p2p" => format!("bench/p2p/{index}/t"),
        "fanin" => "bench/fanin/+/t".to_string(),
        "fanout" => "bench/fanout/t".to_string(),
        _ => "$share/g/bench/shared/#".to_string(),
    }
}

fn topic(scenario: &str, index: usize) -> String {
    match scenario {
        "fanin" => format!("bench/fanin/{index}/t"),
        "shared" => format!("bench/shared/{index}"),
        _ => filter(scenario, index),
    }
}

pub(super) fn run(scenario: &str, args: &Args, target: &Target, j: &mut Json) -> Result<()> {
    let size = args.count("size", 16)?.max(crate::engine::PAYLOAD_HEAD);
    let qos = args.qos(0)?;
    let rate = args.num("rate", 0.0)?;
    let Shape { pubs, subs, window } = shape(scenario, args, size)?;
    let mut e = target.engine(size)?;
    let subscribers = target.connect(&mut e, Role::Subscriber, subs, "s-")?;
    subscribe_all(&mut e, subscribers, qos, |index| filter(scenario, index))?;

    let publishers = target.connect(&mut e, Role::Publisher, pubs, "p-")?;
    for (index, conn) in publishers.enumerate() {
        let receive_maximum = u64::from(e.conns[conn].receive_maximum);
        let topic = topic(scenario, index);
        let generator = TopicGen::Fixed;
        let at = e.add_publisher(
            conn,
            Message {
                topic: &topic,
                qos,
                retain: false,
                size,
                generator,
            },
        );
        let p = &mut e.publishers[at];
        p.window = if rate > 0.0 {
            args.int("window", 1_000_000)?
        } else {
            window
        };
        p.ack_window = receive_maximum.min(60_000);
        p.fan = if scenario == "fanout" { subs as u64 } else { 1 };
        p.min_batch = args.int("minbatch", (window / 4).min(receive_maximum / 2).max(1))?;
    }

    // Members of a shared group see gaps by design; a huge table would measure the cache.
    if scenario != "shared" && subs * pubs <= 2_000_000 {
        e.sequence = vec![0; subs * pubs];
    }

    let measured = measure(&mut e, &run_options(args, target, rate)?)?;
    j.u("pubs", pubs as u64)
        .u("subs", subs as u64)
        .u("qos", u64::from(qos));
    j.u("size", size as u64).u("window", window).f("rate", rate);
    report(j, &e, &measured, target.pid);
    Ok(())
}
