//! The questions of hooks between the broker, which asks, and the threads that answer. The time limit of a
//! question runs from when it is taken up; without an answer in time the answer is no.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use midge::{
    ClientInfo, ConnectRequest, Interception, OwnedMessage, ReasonCode, Refusal, Resolver,
};

use crate::lock;

/// Questions that may wait; more are answered with no at once. A client has one at a time.
const MOST_QUESTIONS: usize = 16_384;

/// Threads whose hook has not returned in its time, and that were replaced. Beyond so many, none is
/// replaced any more.
const MOST_STUCK: usize = 64;

/// The limit of the core, which begins to run when a question is asked: the longest that it takes.
pub(crate) const ASKED_LIMIT_MS: u64 = 3_600_000;

/// How much longer than for hooks the core waits for its threads when it stops: once the questions
/// are closed nothing keeps them.
pub(crate) const CLOSING_MS: u64 = 10_000;

pub(crate) enum Answer {
    Verdict(Resolver),
    Interception(SyncSender<Interception>),
    Receive(SyncSender<bool>),
}

impl Answer {
    /// No, because of the broker or its time limit.
    pub(crate) fn refuse(self, why: &str) {
        let refusal = || Refusal::new(ReasonCode::NotAuthorized).text(why);
        match self {
            Self::Verdict(resolver) => resolver.deny(refusal()),
            // The receiver is gone when time is up.
            Self::Interception(answer) => {
                drop(answer.try_send(Interception::Refuse(refusal())));
            }
            Self::Receive(answer) => drop(answer.try_send(false)),
        }
    }

    /// Whether anything waits for it: not once its client has left.
    fn is_awaited(&self) -> bool {
        match self {
            Self::Verdict(resolver) => resolver.is_open(),
            Self::Interception(_) | Self::Receive(_) => true,
        }
    }

    /// Whether a thread of the broker, or of the host, stands still until the answer comes.
    fn is_urgent(&self) -> bool {
        !matches!(self, Self::Verdict(_))
    }
}

pub(crate) struct Asked {
    pub(crate) kind: &'static str,
    /// The place of the set of hooks that is asked.
    pub(crate) place: usize,
    pub(crate) client: Option<Arc<ClientInfo>>,
    pub(crate) connect: Option<Box<ConnectRequest>>,
    pub(crate) filter: Option<String>,
    pub(crate) group: Option<String>,
    pub(crate) message: Option<OwnedMessage>,
    /// The publisher, or the receiver.
    pub(crate) client_id: Option<String>,
    pub(crate) qos: u8,
    pub(crate) answer: Answer,
}

impl Asked {
    pub(crate) fn new(kind: &'static str, place: usize, answer: Answer) -> Self {
        Self {
            kind,
            place,
            client: None,
            connect: None,
            filter: None,
            group: None,
            message: None,
            client_id: None,
            qos: 0,
            answer,
        }
    }
}

/// A question that is being answered.
struct Taken {
    answer: Answer,
    deadline: Instant,
    /// The thread that is busy with it; none once an event loop has it.
    worker: Option<ThreadId>,
}

/// What a thread that answers is doing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Worker {
    Waits,
    Answers,
    /// Its hook has not returned in time. Another thread has its place.
    Stuck,
}

#[derive(Default)]
struct State {
    /// For which clients wait.
    asked: VecDeque<Asked>,
    /// For which threads wait: answered first.
    urgent: VecDeque<Asked>,
    /// By number, which is the order of the deadlines.
    taken: BTreeMap<u64, Taken>,
    last: u64,
    /// The threads that answer: what their own calls bring about is not asked of them again.
    workers: HashMap<ThreadId, Worker>,
    /// Of them those that take urgent questions only.
    reserved: Option<ThreadId>,
    /// Threads that were asked for and have not come yet.
    coming: usize,
    reserve_coming: bool,
    closed: bool,
    /// The broker is stopping: from this moment on no hook is waited for.
    close_at: Option<Instant>,
    /// No thread answers any more because the process ends: questions stay open, so that the asking
    /// connection waits instead of getting a no that is not meant.
    retired: bool,
    /// The supervisor sleeps without a deadline.
    sleeps: bool,
}

impl State {
    fn count(&self, what: Worker) -> usize {
        let reserved = self.reserved;
        let others = self.workers.iter().filter(|(id, _)| Some(**id) != reserved);
        others.filter(|(_, worker)| **worker == what).count()
    }

    fn ended(&self) -> bool {
        self.closed || self.retired
    }
}

/// A thread to be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Any,
    /// For urgent questions only.
    Reserved,
}

pub(crate) struct Questions {
    state: Mutex<State>,
    /// For those that answer.
    ready: Condvar,
    /// For the one that takes urgent questions only.
    reserve_ready: Condvar,
    /// For the supervisor.
    watch: Condvar,
    threads: usize,
    limit: Mutex<Duration>,
}

impl Questions {
    pub(crate) fn new(threads: usize) -> Self {
        Self {
            state: Mutex::default(),
            ready: Condvar::new(),
            reserve_ready: Condvar::new(),
            watch: Condvar::new(),
            threads,
            limit: Mutex::default(),
        }
    }

    /// Time for an answer.
    pub(crate) fn limit(&self) -> Duration {
        *lock(&self.limit)
    }

    pub(crate) fn set_limit(&self, limit: Duration) {
        *lock(&self.limit) = limit;
    }

    pub(crate) fn ask(&self, asked: Asked) {
        let mut state = lock(&self.state);
        let why = if state.closed {
            Some("the broker stops")
        } else if state.asked.len() + state.urgent.len() >= MOST_QUESTIONS {
            Some("too many questions wait for the hooks")
        } else if self.is_stuck(&state) {
            Some("every thread hangs that answers for the hooks")
        } else {
            None
        };

        if let Some(why) = why {
            drop(state);
            asked.answer.refuse(why);
            return;
        }

        let queue = match asked.answer.is_urgent() {
            true => &mut state.urgent,
            false => &mut state.asked,
        };

        queue.push_back(asked);

        let urgent = !state.urgent.is_empty();
        let wanted = self.wanted(&state).is_some();
        drop(state);
        self.ready.notify_one();
        if urgent {
            self.reserve_ready.notify_one();
        }
        if wanted {
            self.watch.notify_all();
        }
    }

    fn is_stuck(&self, state: &State) -> bool {
        let stuck = state.count(Worker::Stuck);
        stuck >= MOST_STUCK
            && state.count(Worker::Waits) + state.count(Worker::Answers) + state.coming == 0
    }

    /// The thread that has to be started, if any.
    fn wanted(&self, state: &State) -> Option<Wanted> {
        let waiting = state.count(Worker::Waits);
        let busy = state.count(Worker::Answers);
        let stuck = state.count(Worker::Stuck);
        let questions = state.asked.len() + state.urgent.len();
        let room = waiting + busy + state.coming < self.threads && stuck < MOST_STUCK;
        if questions > waiting + state.coming && room {
            return Some(Wanted::Any);
        }
        let is_needed = !state.urgent.is_empty() && waiting + state.coming == 0;
        let has_none = state.reserved.is_none() && !state.reserve_coming;
        (is_needed && has_none && stuck < MOST_STUCK).then_some(Wanted::Reserved)
    }

    pub(crate) fn is_asked_by_itself(&self) -> bool {
        let state = lock(&self.state);
        state.workers.contains_key(&thread::current().id())
    }

    /// The next question with its number, for a thread that answers; `Some(None)` when it is to end.
    pub(crate) fn next(&self, time: Duration, reserved: bool) -> Option<Option<(u64, Asked)>> {
        let own = thread::current().id();
        let mut state = lock(&self.state);
        match state.workers.insert(own, Worker::Waits) {
            Some(Worker::Stuck) => {
                // It was replaced.
                state.workers.remove(&own);
                return Some(None);
            }
            Some(_) => {}
            None if reserved => {
                state.reserved = Some(own);
                state.reserve_coming = false;
            }
            None => state.coming = state.coming.saturating_sub(1),
        }

        let nothing = |state: &mut State| {
            state.urgent.is_empty() && (reserved || state.asked.is_empty()) && !state.ended()
        };

        let ready = match reserved {
            true => &self.reserve_ready,
            false => &self.ready,
        };

        let (mut state, _) = ready
            .wait_timeout_while(state, time, nothing)
            .unwrap_or_else(PoisonError::into_inner);

        if state.ended() {
            state.workers.remove(&own);
            return Some(None);
        }

        let asked = loop {
            let asked = match state.urgent.pop_front() {
                None if !reserved => state.asked.pop_front(),
                urgent => urgent,
            }?;
            if asked.answer.is_awaited() {
                break asked;
            }
        };

        state.workers.insert(own, Worker::Answers);
        Some(Some(self.take_up(state, asked, own)))
    }

    fn take_up(
        &self,
        mut state: std::sync::MutexGuard<'_, State>,
        mut asked: Asked,
        worker: ThreadId,
    ) -> (u64, Asked) {
        // What goes to Python keeps an answer that says nothing: the true one stays here, where the
        // time limit can use it.
        let (nobody, _) = sync_channel(1);
        let answer = std::mem::replace(&mut asked.answer, Answer::Receive(nobody));
        state.last += 1;

        let number = state.last;
        let now = Instant::now();
        let limit = *lock(&self.limit);
        let taken = Taken {
            answer,
            deadline: now.checked_add(limit).unwrap_or(now),
            worker: Some(worker),
        };

        state.taken.insert(number, taken);

        let wanted = self.wanted(&state).is_some();
        let wakes = std::mem::take(&mut state.sleeps) || wanted;
        drop(state);
        if wakes {
            self.watch.notify_all();
        }

        (number, asked)
    }

    /// Answers what has taken too long, and says which thread is to be started; `Some(None)` when
    /// the supervisor is to end.
    pub(crate) fn supervise(&self, time: Duration) -> Option<Option<Wanted>> {
        let mut late = Vec::new();
        let now = Instant::now();
        let until = now.checked_add(time).unwrap_or(now);
        let mut state = lock(&self.state);
        let result = loop {
            if state.ended() {
                break Some(None);
            }
            let now = Instant::now();
            if state.close_at.is_some_and(|at| at <= now) {
                drop(state);
                self.close();
                return Some(None);
            }
            while let Some(first) = state.taken.first_entry()
                && first.get().deadline <= now
            {
                let taken = first.remove();
                if let Some(worker) = taken.worker {
                    state.workers.insert(worker, Worker::Stuck);
                    if state.reserved == Some(worker) {
                        state.reserved = None;
                    }
                }
                late.push(taken.answer);
            }

            if let Some(wanted) = self.wanted(&state) {
                match wanted {
                    Wanted::Any => state.coming += 1,
                    Wanted::Reserved => state.reserve_coming = true,
                }
                break Some(Some(wanted));
            }
            if self.is_stuck(&state) {
                let asked = std::mem::take(&mut state.asked);
                let urgent = std::mem::take(&mut state.urgent);
                late.extend(asked.into_iter().chain(urgent).map(|asked| asked.answer));
            }
            if !late.is_empty() || now >= until {
                break None;
            }
            let first = state.taken.values().next().map(|taken| taken.deadline);
            let first = first.into_iter().chain(state.close_at).min();
            state.sleeps = first.is_none();
            let left = first.map_or(until, |first| first.min(until));
            state = self
                .watch
                .wait_timeout(state, left.saturating_duration_since(now))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            state.sleeps = false;
        };

        drop(state);
        for answer in late {
            answer.refuse("no answer from the hook in time");
        }

        result
    }

    pub(crate) fn close_within(&self, time: Duration) {
        lock(&self.state).close_at = Instant::now().checked_add(time);
        self.watch.notify_all();
    }

    /// A thread that was asked for could not be started.
    pub(crate) fn did_not_come(&self, reserved: bool) {
        let mut state = lock(&self.state);
        let mut unanswered = VecDeque::new();
        if reserved {
            state.reserve_coming = false;
        } else {
            state.coming = state.coming.saturating_sub(1);
        }
        if state.workers.is_empty() && state.coming == 0 {
            unanswered.append(&mut state.asked);
            unanswered.append(&mut state.urgent);
        }
        drop(state);
        for asked in unanswered {
            asked
                .answer
                .refuse("no thread could be started for the hooks");
        }
    }

    /// An event loop goes on with a question.
    pub(crate) fn hand_on(&self, number: u64) {
        if let Some(taken) = lock(&self.state).taken.get_mut(&number) {
            taken.worker = None;
        }
    }

    /// Where the answer goes; nowhere if time was up.
    pub(crate) fn answer(&self, number: u64) -> Option<Answer> {
        let taken = lock(&self.state).taken.remove(&number);
        taken.map(|taken| taken.answer)
    }

    pub(crate) fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        let asked = std::mem::take(&mut state.asked);
        let urgent = std::mem::take(&mut state.urgent);
        let taken = std::mem::take(&mut state.taken);
        drop(state);
        for asked in asked.into_iter().chain(urgent) {
            asked.answer.refuse("the broker stops");
        }
        for taken in taken.into_values() {
            taken.answer.refuse("the broker stops");
        }
        self.wake_all();
    }

    /// Ends the threads that answer; what is asked stays without an answer.
    pub(crate) fn retire(&self) {
        lock(&self.state).retired = true;
        self.wake_all();
    }

    /// Whether answering has ended because the process ends.
    pub(crate) fn is_retired(&self) -> bool {
        lock(&self.state).retired
    }

    fn wake_all(&self) {
        self.ready.notify_all();
        self.reserve_ready.notify_all();
        self.watch.notify_all();
    }
}
