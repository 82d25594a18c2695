//! `connect`: a storm of short connections, or many that stay.

use super::{Target, bytes_each, subscribe_all};
use crate::args::Args;
use crate::engine::{Engine, Role, State};
use crate::error::Result;
use crate::json::Json;
use crate::os::{cpu_s, now_ns, rss, seconds_since, self_cpu_s};

pub(super) fn run(args: &Args, target: &Target, j: &mut Json) -> Result<()> {
    let count = args.count("count", 10_000)?;
    let parallel = args.count("conc", 64)?;
    j.u("count", count as u64).u("conc", parallel as u64);
    let mut e = target.engine(0)?;
    if args.flag("hold") {
        hold(args, target, &mut e, count, parallel, j)
    } else {
        storm(target, &mut e, count, parallel, j);
        Ok(())
    }
}

fn hold(
    args: &Args,
    target: &Target,
    e: &mut Engine,
    count: usize,
    parallel: usize,
    j: &mut Json,
) -> Result<()> {
    let range = target.add(e, Role::Idle, count, "c-");
    let (before, _) = rss(target.pid);
    let (cpu, own) = (cpu_s(target.pid), self_cpu_s());
    let seconds = e.connect_all(range.clone(), parallel, 120.0);
    let (cpu, own) = (cpu_s(target.pid) - cpu, self_cpu_s() - own);
    e.rest(0.7);

    let up = e.ready as f64;
    let (after, _) = rss(target.pid);
    j.s("mode", "hold")
        .u("up", e.ready as u64)
        .u("failed", e.connect_failed);
    j.f("seconds", seconds).f("connects_per_s", up / seconds);
    j.f("broker_cpu_us_per_conn", cpu * 1e6 / up)
        .f("load_cpu_us_per_conn", own * 1e6 / up);
    e.connect_time.json(j, "connect_");
    j.u("rss_before", before).u("rss_after", after);
    j.f("bytes_per_conn", bytes_each(before, after, up));
    if args.flag("sub") {
        subscribe_all(e, range.clone(), 0, |index| {
            format!("bench/idle/{index}/cmd")
        })?;
        e.rest(0.5);
        let (subscribed, _) = rss(target.pid);
        j.u("rss_subscribed", subscribed);
        j.f(
            "bytes_per_conn_subscribed",
            bytes_each(before, subscribed, up),
        );
    }

    // How soon is a fresh client served while all of these go?
    for at in range.clone() {
        e.close(at, true);
    }

    let start = now_ns();
    e.connect_all(range.start..range.start + 1, 1, 60.0);
    j.f("reconnect_after_close_s", seconds_since(start));
    e.close(range.start, true);
    e.rest(1.0);
    j.u("rss_after_close", rss(target.pid).0);
    Ok(())
}

fn storm(target: &Target, e: &mut Engine, count: usize, parallel: usize, j: &mut Json) {
    target.add(e, Role::Idle, parallel.min(count), "c-");
    let (before, _) = rss(target.pid);
    let (cpu, own) = (cpu_s(target.pid), self_cpu_s());
    let seconds = connect_repeatedly(e, 0, count);
    let ok = e.connect_time.count() as f64;
    j.s("mode", "storm")
        .u("ok", e.connect_time.count())
        .u("failed", e.connect_failed);
    j.f("seconds", seconds).f("connects_per_s", ok / seconds);
    j.f(
        "broker_cpu_us_per_conn",
        (cpu_s(target.pid) - cpu) * 1e6 / ok,
    );
    j.f("load_cpu_us_per_conn", (self_cpu_s() - own) * 1e6 / ok);
    e.connect_time.json(j, "connect_");
    j.u("rss_before", before).u("rss_after", rss(target.pid).0);
}

/// Lets all connections from `first` on connect, disconnect and start again, `count` times in all;
/// seconds used, at most 300.
pub(super) fn connect_repeatedly(e: &mut Engine, first: usize, count: usize) -> f64 {
    let start = now_ns();
    let mut slots: Vec<usize> = (first..e.conns.len()).collect();
    let mut left = count - slots.len().min(count);
    for &at in &slots {
        e.dial(at);
    }

    while !slots.is_empty() && seconds_since(start) < 300.0 {
        e.poll(1_000_000);
        slots.retain(|&at| match e.conns[at].state {
            State::Connecting | State::AwaitConnack => true,
            State::Ready | State::Closed => {
                e.close(at, true);
                let again = left > 0;
                if again {
                    left -= 1;
                    e.dial(at);
                }
                again
            }
        });
    }

    seconds_since(start)
}
