//! Answers of callbacks besides yes and no: a refusal with its reason, an answer that comes later.

use std::cell::RefCell;
use std::ffi::c_char;
use std::sync::Arc;

use broker::{ReasonCode, Refusal, Resolver, Verdict};
use parking_lot::Mutex;

use crate::ffi::{self, enter};
use crate::inside;
use crate::status::{
    Fault, MIDGE_E_CLOSED, MIDGE_E_DENIED, MIDGE_E_STATE, MIDGE_E_WOULD_BLOCK, MIDGE_OK,
    MIDGE_PASS, midge_status,
};
use crate::table::Table;

/// An answer that is still owed. A number, not a pointer; it works once.
/// @since 0.1
#[repr(C)]
#[derive(Clone, Copy)]
pub struct midge_decision {
    /// The number.
    pub id: u64,
}

static DECISIONS: Table<Pending> = Table::new("decision", 4);

/// An answer that is owed.
struct Pending(Mutex<Option<Resolver>>);

impl Pending {
    fn is_open(&self) -> bool {
        self.0.lock().as_ref().is_some_and(Resolver::is_open)
    }
}

/// Gives an answer that is owed its number.
pub(crate) fn owe(resolver: Resolver) -> u64 {
    DECISIONS.add(Arc::new(Pending(Mutex::new(Some(resolver)))))
}

/// Forgets an answer that is no longer waited for; one that was still owed is a no.
pub(crate) fn forget(id: u64) {
    let _ = DECISIONS.remove(id);
}

/// Whether an answer is still waited for.
pub(crate) fn is_owed(id: u64) -> bool {
    DECISIONS.find(id).is_ok_and(|pending| pending.is_open())
}

/// Takes the right to answer.
fn take(d: midge_decision) -> Result<Resolver, Fault> {
    let late = || Fault::new(MIDGE_E_CLOSED, "the decision comes too late");
    DECISIONS.find(d.id)?;
    let pending = DECISIONS.remove(d.id)?.ok_or_else(late)?;
    let resolver = pending.0.lock().take().ok_or_else(late)?;
    if !resolver.is_open() {
        return Err(late());
    }
    Ok(resolver)
}

/// A question that a callback of this thread is answering.
struct Question {
    /// How deep in callbacks it is asked: a callback inside a callback answers its own one only.
    depth: u32,
    may_defer: bool,
    refusal: Option<Refusal>,
    deferred: Option<(u64, Verdict)>,
}

/// The answer of a callback.
pub(crate) struct Answer {
    status: midge_status,
    refusal: Option<Refusal>,
    deferred: Option<(u64, Verdict)>,
}

thread_local! {
    static QUESTIONS: RefCell<Vec<Question>> = const { RefCell::new(Vec::new()) };
}

/// Takes the question back, also when the callback panics.
struct Asked;

impl Drop for Asked {
    fn drop(&mut self) {
        let question = pop();
        drop(question);
    }
}

fn pop() -> Option<Question> {
    QUESTIONS
        .try_with(|questions| questions.borrow_mut().pop())
        .ok()
        .flatten()
}

/// Does something with the question that the innermost callback of this thread answers.
fn question<T>(change: impl FnOnce(&mut Question) -> Result<T, Fault>) -> Result<T, Fault> {
    let not_asked = || {
        let what = "no callback that decides is under way on this thread";
        Fault::new(MIDGE_E_STATE, what)
    };
    QUESTIONS
        .try_with(|questions| {
            let mut questions = questions.borrow_mut();
            let asked = questions.last_mut();
            let asked = asked.filter(|question| question.depth == inside::depth());
            change(asked.ok_or_else(not_asked)?)
        })
        .map_err(|_| not_asked())?
}

/// Asks a callback of the host. `deferred` is the later answer that it may announce, if there is one
/// already.
pub(crate) fn ask(
    may_defer: bool,
    deferred: Option<(u64, Verdict)>,
    function: impl FnOnce() -> midge_status,
) -> Answer {
    let question = Question {
        depth: inside::depth() + 1,
        may_defer,
        refusal: None,
        deferred,
    };

    let _ = QUESTIONS.try_with(|questions| questions.borrow_mut().push(question));
    let asked = Asked;
    let status = inside::run(function);
    std::mem::forget(asked);

    let question = pop();
    let (refusal, deferred) = question.map_or((None, None), |q| (q.refusal, q.deferred));
    Answer {
        status,
        refusal,
        deferred,
    }
}

impl Answer {
    pub(crate) fn is_yes(&self) -> bool {
        matches!(self.status, MIDGE_OK | MIDGE_PASS)
    }

    /// The refusal that the callback has spelt out.
    pub(crate) fn refusal(self) -> Option<Refusal> {
        self.refusal
    }

    /// The verdict; with it the number of an answer that is owed from now on.
    pub(crate) fn verdict(self) -> (Verdict, Option<u64>) {
        match (self.status, self.deferred) {
            (MIDGE_E_WOULD_BLOCK, Some((id, verdict))) => (verdict, Some(id)),
            (status, deferred) => {
                if let Some((id, _)) = deferred {
                    forget(id);
                }
                let verdict = match (status, self.refusal) {
                    (MIDGE_OK, _) => Verdict::Allow,
                    (MIDGE_PASS, _) => Verdict::Pass,
                    (_, Some(refusal)) => Verdict::Deny(refusal),
                    (_, None) => Verdict::deny(),
                };
                (verdict, None)
            }
        }
    }
}

/// A refusal as C describes it.
///
/// # Safety
/// The texts are NULL or NUL-terminated.
unsafe fn refusal(
    reason: u8,
    text: *const c_char,
    server_reference: *const c_char,
) -> Result<Refusal, Fault> {
    let code = ReasonCode::from_u8(reason).filter(|code| code.is_error());
    let code = code.ok_or_else(|| {
        Fault::invalid(format!(
            "reason is {reason:#04x}, no MQTT reason code of 0x80 or above"
        ))
    })?;
    let mut refusal = Refusal::new(code);

    // SAFETY: as the caller promises.
    let (text, server) = unsafe {
        (
            ffi::optional_text(text, "text")?,
            ffi::optional_text(server_reference, "server_reference")?,
        )
    };

    for (text, name) in [(text, "text"), (server, "server_reference")] {
        if text.is_some_and(|text| text.len() > usize::from(u16::MAX)) {
            return Err(Fault::invalid(format!("{name} is longer than 65535 bytes")));
        }
    }

    if let Some(text) = text {
        refusal = refusal.text(text);
    }
    if let Some(server) = server {
        refusal = refusal.server_reference(server);
    }

    Ok(refusal)
}

/// Says why a callback refuses: `return midge_refuse(MIDGE_RC_BANNED, "until Monday", NULL);` in
/// on_auth, on_acl or on_publish, on the thread of the callback. The last call holds. Without one
/// a refusal is MIDGE_RC_NOT_AUTHORIZED, and what on_publish drops looks like success to a client.
/// A packet that cannot carry the reason code carries another one: MIDGE_EV_REPLACED.
///
/// @param reason            MQTT reason code of 0x80 or above, a MIDGE_RC_* number
/// @param text              may be NULL; Reason String for clients of MQTT 5.0; copied
/// @param server_reference  may be NULL; Server Reference, sent with MIDGE_RC_USE_ANOTHER_SERVER and
///                          MIDGE_RC_SERVER_MOVED in CONNACK and DISCONNECT; copied
/// @return MIDGE_E_DENIED if it was taken; MIDGE_E_INVALID, MIDGE_E_STATE (no callback that decides
///         is under way on this thread). Each of them is a no when the callback returns it.
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn midge_refuse(
    reason: u8,
    text: *const c_char,
    server_reference: *const c_char,
) -> midge_status {
    let taken = enter(|| {
        // SAFETY: the host's strings, or NULL.
        let refusal = unsafe { refusal(reason, text, server_reference) }?;
        question(|question| {
            question.refusal = Some(refusal);
            Ok(())
        })
    });
    match taken {
        MIDGE_OK => MIDGE_E_DENIED,
        failed => failed,
    }
}

/// Puts an answer off: `return midge_decision_defer(&job->decision);` in on_auth, or in on_acl for
/// MIDGE_ACL_PUBLISH and MIDGE_ACL_SUBSCRIBE, on the thread of the callback. Give it later, from any
/// thread, with midge_decision_complete() or midge_decision_refuse(). Only this client waits, its
/// packets in their order; for what the host publishes in a client's name the publishing call waits.
/// No answer within hooks.timeout_ms is a no. Arguments of the callback are gone when it returns: copy
/// what is needed. In on_auth it gives the decision that the callback has got.
///
/// @param d  receives the decision; if the callback then returns anything but MIDGE_E_WOULD_BLOCK, that
///           is the answer and d is stale
/// @return MIDGE_E_WOULD_BLOCK if it was put off; MIDGE_E_INVALID, MIDGE_E_STATE (no callback that may
///         answer later is under way on this thread). Each but MIDGE_E_WOULD_BLOCK is a no when the
///         callback returns it.
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn midge_decision_defer(d: *mut midge_decision) -> midge_status {
    let taken = enter(|| {
        ffi::not_null(d, "d")?;
        let id = question(|question| {
            if !question.may_defer {
                let what = "this callback must answer at once";
                return Err(Fault::new(MIDGE_E_STATE, what));
            }
            if let Some((id, _)) = &question.deferred {
                return Ok(*id);
            }
            let (resolver, verdict) = Verdict::defer();
            let id = owe(resolver);
            question.deferred = Some((id, verdict));
            Ok(id)
        })?;
        // SAFETY: not NULL, so writable.
        unsafe { ffi::write(d, midge_decision { id }) };
        Ok(())
    });

    match taken {
        MIDGE_OK => MIDGE_E_WOULD_BLOCK,
        failed => failed,
    }
}

/// Gives the answer that a callback has owed. Any thread; works once.
///
/// @param verdict  MIDGE_OK is a yes, MIDGE_PASS no opinion, everything else a no
/// @return MIDGE_OK, MIDGE_E_CLOSED (answered already, too late, or the broker is gone),
///         MIDGE_E_INVALID (verdict is MIDGE_E_WOULD_BLOCK, or a null handle)
/// @since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn midge_decision_complete(
    d: midge_decision,
    verdict: midge_status,
) -> midge_status {
    enter(|| {
        if verdict == MIDGE_E_WOULD_BLOCK {
            return Err(Fault::invalid(
                "verdict is MIDGE_E_WOULD_BLOCK: it has been put off already",
            ));
        }
        let resolver = take(d)?;
        match verdict {
            MIDGE_OK => resolver.allow(),
            MIDGE_PASS => resolver.pass(),
            MIDGE_E_DENIED => resolver.deny(Refusal::new(ReasonCode::NotAuthorized)),
            _ => resolver.deny(Refusal::new(ReasonCode::UnspecifiedError)),
        }
        Ok(())
    })
}

/// Answers with a no and says why. Any thread; works once.
///
/// @param reason            as for midge_refuse()
/// @param text              may be NULL; as for midge_refuse()
/// @param server_reference  may be NULL; as for midge_refuse()
/// @return MIDGE_OK, MIDGE_E_CLOSED (answered already, too late, or the broker is gone),
///         MIDGE_E_INVALID; then the answer is still owed
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn midge_decision_refuse(
    d: midge_decision,
    reason: u8,
    text: *const c_char,
    server_reference: *const c_char,
) -> midge_status {
    enter(|| {
        // SAFETY: the host's strings, or NULL.
        let refusal = unsafe { refusal(reason, text, server_reference) }?;
        take(d)?.deny(refusal);
        Ok(())
    })
}

/// Gives up an answer that is owed: it becomes a no with MIDGE_RC_NOT_AUTHORIZED. To be called instead
/// of midge_decision_complete(), not after it. Any thread. The null handle is
/// nothing.
/// @return MIDGE_OK, MIDGE_E_CLOSED (answered already, too late, or the broker is gone),
///         MIDGE_E_FORKED
/// @since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn midge_decision_free(d: midge_decision) -> midge_status {
    enter(|| {
        if d.id != 0 {
            take(d)?.deny(Refusal::new(ReasonCode::NotAuthorized));
        }
        Ok(())
    })
}
