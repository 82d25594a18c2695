//! `subscale`: very many subscriptions, messages that match one each, and their end.

use super::{Target, bytes_each, measure, report, run_options};
use crate::args::Args;
use crate::engine::{Engine, Message, Role, RunOptions, TopicGen};
use crate::error::{Error, Result};
use crate::json::Json;
use crate::mqtt;
use crate::os::{cpu_s, now_ns, rss, seconds_since};

/// Where the wildcard stands.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Exact,
    Plus,
    MidPlus,
    Hash,
}

impl Kind {
    fn new(name: &str) -> Result<Self> {
        match name {
            "exact" => Ok(Self::Exact),
            "plus" => Ok(Self::Plus),
            "midplus" => Ok(Self::MidPlus),
            "hash" => Ok(Self::Hash),
            _ => Err(Error::new("--kind exact, plus, midplus or hash")),
        }
    }

    /// An eight-digit counter split into levels: a tree of 100 x 100 x 10,000.
    fn filter(self, k: u64) -> String {
        let (x, y, z) = (k / 1_000_000 % 100, k / 10_000 % 100, k % 10_000);
        match self {
            Self::Exact => format!("ss/{x:02}/{y:02}/{z:04}/v"),
            Self::Plus => format!("ss/{x:02}/{y:02}/{z:04}/+"),
            Self::MidPlus => format!("ss/{x:02}/+/{y:02}{z:04}/v"),
            Self::Hash => format!("ss/{x:02}/{y:02}/{z:04}/#"),
        }
    }

    /// A topic, and where the digits of the counter stand in it.
    fn topic(self) -> (&'static str, Vec<usize>) {
        match self {
            Self::MidPlus => ("ss/00/zz/000000/v", vec![3, 4, 9, 10, 11, 12, 13, 14]),
            _ => ("ss/00/00/0000/v", vec![3, 4, 6, 7, 9, 10, 11, 12]),
        }
    }
}

pub(super) fn run(args: &Args, target: &Target, j: &mut Json) -> Result<()> {
    let conns = args.count("conns", 100)?.max(1);
    let kind_name = args.text_or("kind", "exact");
    let kind = Kind::new(&kind_name)?;
    let size = args.count("size", 16)?;
    let qos = args.qos(0)?;
    let each = args.int("count", 100_000)? / conns as u64;
    let count = each * conns as u64;
    let mut e = target.engine(size)?;

    // The one pair that goes on while the subscriptions vanish.
    let watcher = target.connect(&mut e, Role::Subscriber, 1, "w-")?;
    super::subscribe_all(&mut e, watcher, 0, |_| "watch/t".to_string())?;

    let subscribers = target.connect(&mut e, Role::Subscriber, conns, "s-")?;
    let (before, _) = rss(target.pid);
    let cpu = cpu_s(target.pid);
    let chunk = args.int("chunk", 100)?.max(1);
    let seconds = subscribe_each(
        &mut e,
        subscribers.clone(),
        each,
        chunk,
        |k| kind.filter(k),
        qos,
    )?;
    let cpu = cpu_s(target.pid) - cpu;
    e.rest(0.3);

    let (after, _) = rss(target.pid);
    add_publishers(args, target, &mut e, kind, count, size, qos)?;

    let rate = args.num("rate", 0.0)?;
    let measured = measure(&mut e, &run_options(args, target, rate)?)?;
    j.s("kind", &kind_name)
        .u("count", count)
        .u("conns", conns as u64);
    j.u("qos", u64::from(qos)).u("size", size as u64);
    j.f("subscribe_s", seconds)
        .f("subs_per_s", count as f64 / seconds);
    j.f("broker_cpu_us_per_sub", cpu * 1e6 / count as f64);
    j.u("rss_before", before).u("rss_after", after);
    j.f("bytes_per_sub", bytes_each(before, after, count as f64));
    report(j, &e, &measured, target.pid);
    for p in &mut e.publishers {
        p.limit = p.sent;
    }

    e.rest(0.2);
    teardown(target, &mut e, subscribers, j)
}

/// Sends all subscriptions, `chunk` to a packet, at most four packets ahead of their SUBACKs.
fn subscribe_each(
    e: &mut Engine,
    range: std::ops::Range<usize>,
    each: u64,
    chunk: u64,
    filter: impl Fn(u64) -> String,
    qos: u8,
) -> Result<f64> {
    let start = now_ns();
    let conns = range.len() as u64;
    let mut sent = vec![(0u64, 0u32); range.len()];
    loop {
        let mut complete = true;
        for (k, (filters, packets)) in sent.iter_mut().enumerate() {
            let at = range.start + k;
            while *filters < each && *packets < e.conns[at].subacks + 4 {
                let n = chunk.min(each - *filters);
                let list: Vec<String> = (*filters..*filters + n)
                    .map(|i| filter(i * conns + k as u64))
                    .collect();
                *filters += n;
                *packets += 1;
                let packet = mqtt::subscribe(e.version(), *packets as u16, &list, qos);
                e.queue(at, &packet);
                e.flush(at);
            }
            complete &= *filters >= each && e.conns[at].subacks >= *packets;
        }

        if complete {
            break;
        }
        e.poll(5_000_000);
        if e.stats.closed > 0 || seconds_since(start) > 300.0 {
            return Err(Error::new(
                "subscribing stopped (a connection closed, or 300 s passed)",
            ));
        }
    }

    if e.conns[range].iter().any(|c| c.refused > 0) {
        return Err(Error::new("a subscription was refused"));
    }

    Ok(seconds_since(start))
}

fn add_publishers(
    args: &Args,
    target: &Target,
    e: &mut Engine,
    kind: Kind,
    n: u64,
    size: usize,
    qos: u8,
) -> Result<()> {
    let window = args.int("window", 256)?;
    for conn in target.connect(e, Role::Publisher, args.count("pubs", 4)?, "p-")? {
        let (topic, places) = kind.topic();
        let ack_window = u64::from(e.conns[conn].receive_maximum);
        let generator = TopicGen::Digits {
            places,
            n,
            sequential: false,
            next: 0,
        };

        let at = e.add_publisher(
            conn,
            Message {
                topic,
                qos,
                retain: false,
                size,
                generator,
            },
        );
        let p = &mut e.publishers[at];
        p.window = window;
        p.ack_window = ack_window;
        p.min_batch = (window / 4).max(1);
    }

    Ok(())
}

/// Closes all subscribers while one pair exchanges 1,000 messages per second: the longest latency
/// is the longest pause of all other clients.
fn teardown(
    target: &Target,
    e: &mut Engine,
    subscribers: std::ops::Range<usize>,
    j: &mut Json,
) -> Result<()> {
    let conn = e.add_conn(
        Role::Publisher,
        e.publishers.len(),
        target.hello("watch-p", true, 0),
    );
    super::connect_or_fail(e, conn..conn + 1)?;
    for p in &mut e.publishers {
        p.measured = false;
    }

    let generator = TopicGen::Fixed;
    let message = Message {
        topic: "watch/t",
        qos: 0,
        retain: false,
        size: 16,
        generator,
    };

    let at = e.add_publisher(conn, message);
    e.publishers[at].window = u64::MAX / 2;

    let mut o = RunOptions {
        warmup: 0.2,
        duration: 0.8,
        rate: 1000.0,
        spin: true,
        pid: target.pid,
    };

    measure(e, &o)?;
    j.f("calm_max_ms", e.latency.max() as f64 / 1e6);
    for at in subscribers {
        e.close(at, true);
    }

    o.warmup = 0.0;
    o.duration = 3.0;
    measure(e, &o)?;
    j.f("teardown_max_ms", e.latency.max() as f64 / 1e6);

    let late = target.add(e, Role::Idle, 1, "after-");
    let start = now_ns();
    e.connect_all(late, 1, 120.0);
    j.f("connack_after_teardown_s", seconds_since(start));
    e.rest(1.0);
    j.u("rss_after_teardown", rss(target.pid).0);
    Ok(())
}
