/* midge.h - the MQTT broker that lives in your process. C99 and later, C++11 and later.
 * Generated from the Rust sources; do not edit.
 *
 * CONTRACT (docs/c.md has it at length)
 *  1 Handles   Brokers, clients, queues, decisions, receipts and snapshots are 64-bit numbers, never
 *              pointers, and no number is used twice: a stale, doubly freed or raced handle gives
 *              MIDGE_E_CLOSED. {0} is the null handle; midge_*_free({0}) is nothing.
 *  2 Objects   Configurations and messages are pointers: T **out = you own it and free or unref it
 *              once; NULL may be freed.
 *  3 Borrowed  Pointers in midge_bytes, midge_event and callback arguments are valid until the
 *              callback returns, midge_event_clear(), the message's last unref, or the free of the
 *              snapshot or receipt.
 *  4 Errors    0 is success, negative is failure. Results are written on success only, and nothing
 *              is done in part. midge_last_error() has the details of the last failure on this
 *              thread, never payloads or passwords. midge_refuse() and midge_decision_defer() give what
 *              their callback is to return.
 *  5 Threads   Every function from any thread at any time, but one configuration by one thread at a
 *              time. No function is a cancellation point. midge_queue_wake() is async-signal-safe, the
 *              only one.
 *  6 Callbacks No lock of the broker is held. Event callbacks run on their queue's own thread. Hooks
 *              run on the thread that handles the packet, and for what the host publishes on the
 *              thread that publishes. They must not throw, longjmp or pthread_exit. They may call
 *              everything but what is marked [blocking]: that gives MIDGE_E_REENTRANT.
 *  7 user_free Called exactly once, after the last callback with that user has returned.
 *  8 Stop      midge_broker_stop() may be called again; after midge_broker_join() gave MIDGE_OK no
 *              thread, port or callback of the broker is left. Queues stay readable until empty.
 *  9 Process   No signal handlers, environment, stdout, stderr, atexit, working directory or
 *              allocator. All signals are blocked on the library's threads; no write raises SIGPIPE
 *              on any thread. Descriptors are close-on-exec. dlclose() is not supported. On Windows
 *              descriptors are sockets, which child processes do not inherit, midge.dll stays loaded
 *              once it was used, and MIDGE_STATIC is to be defined for the static library.
 * 10 fork()    In the child of a process that has used the library every call that gives a status
 *              gives MIDGE_E_FORKED and frees nothing; exec is fine.
 * 11 Memory    What the caller gives a size to fails with MIDGE_E_NOMEM, and nothing has changed; a
 *              client that asks for too much loses its connection. Without memory for anything small
 *              the process aborts (docs/c-process.md).
 *
 * Timeouts are in milliseconds: 0 and less does not wait, MIDGE_WAIT_FOREVER waits without limit.
 * Texts are UTF-8. Structures that begin with struct_size grow at their end only: set it to sizeof.
 */
