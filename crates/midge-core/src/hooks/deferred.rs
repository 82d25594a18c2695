//! Answers of hooks that come later.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use midge_codec::ReasonCode;

use super::{AuthReply, Refusal};
use crate::sync::{Condvar, Mutex};

/// The final answer of a deferred hook.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Allow,
    Pass,
    Deny(Refusal),
    Auth(AuthReply),
}

impl Answer {
    /// What is said against that about which the hook was asked.
    pub(crate) fn objection(self) -> Option<Refusal> {
        match self {
            Self::Allow | Self::Pass => None,
            Self::Deny(refusal) => Some(refusal),
            Self::Auth(_) => Some(Refusal::new(ReasonCode::NotAuthorized)),
        }
    }
}

#[derive(Debug, Default)]
struct Slot {
    state: Mutex<(Option<Answer>, Option<Waker>)>,
    answered: Condvar,
}

impl Slot {
    fn answer(&self, answer: Answer) -> bool {
        let mut state = self.state.lock();
        if state.0.is_some() {
            return false;
        }
        state.0 = Some(answer);
        let waker = state.1.take();
        drop(state);
        self.answered.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }
}

/// The waiting half of a deferred answer. One question waits for it, so there are no copies:
///
/// ```compile_fail
/// let (resolver, deferred) = midge_core::Deferred::new();
/// let copy = deferred.clone();
/// ```
#[derive(Debug)]
pub struct Deferred {
    slot: Arc<Slot>,
}

/// The answering half of a deferred answer. Dropped without an answer it says no.
#[derive(Debug)]
pub struct Resolver {
    slot: Arc<Slot>,
}

impl Deferred {
    /// A new pair.
    pub fn new() -> (Resolver, Self) {
        let slot = Arc::new(Slot::default());
        (Resolver { slot: slot.clone() }, Self { slot })
    }

    /// For the deadline of the question that waits.
    pub(crate) fn share(&self) -> Self {
        let slot = self.slot.clone();
        Self { slot }
    }

    /// Ends the waiting with a no: time is up, or the client is gone.
    pub(crate) fn expire(&self) {
        self.slot.answer(Answer::Deny(
            Refusal::new(ReasonCode::NotAuthorized)
                .text("no answer from the authorization in time"),
        ));
    }

    /// Waits for the answer on the calling thread.
    pub(crate) fn wait(&self, timeout: Duration) -> Answer {
        let mut state = self.slot.state.lock();
        if state.0.is_none() {
            let has = |state: &mut (Option<Answer>, Option<Waker>)| state.0.is_none();
            self.slot.answered.wait_while_for(&mut state, has, timeout);
        }
        drop(state);

        // Without an answer so far: from now on none counts.
        self.expire();
        let state = self.slot.state.lock();
        (state.0.clone()).unwrap_or_else(|| Answer::Deny(Refusal::new(ReasonCode::NotAuthorized)))
    }
}

/// Resolves to the answer.
pub(crate) struct Awaiting(pub(crate) Deferred);

impl Future for Awaiting {
    type Output = Answer;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        let mut state = self.0.slot.state.lock();
        match &state.0 {
            Some(answer) => Poll::Ready(answer.clone()),
            None => {
                state.1 = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Resolver {
    /// Whether the answer is still awaited: not after `hooks.timeout_ms`.
    pub fn is_open(&self) -> bool {
        self.slot.state.lock().0.is_none()
    }

    /// Yes.
    pub fn allow(self) {
        self.slot.answer(Answer::Allow);
    }

    /// No opinion: the next set of hooks is asked.
    pub fn pass(self) {
        self.slot.answer(Answer::Pass);
    }

    /// No.
    pub fn deny(self, refusal: Refusal) {
        self.slot.answer(Answer::Deny(refusal));
    }

    /// Answers a step of enhanced authentication.
    pub fn auth(self, reply: AuthReply) {
        self.slot.answer(Answer::Auth(reply));
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.slot
            .answer(Answer::Deny(Refusal::new(ReasonCode::NotAuthorized)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_was_waited_for_in_vain_is_not_awaited_any_more() {
        let (resolver, deferred) = Deferred::new();
        assert!(resolver.is_open());
        assert!(deferred.wait(Duration::ZERO).objection().is_some());
        assert!(!resolver.is_open());
        resolver.allow();
        assert!(deferred.wait(Duration::ZERO).objection().is_some());
    }

    #[test]
    fn an_answer_that_is_there_is_taken_at_once() {
        let (resolver, deferred) = Deferred::new();
        resolver.allow();
        assert!(deferred.wait(Duration::ZERO).objection().is_none());
    }
}
