//! `start`: from the start of the process to the first CONNACK, at rest, and to its end.

use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::{Target, median};
use crate::args::Args;
use crate::engine::Role;
use crate::error::{Error, Result};
use crate::json::Json;
use crate::os::{cpu_s, now_ns, rss, seconds_since};

const POLL: Duration = Duration::from_micros(200);

/// Figures of one start.
struct Run {
    connack_ms: f64,
    cpu_ms: f64,
    rss_mib: f64,
    exit_ms: f64,
}

pub(super) fn run(args: &Args, target: &Target, j: &mut Json) -> Result<()> {
    let command = args.text_or("cmd", "");
    if command.trim().is_empty() {
        return Err(Error::new("start needs --cmd"));
    }

    let count = args.count("runs", 7)?.max(1);
    let mut runs = Vec::with_capacity(count);
    for _ in 0..count {
        runs.push(once(&command, target)?);
        sleep(Duration::from_millis(50));
    }

    let column = |f: fn(&Run) -> f64| runs.iter().map(f).collect::<Vec<_>>();
    let mut connack = column(|r| r.connack_ms);
    j.u("runs", count as u64)
        .f("connack_ms", median(&mut connack));
    j.f("connack_ms_min", connack[0])
        .f("connack_ms_max", connack[count - 1]);
    j.f("cpu_ms", median(&mut column(|r| r.cpu_ms)));
    j.f("idle_rss_mib", median(&mut column(|r| r.rss_mib)));
    j.f("exit_ms", median(&mut column(|r| r.exit_ms)));
    Ok(())
}

fn once(command: &str, target: &Target) -> Result<Run> {
    let mut words = command.split_whitespace();
    let program = words.next().unwrap_or_default();
    let start = now_ns();
    let mut child = Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| Error::new(format!("{program}: {e}")))?;
    let pid = u64::from(child.id());
    let connack = first_connack(target, start);
    let cpu_ms = cpu_s(pid) * 1e3;
    sleep(Duration::from_millis(300));

    let rss_mib = rss(pid).0 as f64 / 1_048_576.0;
    let exit_ms = end(&mut child);
    Ok(Run {
        connack_ms: connack?,
        cpu_ms,
        rss_mib,
        exit_ms,
    })
}

fn first_connack(target: &Target, start: u64) -> Result<f64> {
    while seconds_since(start) < 30.0 {
        let mut e = target.engine(0)?;
        e.add_conn(Role::Idle, 0, target.hello("start-probe", true, 0));
        e.connect_all(0..1, 1, 5.0);
        if e.ready == 1 {
            let ms = seconds_since(start) * 1e3;
            e.close(0, true);
            return Ok(ms);
        }
        sleep(POLL);
    }
    Err(Error::new("the broker did not answer within 30 s"))
}

/// Asks the process to end, insists after ten seconds; milliseconds it took.
fn end(child: &mut Child) -> f64 {
    let start = now_ns();
    if let Some(pid) = Pid::from_raw(child.id() as i32) {
        // A process that is gone already needs no signal.
        let _ = kill_process(pid, Signal::TERM);
    }
    while seconds_since(start) < 10.0 {
        if matches!(child.try_wait(), Ok(Some(_))) {
            return seconds_since(start) * 1e3;
        }
        sleep(POLL);
    }
    let _ = child.kill();
    let _ = child.wait();
    seconds_since(start) * 1e3
}
