//! Hooks by the pull rule: the broker asks into a queue, Python threads take the questions and answer
//! them. The time limit of a question runs from when it is taken up; without an answer in time the
//! answer is no.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use midge::{
    ClientInfo, ConnectRequest, HookSet, Interception, MessageRef, Origin, OwnedMessage,
    ReasonCode, Refusal, Resolver, SubscriptionOptions, TopicFilter, Verdict, Version,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::event::version;
use crate::message::Message;
use crate::{generation, lock, wait};

/// Questions that may wait; more are answered with no at once. A client has one at a time.
const MOST_QUESTIONS: usize = 16_384;

/// Threads whose hook has not returned in its time, and that were replaced. With so many nobody is
/// replaced any more.
const MOST_STUCK: usize = 64;

/// The limit of the core, which begins to run when a question is asked: the longest that it takes.
pub(crate) const ASKED_LIMIT_MS: u64 = 3_600_000;

/// How much longer than for hooks the core waits for its threads when it stops: once the questions
/// are closed nothing keeps them.
pub(crate) const CLOSING_MS: u64 = 10_000;

enum Answer {
    Verdict(Resolver),
    Interception(SyncSender<Interception>),
    Receive(SyncSender<bool>),
}

impl Answer {
    /// No, because of the broker or its time limit.
    fn refuse(self, why: &str) {
        let refusal = || Refusal::new(ReasonCode::NotAuthorized).text(why);
        match self {
            Self::Verdict(resolver) => resolver.deny(refusal()),
            // Nobody listens when time is up.
            Self::Interception(answer) => {
                drop(answer.try_send(Interception::Refuse(refusal())));
            }
            Self::Receive(answer) => drop(answer.try_send(false)),
        }
    }

    /// Whether a thread of the broker, or of the host, stands still until the answer comes.
    fn is_urgent(&self) -> bool {
        !matches!(self, Self::Verdict(_))
    }
}

struct Asked {
    kind: &'static str,
    client: Option<Arc<ClientInfo>>,
    connect: Option<Box<ConnectRequest>>,
    filter: Option<String>,
    group: Option<String>,
    message: Option<OwnedMessage>,
    /// Who publishes, or receives.
    client_id: Option<String>,
    qos: u8,
    answer: Answer,
}

impl Asked {
    fn new(kind: &'static str, answer: Answer) -> Self {
        Self {
            kind,
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

/// A question that somebody is answering.
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
    /// Nobody answers any more because the process ends: questions stay open, so that whoever asks
    /// waits instead of getting a no that is not meant.
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
enum Wanted {
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
    fn new(threads: usize) -> Self {
        Self {
            state: Mutex::default(),
            ready: Condvar::new(),
            reserve_ready: Condvar::new(),
            watch: Condvar::new(),
            threads,
            limit: Mutex::default(),
        }
    }

    pub(crate) fn set_limit(&self, limit: Duration) {
        *lock(&self.limit) = limit;
    }

    fn ask(&self, asked: Asked) {
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

    fn is_asked_by_itself(&self) -> bool {
        let state = lock(&self.state);
        state.workers.contains_key(&thread::current().id())
    }

    /// The next question with its number, for a thread that answers; `Some(None)` when it is to end.
    fn next(&self, time: Duration, reserved: bool) -> Option<Option<(u64, Asked)>> {
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

        let asked = match state.urgent.pop_front() {
            None if !reserved => state.asked.pop_front(),
            urgent => urgent,
        }?;
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
    fn supervise(&self, time: Duration) -> Option<Option<Wanted>> {
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

    fn close_within(&self, time: Duration) {
        lock(&self.state).close_at = Instant::now().checked_add(time);
        self.watch.notify_all();
    }

    /// A thread that was asked for could not be started.
    fn did_not_come(&self, reserved: bool) {
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
    fn hand_on(&self, number: u64) {
        if let Some(taken) = lock(&self.state).taken.get_mut(&number) {
            taken.worker = None;
        }
    }

    /// Where the answer goes; nowhere if time was up.
    fn answer(&self, number: u64) -> Option<Answer> {
        let taken = lock(&self.state).taken.remove(&number);
        taken.map(|taken| taken.answer)
    }

    fn close(&self) {
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

    fn wake_all(&self) {
        self.ready.notify_all();
        self.reserve_ready.notify_all();
        self.watch.notify_all();
    }
}

/// The broker's end.
pub(crate) struct Bridge {
    pub(crate) questions: Arc<Questions>,
    pub(crate) set: HookSet,
    pub(crate) timeout: Duration,
    /// Whether `$share` means something to clients of 3.1.1 and 3.1.
    pub(crate) shared_v3: bool,
}

impl Bridge {
    fn ask(&self, asked: impl FnOnce(Answer) -> Asked) -> Verdict {
        if self.questions.is_asked_by_itself() {
            return Verdict::Allow;
        }
        let (resolver, verdict) = Verdict::defer();
        self.questions.ask(asked(Answer::Verdict(resolver)));
        verdict
    }

    /// Waits on the calling thread; `None` if nobody answers any more.
    fn ask_now<T>(
        &self,
        answer: impl FnOnce(SyncSender<T>) -> Answer,
        asked: impl FnOnce(Answer) -> Asked,
    ) -> Option<T> {
        let (sender, answered) = sync_channel(1);
        self.questions.ask(asked(answer(sender)));
        loop {
            match answered.recv_timeout(self.timeout) {
                Ok(answer) => return Some(answer),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) if lock(&self.questions.state).retired => {
                    return None;
                }
                // It waits for its turn.
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// The group of a shared subscription and what is subscribed to.
    fn parts<'a>(&self, client: &ClientInfo, filter: &'a str) -> (Option<&'a str>, &'a str) {
        if client.version != Version::V5 && !self.shared_v3 {
            return (None, filter);
        }
        match TopicFilter::new(filter) {
            Ok(valid) => (valid.share(), valid.filter()),
            Err(_) => (None, filter),
        }
    }
}

impl midge::Hooks for Bridge {
    fn set(&self) -> HookSet {
        self.set
    }

    fn authenticate(&self, request: &ConnectRequest) -> Verdict {
        self.ask(|answer| Asked {
            client: Some(request.client.clone()),
            connect: Some(Box::new(request.clone())),
            ..Asked::new("connect", answer)
        })
    }

    fn authorize_publish(&self, client: &ClientInfo, message: &MessageRef<'_>) -> Verdict {
        self.ask(|answer| Asked {
            client: Some(Arc::new(client.clone())),
            message: Some(message.into()),
            client_id: Some(client.client_id.to_string()),
            qos: message.qos as u8,
            ..Asked::new("publish", answer)
        })
    }

    fn authorize_subscribe(
        &self,
        client: &ClientInfo,
        filter: &str,
        options: &SubscriptionOptions,
    ) -> Verdict {
        let (group, filter) = self.parts(client, filter);
        self.ask(|answer| Asked {
            client: Some(Arc::new(client.clone())),
            filter: Some(filter.to_owned()),
            group: group.map(str::to_owned),
            qos: options.qos as u8,
            ..Asked::new("subscribe", answer)
        })
    }

    fn authorize_receive(&self, client_id: &str, message: &MessageRef<'_>) -> bool {
        if self.questions.is_asked_by_itself() {
            return true;
        }
        let asked = |answer| Asked {
            message: Some(message.into()),
            client_id: Some(client_id.to_owned()),
            qos: message.qos as u8,
            ..Asked::new("receive", answer)
        };
        self.ask_now(Answer::Receive, asked).unwrap_or(false)
    }

    fn intercept_publish(&self, origin: &Origin, message: &MessageRef<'_>) -> Interception {
        if *origin == Origin::Broker || self.questions.is_asked_by_itself() {
            return Interception::Forward;
        }
        let asked = |answer| Asked {
            message: Some(message.into()),
            client_id: origin.client_id().map(str::to_owned),
            qos: message.qos as u8,
            ..Asked::new("intercept", answer)
        };
        self.ask_now(Answer::Interception, asked)
            .unwrap_or_else(|| {
                let refusal = Refusal::new(ReasonCode::NotAuthorized);
                Interception::Refuse(refusal.text("the broker stops"))
            })
    }
}

/// The Python end: where the answering threads take questions from.
#[pyclass(frozen, module = "midge._midge")]
pub struct Hooks {
    pub(crate) questions: Arc<Questions>,
    pub(crate) set: HookSet,
    generation: u32,
}

#[pymethods]
impl Hooks {
    #[new]
    fn new(
        authenticate: bool,
        authorize: bool,
        intercept: bool,
        receive: bool,
        threads: usize,
    ) -> Self {
        let mut set = HookSet::NONE;
        if authenticate {
            set = set.and(HookSet::AUTHENTICATE);
        }

        if authorize {
            set = set
                .and(HookSet::AUTHORIZE_PUBLISH)
                .and(HookSet::AUTHORIZE_SUBSCRIBE);
        }

        if intercept {
            set = set.and(HookSet::INTERCEPT_PUBLISH);
        }
        if receive {
            set = set.and(HookSet::AUTHORIZE_RECEIVE);
        }

        Self {
            questions: Arc::new(Questions::new(threads)),
            set,
            generation: generation(),
        }
    }

    /// Waits for the next question; `None` when the calling thread is to end. A `reserved` thread
    /// takes only what the broker itself waits for.
    fn get(&self, py: Python<'_>, reserved: bool) -> PyResult<Option<Request>> {
        let next = wait(py, None, |time| self.questions.next(time, reserved))?.flatten();
        next.map(|(number, asked)| Request::new(py, self.questions.clone(), number, asked))
            .transpose()
    }

    /// Watches over the time limits until a thread is to be started: whether it is a reserved one.
    /// `None` when there is nothing to watch any more.
    fn supervise(&self, py: Python<'_>) -> PyResult<Option<bool>> {
        let wanted = wait(py, None, |time| self.questions.supervise(time))?.flatten();
        Ok(wanted.map(|wanted| wanted == Wanted::Reserved))
    }

    /// The thread that was to be started could not be started.
    fn did_not_come(&self, reserved: bool) {
        self.questions.did_not_come(reserved);
    }

    /// Seconds for an answer.
    #[getter]
    fn limit(&self) -> f64 {
        lock(&self.questions.limit).as_secs_f64()
    }

    /// Whether the calling thread is one that answers.
    fn is_answering(&self) -> bool {
        self.questions.is_asked_by_itself()
    }

    fn close(&self) {
        self.questions.close();
    }

    /// Closes it in so many seconds, whatever hooks are doing then.
    fn close_within(&self, time: f64) -> PyResult<()> {
        self.questions.close_within(crate::seconds("time", time)?);
        Ok(())
    }

    /// Ends the answering threads and leaves what is asked without an answer.
    fn retire(&self) {
        lock(&self.questions.state).retired = true;
        self.questions.wake_all();
    }
}

impl Drop for Hooks {
    fn drop(&mut self) {
        // In a forked child the lock may be held by a thread that is gone.
        if self.generation == generation() {
            self.questions.close();
        }
    }
}

/// A question. Dropped without an answer it is answered with no.
#[pyclass(frozen, module = "midge._midge")]
pub struct Request {
    #[pyo3(get)]
    kind: &'static str,
    #[pyo3(get)]
    client_id: Option<String>,
    #[pyo3(get)]
    username: Option<String>,
    #[pyo3(get)]
    password: Option<Py<PyBytes>>,
    #[pyo3(get)]
    peer: Option<String>,
    #[pyo3(get)]
    version: Option<&'static str>,
    #[pyo3(get)]
    clean_start: bool,
    #[pyo3(get)]
    keep_alive: u16,
    #[pyo3(get)]
    topic: Option<String>,
    #[pyo3(get)]
    group: Option<String>,
    #[pyo3(get)]
    qos: u8,
    #[pyo3(get)]
    retain: bool,
    #[pyo3(get)]
    message: Option<Py<Message>>,
    #[pyo3(get)]
    user_properties: Vec<(String, String)>,
    questions: Arc<Questions>,
    number: u64,
}

impl Request {
    fn new(py: Python<'_>, questions: Arc<Questions>, number: u64, asked: Asked) -> PyResult<Self> {
        let client_id = asked.client_id.as_deref();
        let message = asked.message.as_ref().map(|message| {
            // Whom a receiver is asked about did not publish the message.
            let publisher = client_id.filter(|_| asked.kind != "receive");
            Py::new(py, Message::seen(&message.parts(), publisher, 0.0))
        });

        let connect = asked.connect.as_deref();
        let client = asked.client.as_deref();
        let topic = asked.message.as_ref().map(|message| message.topic.clone());
        Ok(Self {
            kind: asked.kind,
            client_id: client
                .map(|client| client.client_id.to_string())
                .or(asked.client_id),
            username: client.and_then(|client| Some(client.username.as_deref()?.to_owned())),
            password: connect
                .and_then(|connect| connect.password.as_ref())
                .map(|password| PyBytes::new(py, password).unbind()),
            peer: client.map(|client| client.peer.to_string()),
            version: client.map(|client| version(client.version)),
            clean_start: connect.is_some_and(|connect| connect.clean_start),
            keep_alive: connect.map_or(0, |connect| connect.keep_alive),
            topic: topic.or(asked.filter),
            group: asked.group,
            qos: asked.qos,
            retain: asked.message.as_ref().is_some_and(|message| message.retain),
            message: message.transpose()?,
            user_properties: connect
                .map(|connect| connect.user_properties.clone())
                .unwrap_or_default(),
            questions,
            number,
        })
    }

    fn intercepted(&self, interception: Interception) {
        match self.questions.answer(self.number) {
            // Nobody listens when time is up.
            Some(Answer::Interception(answer)) => drop(answer.try_send(interception)),
            Some(other) => other.refuse("nothing to intercept"),
            None => {}
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if let Some(answer) = self.questions.answer(self.number) {
            answer.refuse("the hook gave no answer");
        }
    }
}

#[pymethods]
impl Request {
    /// Yes; a message goes on unchanged. An answer that comes too late is none, here and below.
    fn allow(&self) {
        match self.questions.answer(self.number) {
            Some(Answer::Verdict(resolver)) => resolver.allow(),
            Some(Answer::Interception(answer)) => drop(answer.try_send(Interception::Forward)),
            Some(Answer::Receive(answer)) => drop(answer.try_send(true)),
            None => {}
        }
    }

    /// No.
    fn deny(&self, reason: u8, text: Option<String>) -> PyResult<()> {
        let mut refusal = Refusal::new(reason_code(reason)?);
        refusal.text = text;
        match self.questions.answer(self.number) {
            Some(Answer::Verdict(resolver)) => resolver.deny(refusal),
            Some(Answer::Interception(answer)) => {
                drop(answer.try_send(Interception::Refuse(refusal)));
            }
            Some(Answer::Receive(answer)) => drop(answer.try_send(false)),
            None => {}
        }
        Ok(())
    }

    /// Another message goes on in place of this one.
    fn replace(&self, message: &Message) -> PyResult<()> {
        let message = message.owned()?;
        self.intercepted(Interception::Replace(Box::new(message)));
        Ok(())
    }

    /// The message is dropped; its publisher sees success.
    fn discard(&self) {
        self.intercepted(Interception::Drop);
    }

    /// The thread that took it is free: an event loop goes on with it.
    fn hand_on(&self) {
        self.questions.hand_on(self.number);
    }
}

/// A reason code for a refusal.
pub(crate) fn reason_code(value: u8) -> PyResult<ReasonCode> {
    ReasonCode::from_u8(value)
        .filter(|reason| reason.is_error())
        .ok_or_else(|| {
            PyValueError::new_err(format!(
                "reason: a reason code of 0x80 or above, not 0x{value:02x}"
            ))
        })
}
