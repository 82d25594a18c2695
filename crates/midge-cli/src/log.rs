//! The log on the standard error output. A slow reader blocks neither the broker nor its shutdown:
//! lines go through a bounded queue to one writing thread, and are counted as lost when it is full.
//! Repeated warnings are written once, and later with their count.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

/// Bound of the queue in bytes.
const QUEUE: usize = 1 << 20;
/// Period in which repetitions of a warning are counted instead of written.
const REPEATS: Duration = Duration::from_secs(10);
/// Bound of the distinct warnings that are counted; further ones are written each time.
const DIFFERENT: usize = 64;
/// Longest wait for the writing thread at the end.
const FAREWELL: Duration = Duration::from_secs(1);

/// A cheap handle to the one log.
#[derive(Clone)]
pub(crate) struct Log(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Wakes the writing thread.
    changed: Condvar,
    /// Signals [`State::done`].
    done: Condvar,
}

#[derive(Default)]
struct State {
    lines: VecDeque<String>,
    bytes: usize,
    /// Lines dropped because the queue was full or a write failed.
    lost: u64,
    /// Recently written warnings, the oldest first.
    told: VecDeque<Told>,
    /// No more lines come.
    ended: bool,
    /// The writing thread has finished.
    done: bool,
}

/// A recently written warning.
struct Told {
    text: String,
    until: Instant,
    /// Repetitions since.
    again: u64,
}

impl State {
    fn push(&mut self, line: String) {
        if self.bytes + line.len() > QUEUE {
            self.lost += 1;
        } else {
            self.bytes += line.len();
            self.lines.push_back(line);
        }
    }

    /// Queues a line, or counts it if it is a repetition.
    fn say(&mut self, text: &str, repeats: bool, now: Instant) {
        if repeats {
            if let Some(told) = self.told.iter_mut().find(|told| told.text == text) {
                told.again += 1;
                return;
            }
            if self.told.len() < DIFFERENT {
                self.told.push_back(Told {
                    text: text.to_owned(),
                    until: now + REPEATS,
                    again: 0,
                });
            }
        }

        self.push(stamped(text));
    }

    /// Queues the counts of warnings whose period is over, or of all without `now`.
    fn tell_repeats(&mut self, now: Option<Instant>) {
        let is_over = |told: &Told| now.is_none_or(|now| told.until <= now);
        while self.told.front().is_some_and(is_over) {
            let Some(mut told) = self.told.pop_front() else {
                return;
            };

            if told.again == 0 {
                continue;
            }

            let text = told.text.trim_end();
            let times = match told.again {
                1 => "1 more time".to_owned(),
                times => format!("{times} more times"),
            };
            self.push(stamped(&format!("{text} ({times})\n")));

            // Probably it goes on: the next period is counted, too.
            if let Some(now) = now {
                (told.until, told.again) = (now + REPEATS, 0);
                self.told.push_back(told);
            }
        }
    }

    /// Takes the next line to write; the number of lost lines comes last.
    fn next(&mut self) -> Option<String> {
        if let Some(line) = self.lines.pop_front() {
            self.bytes -= line.len();
            return Some(line);
        }
        let lost = std::mem::take(&mut self.lost);
        match lost {
            0 => None,
            1 => Some(stamped(" WARN 1 line of the log was lost\n")),
            _ => Some(stamped(&format!(
                " WARN {lost} lines of the log were lost\n"
            ))),
        }
    }
}

/// Prefixes a line with the present time.
fn stamped(text: &str) -> String {
    let mut line = String::with_capacity(text.len() + 32);
    if SystemTime.format_time(&mut Writer::new(&mut line)).is_err() {
        line.clear();
    }
    line.push(' ');
    line.push_str(text.trim_start_matches(' '));
    line
}

impl Log {
    /// Starts the writing thread, with the standard error output.
    pub(crate) fn start() -> io::Result<Self> {
        Self::to(io::stderr())
    }

    fn to(out: impl Write + Send + 'static) -> io::Result<Self> {
        let log = Self(Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            done: Condvar::new(),
        }));
        let writer = log.clone();
        thread::Builder::new()
            .name("midge-log".into())
            .spawn(move || writer.write_all_to(out))?;
        Ok(log)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, text: &str, repeats: bool) {
        self.state().say(text, repeats, Instant::now());
        self.0.changed.notify_one();
    }

    /// Body of the writing thread.
    fn write_all_to(&self, mut out: impl Write) {
        let mut state = self.state();
        loop {
            let now = (!state.ended).then(Instant::now);
            state.tell_repeats(now);

            if let Some(line) = state.next() {
                drop(state);
                let written = out.write_all(line.as_bytes()).and_then(|()| out.flush());
                state = self.state();
                if written.is_ok() {
                    continue;
                }
                state.lost += 1;
                if !state.ended {
                    // A full disk, for example: do not retry at once.
                    let pause = self.0.changed.wait_timeout(state, FAREWELL);
                    state = pause.unwrap_or_else(PoisonError::into_inner).0;
                    continue;
                }
            }
            if state.ended {
                break;
            }

            let wait = match state.told.front() {
                Some(told) => told.until.saturating_duration_since(Instant::now()),
                None => Duration::MAX,
            };
            state = match self.0.changed.wait_timeout(state, wait) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        state.done = true;
        drop(state);
        self.0.done.notify_all();
    }

    /// Waits until the queue is written, for [`FAREWELL`] at most.
    pub(crate) fn end(&self) {
        let mut state = self.state();
        state.ended = true;
        self.0.changed.notify_one();
        let writes = |state: &mut State| !state.done;
        drop(self.0.done.wait_timeout_while(state, FAREWELL, writes));
    }
}

/// Writer of one event.
pub(crate) struct Line<'a> {
    log: &'a Log,
    repeats: bool,
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.log.say(&String::from_utf8_lossy(bytes), self.repeats);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line {
            log: self,
            repeats: false,
        }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Line<'a> {
        Line {
            log: self,
            // Information is about single clients and is wanted in full.
            repeats: *meta.level() <= Level::WARN,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Drains the queue; without time stamps.
    fn texts(state: &mut State) -> Vec<String> {
        let lines = std::iter::from_fn(|| state.next());
        let text = |line: String| line.split_once(' ').unwrap().1.trim_end().to_owned();
        lines.map(text).collect()
    }

    #[test]
    fn a_warning_that_comes_again_is_told_with_its_number() {
        let mut state = State::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        for second in 0..9 {
            for _ in 0..20 {
                state.say(" WARN a\n", true, at(second));
                state.say(" WARN b\n", true, at(second));
            }
            state.tell_repeats(Some(at(second)));
        }

        assert_eq!(texts(&mut state), ["WARN a", "WARN b"]);
        state.tell_repeats(Some(at(10)));

        let again = ["WARN a (179 more times)", "WARN b (179 more times)"];
        assert_eq!(texts(&mut state), again);
        state.say(" WARN a\n", true, at(11));
        assert!(texts(&mut state).is_empty());
        state.tell_repeats(Some(at(20)));
        assert_eq!(texts(&mut state), ["WARN a (1 more time)"]);

        // After a quiet period it counts as new.
        state.tell_repeats(Some(at(40)));
        state.tell_repeats(Some(at(60)));
        state.say(" WARN a\n", true, at(61));
        state.say(" WARN a\n", true, at(61));
        assert_eq!(texts(&mut state), ["WARN a"]);
        state.tell_repeats(None);
        assert_eq!(texts(&mut state), ["WARN a (1 more time)"]);

        // Information is never counted.
        state.say(" INFO c\n", false, at(62));
        state.say(" INFO c\n", false, at(62));
        assert_eq!(texts(&mut state), ["INFO c", "INFO c"]);
    }

    #[test]
    fn what_waits_is_bounded_and_what_is_lost_is_told() {
        let mut state = State::default();
        let line = format!(" INFO {}\n", "x".repeat(1000));
        for _ in 0..2000 {
            state.say(&line, false, Instant::now());
        }

        assert!(state.bytes <= QUEUE && state.lost > 900);

        let lost = state.lost;
        for number in 0..2000 {
            state.say(&format!(" WARN {number}\n"), true, Instant::now());
        }

        assert_eq!(state.told.len(), DIFFERENT);

        let told = texts(&mut state);
        let last = format!(
            "WARN {} lines of the log were lost",
            lost + 2000 - (told.len() as u64 - 1 - (2000 - lost))
        );
        assert_eq!(told.last(), Some(&last));
        assert_eq!(state.bytes, 0);
    }

    /// A pipe whose reader reads nothing until `go`.
    struct Pipe {
        go: Receiver<()>,
        got: Sender<String>,
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.go.recv();
            let text = String::from_utf8_lossy(bytes).into_owned();
            self.got.send(text).map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_takes_nothing_holds_nothing_up() {
        let ((go, told), (got, lines)) = (channel(), channel());
        let log = Log::to(Pipe { go: told, got }).unwrap();
        for number in 0..100_000 {
            log.say(&format!(" INFO {number} {}\n", "x".repeat(100)), false);
        }
        // Returns although nothing was written.
        log.end();
        drop(go);
        assert!(
            lines
                .iter()
                .last()
                .unwrap()
                .contains("lines of the log were lost")
        );
    }
}
