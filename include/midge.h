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

#ifndef MIDGE_H
#define MIDGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32) && !defined(MIDGE_STATIC)
#define MIDGE_API __declspec(dllimport)
#elif defined(__GNUC__)
#define MIDGE_API __attribute__((visibility("default")))
#else
#define MIDGE_API
#endif

#if defined(__GNUC__)
#define MIDGE_MUST_USE __attribute__((warn_unused_result))
#else
#define MIDGE_MUST_USE
#endif

/** For timeouts: without limit. Any other negative timeout is one that is over. */
#define MIDGE_WAIT_FOREVER INT32_MIN

/** For lengths of texts: it is NUL-terminated. */
#define MIDGE_NUL_TERMINATED SIZE_MAX

/** Version of this header as a number; compare it with midge_version_number(). */
#define MIDGE_VERSION_NUMBER (MIDGE_VERSION_MAJOR * 1000000 + MIDGE_VERSION_MINOR * 1000 + MIDGE_VERSION_PATCH)

#ifdef __cplusplus
#define MIDGE_SIZE_OF(type) static_cast<uint32_t>(sizeof(type))
#else
#define MIDGE_SIZE_OF(type) ((uint32_t)sizeof(type))
#endif

/** Start values of structures. */
#define MIDGE_PUBLISH_ARGS_INIT                                                                                        \
  {                                                                                                                    \
    MIDGE_SIZE_OF(midge_publish_args), 0, 0, 0, 0, NULL, NULL, 0, NULL, NULL, 0, 0, NULL, NULL, {NULL, 0}, NULL, 0, 0, \
        0, 0                                                                                                           \
  }
#define MIDGE_SUBSCRIBE_ARGS_INIT \
  { MIDGE_SIZE_OF(midge_subscribe_args), 2, 0, 0, 0, 0, 0, NULL, 0 }
#define MIDGE_EVENT_INIT                                                                                           \
  {                                                                                                                \
    MIDGE_SIZE_OF(midge_event), 0, NULL, 0, 0, 0, 0, 0, 0, 0, 0, {NULL, 0}, {NULL, 0}, {NULL, 0}, {NULL, 0}, NULL, \
        {NULL, 0}, {NULL, 0}, 0, 0, 0                                                                              \
  }
#define MIDGE_HOOKS_INIT \
  { MIDGE_SIZE_OF(midge_hooks), 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL }

/** For tools that look for races and do not see the library's locks: what a thread did before
 *  MIDGE_HAPPENS_BEFORE(p) is done when another one has come to MIDGE_HAPPENS_AFTER(p), such as before a
 *  user pointer is given to the library, and first in a callback. Nothing without ThreadSanitizer, or
 *  helgrind and DRD (define MIDGE_VALGRIND, which needs Valgrind's headers). */
#if defined(__SANITIZE_THREAD__)
#define MIDGE_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define MIDGE_TSAN 1
#endif
#endif
#if defined(MIDGE_TSAN)
#ifdef __cplusplus
extern "C" {
#endif
void __tsan_acquire(void *address);
void __tsan_release(void *address);
#ifdef __cplusplus
}
#endif
#define MIDGE_HAPPENS_BEFORE(pointer) __tsan_release(pointer)
#define MIDGE_HAPPENS_AFTER(pointer) __tsan_acquire(pointer)
#elif defined(MIDGE_VALGRIND)
#include <valgrind/helgrind.h>
#define MIDGE_HAPPENS_BEFORE(pointer) ANNOTATE_HAPPENS_BEFORE(pointer)
#define MIDGE_HAPPENS_AFTER(pointer) ANNOTATE_HAPPENS_AFTER(pointer)
#else
#define MIDGE_HAPPENS_BEFORE(pointer) ((void)(pointer))
#define MIDGE_HAPPENS_AFTER(pointer) ((void)(pointer))
#endif

/**
 * Retained messages that match come first, at every subscribe.
 */
#define MIDGE_RETAIN_SEND 0

/**
 * Retained messages that match come first, unless it replaces a subscription.
 */
#define MIDGE_RETAIN_SEND_IF_NEW 1

/**
 * Retained messages do not come.
 */
#define MIDGE_RETAIN_DO_NOT_SEND 2

/**
 * A message for a subscription of a client that uses the queue. Always delivered, whatever the
 * mask of the queue.
 */
#define MIDGE_EV_MESSAGE 1

/**
 * A client connected (status MIDGE_OK; text is its user name, code 1 if it has resumed a session, else
 * 0, detail its protocol: 3, 4 or 5), or a connection was refused (MIDGE_E_DENIED; code is the MQTT
 * reason code, detail a MIDGE_END_* number, text says why, refusal is the text of the refusal).
 * username is the user name either way.
 */
#define MIDGE_EV_CONNECT (1 << 1)

/**
 * A connected client's connection ended. code is the MQTT reason code, detail a MIDGE_END_* number,
 * text says why.
 */
#define MIDGE_EV_DISCONNECT (1 << 2)

/**
 * A subscription was made (MIDGE_OK; topic is the filter, code the granted QoS) or refused
 * (MIDGE_E_DENIED; code is the MQTT reason code).
 */
#define MIDGE_EV_SUBSCRIBE (1 << 3)

/**
 * A subscription was removed. topic is the filter.
 */
#define MIDGE_EV_UNSUBSCRIBE (1 << 4)

/**
 * A client has acknowledged a QoS 1 or 2 message.
 */
#define MIDGE_EV_ACK (1 << 5)

/**
 * A message was dropped. code is a MIDGE_DROP_* number, text its name.
 */
#define MIDGE_EV_DROP (1 << 6)

/**
 * A message was accepted. code is the number of receivers. One event for each message.
 */
#define MIDGE_EV_PUBLISH (1 << 7)

/**
 * A message was written to a client. code is the QoS. One event for each copy.
 */
#define MIDGE_EV_DELIVER (1 << 8)

/**
 * A retained message expired.
 */
#define MIDGE_EV_EXPIRE (1 << 9)

/**
 * A session ended: it expired, was cleared or replaced.
 */
#define MIDGE_EV_SESSION_END (1 << 10)

/**
 * A will was published.
 */
#define MIDGE_EV_WILL (1 << 11)

/**
 * A reason code that a callback or the host gave cannot stand in its packet, and the client got
 * another one. code is the one that was sent, tag the one that was given, detail a MIDGE_PACKET_*
 * number, text its name, for example "PUBACK".
 */
#define MIDGE_EV_REPLACED (1 << 12)

/**
 * All kinds.
 */
#define MIDGE_EV_ALL 8191

/**
 * A client publishes to a topic (its will included, at CONNECT).
 */
#define MIDGE_ACL_PUBLISH 1

/**
 * A client subscribes to a filter.
 */
#define MIDGE_ACL_SUBSCRIBE 2

/**
 * A client is about to get a message. Asked for each receiver of each message: must be cheap.
 */
#define MIDGE_ACL_RECEIVE 3

/**
 * Nothing.
 */
#define MIDGE_LOG_OFF 0

/**
 * Something is broken: a panic that was caught, a listener that has ended.
 */
#define MIDGE_LOG_ERROR 1

/**
 * Something that its host should look at.
 */
#define MIDGE_LOG_WARN 2

/**
 * Something worth knowing.
 */
#define MIDGE_LOG_INFO 3

/**
 * For looking into the library.
 */
#define MIDGE_LOG_DEBUG 4

/**
 * From a client, by PUBLISH or through midge_client_publish().
 */
#define MIDGE_ORIGIN_CLIENT 0

/**
 * From the program that the broker lives in.
 */
#define MIDGE_ORIGIN_HOST 1

/**
 * The will of a client.
 */
#define MIDGE_ORIGIN_WILL 2

/**
 * From the broker itself: the $SYS topics.
 */
#define MIDGE_ORIGIN_BROKER 3

/**
 * From a bridge to another broker.
 */
#define MIDGE_ORIGIN_BRIDGE 4

/**
 * Payload Format Indicator, a number: 1 if the payload is UTF-8.
 */
#define MIDGE_PROP_PAYLOAD_FORMAT 1

/**
 * Message Expiry Interval, a number: the seconds that were left when the message was handed over.
 */
#define MIDGE_PROP_MESSAGE_EXPIRY 2

/**
 * Content Type, a text.
 */
#define MIDGE_PROP_CONTENT_TYPE 3

/**
 * Response Topic, a text.
 */
#define MIDGE_PROP_RESPONSE_TOPIC 8

/**
 * Correlation Data, bytes.
 */
#define MIDGE_PROP_CORRELATION_DATA 9

/**
 * User Property, key and value; there may be many.
 */
#define MIDGE_PROP_USER 38

/**
 * A reason that this version of the header has no number for; the text of the event names it.
 */
#define MIDGE_END_OTHER 0

/**
 * The client sent DISCONNECT; code is its reason code.
 */
#define MIDGE_END_BY_CLIENT 1

/**
 * The connection was closed or broke without DISCONNECT.
 */
#define MIDGE_END_CONNECTION_LOST 2

/**
 * Nothing came for one and a half times the keep alive.
 */
#define MIDGE_END_KEEP_ALIVE_TIMEOUT 3

/**
 * No CONNECT came in time.
 */
#define MIDGE_END_CONNECT_TIMEOUT 4

/**
 * The same client identifier connected again.
 */
#define MIDGE_END_TAKEN_OVER 5

/**
 * The client broke the protocol; text says what was wrong.
 */
#define MIDGE_END_PROTOCOL_VIOLATION 6

/**
 * CONNECT was refused.
 */
#define MIDGE_END_REFUSED 7

/**
 * The host or a callback ended it.
 */
#define MIDGE_END_BY_SERVER 8

/**
 * The client did not read fast enough and overflow.session says to disconnect.
 */
#define MIDGE_END_TOO_SLOW 9

/**
 * limits.total_bytes was passed and more was held for this connection than for any other.
 */
#define MIDGE_END_MEMORY_FULL 10

/**
 * The broker stops.
 */
#define MIDGE_END_SHUTDOWN 11

/**
 * Something in the broker failed; the connection was ended to contain it.
 */
#define MIDGE_END_INTERNAL_ERROR 12

/**
 * MQTT reason code: Success.
 */
#define MIDGE_RC_SUCCESS 0

/**
 * MQTT reason code: Granted QoS 1.
 */
#define MIDGE_RC_GRANTED_QOS_1 1

/**
 * MQTT reason code: Granted QoS 2.
 */
#define MIDGE_RC_GRANTED_QOS_2 2

/**
 * MQTT reason code: Disconnect with Will Message.
 */
#define MIDGE_RC_DISCONNECT_WITH_WILL 4

/**
 * MQTT reason code: No matching subscribers.
 */
#define MIDGE_RC_NO_MATCHING_SUBSCRIBERS 16

/**
 * MQTT reason code: No subscription existed.
 */
#define MIDGE_RC_NO_SUBSCRIPTION_EXISTED 17

/**
 * MQTT reason code: Continue authentication.
 */
#define MIDGE_RC_CONTINUE_AUTHENTICATION 24

/**
 * MQTT reason code: Re-authenticate.
 */
#define MIDGE_RC_RE_AUTHENTICATE 25

/**
 * MQTT reason code: Unspecified error.
 */
#define MIDGE_RC_UNSPECIFIED_ERROR 128

/**
 * MQTT reason code: Malformed Packet.
 */
#define MIDGE_RC_MALFORMED_PACKET 129

/**
 * MQTT reason code: Protocol Error.
 */
#define MIDGE_RC_PROTOCOL_ERROR 130

/**
 * MQTT reason code: Implementation specific error.
 */
#define MIDGE_RC_IMPLEMENTATION_SPECIFIC_ERROR 131

/**
 * MQTT reason code: Unsupported Protocol Version.
 */
#define MIDGE_RC_UNSUPPORTED_PROTOCOL_VERSION 132

/**
 * MQTT reason code: Client Identifier not valid.
 */
#define MIDGE_RC_CLIENT_IDENTIFIER_NOT_VALID 133

/**
 * MQTT reason code: Bad User Name or Password.
 */
#define MIDGE_RC_BAD_USER_NAME_OR_PASSWORD 134

/**
 * MQTT reason code: Not authorized.
 */
#define MIDGE_RC_NOT_AUTHORIZED 135

/**
 * MQTT reason code: Server unavailable.
 */
#define MIDGE_RC_SERVER_UNAVAILABLE 136

/**
 * MQTT reason code: Server busy.
 */
#define MIDGE_RC_SERVER_BUSY 137

/**
 * MQTT reason code: Banned.
 */
#define MIDGE_RC_BANNED 138

/**
 * MQTT reason code: Server shutting down.
 */
#define MIDGE_RC_SERVER_SHUTTING_DOWN 139

/**
 * MQTT reason code: Bad authentication method.
 */
#define MIDGE_RC_BAD_AUTHENTICATION_METHOD 140

/**
 * MQTT reason code: Keep Alive timeout.
 */
#define MIDGE_RC_KEEP_ALIVE_TIMEOUT 141

/**
 * MQTT reason code: Session taken over.
 */
#define MIDGE_RC_SESSION_TAKEN_OVER 142

/**
 * MQTT reason code: Topic Filter invalid.
 */
#define MIDGE_RC_TOPIC_FILTER_INVALID 143

/**
 * MQTT reason code: Topic Name invalid.
 */
#define MIDGE_RC_TOPIC_NAME_INVALID 144

/**
 * MQTT reason code: Packet Identifier in use.
 */
#define MIDGE_RC_PACKET_IDENTIFIER_IN_USE 145

/**
 * MQTT reason code: Packet Identifier not found.
 */
#define MIDGE_RC_PACKET_IDENTIFIER_NOT_FOUND 146

/**
 * MQTT reason code: Receive Maximum exceeded.
 */
#define MIDGE_RC_RECEIVE_MAXIMUM_EXCEEDED 147

/**
 * MQTT reason code: Topic Alias invalid.
 */
#define MIDGE_RC_TOPIC_ALIAS_INVALID 148

/**
 * MQTT reason code: Packet too large.
 */
#define MIDGE_RC_PACKET_TOO_LARGE 149

/**
 * MQTT reason code: Message rate too high.
 */
#define MIDGE_RC_MESSAGE_RATE_TOO_HIGH 150

/**
 * MQTT reason code: Quota exceeded.
 */
#define MIDGE_RC_QUOTA_EXCEEDED 151

/**
 * MQTT reason code: Administrative action.
 */
#define MIDGE_RC_ADMINISTRATIVE_ACTION 152

/**
 * MQTT reason code: Payload format invalid.
 */
#define MIDGE_RC_PAYLOAD_FORMAT_INVALID 153

/**
 * MQTT reason code: Retain not supported.
 */
#define MIDGE_RC_RETAIN_NOT_SUPPORTED 154

/**
 * MQTT reason code: QoS not supported.
 */
#define MIDGE_RC_QOS_NOT_SUPPORTED 155

/**
 * MQTT reason code: Use another server.
 */
#define MIDGE_RC_USE_ANOTHER_SERVER 156

/**
 * MQTT reason code: Server moved.
 */
#define MIDGE_RC_SERVER_MOVED 157

/**
 * MQTT reason code: Shared Subscriptions not supported.
 */
#define MIDGE_RC_SHARED_SUBSCRIPTIONS_NOT_SUPPORTED 158

/**
 * MQTT reason code: Connection rate exceeded.
 */
#define MIDGE_RC_CONNECTION_RATE_EXCEEDED 159

/**
 * MQTT reason code: Maximum connect time.
 */
#define MIDGE_RC_MAXIMUM_CONNECT_TIME 160

/**
 * MQTT reason code: Subscription Identifiers not supported.
 */
#define MIDGE_RC_SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED 161

/**
 * MQTT reason code: Wildcard Subscriptions not supported.
 */
#define MIDGE_RC_WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED 162

/**
 * MQTT control packet type: CONNACK.
 */
#define MIDGE_PACKET_CONNACK 2

/**
 * MQTT control packet type: PUBACK.
 */
#define MIDGE_PACKET_PUBACK 4

/**
 * MQTT control packet type: PUBREC.
 */
#define MIDGE_PACKET_PUBREC 5

/**
 * MQTT control packet type: PUBREL.
 */
#define MIDGE_PACKET_PUBREL 6

/**
 * MQTT control packet type: PUBCOMP.
 */
#define MIDGE_PACKET_PUBCOMP 7

/**
 * MQTT control packet type: SUBACK.
 */
#define MIDGE_PACKET_SUBACK 9

/**
 * MQTT control packet type: UNSUBACK.
 */
#define MIDGE_PACKET_UNSUBACK 11

/**
 * MQTT control packet type: DISCONNECT.
 */
#define MIDGE_PACKET_DISCONNECT 14

/**
 * MQTT control packet type: AUTH.
 */
#define MIDGE_PACKET_AUTH 15

/**
 * The client's queue is full.
 */
#define MIDGE_DROP_QUEUE_FULL 0

/**
 * All queues together are full.
 */
#define MIDGE_DROP_TOTAL_QUEUE_FULL 1

/**
 * Larger than the client's Maximum Packet Size.
 */
#define MIDGE_DROP_PACKET_TOO_LARGE 2

/**
 * QoS 0 and the client is not connected.
 */
#define MIDGE_DROP_NOT_CONNECTED 3

/**
 * It expired before it could be sent.
 */
#define MIDGE_DROP_EXPIRED 4

/**
 * A callback refused it.
 */
#define MIDGE_DROP_REFUSED_BY_HOOK 5

/**
 * The publisher may not publish to this topic.
 */
#define MIDGE_DROP_NOT_AUTHORIZED 6

/**
 * The session ended with the message still waiting.
 */
#define MIDGE_DROP_SESSION_ENDED 7

/**
 * The retained store is full.
 */
#define MIDGE_DROP_RETAINED_FULL 8

/**
 * The publisher sends too fast.
 */
#define MIDGE_DROP_RATE_EXCEEDED 9

/**
 * A queue of the host is full.
 */
#define MIDGE_DROP_OBSERVER_FULL 10

/**
 * The receiver refused it with a reason code.
 */
#define MIDGE_DROP_REFUSED_BY_RECEIVER 11

/**
 * No more memory may be held for clients (limits.total_bytes).
 */
#define MIDGE_DROP_MEMORY_FULL 12

/**
 * A client's message or will to $SYS: those topics are the broker's own.
 */
#define MIDGE_DROP_RESERVED_TOPIC 13

/**
 * Number of reasons; the size of midge_stats.dropped that is in use.
 */
#define MIDGE_DROP_COUNT 14

/**
 * The oldest item makes room for the new one.
 */
#define MIDGE_OVERFLOW_DROP_OLDEST 0

/**
 * The new item is dropped.
 */
#define MIDGE_OVERFLOW_DROP_NEWEST 1

/**
 * Written towards the client.
 */
#define MIDGE_OUTCOME_SENT 0

/**
 * Waited in the session's queue.
 */
#define MIDGE_OUTCOME_QUEUED 1

/**
 * Not taken; reason says why.
 */
#define MIDGE_OUTCOME_DROPPED 2

/**
 * Success.
 */
#define MIDGE_OK 0

/**
 * From a callback that decides: no opinion. The next set of callbacks is asked; see
 * midge_config_add_hooks(). From on_publish it is the same as MIDGE_OK.
 */
#define MIDGE_PASS 1

/**
 * An argument is not valid: NULL, not UTF-8, a bad topic, a number out of range.
 */
#define MIDGE_E_INVALID (-1)

/**
 * Not possible in this state: the broker stops, or the queue has a dispatch thread.
 */
#define MIDGE_E_STATE (-2)

/**
 * Nothing came, or it was not done, in time.
 */
#define MIDGE_E_TIMEOUT (-3)

/**
 * From an authentication callback: the answer comes later.
 */
#define MIDGE_E_WOULD_BLOCK (-4)

/**
 * A bound would be exceeded: a message larger than limits.packet_bytes, a buffer too small.
 */
#define MIDGE_E_LIMIT (-5)

/**
 * There is no such option, client, session or listener.
 */
#define MIDGE_E_NOT_FOUND (-6)

/**
 * Refused by authentication or access control.
 */
#define MIDGE_E_DENIED (-8)

/**
 * The operating system said no; os_error in midge_error_info says why.
 */
#define MIDGE_E_IO (-9)

/**
 * The address of a listener is taken.
 */
#define MIDGE_E_ADDR_IN_USE (-10)

/**
 * The configuration is not valid: an option does not accept a value, a listener has no such address.
 */
#define MIDGE_E_CONFIG (-13)

/**
 * This build of the library has no such thing; the message says which feature brings it. See
 * midge_has_feature().
 */
#define MIDGE_E_UNSUPPORTED (-14)

/**
 * The struct_size of a structure is not understood.
 */
#define MIDGE_E_ABI (-15)

/**
 * A [blocking] function was called from a callback.
 */
#define MIDGE_E_REENTRANT (-16)

/**
 * Called in a child process after fork().
 */
#define MIDGE_E_FORKED (-17)

/**
 * The handle is stale or freed, or the queue is empty and its broker has stopped.
 */
#define MIDGE_E_CLOSED (-18)

/**
 * There is no memory for what the caller gives a size to; nothing was changed.
 */
#define MIDGE_E_NOMEM (-19)

/**
 * A panic inside the library was caught. This call has failed; the process and the broker go on.
 */
#define MIDGE_E_PANIC (-99)

/**
 * Major version of this header.
 */
#define MIDGE_VERSION_MAJOR 0

/**
 * Minor version of this header.
 */
#define MIDGE_VERSION_MINOR 1

/**
 * Patch version of this header.
 */
#define MIDGE_VERSION_PATCH 0

/**
 * Settings for a broker. One thread at a time may use it.
 */
typedef struct midge_config midge_config;

/**
 * A message: immutable, counted. A reference may be read on any thread.
 */
typedef struct midge_message midge_message;

/**
 * Result of a call: MIDGE_OK, or one of the negative MIDGE_E_* codes. New codes may be appended. A
 * callback that decides may return MIDGE_PASS, too.
 * @since 0.1
 */
typedef int32_t midge_status;

/**
 * Borrowed bytes. Not NUL-terminated; ptr may be NULL if len is 0.
 * @since 0.1
 */
typedef struct midge_bytes {
  /**
   * The first byte.
   */
  const uint8_t *ptr;
  /**
   * Number of bytes.
   */
  size_t len;
} midge_bytes;

/**
 * A broker. A number, not a pointer: a stale one gives MIDGE_E_CLOSED. {0} is the null handle.
 * @since 0.1
 */
typedef struct midge_broker {
  /**
   * The number.
   */
  uint64_t id;
} midge_broker;

/**
 * A client inside the process: a name to publish in, and subscriptions that bring messages into a queue.
 * It is no client of MQTT: it has no session, no connection and no events of one, it is not among
 * midge_snapshot_clients(), and midge_stats.clients does not count it. A number, not a pointer: a stale
 * one gives MIDGE_E_CLOSED. {0} is the null handle.
 * @since 0.1
 */
typedef struct midge_client {
  /**
   * The number.
   */
  uint64_t id;
} midge_client;

/**
 * A bounded queue of messages and events. A number, not a pointer: a stale one gives
 * MIDGE_E_CLOSED. {0} is the null handle.
 * @since 0.1
 */
typedef struct midge_queue {
  /**
   * The number.
   */
  uint64_t id;
} midge_queue;

/**
 * How a client subscribes. Begin with MIDGE_SUBSCRIBE_ARGS_INIT: QoS 2, everything else as
 * midge_client_subscribe() does.
 * @since 0.1
 */
typedef struct midge_subscribe_args {
  /**
   * sizeof(midge_subscribe_args).
   */
  uint32_t struct_size;
  /**
   * Maximum QoS of deliveries: 0, 1 or 2.
   */
  uint8_t qos;
  /**
   * 1 if messages published in the name of this client do not come back to it. For a client with
   * a client identifier, and not for shared subscriptions.
   */
  uint8_t no_local;
  /**
   * A MIDGE_RETAIN_* number.
   */
  uint8_t retain_handling;
  /**
   * 0.
   */
  uint8_t reserved;
  /**
   * Comes back in midge_event.tag.
   */
  uint32_t tag;
  /**
   * 0.
   */
  uint32_t reserved2;
  /**
   * Topic filter, with wildcards and $share/group/ if wanted.
   */
  const char *filter;
  /**
   * Bytes of the filter; 0 if it is NUL-terminated.
   */
  size_t filter_len;
} midge_subscribe_args;

/**
 * Called by the library when it does not need something any more, exactly once, on any thread.
 */
typedef void (*midge_free_fn)(void *user);

/**
 * A message to be published. Begin with MIDGE_PUBLISH_ARGS_INIT.
 * @since 0.1
 */
typedef struct midge_publish_args {
  /**
   * sizeof(midge_publish_args).
   */
  uint32_t struct_size;
  /**
   * 0, 1 or 2.
   */
  uint8_t qos;
  /**
   * 1 to retain it.
   */
  uint8_t retain;
  /**
   * 1 if the payload is UTF-8 and receivers should know.
   */
  uint8_t payload_utf8;
  /**
   * 0.
   */
  uint8_t reserved;
  /**
   * Topic name: UTF-8.
   */
  const char *topic;
  /**
   * Payload; may be NULL if payload_len is 0.
   */
  const void *payload;
  /**
   * Bytes of the payload.
   */
  size_t payload_len;
  /**
   * NULL: the payload is copied. Else the library owns the payload once the call has returned
   * MIDGE_OK, and calls this with payload_user exactly once, on any thread, when it does not
   * need it any more, which may be before the call returns. If the call fails the payload stays
   * the caller's.
   */
  midge_free_fn payload_free;
  /**
   * For payload_free.
   */
  void *payload_user;
  /**
   * Seconds until the message expires; 0 for never.
   */
  uint32_t message_expiry_s;
  /**
   * 0.
   */
  uint32_t reserved2;
  /**
   * Response topic, or NULL.
   */
  const char *response_topic;
  /**
   * Content type, or NULL.
   */
  const char *content_type;
  /**
   * Correlation data, or {NULL, 0}.
   */
  struct midge_bytes correlation_data;
  /**
   * User properties: key, value, key, value, ...; or NULL.
   */
  const struct midge_bytes *user_props;
  /**
   * Number of elements of user_props, twice the number of properties.
   */
  size_t user_props_len;
  /**
   * Bytes of the topic; 0 if it is NUL-terminated.
   */
  size_t topic_len;
  /**
   * Bytes of the response topic; 0 if it is NUL-terminated.
   */
  size_t response_topic_len;
  /**
   * Bytes of the content type; 0 if it is NUL-terminated.
   */
  size_t content_type_len;
} midge_publish_args;

/**
 * A client that wants to connect. All pointers are valid until the callback returns.
 * @since 0.1
 */
typedef struct midge_connect_info {
  /**
   * sizeof(midge_connect_info) of the library.
   */
  uint32_t struct_size;
  /**
   * 3 for MQTT 3.1, 4 for 3.1.1, 5 for 5.0.
   */
  uint8_t protocol;
  /**
   * 1 if the client wants a new session.
   */
  uint8_t clean_start;
  /**
   * Keep alive in seconds, 0 for none.
   */
  uint16_t keep_alive;
  /**
   * Client identifier, assigned by the broker if the client has sent none.
   */
  struct midge_bytes client_id;
  /**
   * User name, or empty.
   */
  struct midge_bytes username;
  /**
   * Password, or empty.
   */
  struct midge_bytes password;
  /**
   * Where it comes from: "127.0.0.1:50412", "unix", "memory".
   */
  struct midge_bytes peer_addr;
  /**
   * URL of the listener that took the connection.
   */
  struct midge_bytes listener;
  /**
   * Topic of its will, or empty.
   */
  struct midge_bytes will_topic;
  /**
   * User properties of CONNECT: key, value, key, value, ...; or NULL.
   */
  const struct midge_bytes *user_props;
  /**
   * Number of elements of user_props, twice the number of properties.
   */
  size_t user_props_len;
} midge_connect_info;

/**
 * An answer that is still owed. A number, not a pointer; it works once.
 * @since 0.1
 */
typedef struct midge_decision {
  /**
   * The number.
   */
  uint64_t id;
} midge_decision;

/**
 * Decides whether a client may connect: MIDGE_OK, or MIDGE_E_DENIED, or midge_refuse() for a no with
 * a reason, or MIDGE_PASS for no opinion, which is a no if no other set has one. Or keep d, return MIDGE_E_WOULD_BLOCK, and call midge_decision_complete() later from any
 * thread; only this client waits. No answer within hooks.timeout_ms, and any other result, is a no.
 */
typedef midge_status (*midge_auth_fn)(void *user,
                                      const struct midge_connect_info *info,
                                      struct midge_decision d);

/**
 * What a client wants to do. All pointers are valid until the callback returns.
 * @since 0.1
 */
typedef struct midge_acl_request {
  /**
   * sizeof(midge_acl_request) of the library.
   */
  uint32_t struct_size;
  /**
   * A MIDGE_ACL_* number.
   */
  uint8_t action;
  /**
   * QoS of the message or asked for by the subscription.
   */
  uint8_t qos;
  /**
   * Whether the message is to be retained.
   */
  uint8_t retain;
  /**
   * 0.
   */
  uint8_t reserved;
  /**
   * Client identifier.
   */
  struct midge_bytes client_id;
  /**
   * User name, or empty.
   */
  struct midge_bytes username;
  /**
   * Where it comes from. For MIDGE_ACL_RECEIVE and a client that is away: where it came from last, or
   * empty if the broker has not seen it.
   */
  struct midge_bytes peer_addr;
  /**
   * Topic name, or filter of a subscription. Of a shared subscription it is the filter alone, without
   * $share and the group. A rule that looks how a filter begins is passed by wildcards: "#" and
   * "+/plan" bring messages of "secret/plan", too. midge_filter_reaches() tells; or decide for each
   * message with MIDGE_ACL_RECEIVE, whatever subscription brings it.
   */
  struct midge_bytes topic;
  /**
   * Group of a shared subscription ("g" of "$share/g/a/#"), otherwise empty.
   */
  struct midge_bytes group;
} midge_acl_request;

/**
 * Decides whether a client may do something: MIDGE_OK or MIDGE_PASS; midge_refuse() for a no with a reason;
 * midge_decision_defer() for an answer that comes later; any other result is a no.
 */
typedef midge_status (*midge_acl_fn)(void *user, const struct midge_acl_request *req);

/**
 * Sees every message before it is routed, those of the host and wills included. MIDGE_OK lets it
 * pass; with a message in *replace, which the library then owns, that one goes on in its place.
 * Any other result drops it: publishing functions of the host then give MIDGE_E_DENIED; a client sees
 * success, or what midge_refuse() was told.
 */
typedef midge_status (*midge_publish_hook_fn)(void *user,
                                              const struct midge_message *message,
                                              struct midge_message **replace);

/**
 * Called on each thread of the broker.
 */
typedef void (*midge_thread_fn)(void *user);

/**
 * Callbacks that decide. All may be NULL; what is NULL costs nothing. They run on the thread that
 * handles the packet: a thread of the broker, or the caller of a publishing function. No lock of
 * the broker is held.
 * @since 0.1
 */
typedef struct midge_hooks {
  /**
   * sizeof(midge_hooks).
   */
  uint32_t struct_size;
  /**
   * Which actions on_acl is asked for: bits 1 << MIDGE_ACL_*. 0 is publish and subscribe.
   */
  uint32_t acl_actions;
  /**
   * For the callbacks.
   */
  void *user;
  /**
   * May be NULL; called with user exactly once: when the configuration, its copies and all
   * brokers that were started with them are gone, at latest before midge_broker_join() or
   * midge_broker_free() of the last broker returns if the configurations were freed before.
   */
  midge_free_fn user_free;
  /**
   * Authentication.
   */
  midge_auth_fn on_auth;
  /**
   * Access control.
   */
  midge_acl_fn on_acl;
  /**
   * Interception of messages.
   */
  midge_publish_hook_fn on_publish;
  /**
   * First on each thread of the broker.
   */
  midge_thread_fn on_thread_start;
  /**
   * Last on each thread of the broker.
   */
  midge_thread_fn on_thread_stop;
} midge_hooks;

/**
 * What a queue delivers. Begin with MIDGE_EVENT_INIT; after each success of midge_queue_next() call
 * midge_event_clear(). Everything that it points to is valid until then.
 * @since 0.1
 */
typedef struct midge_event {
  /**
   * sizeof(midge_event), set by the caller.
   */
  uint32_t struct_size;
  /**
   * One MIDGE_EV_* bit.
   */
  uint32_t type;
  /**
   * What the library keeps for this event; not to be touched.
   */
  void *owner;
  /**
   * Number of the event in its queue, from 1. A gap is what was lost.
   */
  uint64_t seq;
  /**
   * Events lost just before this one because the queue was full.
   */
  uint64_t lost;
  /**
   * When it came into the queue: nanoseconds of CLOCK_REALTIME, since 1970 in UTC.
   */
  uint64_t wall_ns;
  /**
   * When it came into the queue: nanoseconds of CLOCK_MONOTONIC, on Windows of
   * QueryPerformanceCounter().
   */
  uint64_t mono_ns;
  /**
   * MIDGE_OK, or MIDGE_E_DENIED for what was refused.
   */
  midge_status status;
  /**
   * A number that depends on the type.
   */
  uint32_t code;
  /**
   * The tag of the subscription, for a message; the reason code that was given, for
   * MIDGE_EV_REPLACED; else 0.
   */
  uint32_t tag;
  /**
   * A second number that depends on the type, else 0.
   */
  uint32_t detail;
  /**
   * Client identifier, or empty.
   */
  struct midge_bytes client_id;
  /**
   * Where the client comes from, or empty.
   */
  struct midge_bytes peer_addr;
  /**
   * Topic name or filter, or empty.
   */
  struct midge_bytes topic;
  /**
   * A text that depends on the type, or empty.
   */
  struct midge_bytes text;
  /**
   * The message, or NULL. midge_message_ref() keeps it.
   */
  const struct midge_message *message;
  /**
   * User name of a client that connected or was refused (MIDGE_EV_CONNECT), or empty.
   */
  struct midge_bytes username;
  /**
   * For a connection that was refused: what the refusal says beyond code and detail, for example
   * the text of midge_refuse(); or empty.
   */
  struct midge_bytes refusal;
  /**
   * Number of the connection that it concerns, or 0. Each connection of a broker has one of its own,
   * from 1 on and never used again: it tells two of the same client identifier apart. For
   * MIDGE_EV_PUBLISH it is that of the publisher; 0 for MIDGE_EV_MESSAGE.
   */
  uint64_t connection;
  /**
   * Number of the session that it concerns, or 0; as connection. A session that is resumed keeps its
   * number.
   */
  uint64_t session;
  /**
   * Number of the message that it is about, or 0: the same in all events about one message. For
   * MIDGE_EV_MESSAGE and a message that was not taken from its publisher 0.
   */
  uint64_t message_number;
} midge_event;

/**
 * Counters of a broker.
 * @since 0.1
 */
typedef struct midge_stats {
  /**
   * sizeof(midge_stats), set by the caller.
   */
  uint32_t struct_size;
  /**
   * 0 stopped, 1 running, 2 stopping.
   */
  uint32_t state;
  /**
   * Grows from call to call for as long as the broker's threads get to their work; a call asks
   * them to raise it. Feed a watchdog when it has grown since the last call.
   */
  uint64_t heartbeat;
  /**
   * Milliseconds since the start.
   */
  uint64_t uptime_ms;
  /**
   * Open connections, those before CONNECT included.
   */
  uint64_t connections;
  /**
   * Connections accepted since the start.
   */
  uint64_t connects;
  /**
   * Connections refused since the start.
   */
  uint64_t refused;
  /**
   * Connected clients.
   */
  uint64_t clients;
  /**
   * Most clients connected at the same time.
   */
  uint64_t clients_max;
  /**
   * Sessions, connected or not.
   */
  uint64_t sessions;
  /**
   * Sessions that expired.
   */
  uint64_t sessions_expired;
  /**
   * Subscriptions of clients, shared ones included.
   */
  uint64_t subscriptions;
  /**
   * Shared subscriptions.
   */
  uint64_t shared_subscriptions;
  /**
   * Retained messages, $SYS not counted.
   */
  uint64_t retained;
  /**
   * Bytes of retained messages.
   */
  uint64_t retained_bytes;
  /**
   * Messages waiting for clients.
   */
  uint64_t queued_msgs;
  /**
   * Bytes of messages waiting for clients, but for large payloads: memory_payloads.
   */
  uint64_t queued_bytes;
  /**
   * Messages published by clients and by the host.
   */
  uint64_t msgs_in;
  /**
   * Their payload bytes.
   */
  uint64_t msgs_in_bytes;
  /**
   * Messages sent to clients.
   */
  uint64_t msgs_out;
  /**
   * Their payload bytes.
   */
  uint64_t msgs_out_bytes;
  /**
   * Packets received.
   */
  uint64_t packets_in;
  /**
   * Packets sent.
   */
  uint64_t packets_out;
  /**
   * Bytes read from connections.
   */
  uint64_t bytes_in;
  /**
   * Bytes written to connections.
   */
  uint64_t bytes_out;
  /**
   * Panics that were caught.
   */
  uint64_t panics;
  /**
   * Dropped messages, all together.
   */
  uint64_t msgs_dropped;
  /**
   * Dropped messages by MIDGE_DROP_* number.
   */
  uint64_t dropped[16];
  /**
   * Bytes held for clients, all together: what limits.total_bytes limits.
   */
  uint64_t memory_total;
  /**
   * Of these: messages that wait for clients or are in flight to them.
   */
  uint64_t memory_queues;
  /**
   * Of these: encoded packets that are not written yet.
   */
  uint64_t memory_output;
  /**
   * Of these: payloads of 8 KiB and more, and buffers that were read into.
   */
  uint64_t memory_payloads;
  /**
   * Of these: packets that are incomplete or wait for a decision.
   */
  uint64_t memory_input;
  /**
   * Of these: connections, topic aliases, remembered routes.
   */
  uint64_t memory_connections;
  /**
   * Of these: sessions.
   */
  uint64_t memory_sessions;
  /**
   * Of these: subscriptions.
   */
  uint64_t memory_subscriptions;
  /**
   * Of these: wills of clients.
   */
  uint64_t memory_wills;
  /**
   * Of these: retained messages, but for large payloads.
   */
  uint64_t memory_retained;
  /**
   * Callbacks that did not return within shutdown.patience_ms and were left.
   */
  uint64_t left_running;
} midge_stats;

/**
 * Details of a failure.
 * @since 0.1
 */
typedef struct midge_error_info {
  /**
   * sizeof(midge_error_info), set by the caller.
   */
  uint32_t struct_size;
  /**
   * The status that was returned, MIDGE_OK if nothing has failed yet on this thread.
   */
  midge_status status;
  /**
   * errno of the operating system, on Windows GetLastError(), or 0.
   */
  int32_t os_error;
  /**
   * The MQTT reason code of a refusal (MIDGE_E_DENIED), or 0.
   */
  uint32_t reason;
  /**
   * What was wrong, naming the argument: UTF-8, NUL-terminated, cut if too long. Never has
   * payloads or passwords in it.
   */
  char message[240];
} midge_error_info;

/**
 * Called with each line of the log. The text is UTF-8 and NUL-terminated, and valid until the callback
 * returns.
 */
typedef void (*midge_log_fn)(void *user, int32_t level, const char *text);

/**
 * Called for each event, in order, on the queue's own thread, or in midge_broker_poll(). The event is cleared afterwards.
 */
typedef void (*midge_event_fn)(void *user, const struct midge_event *ev);

/**
 * The outcome of a message. A number, not a pointer: a stale one gives MIDGE_E_CLOSED. {0} is the
 * null handle. It holds the client identifiers of the receivers.
 * @since 0.1
 */
typedef struct midge_receipt {
  /**
   * The number.
   */
  uint64_t id;
} midge_receipt;

/**
 * The outcome of a message, in numbers.
 * @since 0.1
 */
typedef struct midge_receipt_info {
  /**
   * sizeof(midge_receipt_info), set by the caller.
   */
  uint32_t struct_size;
  /**
   * 1 if no session has a QoS 1 or 2 copy of it to acknowledge any more.
   */
  uint32_t acknowledged;
  /**
   * Receivers that matched: sessions, one member of each shared group, subscriptions of the host.
   */
  uint64_t matched;
  /**
   * Outcomes that can be read with midge_receipt_outcome_at(): one for each session.
   */
  uint64_t outcomes;
  /**
   * Sessions that have written it to their client at once.
   */
  uint64_t sent;
  /**
   * Sessions that had it in their queue when it was published.
   */
  uint64_t queued;
  /**
   * Sessions that did not take it.
   */
  uint64_t dropped;
} midge_receipt_info;

/**
 * The outcome of a message at one session.
 * @since 0.1
 */
typedef struct midge_receipt_outcome {
  /**
   * sizeof(midge_receipt_outcome), set by the caller.
   */
  uint32_t struct_size;
  /**
   * A MIDGE_OUTCOME_* number.
   */
  uint32_t outcome;
  /**
   * A MIDGE_DROP_* number, with MIDGE_OUTCOME_DROPPED; else 0.
   */
  uint32_t reason;
  /**
   * 0.
   */
  uint32_t reserved;
  /**
   * Client identifier; valid until the receipt is freed.
   */
  struct midge_bytes client_id;
} midge_receipt_outcome;

/**
 * A list of what there was at one moment. A number, not a pointer: a stale one gives MIDGE_E_CLOSED.
 * {0} is the null handle. It outlives its broker. It holds some hundred bytes for each item that was
 * not read, shares identifiers, filters and payloads with the broker, and keeps the texts of what was
 * read until it is freed.
 * @since 0.1
 */
typedef struct midge_snapshot {
  /**
   * The number.
   */
  uint64_t id;
} midge_snapshot;

/**
 * A connected client. Its texts are valid until the snapshot is freed, and have a NUL behind them.
 * @since 0.1
 */
typedef struct midge_client_info {
  /**
   * sizeof(midge_client_info), set by the caller.
   */
  uint32_t struct_size;
  /**
   * 3 for MQTT 3.1, 4 for 3.1.1, 5 for 5.0.
   */
  uint8_t protocol;
  /**
   * 0.
   */
  uint8_t reserved[3];
  /**
   * Client identifier.
   */
  struct midge_bytes client_id;
  /**
   * User name, or empty.
   */
  struct midge_bytes username;
  /**
   * Where it comes from.
   */
  struct midge_bytes peer_addr;
  /**
   * URL of the listener that took the connection.
   */
  struct midge_bytes listener;
  /**
   * Messages that wait for it.
   */
  uint64_t queued;
  /**
   * QoS 1 and 2 messages in flight towards it.
   */
  uint64_t inflight;
  /**
   * Its subscriptions.
   */
  uint64_t subscriptions;
  /**
   * Number of its connection, as midge_event.connection.
   */
  uint64_t connection;
  /**
   * Number of its session, as midge_event.session.
   */
  uint64_t session;
} midge_client_info;

/**
 * A session, connected or not. Its texts are valid until the snapshot is freed, and have a NUL behind
 * them.
 * @since 0.1
 */
typedef struct midge_session_info {
  /**
   * sizeof(midge_session_info), set by the caller.
   */
  uint32_t struct_size;
  /**
   * 1 if a client is connected.
   */
  uint8_t connected;
  /**
   * 1 if it has a will that was not published.
   */
  uint8_t has_will;
  /**
   * 0.
   */
  uint16_t reserved;
  /**
   * Session expiry interval in seconds, UINT32_MAX for never.
   */
  uint32_t expiry_s;
  /**
   * 0.
   */
  uint32_t reserved2;
  /**
   * When the client was last connected, in milliseconds since the broker's start (as
   * midge_stats.uptime_ms); 0 if it is connected.
   */
  uint64_t disconnected_ms;
  /**
   * Client identifier.
   */
  struct midge_bytes client_id;
  /**
   * Messages that wait.
   */
  uint64_t queued;
  /**
   * Bytes of the messages that wait or are in flight.
   */
  uint64_t queued_bytes;
  /**
   * QoS 1 and 2 messages in flight.
   */
  uint64_t inflight;
  /**
   * Its subscriptions.
   */
  uint64_t subscriptions;
  /**
   * User name of the client that made it, or empty: no other user may resume it.
   */
  struct midge_bytes username;
  /**
   * Number of the session, as midge_event.session.
   */
  uint64_t session;
} midge_session_info;

/**
 * A subscription. Its texts are valid until the snapshot is freed, and have a NUL behind them.
 * @since 0.1
 */
typedef struct midge_subscription_info {
  /**
   * sizeof(midge_subscription_info), set by the caller.
   */
  uint32_t struct_size;
  /**
   * Granted QoS.
   */
  uint8_t qos;
  /**
   * 1 if the client does not get its own messages.
   */
  uint8_t no_local;
  /**
   * 1 if the RETAIN flag stays as published.
   */
  uint8_t retain_as_published;
  /**
   * A MIDGE_RETAIN_* number.
   */
  uint8_t retain_handling;
  /**
   * Subscription identifier, 0 for none.
   */
  uint32_t subscription_id;
  /**
   * 0.
   */
  uint32_t reserved;
  /**
   * Client identifier.
   */
  struct midge_bytes client_id;
  /**
   * Topic filter as sent, $share/group/ included.
   */
  struct midge_bytes filter;
} midge_subscription_info;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Copies bytes and a NUL behind them, for a function that takes a text.
 *
 * @param bytes  what to copy: it may have NULs in it
 * @param buf    receives the bytes and a NUL; may be NULL to ask for the size only
 * @param cap    bytes in buf
 * @param need   may be NULL; receives the size needed, NUL included, also with MIDGE_E_LIMIT
 * @return MIDGE_OK, MIDGE_E_LIMIT (buf is too small), MIDGE_E_INVALID
 * @since 0.1
 */
MIDGE_API
midge_status midge_bytes_copy(struct midge_bytes bytes,
                              char *buf,
                              size_t cap,
                              size_t *need);

/**
 * As midge_publish(), with a topic that need not end at a NUL.
 *
 * @param topic      UTF-8, without wildcards
 * @param topic_len  bytes of the topic, or MIDGE_NUL_TERMINATED
 * @param payload    may be NULL if len is 0
 * @return as midge_publish()
 * @since 0.1
 */
MIDGE_API
midge_status midge_publish_n(struct midge_broker b,
                             const char *topic,
                             size_t topic_len,
                             const void *payload,
                             size_t len,
                             uint8_t qos,
                             bool retain);

/**
 * As midge_broker_set_retained(), with a topic that need not end at a NUL.
 *
 * @param topic_len  bytes of the topic, or MIDGE_NUL_TERMINATED
 * @param payload    may be NULL if len is 0
 * @return as midge_broker_set_retained()
 * @since 0.1
 */
MIDGE_API
midge_status midge_broker_set_retained_n(struct midge_broker b,
                                         const char *topic,
                                         size_t topic_len,
                                         const void *payload,
                                         size_t len);

/**
 * As midge_broker_clear_retained(), with a filter that need not end at a NUL.
 *
 * @param filter_len  bytes of the filter, or MIDGE_NUL_TERMINATED
 * @param removed     may be NULL; receives how many they were
 * @return as midge_broker_clear_retained()
 * @since 0.1
 */
MIDGE_API
midge_status midge_broker_clear_retained_n(struct midge_broker b,
                                           const char *filter,
                                           size_t filter_len,
                                           size_t *removed);

/**
 * As midge_client_unsubscribe(), with a filter that need not end at a NUL.
 *
 * @param filter_len  bytes of the filter, or MIDGE_NUL_TERMINATED
 * @return as midge_client_unsubscribe()
 * @since 0.1
 */
MIDGE_API
midge_status midge_client_unsubscribe_n(struct midge_client c,
                                        const char *filter,
                                        size_t filter_len);

/**
 * [blocking] As midge_broker_wait_subscribers(), with a topic that need not end at a NUL.
 *
 * @param topic_len  bytes of the topic, or MIDGE_NUL_TERMINATED
 * @return as midge_broker_wait_subscribers()
 * @since 0.1
 */
MIDGE_API
midge_status midge_broker_wait_subscribers_n(struct midge_broker b,
                                             const char *topic,
                                             size_t topic_len,
                                             uint32_t n,
                                             int32_t timeout_ms);

/**
 * Makes a client inside the process, which is no client of MQTT: see midge_client. It subscribes for as
 * long as it lives; its messages come into a queue, which several clients may share.
 *
 * @param client_id  may be NULL; the name in which midge_client_publish() publishes
 * @param q          a queue of the same broker
 * @param out        receives the handle; free it with midge_client_free()
 * @return MIDGE_OK, MIDGE_E_INVALID, MIDGE_E_CLOSED
 * @since 0.1
 */
MIDGE_API
MIDGE_MUST_USE
midge_status midge_client_new(struct midge_broker b,
                              const char *client_id,
                              struct midge_queue q,
                              struct midge_client *out);

/**
 * Subscribes. Retained messages that match come first. Subscribing to the same filter again
 * replaces the subscription. Each subscription that matches a message delivers it.
 *
 * @param filter  topic filter, with wildcards and $share/group/ if wanted
 * @param qos     maximum QoS of deliveries
 * @param tag     comes back in midge_event.tag
 * @return MIDGE_OK, MIDGE_E_INVALID, MIDGE_E_CLOSED (the client, its queue or broker is gone)
 * @since 0.1
 */
MIDGE_API
midge_status midge_client_subscribe(struct midge_client c,
                                    const char *filter,
                                    uint8_t qos,
                                    uint32_t tag);

/**
 * Subscribes as midge_client_subscribe(), with everything that there is to say.
 *
 * @param args  begins with its struct_size
 * @return MIDGE_OK, MIDGE_E_INVALID, MIDGE_E_ABI, MIDGE_E_CLOSED (the client, its queue or broker is
 *         gone)
 * @since 0.1
 */
MIDGE_API
midge_status midge_client_subscribe_ex(struct midge_client c,
                                       const struct midge_subscribe_args *args);

/**
 * Ends a subscription. Its messages that were not read are dropped, too: when this returns nothing
 * more of it comes out of the queue.
 * @return MIDGE_OK, MIDGE_E_NOT_FOUND (no such subscription), MIDGE_E_INVALID, MIDGE_E_CLOSED
 * @since 0.1
 */
MIDGE_API midge_status midge_client_unsubscribe(struct midge_client c, const char *filter);

/**
 * Publishes in the name of the client, which access control decides on. A client without a client
 * identifier publishes as the host.
 *
 * @param matched  may be NULL; receives the number of receivers
 * @return as midge_publish_ex()
 * @since 0.1
 */
MIDGE_API
midge_status midge_client_publish(struct midge_client c,
                                  const struct midge_publish_args *args,
                                  uint32_t *matched);

/**
 * Frees a client: all its subscriptions end. Before or after its queue or its broker. The null
 * handle is nothing.
 * @return MIDGE_OK, MIDGE_E_CLOSED, MIDGE_E_FORKED
 * @since 0.1
 */
MIDGE_API midge_status midge_client_free(struct midge_client c);

/**
 * Reads a configuration file in TOML, as `midge serve --config` takes it: the part of a key before its
 * last dot is the table; addresses of `listen`, an array, are added to those that are there. All of it
 * is set, or nothing. The message names the line.
 *
 * @param path  NUL-terminated
 * @return MIDGE_OK, MIDGE_E_INVALID, MIDGE_E_IO (the file cannot be read), MIDGE_E_CONFIG (a value
 *         is not accepted, or it is no TOML), MIDGE_E_NOT_FOUND (unknown option), MIDGE_E_UNSUPPORTED
 *         (a build without "toml", or an option as in midge_config_set())
 * @since 0.1
 */
MIDGE_API
MIDGE_MUST_USE
midge_status midge_config_load(struct midge_config *config,
                               const char *path);

/**
 * Makes a configuration with safe defaults and no listener.
 *
 * @param out  receives the configuration; free it with midge_config_free()
 * @return MIDGE_OK, MIDGE_E_INVALID
 * @since 0.1
 */
MIDGE_API MIDGE_MUST_USE midge_status midge_config_new(struct midge_config **out);

/**
 * Copies a configuration. Hooks are shared: user_free is called when the last one goes.
 *
 * @param config  stays as it is
 * @param out     receives the copy; free it with midge_config_free()
 * @return MIDGE_OK, MIDGE_E_INVALID
 * @since 0.1
 */
MIDGE_API
MIDGE_MUST_USE
midge_status midge_config_clone(const struct midge_config *config,
                                struct midge_config **out);

/**
 * Frees a configuration. Running brokers do not need theirs any more. NULL is nothing.
 * @since 0.1
 */
MIDGE_API void midge_config_free(struct midge_config *config);

/**
 * Sets an option; the keys are those of docs/configuration.md. Among them: "listen"
 * (tcp://host:port with port 0 for a free one, or unix:///path; each call adds one, an empty value
 * clears the list), "threads", "clock" ("manual" for tests that move it with midge_broker_advance()).
 *
 * @return MIDGE_OK, MIDGE_E_INVALID, MIDGE_E_NOT_FOUND (no such key; the message names the
 *         nearest one), MIDGE_E_CONFIG (the option does not accept the value), MIDGE_E_UNSUPPORTED
 *         (the value needs a feature that this build does not have: midge_has_feature())
 * @since 0.1
 */
MIDGE_API
MIDGE_MUST_USE
midge_status midge_config_set(struct midge_config *config,
                              const char *key,
                              const char *value);

/**
 * Sets an option to a whole number.
 * @return as midge_config_set()
 * @since 0.1
 */
MIDGE_API
MIDGE_MUST_USE
midge_status midge_config_set_int(struct midge_config *config,
                                  const char *key,
                                  int64_t value);

/**
 * The value of an option as text; listeners are separated by a newline.
 *
 * @param buf   receives the text and a NUL; may be NULL to ask for the size only
 * @param cap   bytes in buf
 * @param need  may be NULL; receives the size needed, NUL included, also with MIDGE_E_LIMIT
 * @return MIDGE_OK, MIDGE_E_INVALID, MIDGE_E_NOT_FOUND, MIDGE_E_LIMIT (buf is too small)
 * @since 0.1
 */
MIDGE_API
midge_status midge_config_get(const struct midge_config *config,
                              const char *key,
                              char *buf,
                              size_t cap,
                              size_t *need);

/**
 * Sets the callbacks; all that were set or added before are let go.
 *
 * @param h  may be NULL, which removes them; copied; h->user belongs to the library once this has returned MIDGE_OK
 * @return MIDGE_OK, MIDGE_E_INVALID, MIDGE_E_ABI. On failure user_free is not called.
 * @since 0.1
 */
MIDGE_API
MIDGE_MUST_USE
midge_status midge_config_set_hooks(struct midge_config *config,
                                    const struct midge_hooks *h);

/**
 * Adds a set of callbacks behind those that are there, so that rules of a library, a recorder and the
 * host's own can live together. The sets are asked in this order:
 *  - on_auth: the first answer that is not MIDGE_PASS counts; if no set has one, the client is refused
 *  - on_acl: the first no counts; MIDGE_OK and MIDGE_PASS both let the next set speak
 *  - on_publish: each set sees what those before it have made of a message; the first that does not let
 *    it pass ends it
 *  - on_thread_start, on_thread_stop: all are called
 *
 * @param h  copied; h->user belongs to the library once this has returned MIDGE_OK
 * @return MIDGE_OK, MIDGE_E_INVALID, MIDGE_E_ABI. On failure user_free is not called.
 * @since 0.1
 */
MIDGE_API
MIDGE_MUST_USE
midge_status midge_config_add_hooks(struct midge_config *config,
                                    const struct midge_hooks *h);

/**
 * Frees what an event holds and empties it. NULL, an empty event and a second call are nothing.
 * @since 0.1
 */
MIDGE_API void midge_event_clear(struct midge_event *ev);

/**
 * The name of a MIDGE_EV_* bit, for example "disconnect"; "unknown" for others and for several bits.
 * Static.
 * @since 0.1
 */
MIDGE_API
const char *midge_event_name(uint32_t type);

/**
 * Whether a topic or filter is about any topic that another filter matches. "#", "+/plan" and
 * "secret/+" reach "secret/#", though only one of them begins with it. In on_acl, so that what is no
 * answer is a no, too:
 * `if (midge_filter_reaches(req->topic, "secret/#") != MIDGE_E_NOT_FOUND) return MIDGE_E_DENIED;`
 *
 * @param asked   topic name or filter, as midge_acl_request.topic
 * @param filter  topic filter
 * @return MIDGE_OK (it does), MIDGE_E_NOT_FOUND (they have no topic in common), MIDGE_E_INVALID
 * @since 0.1
 */
MIDGE_API
MIDGE_MUST_USE
midge_status midge_filter_reaches(struct midge_bytes asked,
                                  const char *filter);

/**
 * A snapshot of all counters.
 *
 * @param out  its struct_size must be set; as much as fits is written
 * @return MIDGE_OK, MIDGE_E_INVALID, MIDGE_E_ABI, MIDGE_E_CLOSED
 * @since 0.1
 */
MIDGE_API midge_status midge_broker_stats(struct midge_broker b, struct midge_stats *out);

/**
 * [blocking] Waits until nothing is queued, in flight or unwritten for any connected client. For
 * tests.
 * @return MIDGE_OK, MIDGE_E_TIMEOUT, MIDGE_E_REENTRANT, MIDGE_E_INVALID, MIDGE_E_CLOSED
 * @since 0.1
 */
MIDGE_API midge_status midge_broker_quiesce(struct midge_broker b, int32_t timeout_ms);

/**
 * [blocking] Waits until at least n clients have subscriptions that match a topic. Clients inside
 * the process are not counted. For tests.
 * @return MIDGE_OK, MIDGE_E_TIMEOUT, MIDGE_E_STATE (the broker stops), MIDGE_E_REENTRANT,
 *         MIDGE_E_INVALID, MIDGE_E_CLOSED
 * @since 0.1
 */
MIDGE_API
midge_status midge_broker_wait_subscribers(struct midge_broker b,
                                           const char *topic,
                                           uint32_t n,
                                           int32_t timeout_ms);

/**
 * [blocking] Moves the clock of a broker with "clock" set to "manual": everything that comes due
 * happens in order, before this returns. For tests.
 *
 * @param ms  milliseconds; the clock stops at its end, 584 million years after the start
 * @return MIDGE_OK, MIDGE_E_STATE (the broker goes by the system's clock), MIDGE_E_REENTRANT,
 *         MIDGE_E_INVALID, MIDGE_E_CLOSED
 * @since 0.1
 */
MIDGE_API midge_status midge_broker_advance(struct midge_broker b, uint64_t ms);

/**
 * Disconnects a client; its will is published.
 *
 * @param reason  MQTT reason code of 0x80 or above, for example 0x98 Administrative action
 * @return MIDGE_OK, MIDGE_E_NOT_FOUND (it is not connected), MIDGE_E_INVALID, MIDGE_E_CLOSED
 * @since 0.1
 */
MIDGE_API
midge_status midge_broker_disconnect(struct midge_broker b,
                                     const char *client_id,
                                     uint8_t reason);

/**
 * Ends a session, and its connection if there is one.
 * @return MIDGE_OK, MIDGE_E_NOT_FOUND, MIDGE_E_INVALID, MIDGE_E_CLOSED
 * @since 0.1
 */
MIDGE_API midge_status midge_broker_clear_session(struct midge_broker b, const char *client_id);

/**
 * The retained messages that match a filter, in the order of their topics.
 *
 * @param out    receives references, each to be given back with midge_message_unref(); may be NULL
 *               if cap is 0
 * @param cap    room in out
 * @param count  receives how many match. If that is more than cap the rest is left out.
 * @return MIDGE_OK, MIDGE_E_INVALID, MIDGE_E_CLOSED
 * @since 0.1
 */
MIDGE_API
midge_status midge_broker_retained(struct midge_broker b,
                                   const char *filter,
                                   const struct midge_message **out,
                                   size_t cap,
                                   size_t *count);

/**
 * Sets the retained message of a topic without delivering it. An empty payload removes it.
 * @return MIDGE_OK, MIDGE_E_INVALID, MIDGE_E_LIMIT (too large, or the store is full), MIDGE_E_NOMEM
 *         (for a copy of the payload), MIDGE_E_STATE, MIDGE_E_CLOSED
 * @since 0.1
 */
MIDGE_API
midge_status midge_broker_set_retained(struct midge_broker b,
                                       const char *topic,
                                       const void *payload,
                                       size_t len);

/**
 * Removes the retained messages that match a filter.
 *
 * @param removed  may be NULL; receives how many they were
 * @return MIDGE_OK, MIDGE_E_INVALID, MIDGE_E_CLOSED
 * @since 0.1
 */
MIDGE_API
midge_status midge_broker_clear_retained(struct midge_broker b,
                                         const char *filter,
                                         size_t *removed);

/**
 * Connects to the broker without a network: a connected, blocking, close-on-exec socket that
 * speaks MQTT, for a client library that takes a descriptor. On Windows it is a SOCKET, of a connection
 * over the loopback interface.
 *
 * @param fd  receives the descriptor; the caller closes it, on Windows with closesocket()
 * @return MIDGE_OK, MIDGE_E_INVALID, MIDGE_E_LIMIT (limits.connections, limits.connect_rate),
 *         MIDGE_E_STATE (the broker stops), MIDGE_E_IO, MIDGE_E_CLOSED, MIDGE_E_UNSUPPORTED (a build
 *         without "unix")
 * @since 0.1
 */
MIDGE_API
midge_status midge_broker_connect_fd(struct midge_broker b,
                                     int32_t *fd);

/**
 * Copies the details of the last failure of a midge function on this thread. A successful call
 * does not clear them.
 *
 * @param out  its struct_size must be set; as much as fits is written
 * @return MIDGE_OK, MIDGE_E_INVALID (out is NULL), MIDGE_E_ABI
 * @since 0.1
 */
MIDGE_API midge_status midge_last_error(struct midge_error_info *out);

/**
 * Starts a broker. All listeners are bound when this returns; the configuration may be freed or
 * changed afterwards.
 *
 * @param config  stays the caller's
 * @param out     receives the handle; free it with midge_broker_free()
 * @return MIDGE_OK, MIDGE_E_INVALID, MIDGE_E_CONFIG (an address is not valid),
 *         MIDGE_E_ADDR_IN_USE, MIDGE_E_IO. On failure nothing is left behind.
 * @since 0.1
 */
MIDGE_API
MIDGE_MUST_USE
midge_status midge_broker_start(const struct midge_config *config,
                                struct midge_broker *out);

/**
 * Begins to stop a broker, and returns at once: no new connections, then up to drain_ms for
 * clients to take and acknowledge what waits for them, then DISCONNECT. The first call decides;
 * another one with drain_ms 0 cuts its time short. May be called from a callback.
 *
 * @param drain_ms  milliseconds; 0 stops at once, negative counts as 0
 * @return MIDGE_OK, MIDGE_E_INVALID, MIDGE_E_CLOSED
 * @since 0.1
 */
MIDGE_API midge_status midge_broker_stop(struct midge_broker b, int32_t drain_ms);

/**
 * [blocking] Waits until a broker has stopped: no thread of it runs, its ports are free, no
 * callback runs or will run. Queues stay readable until they are empty.
 *
 * @param timeout_ms  milliseconds, MIDGE_WAIT_FOREVER without limit
 * @return MIDGE_OK, MIDGE_E_TIMEOUT (also if midge_broker_stop() was not called),
 *         MIDGE_E_REENTRANT, MIDGE_E_INVALID, MIDGE_E_CLOSED
 * @since 0.1
 */
MIDGE_API midge_status midge_broker_join(struct midge_broker b, int32_t timeout_ms);

/**
 * Stops a broker at once, waits for its end and frees the handle. From a callback it does not
 * wait: the rest happens in the background. In a forked child it does nothing. The null handle is
 * nothing. Like midge_broker_stop() it starts no thread, so that it may be called in a destructor at
 * exit() or dlclose().
 *
 * A callback that does not return is waited for as long as shutdown.patience_ms says, 10 seconds by
 * default. Then it is left: a warning of the log (midge_log_set()) names it. The handle is freed all the
 * same, no other callback begins, and what the library keeps for the callback stays until it returns;
 * what it uses of the host must stay, too, and user_free is called when the last one has returned.
 *
 * @return MIDGE_OK, MIDGE_E_TIMEOUT (a callback was left), MIDGE_E_CLOSED, MIDGE_E_FORKED
 * @since 0.1
 */
MIDGE_API
midge_status midge_broker_free(struct midge_broker b);

/**
 * Where a broker listens: a URL like "mqtt://127.0.0.1:40213" or "unix:///run/midge.sock".
 *
 * @param listener  which, in the order in which they were set, from 0
 * @param buf       receives the URL and a NUL; may be NULL
 * @param cap       bytes in buf
 * @param port      may be NULL; receives the TCP port, 0 for a Unix socket
 * @return MIDGE_OK, MIDGE_E_NOT_FOUND (no such listener), MIDGE_E_LIMIT (buf is too small),
 *         MIDGE_E_INVALID, MIDGE_E_CLOSED
 * @since 0.1
 */
MIDGE_API
midge_status midge_broker_addr(struct midge_broker b,
                               uint32_t listener,
                               char *buf,
                               size_t cap,
                               uint16_t *port);

/**
 * Sets the callback for the log of the library: warnings and errors of the engine, and the texts of
 * panics that were caught. For all brokers of the process; one that was set before is let go. The
 * library writes nothing by itself. Never payloads or passwords.
 *
 * The callback runs where no lock is held: on the thread that leaves the library, or on a broker's. It
 * may call every function that is not marked [blocking]. Lines that come up in a callback of the log follow
 * when it has returned. 64 lines may wait; if there are more, a line says how many were lost.
 *
 * @param on_log     may be NULL, for no callback
 * @param level      MIDGE_LOG_*: lines of this level and of more serious ones
 * @param user       for on_log
 * @param user_free  may be NULL; called with user exactly once, after the last call of on_log. If this
 *                   function fails it is not called.
 * @return MIDGE_OK, MIDGE_E_INVALID (level is no MIDGE_LOG_*)
 * @since 0.1
 */
MIDGE_API
midge_status midge_log_set(midge_log_fn on_log,
                           int32_t level,
                           void *user,
                           midge_free_fn user_free);

/**
 * Makes a message: for midge_publish_message(), or for a publish callback to put in place of
 * another.
 *
 * @param args  as for midge_publish_ex()
 * @param out   receives the message; free it with midge_message_unref()
 * @return as midge_publish_ex(); the payload stays the caller's unless it is MIDGE_OK
 * @since 0.1
 */
MIDGE_API
MIDGE_MUST_USE
midge_status midge_message_new(const struct midge_publish_args *args,
                               struct midge_message **out);

/**
 * Takes another reference. Gives the same pointer; NULL gives NULL.
 * @since 0.1
 */
MIDGE_API const struct midge_message *midge_message_ref(const struct midge_message *m);

/**
 * Gives a reference back. NULL is nothing; in a forked child the message is leaked.
 * @since 0.1
 */
MIDGE_API void midge_message_unref(const struct midge_message *m);

/**
 * Topic name, UTF-8. Valid as long as the reference. NULL gives an empty one.
 * @since 0.1
 */
MIDGE_API struct midge_bytes midge_message_topic(const struct midge_message *m);

/**
 * Topic name as a NUL-terminated text, which no topic name has a NUL in. Made when it is first asked
 * for; valid as long as the reference. NULL gives an empty one.
 * @since 0.1
 */
MIDGE_API
const char *midge_message_topic_text(const struct midge_message *m);

/**
 * Payload. Valid as long as the reference. NULL gives an empty one.
 * @since 0.1
 */
MIDGE_API struct midge_bytes midge_message_payload(const struct midge_message *m);

/**
 * QoS of this delivery in bits 0 and 1; RETAIN in bit 2 (the message was retained before the
 * subscription was made); in bit 3 whether its publisher asked to retain it. NULL gives 0.
 * @since 0.1
 */
MIDGE_API uint32_t midge_message_flags(const struct midge_message *m);

/**
 * Where a message came from, a MIDGE_ORIGIN_* number. NULL gives MIDGE_ORIGIN_HOST.
 *
 * @param client_id  may be NULL; receives the client identifier, or the name of the bridge; valid
 *                   as long as the reference
 * @since 0.1
 */
MIDGE_API
uint32_t midge_message_origin(const struct midge_message *m,
                              struct midge_bytes *client_id);

/**
 * A property of a message.
 *
 * @param id     a MIDGE_PROP_* number, as in MQTT 5.0
 * @param index  0 for the first one, 1 for the second user property, ...
 * @param key    may be NULL; receives the key of a user property
 * @param val    may be NULL; receives a text or bytes
 * @param num    may be NULL; receives a number
 * @return whether there is one; the results are written only then. They are valid as long as the
 *         reference.
 * @since 0.1
 */
MIDGE_API
bool midge_message_prop(const struct midge_message *m,
                        uint8_t id,
                        uint32_t index,
                        struct midge_bytes *key,
                        struct midge_bytes *val,
                        uint64_t *num);

/**
 * The name of a MIDGE_END_* number, for example "keep_alive_timeout"; "unknown" for others. Static.
 * @since 0.1
 */
MIDGE_API const char *midge_end_reason_name(uint32_t reason);

/**
 * The name of an MQTT reason code in the words of the specification, for example "Not authorized"
 * for 0x87; "unknown" for others. Static.
 * @since 0.1
 */
MIDGE_API const char *midge_reason_code_name(uint8_t code);

/**
 * The name of a MIDGE_PACKET_* number, for example "PUBACK"; "unknown" for others. Static.
 * @since 0.1
 */
MIDGE_API const char *midge_packet_name(uint32_t packet);

/**
 * The name of a MIDGE_DROP_* number, for example "queue_full"; "unknown" for others. Static.
 * @since 0.1
 */
MIDGE_API const char *midge_drop_reason_name(uint32_t reason);

/**
 * The name of a status, for example "MIDGE_E_TIMEOUT". Static, never NULL.
 * @since 0.1
 */
MIDGE_API const char *midge_status_name(midge_status status);

/**
 * [blocking unless timeout_ms is 0] Does what there is to do for a broker without threads ("threads" is 0):
 * accepts, reads, writes, fires deadlines, stops, calls hooks and the callbacks of queues, all on the
 * calling thread. If there is nothing to do it waits for that. One call does a bounded part of what there
 * is. It may return early, such as after a signal.
 *
 * One thread at a time polls; any thread may, and all other functions are still free to be called from
 * anywhere: what they give the broker to do ends a wait. What blocks (midge_queue_next(), midge_receipt_wait(),
 * midge_broker_join(), midge_broker_free()) polls meanwhile, if its thread has started the broker or has
 * polled it.
 *
 * @param timeout_ms  milliseconds to wait, 0 and less not to wait, MIDGE_WAIT_FOREVER without limit
 * @return MIDGE_OK (something was done), MIDGE_E_TIMEOUT (nothing was to do), MIDGE_E_CLOSED (the broker has
 *         stopped), MIDGE_E_STATE (the broker has threads, or another thread polls it), MIDGE_E_REENTRANT
 *         (called from a callback), MIDGE_E_IO, MIDGE_E_INVALID
 * @since 0.1
 */
MIDGE_API
midge_status midge_broker_poll(struct midge_broker b,
                               int32_t timeout_ms);

/**
 * A file descriptor that is readable while midge_broker_poll() has something to do, for the host's own loop:
 * poll, epoll, select, libuv, glib. It does not tell when a deadline comes: midge_broker_poll_timeout() does.
 * Level-triggered, close-on-exec. Only poll it: never read, write or close it. It lives until
 * midge_broker_free().
 *
 * @return MIDGE_OK, MIDGE_E_STATE (the broker has threads), MIDGE_E_UNSUPPORTED (the platform
 *         has no such descriptor: poll with a timeout), MIDGE_E_INVALID, MIDGE_E_CLOSED
 * @since 0.1
 */
MIDGE_API
midge_status midge_broker_poll_fd(struct midge_broker b,
                                  int32_t *fd);

/**
 * How long the host may wait for midge_broker_poll_fd() before it calls midge_broker_poll() again: until the
 * broker's next deadline. To be asked after each poll.
 *
 * @param wait_ms  receives milliseconds, rounded up, or -1 without a deadline, as poll() and epoll_wait() take it
 * @return MIDGE_OK, MIDGE_E_STATE (the broker has threads), MIDGE_E_INVALID, MIDGE_E_CLOSED
 * @since 0.1
 */
MIDGE_API
midge_status midge_broker_poll_timeout(struct midge_broker b,
                                       int32_t *wait_ms);

/**
 * Publishes a message as the host. The payload is copied. It is routed on the calling thread:
 * when this returns, every matching session and queue has it, or a counted drop. Callbacks for
 * publish and access control run on the calling thread, too.
 *
 * @param topic    UTF-8, NUL-terminated, without wildcards
 * @param payload  may be NULL if len is 0
 * @return MIDGE_OK, MIDGE_E_INVALID, MIDGE_E_LIMIT (too large), MIDGE_E_NOMEM (for a copy of the
 *         payload), MIDGE_E_DENIED (by the publish callback), MIDGE_E_STATE (the broker stops),
 *         MIDGE_E_REENTRANT (publishing from publish callbacks without end), MIDGE_E_CLOSED
 * @since 0.1
 */
MIDGE_API
midge_status midge_publish(struct midge_broker b,
                           const char *topic,
                           const void *payload,
                           size_t len,
                           uint8_t qos,
                           bool retain);

/**
 * Publishes a message that was made with midge_message_new(), or received, as the host. It may be
 * published any number of times, at the same time, too. Queues of the host get the very message that
 * midge_message_new() has made, so that nothing is copied, and once everything has warmed up nothing
 * is allocated; one that was received is made anew, as the host's. The reference stays the caller's.
 *
 * @param matched  may be NULL; receives the number of receivers
 * @return as midge_publish()
 * @since 0.1
 */
MIDGE_API
midge_status midge_publish_message(struct midge_broker b,
                                   const struct midge_message *m,
                                   uint32_t *matched);

/**
 * Publishes a message with all that MQTT 5.0 has, and without copying the payload if payload_free
 * is set.
 *
 * @param matched  may be NULL; receives the number of receivers
 * @return as midge_publish(), and MIDGE_E_ABI. The payload stays the caller's unless it is
 *         MIDGE_OK.
 * @since 0.1
 */
MIDGE_API
midge_status midge_publish_ex(struct midge_broker b,
                              const struct midge_publish_args *args,
                              uint32_t *matched);

/**
 * Makes a bounded queue.
 *
 * @param mask        MIDGE_EV_* bits of the broker's events that are wanted; 0 for messages only
 * @param max_events  most events that may wait, at least 1
 * @param max_bytes   most bytes of topics, properties and payloads that may wait; 0 for 16 MiB. One event is
 *                    always taken.
 * @param overflow    MIDGE_OVERFLOW_*
 * @param out         receives the handle; free it with midge_queue_free()
 * @return MIDGE_OK, MIDGE_E_INVALID, MIDGE_E_STATE (the broker stops), MIDGE_E_CLOSED
 * @since 0.1
 */
MIDGE_API
MIDGE_MUST_USE
midge_status midge_queue_new(struct midge_broker b,
                             uint32_t mask,
                             size_t max_events,
                             size_t max_bytes,
                             int32_t overflow,
                             struct midge_queue *out);

/**
 * [blocking unless timeout_ms is 0] Takes the next event.
 *
 * @param timeout_ms  milliseconds to wait, 0 and less not to wait, MIDGE_WAIT_FOREVER without limit
 * @param ev          an event that is empty or was cleared; written only with MIDGE_OK. Then call
 *                    midge_event_clear().
 * @return MIDGE_OK, MIDGE_E_TIMEOUT (nothing came, or midge_queue_wake() was called),
 *         MIDGE_E_CLOSED (the queue was freed, or the broker has stopped and everything was
 *         read), MIDGE_E_STATE (the queue has a dispatch thread), MIDGE_E_REENTRANT,
 *         MIDGE_E_INVALID, MIDGE_E_ABI
 * @since 0.1
 */
MIDGE_API
midge_status midge_queue_next(struct midge_queue q,
                              int32_t timeout_ms,
                              struct midge_event *ev);

/**
 * A file descriptor that is readable while midge_queue_next() has something to say: an event, a
 * wake-up, or MIDGE_E_CLOSED. Level-triggered, close-on-exec. Only poll it: never read, write or
 * close it. It lives until midge_queue_free().
 *
 * On Windows it is a SOCKET, (SOCKET)fd, for select() and WSAPoll(). For WaitForMultipleObjects() let
 * WSAEventSelect() set an event of the host's for FD_READ, and then call midge_queue_next() with
 * timeout 0 until it gives MIDGE_E_TIMEOUT.
 *
 * @return MIDGE_OK, MIDGE_E_INVALID, MIDGE_E_IO, MIDGE_E_CLOSED
 * @since 0.1
 */
MIDGE_API
midge_status midge_queue_fd(struct midge_queue q,
                            int32_t *fd);

/**
 * Lets a thread of its own, with all signals blocked, call a function for each event; for a broker without
 * threads midge_broker_poll() calls it. From now on
 * midge_queue_next() gives MIDGE_E_STATE. The thread ends with the broker, after the events that
 * waited, or with midge_queue_free(), at once.
 *
 * @param user       for on_event
 * @param user_free  may be NULL; called with user exactly once, after the last call of on_event. If
 *                   this function fails it is not called.
 * @return MIDGE_OK, MIDGE_E_INVALID, MIDGE_E_STATE (there is one already), MIDGE_E_IO,
 *         MIDGE_E_CLOSED
 * @since 0.1
 */
MIDGE_API
midge_status midge_queue_dispatch(struct midge_queue q,
                                  midge_event_fn on_event,
                                  void *user,
                                  midge_free_fn user_free);

/**
 * Makes one waiting midge_queue_next(), or the next one that would have to wait, return
 * MIDGE_E_TIMEOUT. Async-signal-safe: a signal handler may call it, whatever its thread was doing. For
 * that reason it leaves midge_last_error() alone; errno stays as it was, and on Windows GetLastError().
 * @return MIDGE_OK, MIDGE_E_INVALID (the null handle), MIDGE_E_CLOSED
 * @since 0.1
 */
MIDGE_API
midge_status midge_queue_wake(struct midge_queue q);

/**
 * Frees a queue, with what waits in it. Waiting readers get MIDGE_E_CLOSED. When this returns the
 * dispatch callback does not run any more, unless this was called from a callback. The null handle
 * is nothing. Clients of the queue get MIDGE_E_CLOSED from then on.
 *
 * A dispatch callback that does not return is waited for as long as shutdown.patience_ms says, and then
 * left, as midge_broker_free() does.
 *
 * @return MIDGE_OK, MIDGE_E_TIMEOUT (the dispatch callback was left; the handle is freed all the same),
 *         MIDGE_E_CLOSED, MIDGE_E_FORKED
 * @since 0.1
 */
MIDGE_API
midge_status midge_queue_free(struct midge_queue q);

/**
 * Publishes as midge_publish_ex(), and keeps account of the receivers, which costs some memory for
 * each of them.
 *
 * @param out  receives the handle; free it with midge_receipt_free()
 * @return as midge_publish_ex()
 * @since 0.1
 */
MIDGE_API
MIDGE_MUST_USE
midge_status midge_publish_receipt(struct midge_broker b,
                                   const struct midge_publish_args *args,
                                   struct midge_receipt *out);

/**
 * Publishes as midge_client_publish(), and keeps account of the receivers.
 *
 * @param out  receives the handle; free it with midge_receipt_free()
 * @return as midge_publish_ex()
 * @since 0.1
 */
MIDGE_API
MIDGE_MUST_USE
midge_status midge_client_publish_receipt(struct midge_client c,
                                          const struct midge_publish_args *args,
                                          struct midge_receipt *out);

/**
 * Hands a message to one session, whatever that has subscribed to, connected or not.
 *
 * @param client_id  client identifier of the session
 * @param args       as for midge_publish_ex()
 * @param out        may be NULL; receives the handle; free it with midge_receipt_free()
 * @return as midge_publish_ex(), and MIDGE_E_NOT_FOUND (there is no such session)
 * @since 0.1
 */
MIDGE_API
midge_status midge_broker_send(struct midge_broker b,
                               const char *client_id,
                               const struct midge_publish_args *args,
                               struct midge_receipt *out);

/**
 * [blocking unless timeout_ms is 0] Waits until every receiver at QoS 1 or 2 has acknowledged the
 * message, or dropped it, which they do at latest when the broker stops. Several threads may wait.
 *
 * @param timeout_ms  milliseconds to wait, 0 not to wait, MIDGE_WAIT_FOREVER without limit
 * @return MIDGE_OK, MIDGE_E_TIMEOUT (not all of them in time), MIDGE_E_STATE (the broker has stopped
 *         and a message was kept all the same), MIDGE_E_CLOSED (the receipt was freed), MIDGE_E_REENTRANT, MIDGE_E_INVALID
 * @since 0.1
 */
MIDGE_API
midge_status midge_receipt_wait(struct midge_receipt r,
                                int32_t timeout_ms);

/**
 * The outcome of a message so far.
 *
 * @param out  its struct_size must be set; as much as fits is written
 * @return MIDGE_OK, MIDGE_E_INVALID, MIDGE_E_ABI, MIDGE_E_CLOSED
 * @since 0.1
 */
MIDGE_API midge_status midge_receipt_state(struct midge_receipt r, struct midge_receipt_info *out);

/**
 * The outcome of a message at one session, when it was published.
 *
 * @param index  from 0, below midge_receipt_info.outcomes
 * @param out    its struct_size must be set; as much as fits is written
 * @return MIDGE_OK, MIDGE_E_NOT_FOUND (there are not as many), MIDGE_E_INVALID, MIDGE_E_ABI,
 *         MIDGE_E_CLOSED
 * @since 0.1
 */
MIDGE_API
midge_status midge_receipt_outcome_at(struct midge_receipt r,
                                      size_t index,
                                      struct midge_receipt_outcome *out);

/**
 * Frees a receipt. Threads that wait for it get MIDGE_E_CLOSED. The null handle is nothing.
 * @return MIDGE_OK, MIDGE_E_CLOSED, MIDGE_E_FORKED
 * @since 0.1
 */
MIDGE_API midge_status midge_receipt_free(struct midge_receipt r);

/**
 * The connected clients, in no particular order. Those that come or go meanwhile may be among them.
 *
 * @param max  most items that are kept; 0 for all
 * @param out  receives the handle; free it with midge_snapshot_free()
 * @return MIDGE_OK, MIDGE_E_INVALID, MIDGE_E_CLOSED
 * @since 0.1
 */
MIDGE_API
MIDGE_MUST_USE
midge_status midge_snapshot_clients(struct midge_broker b,
                                    size_t max,
                                    struct midge_snapshot *out);

/**
 * The sessions, connected or not, in no particular order. Those that begin or end meanwhile may be
 * among them.
 *
 * @param max  most items that are kept; 0 for all
 * @param out  receives the handle; free it with midge_snapshot_free()
 * @return MIDGE_OK, MIDGE_E_INVALID, MIDGE_E_CLOSED
 * @since 0.1
 */
MIDGE_API
MIDGE_MUST_USE
midge_status midge_snapshot_sessions(struct midge_broker b,
                                     size_t max,
                                     struct midge_snapshot *out);

/**
 * The subscriptions of one session, or of all, in no particular order. Those of clients inside the
 * process are not among them.
 *
 * @param client_id  may be NULL, for those of all sessions; a client identifier without session has
 *                   none
 * @param max        most items that are kept; 0 for all
 * @param out        receives the handle; free it with midge_snapshot_free()
 * @return MIDGE_OK, MIDGE_E_INVALID, MIDGE_E_CLOSED
 * @since 0.1
 */
MIDGE_API
MIDGE_MUST_USE
midge_status midge_snapshot_subscriptions(struct midge_broker b,
                                          const char *client_id,
                                          size_t max,
                                          struct midge_snapshot *out);

/**
 * The retained messages that match a filter, in the order of their topics.
 *
 * @param filter      topic filter
 * @param filter_len  bytes of the filter, or MIDGE_NUL_TERMINATED
 * @param max         most items that are kept; 0 for all
 * @param out         receives the handle; free it with midge_snapshot_free()
 * @return MIDGE_OK, MIDGE_E_INVALID, MIDGE_E_CLOSED
 * @since 0.1
 */
MIDGE_API
MIDGE_MUST_USE
midge_status midge_snapshot_retained(struct midge_broker b,
                                     const char *filter,
                                     size_t filter_len,
                                     size_t max,
                                     struct midge_snapshot *out);

/**
 * Number of items in a snapshot.
 *
 * @param left   may be NULL; receives how many items were not read yet
 * @param total  may be NULL; receives how many there were in all, those included that max has left out
 * @return MIDGE_OK, MIDGE_E_INVALID, MIDGE_E_CLOSED
 * @since 0.1
 */
MIDGE_API
midge_status midge_snapshot_size(struct midge_snapshot s,
                                 size_t *left,
                                 size_t *total);

/**
 * Frees a snapshot and its texts. The null handle is nothing.
 * @return MIDGE_OK, MIDGE_E_CLOSED, MIDGE_E_FORKED
 * @since 0.1
 */
MIDGE_API midge_status midge_snapshot_free(struct midge_snapshot s);

/**
 * The next client of a snapshot. Two threads that read one snapshot get different ones.
 *
 * @param out  its struct_size must be set; as much as fits is written
 * @return MIDGE_OK, MIDGE_E_NOT_FOUND (nothing is left), MIDGE_E_INVALID (not a snapshot of clients),
 *         MIDGE_E_ABI, MIDGE_E_CLOSED
 * @since 0.1
 */
MIDGE_API
midge_status midge_snapshot_next_client(struct midge_snapshot s,
                                        struct midge_client_info *out);

/**
 * The next session of a snapshot. Two threads that read one snapshot get different ones.
 *
 * @param out  its struct_size must be set; as much as fits is written
 * @return MIDGE_OK, MIDGE_E_NOT_FOUND (nothing is left), MIDGE_E_INVALID (not a snapshot of sessions),
 *         MIDGE_E_ABI, MIDGE_E_CLOSED
 * @since 0.1
 */
MIDGE_API
midge_status midge_snapshot_next_session(struct midge_snapshot s,
                                         struct midge_session_info *out);

/**
 * The next subscription of a snapshot. Two threads that read one snapshot get different ones.
 *
 * @param out  its struct_size must be set; as much as fits is written
 * @return MIDGE_OK, MIDGE_E_NOT_FOUND (nothing is left), MIDGE_E_INVALID (not a snapshot of
 *         subscriptions), MIDGE_E_ABI, MIDGE_E_CLOSED
 * @since 0.1
 */
MIDGE_API
midge_status midge_snapshot_next_subscription(struct midge_snapshot s,
                                              struct midge_subscription_info *out);

/**
 * The next message of a snapshot. Two threads that read one snapshot get different ones.
 *
 * @param out  receives a reference, to be given back with midge_message_unref(), before or after the
 *             snapshot is freed
 * @return MIDGE_OK, MIDGE_E_NOT_FOUND (nothing is left), MIDGE_E_INVALID (not a snapshot of messages),
 *         MIDGE_E_CLOSED
 * @since 0.1
 */
MIDGE_API
midge_status midge_snapshot_next_message(struct midge_snapshot s,
                                         const struct midge_message **out);

/**
 * Says why a callback refuses: `return midge_refuse(MIDGE_RC_BANNED, "until Monday", NULL);` in
 * on_auth, on_acl or on_publish, on the thread of the callback. The last call holds. Without one
 * a refusal is MIDGE_RC_NOT_AUTHORIZED, and what on_publish drops looks like success to a client.
 * A packet that cannot carry the reason code carries another one: MIDGE_EV_REPLACED.
 *
 * @param reason            MQTT reason code of 0x80 or above, a MIDGE_RC_* number
 * @param text              may be NULL; Reason String for clients of MQTT 5.0; copied
 * @param server_reference  may be NULL; Server Reference, sent with MIDGE_RC_USE_ANOTHER_SERVER and
 *                          MIDGE_RC_SERVER_MOVED in CONNACK and DISCONNECT; copied
 * @return MIDGE_E_DENIED if it was taken; MIDGE_E_INVALID, MIDGE_E_STATE (no callback that decides
 *         is under way on this thread). Each of them is a no when the callback returns it.
 * @since 0.1
 */
MIDGE_API midge_status midge_refuse(uint8_t reason, const char *text, const char *server_reference);

/**
 * Puts an answer off: `return midge_decision_defer(&job->decision);` in on_auth, or in on_acl for
 * MIDGE_ACL_PUBLISH and MIDGE_ACL_SUBSCRIBE, on the thread of the callback. Give it later, from any
 * thread, with midge_decision_complete() or midge_decision_refuse(). Only this client waits, its
 * packets in their order; for what the host publishes in a client's name the publishing call waits.
 * No answer within hooks.timeout_ms is a no. Arguments of the callback are gone when it returns: copy
 * what is needed. In on_auth it gives the decision that the callback has got.
 *
 * @param d  receives the decision; if the callback then returns anything but MIDGE_E_WOULD_BLOCK, that
 *           is the answer and d is stale
 * @return MIDGE_E_WOULD_BLOCK if it was put off; MIDGE_E_INVALID, MIDGE_E_STATE (no callback that may
 *         answer later is under way on this thread). Each but MIDGE_E_WOULD_BLOCK is a no when the
 *         callback returns it.
 * @since 0.1
 */
MIDGE_API
midge_status midge_decision_defer(struct midge_decision *d);

/**
 * Gives the answer that a callback has owed. Any thread; works once.
 *
 * @param verdict  MIDGE_OK is a yes, MIDGE_PASS no opinion, everything else a no
 * @return MIDGE_OK, MIDGE_E_CLOSED (answered already, too late, or the broker is gone),
 *         MIDGE_E_INVALID (verdict is MIDGE_E_WOULD_BLOCK, or a null handle)
 * @since 0.1
 */
MIDGE_API midge_status midge_decision_complete(struct midge_decision d, midge_status verdict);

/**
 * Answers with a no and says why. Any thread; works once.
 *
 * @param reason            as for midge_refuse()
 * @param text              may be NULL; as for midge_refuse()
 * @param server_reference  may be NULL; as for midge_refuse()
 * @return MIDGE_OK, MIDGE_E_CLOSED (answered already, too late, or the broker is gone),
 *         MIDGE_E_INVALID; then the answer is still owed
 * @since 0.1
 */
MIDGE_API
midge_status midge_decision_refuse(struct midge_decision d,
                                   uint8_t reason,
                                   const char *text,
                                   const char *server_reference);

/**
 * Gives up an answer that is owed: it becomes a no with MIDGE_RC_NOT_AUTHORIZED. To be called instead
 * of midge_decision_complete(), not after it. Any thread. The null handle is
 * nothing.
 * @return MIDGE_OK, MIDGE_E_CLOSED (answered already, too late, or the broker is gone),
 *         MIDGE_E_FORKED
 * @since 0.1
 */
MIDGE_API
midge_status midge_decision_free(struct midge_decision d);

/**
 * The version of the library, MAJOR * 1000000 + MINOR * 1000 + PATCH; compare it with
 * MIDGE_VERSION_NUMBER.
 * @since 0.1
 */
MIDGE_API int32_t midge_version_number(void);

/**
 * The version of the library as text, "0.1.0". Static.
 * @since 0.1
 */
MIDGE_API const char *midge_version(void);

/**
 * Whether this build has a feature: "tcp", "mqtt3.1.1" and "mqtt5", and those that a build can leave
 * out, "mqtt31", "sys", "toml" and "unix"; "mqtt3.1" is "mqtt31". Other names, and NULL, give false.
 * What is left out answers MIDGE_E_UNSUPPORTED.
 * @since 0.1
 */
MIDGE_API
bool midge_has_feature(const char *name);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* MIDGE_H */
