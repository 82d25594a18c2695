//! Hooks by the pull rule: the broker asks into a queue ([`Questions`]), Python threads take the questions
//! and answer them.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use midge::{
    ClientInfo, ConnectRequest, HookSet, Interception, MessageRef, Origin, ReasonCode, Refusal,
    SubscriptionOptions, TopicFilter, Verdict, Version,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::event::version;
use crate::message::Message;
use crate::questions::{Answer, Asked, Questions, Wanted};
use crate::{generation, wait};

/// The broker's end of one set of hooks. All sets of a broker share the questions and the threads.
pub(crate) struct Bridge {
    pub(crate) questions: Arc<Questions>,
    /// Place of the set in the order of registration.
    pub(crate) place: usize,
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

    /// Waits on the calling thread; `None` if no thread answers any more.
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
                Err(RecvTimeoutError::Timeout) if self.questions.is_retired() => {
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
            ..Asked::new("connect", self.place, answer)
        })
    }

    fn authorize_publish(&self, client: &ClientInfo, message: &MessageRef<'_>) -> Verdict {
        self.ask(|answer| Asked {
            client: Some(Arc::new(client.clone())),
            message: Some(message.into()),
            client_id: Some(client.client_id.to_string()),
            qos: message.qos as u8,
            ..Asked::new("publish", self.place, answer)
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
            ..Asked::new("subscribe", self.place, answer)
        })
    }

    fn authorize_receive(&self, client: &ClientInfo, message: &MessageRef<'_>) -> bool {
        if self.questions.is_asked_by_itself() {
            return true;
        }
        let asked = |answer| Asked {
            client: Some(Arc::new(client.clone())),
            message: Some(message.into()),
            client_id: Some(client.client_id.to_string()),
            qos: message.qos as u8,
            ..Asked::new("receive", self.place, answer)
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
            ..Asked::new("intercept", self.place, answer)
        };
        self.ask_now(Answer::Interception, asked)
            .unwrap_or_else(|| {
                let refusal = Refusal::new(ReasonCode::NotAuthorized);
                Interception::Refuse(refusal.text("the broker stops"))
            })
    }
}

/// What a set has: `auth`, `acl`, `intercept`, `receive`.
type Given = (bool, bool, bool, bool);

fn hook_set((auth, acl, intercept, receive): Given) -> HookSet {
    let acl_hooks = HookSet::AUTHORIZE_PUBLISH.union(HookSet::AUTHORIZE_SUBSCRIBE);

    [
        (auth, HookSet::AUTHENTICATE),
        (acl, acl_hooks),
        (intercept, HookSet::INTERCEPT_PUBLISH),
        (receive, HookSet::AUTHORIZE_RECEIVE),
    ]
    .into_iter()
    .filter(|(is_given, _)| *is_given)
    .fold(HookSet::NONE, |set, (_, hook)| set.union(hook))
}

/// The Python end: where the answering threads take questions from.
#[pyclass(frozen, module = "midge._midge")]
pub struct Hooks {
    pub(crate) questions: Arc<Questions>,
    /// In the order in which they are asked.
    pub(crate) sets: Vec<HookSet>,
    generation: u32,
}

#[pymethods]
impl Hooks {
    #[new]
    fn new(sets: Vec<Given>, threads: usize) -> Self {
        Self {
            questions: Arc::new(Questions::new(threads)),
            sets: sets.into_iter().map(hook_set).collect(),
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
        self.questions.limit().as_secs_f64()
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
        self.questions.retire();
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
    /// The place of the set that is asked.
    #[pyo3(get)]
    place: usize,
    #[pyo3(get)]
    client_id: Option<String>,
    #[pyo3(get)]
    username: Option<String>,
    #[pyo3(get)]
    password: Option<Py<PyBytes>>,
    #[pyo3(get)]
    peer: Option<String>,
    #[pyo3(get)]
    connection: u64,
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
            // The client of a receive question did not publish the message.
            let publisher = client_id.filter(|_| asked.kind != "receive");
            Py::new(py, Message::seen(&message.parts(), publisher, 0.0))
        });

        let connect = asked.connect.as_deref();
        let client = asked.client.as_deref();
        let topic = asked.message.as_ref().map(|message| message.topic.clone());
        Ok(Self {
            kind: asked.kind,
            place: asked.place,
            client_id: client
                .map(|client| client.client_id.to_string())
                .or(asked.client_id),
            username: client.and_then(|client| Some(client.username.as_deref()?.to_owned())),
            password: connect
                .and_then(|connect| connect.password.as_ref())
                .map(|password| PyBytes::new(py, password).unbind()),
            peer: client.map(|client| client.peer.to_string()),
            connection: client.map_or(0, |client| client.connection),
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
            // The receiver is gone when time is up.
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

    /// No opinion: the next set is asked. A message goes on unchanged.
    fn pass_on(&self) {
        match self.questions.answer(self.number) {
            Some(Answer::Verdict(resolver)) => resolver.pass(),
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
