//! Hooks by the pull rule: the broker asks into a queue, a Python thread takes the question and
//! answers it. Without an answer in time the answer is no.

use std::collections::VecDeque;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use midge::{
    ClientInfo, ConnectRequest, HookSet, Interception, MessageRef, Origin, OwnedMessage,
    ReasonCode, Refusal, Resolver, SubscriptionOptions, Verdict,
};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::event::version;
use crate::message::Message;
use crate::{lock, wait};

enum Answer {
    Verdict(Resolver),
    Interception(SyncSender<Interception>),
}

struct Asked {
    kind: &'static str,
    client: Option<Arc<ClientInfo>>,
    connect: Option<Box<ConnectRequest>>,
    filter: Option<String>,
    message: Option<OwnedMessage>,
    publisher: Option<String>,
    qos: u8,
    answer: Answer,
}

#[derive(Default)]
struct State {
    asked: VecDeque<Asked>,
    closed: bool,
    /// Nobody answers any more because the process ends: questions stay open, so that whoever asks
    /// waits instead of getting a no that is not meant.
    retired: bool,
    /// The thread that answers: what its own calls bring about is not asked of it again.
    thread: Option<ThreadId>,
}

#[derive(Default)]
pub(crate) struct Questions {
    state: Mutex<State>,
    ready: Condvar,
}

impl Questions {
    /// `false` if nobody answers any more.
    fn ask(&self, asked: Asked) -> bool {
        let mut state = lock(&self.state);
        if state.closed {
            return false;
        }
        state.asked.push_back(asked);
        drop(state);
        self.ready.notify_one();
        true
    }

    fn is_asked_by_itself(&self) -> bool {
        lock(&self.state).thread == Some(thread::current().id())
    }

    fn next(&self, time: Duration) -> Option<Option<Asked>> {
        let mut state = lock(&self.state);
        state.thread = Some(thread::current().id());
        let ended = |state: &State| state.closed || state.retired;
        let nothing = |state: &mut State| state.asked.is_empty() && !ended(state);
        let (mut state, _) = self
            .ready
            .wait_timeout_while(state, time, nothing)
            .unwrap_or_else(PoisonError::into_inner);
        if state.retired {
            return Some(None);
        }
        match state.asked.pop_front() {
            Some(asked) => Some(Some(asked)),
            None if state.closed => Some(None),
            None => None,
        }
    }

    fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        let unanswered = std::mem::take(&mut state.asked);
        drop(state);
        // Dropped without an answer they are answered with no.
        drop(unanswered);
        self.ready.notify_all();
    }
}

/// The broker's end.
pub(crate) struct Bridge {
    pub(crate) questions: Arc<Questions>,
    pub(crate) set: HookSet,
    pub(crate) timeout: Duration,
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
}

impl midge::Hooks for Bridge {
    fn set(&self) -> HookSet {
        self.set
    }

    fn authenticate(&self, request: &ConnectRequest) -> Verdict {
        self.ask(|answer| Asked {
            kind: "connect",
            client: Some(request.client.clone()),
            connect: Some(Box::new(request.clone())),
            filter: None,
            message: None,
            publisher: None,
            qos: 0,
            answer,
        })
    }

    fn authorize_publish(&self, client: &ClientInfo, message: &MessageRef<'_>) -> Verdict {
        self.ask(|answer| Asked {
            kind: "publish",
            client: Some(Arc::new(client.clone())),
            connect: None,
            filter: None,
            message: Some(message.into()),
            publisher: Some(client.client_id.to_string()),
            qos: message.qos as u8,
            answer,
        })
    }

    fn authorize_subscribe(
        &self,
        client: &ClientInfo,
        filter: &str,
        options: &SubscriptionOptions,
    ) -> Verdict {
        self.ask(|answer| Asked {
            kind: "subscribe",
            client: Some(Arc::new(client.clone())),
            connect: None,
            filter: Some(filter.to_owned()),
            message: None,
            publisher: None,
            qos: options.qos as u8,
            answer,
        })
    }

    fn intercept_publish(&self, origin: &Origin, message: &MessageRef<'_>) -> Interception {
        if *origin == Origin::Broker || self.questions.is_asked_by_itself() {
            return Interception::Forward;
        }
        let (answer, answered) = sync_channel(1);
        self.questions.ask(Asked {
            kind: "intercept",
            client: None,
            connect: None,
            filter: None,
            message: Some(message.into()),
            publisher: origin.client_id().map(str::to_owned),
            qos: message.qos as u8,
            answer: Answer::Interception(answer),
        });
        answered.recv_timeout(self.timeout).unwrap_or_else(|_| {
            let refusal = Refusal::new(ReasonCode::NotAuthorized);
            Interception::Refuse(refusal.text("no answer from the interceptor in time"))
        })
    }
}

/// The Python end: where the answering thread takes questions from.
#[pyclass(frozen, module = "midge._midge")]
pub struct Hooks {
    pub(crate) questions: Arc<Questions>,
    pub(crate) set: HookSet,
}

#[pymethods]
impl Hooks {
    #[new]
    fn new(authenticate: bool, authorize: bool, intercept: bool) -> Self {
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
        Self {
            questions: Arc::default(),
            set,
        }
    }

    /// Waits for the next question; `None` when there will be no more.
    fn get(&self, py: Python<'_>) -> PyResult<Option<Request>> {
        let asked = wait(py, None, |time| self.questions.next(time))?.flatten();
        asked.map(|asked| Request::new(py, asked)).transpose()
    }

    /// Whether the calling thread is the one that answers.
    fn is_answering(&self) -> bool {
        self.questions.is_asked_by_itself()
    }

    fn close(&self) {
        self.questions.close();
    }

    /// Ends the answering thread and leaves what is asked without an answer.
    fn retire(&self) {
        lock(&self.questions.state).retired = true;
        self.questions.ready.notify_all();
    }
}

impl Drop for Hooks {
    fn drop(&mut self) {
        self.questions.close();
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
    qos: u8,
    #[pyo3(get)]
    retain: bool,
    #[pyo3(get)]
    message: Option<Py<Message>>,
    #[pyo3(get)]
    user_properties: Vec<(String, String)>,
    answer: Mutex<Option<Answer>>,
}

impl Request {
    fn new(py: Python<'_>, asked: Asked) -> PyResult<Self> {
        let message = asked.message.as_ref().map(|message| {
            let seen = Message::seen(&message.parts(), asked.publisher.as_deref(), 0.0);
            Py::new(py, seen)
        });
        let connect = asked.connect.as_deref();
        let client = asked.client.as_deref();
        let topic = asked.message.as_ref().map(|message| message.topic.clone());
        Ok(Self {
            kind: asked.kind,
            client_id: client
                .map(|client| client.client_id.to_string())
                .or(asked.publisher),
            username: client.and_then(|client| Some(client.username.as_deref()?.to_owned())),
            password: connect
                .and_then(|connect| connect.password.as_ref())
                .map(|password| PyBytes::new(py, password).unbind()),
            peer: client.map(|client| client.peer.to_string()),
            version: client.map(|client| version(client.version)),
            clean_start: connect.is_some_and(|connect| connect.clean_start),
            keep_alive: connect.map_or(0, |connect| connect.keep_alive),
            topic: topic.or(asked.filter),
            qos: asked.qos,
            retain: asked.message.as_ref().is_some_and(|message| message.retain),
            message: message.transpose()?,
            user_properties: connect
                .map(|connect| connect.user_properties.clone())
                .unwrap_or_default(),
            answer: Mutex::new(Some(asked.answer)),
        })
    }

    fn take(&self) -> PyResult<Answer> {
        lock(&self.answer)
            .take()
            .ok_or_else(|| PyRuntimeError::new_err("the question has been answered"))
    }

    fn intercepted(&self, interception: Interception) -> PyResult<()> {
        match self.take()? {
            // Nobody listens when time is up.
            Answer::Interception(answer) => drop(answer.send(interception)),
            Answer::Verdict(_) => return Err(PyRuntimeError::new_err("nothing to intercept")),
        }
        Ok(())
    }
}

#[pymethods]
impl Request {
    /// Yes; a message goes on unchanged.
    fn allow(&self) -> PyResult<()> {
        match self.take()? {
            Answer::Verdict(resolver) => resolver.allow(),
            Answer::Interception(answer) => drop(answer.send(Interception::Forward)),
        }
        Ok(())
    }

    /// No.
    fn deny(&self, reason: u8, text: Option<String>) -> PyResult<()> {
        let mut refusal = Refusal::new(reason_code(reason)?);
        refusal.text = text;
        match self.take()? {
            Answer::Verdict(resolver) => resolver.deny(refusal),
            Answer::Interception(answer) => drop(answer.send(Interception::Refuse(refusal))),
        }
        Ok(())
    }

    /// Another message goes on in place of this one.
    fn replace(&self, message: &Message) -> PyResult<()> {
        self.intercepted(Interception::Replace(Box::new(message.owned()?)))
    }

    /// The message is dropped; its publisher sees success.
    fn discard(&self) -> PyResult<()> {
        self.intercepted(Interception::Drop)
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
