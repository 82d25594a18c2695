//! `disturb`: what one bad client, or very many at once, do to the latency of all others.
//!
//! A few pairs exchange messages at a fixed rate: first undisturbed, then while the disturbance
//! goes on. Both halves are in one run, so their ratio does not depend on the machine. The bad
//! clients belong to a thread of their own that gets only the time which is left: what they cost
//! this generator is not to be seen in the latency of the others.

use std::ops::Range;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use super::attacks::{self, Attack};
use super::{Target, connect_or_fail, run_options, subscribe_all};
use crate::args::Args;
use crate::engine::{Engine, Message, PAYLOAD_HEAD, Role, RunOptions, TopicGen};
use crate::error::{Error, Result};
use crate::json::Json;
use crate::mqtt;
use crate::os::{lowest_priority, rss};

/// The thread of the bad clients waits, disturbs, ends.
const CALM: u8 = 0;
const DISTURBING: u8 = 1;
const OVER: u8 = 2;

/// What happens in the second half.
enum Disturbance {
    /// A subscriber of everything that stopped reading.
    Stalled { at: usize },
    /// A publisher that sends as fast as its socket takes it.
    Flood { publisher: usize },
    /// Clients with sessions that all come back at once.
    Herd { clients: Range<usize> },
    /// A client that announces a payload above the limit and sends it.
    Huge { at: usize, bytes: usize },
    /// A client that sends packets of the greatest effect.
    Attack(Attack),
}

pub(super) fn run(args: &Args, target: &Target, j: &mut Json) -> Result<()> {
    let kind = args.text_or("kind", "stalled");
    let pairs = args.count("pubs", 10)?.max(1);
    let size = args.count("size", 64)?.max(PAYLOAD_HEAD);
    let qos = args.qos(0)?;
    let rate = args.num("rate", 1000.0)?;
    let mut e = target.engine(size)?;
    e.stamps = true;

    let subscribers = target.connect(&mut e, Role::Subscriber, pairs, "s-")?;
    subscribe_all(&mut e, subscribers, qos, |index| format!("calm/{index}/t"))?;
    for (index, conn) in target
        .connect(&mut e, Role::Publisher, pairs, "p-")?
        .enumerate()
    {
        let topic = format!("calm/{index}/t");
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
        e.publishers[at].window = u64::MAX / 2;
    }

    let o = run_options(args, target, rate)?;
    j.s("kind", &kind)
        .u("pubs", pairs as u64)
        .u("size", size as u64)
        .f("rate", rate);

    let phase = AtomicU8::new(CALM);
    let (ready, is_ready) = channel();
    thread::scope(|scope| {
        let bad = scope.spawn(|| disturb(&kind, args, target, &ready, &phase));
        if is_ready.recv().is_ok() {
            measure_both(&mut e, o, &phase, target, j);
        }
        phase.store(OVER, Ordering::Release);
        let bad = bad
            .join()
            .map_err(|_| Error::new("the bad clients panicked"))??;
        j.u("closed", e.stats.closed + bad.closed)
            .u("failed", e.connect_failed + bad.failed);
        j.u(bad.what.0, bad.what.1);
        Ok(())
    })
}

/// What became of the bad clients.
struct Outcome {
    closed: u64,
    failed: u64,
    /// The figure that says whether they were bad indeed.
    what: (&'static str, u64),
}

/// The bad clients: made before the undisturbed half, bad in the other one.
fn disturb(
    kind: &str,
    args: &Args,
    target: &Target,
    ready: &Sender<()>,
    phase: &AtomicU8,
) -> Result<Outcome> {
    lowest_priority()?;

    let mut e = target.engine(args.count("payload", 256)?)?;
    let disturbance = prepare(kind, args, target, &mut e)?;
    if ready.send(()).is_ok() {
        e.until(f64::INFINITY, |_| phase.load(Ordering::Acquire) != CALM);
        disturbance.start(target, &mut e);
        e.until(f64::INFINITY, |_| phase.load(Ordering::Acquire) == OVER);
    }

    Ok(Outcome {
        closed: e.stats.closed,
        failed: e.connect_failed,
        what: disturbance.report(&e),
    })
}

/// The others: first alone, then disturbed.
fn measure_both(
    e: &mut Engine,
    mut o: RunOptions,
    phase: &AtomicU8,
    target: &Target,
    j: &mut Json,
) {
    let calm = e.run(&o);
    let (calm_p50, calm_p99) = (e.latency.quantile(0.5), e.latency.quantile(0.99));
    let calm_way = e.way.quantile(0.99);
    e.latency.json(j, "calm_lat_");
    e.way.json(j, "calm_way_");

    let (before, _) = rss(target.pid);
    o.warmup = 0.0;
    phase.store(DISTURBING, Ordering::Release);

    let disturbed = e.run(&o);
    let (p50, p99) = (e.latency.quantile(0.5), e.latency.quantile(0.99));
    e.latency.json(j, "lat_");
    e.way.json(j, "way_");

    let (after, peak) = rss(target.pid);
    j.f("calm_recv_per_s", calm.stats.received as f64 / calm.wall);
    j.f(
        "recv_per_s",
        disturbed.stats.received as f64 / disturbed.wall,
    );
    j.f("p50_ratio", p50 as f64 / calm_p50.max(1) as f64);
    j.f("p99_ratio", p99 as f64 / calm_p99.max(1) as f64);

    let way = e.way.quantile(0.99);
    j.f("way_p99_ratio", way as f64 / calm_way.max(1) as f64);
    j.f("broker_cpu", disturbed.broker_cpu / disturbed.wall);
    j.u("rss_before", before)
        .u("rss_after", after)
        .u("broker_rss_peak", peak);
}

fn prepare(kind: &str, args: &Args, target: &Target, e: &mut Engine) -> Result<Disturbance> {
    match kind {
        "stalled" => {
            let at = target.connect(e, Role::Subscriber, 1, "stalled-")?.start;
            subscribe_all(e, at..at + 1, args.qos(0)?, |_| "calm/#".to_string())?;
            e.conns[at].may_close = true;
            Ok(Disturbance::Stalled { at })
        }
        "flood" => {
            let sink = target.connect(e, Role::Subscriber, 1, "s-flood-")?.start;
            subscribe_all(e, sink..sink + 1, 0, |_| "flood/t".to_string())?;
            let index = e.publishers.len();
            let conn = e.add_conn(Role::Publisher, index, target.hello("p-flood-0", true, 0));
            connect_or_fail(e, conn..conn + 1)?;
            let generator = TopicGen::Fixed;
            let size = args.count("payload", 256)?;
            let message = Message {
                topic: "flood/t",
                qos: 0,
                retain: false,
                size,
                generator,
            };
            let publisher = e.add_publisher(conn, message);
            let p = &mut e.publishers[publisher];
            p.measured = false;
            p.limit = 0;
            p.window = u64::MAX / 2;
            Ok(Disturbance::Flood { publisher })
        }

        "herd" => {
            let first = e.conns.len();
            let count = args.count("count", 1000)?;
            for index in 0..count {
                let hello = target.hello(&format!("herd-{index}"), false, 600);
                e.add_conn(Role::Subscriber, index, hello);
            }
            let clients = first..first + count;
            connect_or_fail(e, clients.clone())?;
            subscribe_all(e, clients.clone(), 1, |index| format!("herd/{index}/#"))?;
            for at in clients.clone() {
                e.close(at, true);
            }
            Ok(Disturbance::Herd { clients })
        }

        "huge" => {
            let at = target.connect(e, Role::Idle, 1, "huge-")?.start;
            e.conns[at].may_close = true;
            Ok(Disturbance::Huge {
                at,
                bytes: args.count("payload", 256 * 1024 * 1024 - 64)?,
            })
        }
        kind => match attacks::prepare(kind, args, target, e)? {
            Some(attack) => Ok(Disturbance::Attack(attack)),
            None => {
                let attacks = attacks::KINDS;
                Err(Error::new(format!(
                    "--kind stalled, flood, herd, huge, {attacks}"
                )))
            }
        },
    }
}

impl Disturbance {
    fn start(&self, target: &Target, e: &mut Engine) {
        match self {
            Self::Stalled { at } => e.set_reading(*at, false),
            Self::Flood { publisher } => {
                e.publishers[*publisher].limit = u64::MAX;
                e.mark(*publisher);
            }
            Self::Herd { clients } => {
                for at in clients.clone() {
                    e.dial(at);
                }
            }
            Self::Huge { at, bytes } => {
                let head = mqtt::publish_head(target.version, "huge", 0, false, *bytes);
                e.queue(*at, &head.bytes);
                e.queue(*at, &vec![b'x'; *bytes]);
                e.flush(*at);
            }
            Self::Attack(attack) => attack.start(e),
        }
    }

    fn report(&self, e: &Engine) -> (&'static str, u64) {
        match self {
            Self::Stalled { at } => ("stalled_received", e.conns[*at].received),
            Self::Flood { publisher } => ("flood_sent", e.publishers[*publisher].sent),
            Self::Herd { clients } => {
                let back = |&at: &usize| e.conns[at].session_present;
                ("herd_back", clients.clone().filter(back).count() as u64)
            }
            Self::Huge { at, .. } => ("huge_refused", u64::from(!e.conns[*at].is_open())),
            Self::Attack(attack) => ("attack_refused", u64::from(attack.refused(e))),
        }
    }
}
