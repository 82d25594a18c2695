//! `offline`: messages queue for a persistent session that is away, then it comes back.

use super::{Target, bytes_each, connect_or_fail, subscribe_all};
use crate::args::Args;
use crate::engine::{Message, Role, TopicGen};
use crate::error::{Error, Result};
use crate::json::Json;
use crate::os::{cpu_s, now_ns, rss, seconds_since};

const CLIENT: &str = "offline-sub";
const EXPIRY: u32 = 3600;

pub(super) fn run(args: &Args, target: &Target, j: &mut Json) -> Result<()> {
    let count = args.int("count", 100_000)?;
    let size = args.count("size", 16)?;
    let qos = args.qos(1)?;
    if qos == 0 {
        return Err(Error::new("offline needs --qos 1 or 2"));
    }
    let mut e = target.engine(size)?;
    // In 5.0 a clean start may still leave a session behind; in 3.1.1 it may not.
    let at = e.add_conn(
        Role::Subscriber,
        0,
        target.hello(CLIENT, target.version == 5, EXPIRY),
    );
    connect_or_fail(&mut e, at..at + 1)?;
    subscribe_all(&mut e, at..at + 1, qos, |_| "bench/offline/#".to_string())?;
    e.close(at, true);

    let conn = target.connect(&mut e, Role::Publisher, 1, "p-")?.start;
    let ack_window = u64::from(e.conns[conn].receive_maximum).min(args.int("window", 500)?);
    let generator = TopicGen::Fixed;
    let message = Message {
        topic: "bench/offline/t",
        qos,
        retain: false,
        size,
        generator,
    };
    e.add_publisher(conn, message);
    let p = &mut e.publishers[0];
    p.limit = count;
    p.window = u64::MAX / 2;
    p.ack_window = ack_window;
    let (before, _) = rss(target.pid);
    let (cpu, start) = (cpu_s(target.pid), now_ns());
    e.mark(0);
    let queued = e.until(120.0, |e| {
        e.publishers[0].acked >= count || e.stats.closed > 0
    });
    if !queued || e.stats.closed > 0 {
        return Err(Error::new("queueing stopped"));
    }
    let queue_s = seconds_since(start);
    let queue_cpu = cpu_s(target.pid) - cpu;
    e.rest(0.3);
    let (after, _) = rss(target.pid);

    let at = e.add_conn(Role::Subscriber, 0, target.hello(CLIENT, false, EXPIRY));
    e.sequence = vec![0; 1];
    e.latency_on = false;
    e.stats.received = 0;
    let (cpu, start) = (cpu_s(target.pid), now_ns());
    e.last_received_ns = start;
    e.connect_all(at..at + 1, 1, 20.0);
    e.until(60.0, |e| {
        e.stats.received >= count || seconds_since(e.last_received_ns) > 3.0
    });
    let drain_s = (e.last_received_ns - start) as f64 / 1e9;
    let drain_cpu = cpu_s(target.pid) - cpu;
    let (n, received) = (count as f64, e.stats.received);
    j.u("count", count)
        .u("size", size as u64)
        .u("qos", u64::from(qos));

    j.f("queue_s", queue_s)
        .f("queue_per_s", n / queue_s)
        .f("queue_cpu_us", queue_cpu * 1e6 / n);
    j.u("session_present", u64::from(e.conns[at].session_present))
        .u("delivered", received);
    j.u("lost", count.saturating_sub(received))
        .u("dup", e.stats.duplicates);
    j.f("drain_s", drain_s)
        .f("drain_per_s", received as f64 / drain_s);
    j.f("drain_cpu_us", drain_cpu * 1e6 / n);
    j.u("rss_before", before).u("rss_after", after);
    j.f("bytes_per_queued", bytes_each(before, after, n));
    // Leave no session behind.
    e.close(at, true);
    let at = e.add_conn(Role::Idle, 0, target.hello(CLIENT, true, 0));
    e.connect_all(at..at + 1, 1, 20.0);
    e.close(at, true);
    Ok(())
}
