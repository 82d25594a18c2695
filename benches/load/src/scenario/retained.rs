//! `retained`: store very many retained messages, then ask for all of them.

use super::{Target, bytes_each, connect_or_fail, median};
use crate::args::Args;
use crate::engine::{Engine, Message, Role, TopicGen};
use crate::error::{Error, Result};
use crate::json::Json;
use crate::mqtt;
use crate::os::{cpu_s, now_ns, rss, seconds_since};

pub(super) fn run(args: &Args, target: &Target, j: &mut Json) -> Result<()> {
    let count = args.int("count", 100_000)?;
    let size = args.count("size", 64)?;
    let qos = args.qos(1)?;
    let rounds = args.int("rounds", 3)?.max(1);
    let mut e = target.engine(size)?;
    let publisher = target.connect(&mut e, Role::Publisher, 1, "p-")?.start;
    add_publisher(args, &mut e, publisher, count, size, qos)?;

    let (before, _) = rss(target.pid);
    let cpu = cpu_s(target.pid);
    let store_s = store(&mut e, publisher, count, qos)?;
    let cpu = cpu_s(target.pid) - cpu;
    e.rest(0.5);

    let (after, _) = rss(target.pid);
    j.u("count", count)
        .u("size", size as u64)
        .u("qos", u64::from(qos));
    j.f("store_s", store_s)
        .f("store_per_s", count as f64 / store_s);
    j.f("store_cpu_us", cpu * 1e6 / count as f64);
    deliver(args, target, &mut e, qos, rounds, count, j)?;
    j.u("rss_before", before).u("rss_after", after);
    j.f(
        "bytes_per_retained",
        bytes_each(before, after, count as f64),
    );
    j.u("broker_rss_peak", rss(target.pid).1);
    Ok(())
}

fn add_publisher(
    args: &Args,
    e: &mut Engine,
    conn: usize,
    n: u64,
    size: usize,
    qos: u8,
) -> Result<()> {
    let places = vec![3, 4, 6, 7, 9, 10, 11, 12];
    let generator = TopicGen::Digits {
        places,
        n,
        sequential: true,
        next: 0,
    };

    let message = Message {
        topic: "rr/00/00/0000/v",
        qos,
        retain: true,
        size,
        generator,
    };

    let receive_maximum = u64::from(e.conns[conn].receive_maximum);
    let at = e.add_publisher(conn, message);
    let p = &mut e.publishers[at];
    p.limit = n;

    // There are no receivers yet, so only the acknowledgements bound what is under way.
    p.window = u64::MAX / 2;
    p.ack_window = receive_maximum.min(args.int("window", 500)?);
    Ok(())
}

fn store(e: &mut Engine, publisher: usize, count: u64, qos: u8) -> Result<f64> {
    let start = now_ns();
    e.mark(0);
    let done = |p: &crate::engine::Publisher| if qos > 0 { p.acked } else { p.sent };
    let stored = e.until(120.0, |e| {
        done(&e.publishers[0]) >= count || e.stats.closed > 0
    });
    if !stored || e.stats.closed > 0 {
        return Err(Error::new("storing stopped"));
    }
    if qos == 0 {
        e.queue(publisher, &mqtt::PINGREQ);
        e.rest(1.0);
    }
    Ok(seconds_since(start))
}

/// Asks for all messages on a new connection, several times.
fn deliver(
    args: &Args,
    target: &Target,
    e: &mut Engine,
    qos: u8,
    rounds: u64,
    count: u64,
    j: &mut Json,
) -> Result<()> {
    let (mut all, mut first) = (Vec::new(), Vec::new());
    let mut delivered = u64::MAX;
    let cpu = cpu_s(target.pid);
    e.latency_on = false;

    for round in 0..rounds {
        let hello = target.hello(&format!("s-{round}"), true, 0);
        let at = e.add_conn(Role::Subscriber, 0, hello);
        connect_or_fail(e, at..at + 1)?;
        let start = now_ns();
        e.stats.received = 0;
        e.first_received_ns = 0;
        e.last_received_ns = start;
        let packet = mqtt::subscribe(target.version, 1, &[args.text_or("filter", "#")], qos);
        e.queue(at, &packet);
        e.flush(at);
        e.until(60.0, |e| {
            e.stats.received >= count || seconds_since(e.last_received_ns) > 3.0
        });
        all.push((e.last_received_ns - start) as f64 / 1e9);
        first.push((e.first_received_ns.max(start) - start) as f64 / 1e9);
        delivered = delivered.min(e.stats.received);
        e.close(at, true);
    }

    let cpu = cpu_s(target.pid) - cpu;
    let seconds = median(&mut all);
    j.u("delivered", delivered).f("deliver_s", seconds);
    j.f("deliver_per_s", delivered as f64 / seconds)
        .f("first_msg_s", median(&mut first));
    j.f("deliver_cpu_us", cpu * 1e6 / (count * rounds) as f64);
    Ok(())
}
