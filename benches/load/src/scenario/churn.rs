//! `churn`: does memory stay flat after very many messages, connections or topics?

use super::connect::connect_repeatedly;
use super::{Target, subscribe_all};
use crate::args::Args;
use crate::engine::{Engine, Message, Role, TopicGen};
use crate::error::{Error, Result};
use crate::json::Json;
use crate::os::{cpu_s, now_ns, rss, seconds_since};

/// Connections that come and go at the same time.
const PARALLEL: usize = 64;

pub(super) fn run(args: &Args, target: &Target, j: &mut Json) -> Result<()> {
    let kind = args.text_or("kind", "messages");
    let count = args.int("count", 1_000_000)?;
    j.s("kind", &kind).u("count", count);

    let mut e = target.engine(16)?;
    match kind.as_str() {
        "messages" | "topics" => {
            let subscriber = target.connect(&mut e, Role::Subscriber, 1, "s-")?;
            subscribe_all(&mut e, subscriber, 0, |_| "churn/+".to_string())?;
            let publisher = target.connect(&mut e, Role::Publisher, 1, "p-")?.start;
            add_publisher(&mut e, publisher, kind == "topics");
            // A tenth first: what a broker allocates once is no growth.
            send(&mut e, count / 10)?;
            measured(target, &mut e, count, j, |e| send(e, count / 10 + count))?;
            j.u("lost", e.stats.lost).u("dup", e.stats.duplicates);
        }
        "connects" => {
            target.add(&mut e, Role::Idle, PARALLEL, "c-");
            connect_repeatedly(&mut e, 0, (count / 10) as usize);
            measured(target, &mut e, count, j, |e| {
                connect_repeatedly(e, 0, count as usize);
                Ok(())
            })?;
            j.u("failed", e.connect_failed);
        }
        _ => return Err(Error::new("--kind messages, connects or topics")),
    }

    Ok(())
}

fn add_publisher(e: &mut Engine, conn: usize, distinct: bool) {
    let generator = if distinct {
        TopicGen::Digits {
            places: (6..14).collect(),
            n: u64::MAX,
            sequential: true,
            next: 0,
        }
    } else {
        TopicGen::Fixed
    };

    let message = Message {
        topic: "churn/00000000",
        qos: 0,
        retain: false,
        size: 16,
        generator,
    };

    let at = e.add_publisher(conn, message);
    e.sequence = vec![0; 1];

    let p = &mut e.publishers[at];
    p.window = 256;
    p.min_batch = 64;
    p.limit = 0;
}

/// Sends until the publisher has sent `total` and all of them arrived.
fn send(e: &mut Engine, total: u64) -> Result<()> {
    e.publishers[0].limit = total;
    e.mark(0);
    let arrived = e.until(300.0, |e| {
        e.publishers[0].received >= total || e.stats.closed > 0
    });
    if arrived && e.stats.closed == 0 {
        Ok(())
    } else {
        Err(Error::new("messages stopped"))
    }
}

fn measured(
    target: &Target,
    e: &mut Engine,
    count: u64,
    j: &mut Json,
    work: impl FnOnce(&mut Engine) -> Result<()>,
) -> Result<()> {
    e.rest(1.0);

    let (before, _) = rss(target.pid);
    let (cpu, start) = (cpu_s(target.pid), now_ns());
    work(e)?;

    let seconds = seconds_since(start);
    let cpu = cpu_s(target.pid) - cpu;
    e.rest(1.0);

    let (after, peak) = rss(target.pid);
    j.f("seconds", seconds)
        .f("churn_per_s", count as f64 / seconds);
    j.f("churn_cpu_us", cpu * 1e6 / count as f64);
    j.u("rss_before", before)
        .u("rss_after", after)
        .u("broker_rss_peak", peak);
    j.f("rss_growth_kib", (after as f64 - before as f64) / 1024.0);
    Ok(())
}
