//! What a thread does before it works for a broker.

use crate::{hub, message, outbox};

/// Has the calling thread make now what the core keeps for it and has a destructor, so that nothing
/// has to be registered later.
pub fn prepare_thread() {
    hub::prepare_thread();
    message::prepare_thread();
    outbox::prepare_thread();
}
