//! What the hooks of a script answer, as a function of names, so that the model can evaluate it.

use std::hash::{DefaultHasher, Hash, Hasher};

/// How an answer is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// At once.
    Now,
    /// Later, from another place.
    Later,
    /// The hook panics, which means no.
    Panic,
}

/// What the hook that intercepts publishes does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The message goes on.
    Forward,
    /// The message goes on with a mark.
    Mark,
    /// The message is dropped; the publisher sees success.
    Drop,
    /// The publisher sees a refusal.
    Refuse,
}

/// The client that only watches: hooks leave it alone.
pub const WATCHER: &str = "c0";

/// The rights of a script. Rights are a function of client and topic; the manner in which they are
/// told is one of the very message, so that a repetition may be answered in another manner.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Makes the rights of one script differ from those of another.
    pub seed: u64,
    /// The hooks that decide about CONNECT, PUBLISH and SUBSCRIBE are registered.
    pub authorizes: bool,
    /// The hook that intercepts publishes is registered.
    pub intercepts: bool,
    /// The hook that decides per receiver is registered.
    pub receives: bool,
    /// The hook that intercepts deliveries is registered.
    pub delivers: bool,
    /// Answers may be deferred.
    pub defers: bool,
    /// Hooks may panic.
    pub panics: bool,
    /// There are two sets of hooks: each question is answered by one of them, and the other passes.
    pub halves: bool,
}

impl Access {
    /// Whether any hook is registered.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.authorizes || self.intercepts || self.receives || self.delivers
    }

    fn draw(&self, what: &str, of: impl Hash, below: u64) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.seed, what, of).hash(&mut hasher);
        hasher.finish() % below
    }

    /// Whether a set of hooks is the one that answers a question: of two, one does.
    #[must_use]
    pub fn is_of(&self, set: usize, what: &str, of: impl Hash) -> bool {
        !self.halves || self.draw("half", (what, of), 2) == set as u64
    }

    /// In which manner a question is answered.
    #[must_use]
    pub fn manner(&self, what: &str, of: impl Hash) -> Manner {
        match self.draw(what, of, 16) {
            0 if self.panics => Manner::Panic,
            1..=3 if self.defers => Manner::Later,
            _ => Manner::Now,
        }
    }

    /// Whether a client may publish to a topic.
    #[must_use]
    pub fn may_publish(&self, client: &str, topic: &str) -> bool {
        !self.authorizes || !topic.starts_with("t/") || self.draw("publish", (client, topic), 6) > 0
    }

    /// Whether a client may subscribe to a filter.
    #[must_use]
    pub fn may_subscribe(&self, client: &str, filter: &str) -> bool {
        !self.authorizes || client == WATCHER || self.draw("subscribe", (client, filter), 8) > 0
    }

    /// Whether a client may receive from a topic, as far as that does not change.
    #[must_use]
    pub fn may_receive(&self, client: &str, topic: &str) -> bool {
        !self.receives || topic.starts_with("r/") || self.draw("receive", (client, topic), 5) > 0
    }

    /// Whether the hook that decides per receiver panics when it is asked, which means no. One answer
    /// for all messages with this number, so that the model can tell.
    #[must_use]
    pub fn receive_panics(&self, client: &str, topic: &str) -> bool {
        self.receives
            && self.panics
            && topic.starts_with("t/")
            && self.draw("receive panic", (client, topic), 10) == 0
    }

    /// What becomes of a published message.
    #[must_use]
    pub fn change(&self, topic: &str) -> Change {
        if !self.intercepts || !topic.starts_with("t/") {
            return Change::Forward;
        }
        match self.draw("change", topic, 8) {
            0 => Change::Drop,
            1 => Change::Refuse,
            2..=4 => Change::Mark,
            _ => Change::Forward,
        }
    }

    /// What becomes of a message on its way to a client.
    #[must_use]
    pub fn delivery(&self, client: &str, topic: &str) -> Change {
        if !self.delivers || topic.starts_with("r/") {
            return Change::Forward;
        }
        match self.draw("delivery", (client, topic), 8) {
            0 => Change::Drop,
            1..=3 => Change::Mark,
            _ => Change::Forward,
        }
    }

    /// Whether a client gets messages of a topic at all, as the hooks decide.
    #[must_use]
    pub fn reaches(&self, client: &str, topic: &str) -> bool {
        self.may_receive(client, topic)
            && !self.receive_panics(client, topic)
            && self.delivery(client, topic) != Change::Drop
    }
}
