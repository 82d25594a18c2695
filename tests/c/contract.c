/* The ten rules at the head of midge.h, one test after the other. Prints "N passed, M failed". */
#include "everything.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int passed, failed;
static char inherited[1024]; /* descriptors that were there before the library was used */

#define CHECK(condition)                                          \
  do {                                                            \
    if (condition) {                                              \
      passed++;                                                   \
    } else {                                                      \
      failed++;                                                   \
      printf("%s:%d: %s\n", __FILE__, __LINE__, #condition);      \
    }                                                             \
  } while (0)

#define OK(call) CHECK((call) == MIDGE_OK)
#define WAIT 20000

static const char *last_message(void) {
  static midge_error_info info;
  info.struct_size = sizeof info;
  return midge_last_error(&info) == MIDGE_OK ? info.message : "";
}

static int is(midge_bytes bytes, const char *text) {
  return bytes.len == strlen(text) && (bytes.len == 0 || memcmp(bytes.ptr, text, bytes.len) == 0);
}

static midge_config *new_config(void) {
  midge_config *config = NULL;
  OK(midge_config_new(&config));
  return config;
}

static midge_broker start_with(midge_config *config) {
  midge_broker broker = {0};
  OK(midge_broker_start(config, &broker));
  midge_config_free(config);
  return broker;
}

static midge_broker start(void) {
  midge_config *config = new_config();
  OK(midge_config_set(config, "listen", "tcp://127.0.0.1:0"));
  return start_with(config);
}

static midge_queue queue_of(midge_broker broker, uint32_t mask) {
  midge_queue queue = {0};
  OK(midge_queue_new(broker, mask, 64, 0, MIDGE_OVERFLOW_DROP_OLDEST, &queue));
  return queue;
}

/* ---- a client of bytes ------------------------------------------------------------------------ */

static int dial(midge_broker broker, const char *id) {
  int32_t fd = -1;
  unsigned char packet[64] = {0x10, 0, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 0};
  size_t length = strlen(id);
  packet[1] = (unsigned char)(12 + length);
  packet[13] = (unsigned char)length;
  memcpy(packet + 14, id, length);
  OK(midge_broker_connect_fd(broker, &fd));
  CHECK(write(fd, packet, 14 + length) == (ssize_t)(14 + length));
  return fd;
}

static int got(int fd, const void *expected, size_t length) {
  unsigned char bytes[256];
  size_t have = 0;
  while (have < length) {
    struct pollfd ready = {fd, POLLIN, 0};
    if (poll(&ready, 1, WAIT) != 1) return 0;
    ssize_t count = read(fd, bytes + have, length - have);
    if (count <= 0) return 0;
    have += (size_t)count;
  }
  return memcmp(bytes, expected, length) == 0;
}

static int gone(int fd) {
  char byte;
  struct pollfd ready = {fd, POLLIN, 0};
  return poll(&ready, 1, WAIT) == 1 && read(fd, &byte, 1) <= 0;
}

#define CONNACK(code) "\x20\x02\x00" code, 4

/* ---- 1 handles, 4 errors: NULL and garbage everywhere ------------------------------------------ */

static void null_and_garbage(void) {
  midge_broker b = start(), no = {0}, bad = {0xdeadbeefcafeULL};
  midge_queue q = queue_of(b, MIDGE_EV_ALL), noq = {0}, badq = {b.id};
  midge_client c = {0}, noc = {0}, badc = {q.id}, other = {0};
  midge_decision bad_decision = {c.id + 77};
  midge_config *config = new_config();
  midge_event event = MIDGE_EVENT_INIT;
  midge_publish_args args = MIDGE_PUBLISH_ARGS_INIT;
  midge_stats stats;
  midge_message *message = NULL;
  size_t size = 77;
  int32_t fd = 77;
  char text[8];
  const char *not_utf8 = "\xff\xfe";
  memset(&stats, 0, sizeof stats);
  OK(midge_client_new(b, NULL, q, &c));

  CHECK(midge_config_clone(NULL, &config) == MIDGE_E_INVALID);
  CHECK(midge_config_clone(config, NULL) == MIDGE_E_INVALID);
  CHECK(midge_config_set(NULL, "listen", "") == MIDGE_E_INVALID);
  CHECK(midge_config_set(config, "listen", NULL) == MIDGE_E_INVALID);
  CHECK(strcmp(last_message(), "value is NULL") == 0);
  CHECK(midge_config_set(config, not_utf8, "") == MIDGE_E_INVALID);
  CHECK(midge_config_set(config, "listen", not_utf8) == MIDGE_E_INVALID);
  CHECK(midge_config_set(config, "listen", "garbage") == MIDGE_E_CONFIG);
  CHECK(midge_config_set(config, "threads", "0") == MIDGE_E_CONFIG);
  CHECK(midge_config_set(config, "clock", "sun") == MIDGE_E_CONFIG);
  CHECK(midge_config_set_int(NULL, "limits.inflight", 1) == MIDGE_E_INVALID);
  CHECK(midge_config_set_int(config, NULL, 1) == MIDGE_E_INVALID);
  CHECK(midge_config_set_int(config, "limits.inflight", INT64_MIN) == MIDGE_E_CONFIG);
  CHECK(midge_config_get(NULL, "clock", text, sizeof text, &size) == MIDGE_E_INVALID);
  CHECK(midge_config_get(config, NULL, text, sizeof text, &size) == MIDGE_E_INVALID);
  CHECK(midge_config_get(config, "nothing", text, sizeof text, &size) == MIDGE_E_NOT_FOUND);
  CHECK(midge_config_get(config, "clock", text, 6, &size) == MIDGE_E_LIMIT && size == 7);
  OK(midge_config_get(config, "clock", NULL, 0, NULL));
  OK(midge_config_get(config, "clock", text, 7, NULL));
  CHECK(strcmp(text, "system") == 0);
  CHECK(midge_config_load(NULL, "x") == MIDGE_E_INVALID);
  CHECK(midge_config_load(config, NULL) == MIDGE_E_INVALID);
  CHECK(midge_config_load(config, not_utf8) == MIDGE_E_INVALID);
  CHECK(midge_config_set_hooks(NULL, NULL) == MIDGE_E_INVALID);
  OK(midge_config_set_hooks(config, NULL));

  CHECK(midge_broker_stop(no, 0) == MIDGE_E_INVALID);
  CHECK(midge_broker_stop(bad, -7) == MIDGE_E_CLOSED);
  CHECK(midge_broker_join(bad, 0) == MIDGE_E_CLOSED);
  CHECK(midge_broker_join(b, 0) == MIDGE_E_TIMEOUT);
  CHECK(midge_broker_free(bad) == MIDGE_E_CLOSED);
  CHECK(midge_broker_addr(b, 1, NULL, 0, NULL) == MIDGE_E_NOT_FOUND);
  CHECK(midge_broker_addr(b, 0, text, sizeof text, NULL) == MIDGE_E_LIMIT);
  OK(midge_broker_addr(b, 0, NULL, 0, NULL));

  CHECK(midge_publish(b, not_utf8, "", 0, 0, false) == MIDGE_E_INVALID);
  CHECK(midge_publish(b, "", "", 0, 0, false) == MIDGE_E_INVALID);
  CHECK(midge_publish(b, "a/#", "", 0, 0, false) == MIDGE_E_INVALID);
  CHECK(midge_publish(b, "a", "x", SIZE_MAX, 0, false) == MIDGE_E_INVALID);
  OK(midge_publish(b, "a", NULL, 0, 0, false));
  CHECK(midge_publish_message(b, NULL, NULL) == MIDGE_E_INVALID);
  CHECK(midge_publish_ex(b, NULL, NULL) == MIDGE_E_INVALID);
  CHECK(midge_publish_ex(b, &args, NULL) == MIDGE_E_INVALID);
  CHECK(strcmp(last_message(), "args.topic is NULL") == 0);
  args.topic = "a";
  args.qos = 3;
  CHECK(midge_publish_ex(b, &args, NULL) == MIDGE_E_INVALID);
  args.qos = 0;
  args.response_topic = "a/+";
  CHECK(midge_publish_ex(b, &args, NULL) == MIDGE_E_INVALID);
  args.response_topic = NULL;
  args.content_type = not_utf8;
  CHECK(midge_publish_ex(b, &args, NULL) == MIDGE_E_INVALID);
  args.content_type = NULL;
  args.correlation_data.len = 3;
  CHECK(midge_publish_ex(b, &args, NULL) == MIDGE_E_INVALID);
  args.correlation_data.len = 0;
  args.user_props_len = 2;
  CHECK(midge_publish_ex(b, &args, NULL) == MIDGE_E_INVALID);
  args.user_props = &args.correlation_data;
  args.user_props_len = 1;
  CHECK(midge_publish_ex(b, &args, NULL) == MIDGE_E_INVALID);
  args.user_props_len = 0;
  OK(midge_publish_ex(b, &args, NULL));

  CHECK(midge_queue_new(b, 1u << 31, 1, 0, 0, &noq) == MIDGE_E_INVALID);
  CHECK(midge_queue_new(b, 0, 0, 0, 0, &noq) == MIDGE_E_INVALID);
  CHECK(midge_queue_new(b, 0, 1, 0, 7, &noq) == MIDGE_E_INVALID);
  CHECK(midge_queue_new(b, 0, 1, 0, 0, NULL) == MIDGE_E_INVALID);
  CHECK(midge_queue_new(bad, 0, 1, 0, 0, &noq) == MIDGE_E_CLOSED);
  CHECK(noq.id == 0);
  CHECK(midge_queue_next(q, 0, NULL) == MIDGE_E_INVALID);
  CHECK(midge_queue_next(badq, 0, &event) == MIDGE_E_CLOSED); /* a broker is no queue */
  CHECK(midge_queue_fd(q, NULL) == MIDGE_E_INVALID);
  CHECK(midge_queue_fd(badq, &fd) == MIDGE_E_CLOSED && fd == 77);
  CHECK(midge_queue_dispatch(q, NULL, NULL, NULL) == MIDGE_E_INVALID);
  CHECK(midge_queue_wake(badq) == MIDGE_E_CLOSED);
  CHECK(midge_queue_free(badq) == MIDGE_E_CLOSED);
  OK(midge_queue_free(noq));
  midge_event_clear(NULL);
  midge_event_clear(&event);
  midge_event_clear(&event);

  CHECK(midge_client_new(b, not_utf8, q, &other) == MIDGE_E_INVALID);
  CHECK(midge_client_new(b, NULL, badq, &other) == MIDGE_E_CLOSED);
  CHECK(midge_client_new(bad, NULL, q, &other) == MIDGE_E_CLOSED);
  CHECK(midge_client_new(b, NULL, q, NULL) == MIDGE_E_INVALID);
  midge_broker second = start();
  CHECK(midge_client_new(second, NULL, q, &other) == MIDGE_E_INVALID);
  OK(midge_broker_free(second));
  CHECK(midge_client_subscribe(c, NULL, 0, 0) == MIDGE_E_INVALID);
  CHECK(midge_client_subscribe(c, "a/#/b", 0, 0) == MIDGE_E_INVALID);
  CHECK(midge_client_subscribe(c, "a", 3, 0) == MIDGE_E_INVALID);
  CHECK(midge_client_subscribe(badc, "a", 0, 0) == MIDGE_E_CLOSED);
  CHECK(midge_client_unsubscribe(c, "never") == MIDGE_E_NOT_FOUND);
  CHECK(midge_client_unsubscribe(c, NULL) == MIDGE_E_INVALID);
  CHECK(midge_client_publish(badc, &args, NULL) == MIDGE_E_CLOSED);
  CHECK(midge_client_publish(c, NULL, NULL) == MIDGE_E_INVALID);
  CHECK(midge_client_free(badc) == MIDGE_E_CLOSED);
  OK(midge_client_free(noc));

  CHECK(midge_message_new(NULL, &message) == MIDGE_E_INVALID);
  CHECK(midge_message_new(&args, NULL) == MIDGE_E_INVALID);
  CHECK(midge_message_ref(NULL) == NULL);
  midge_message_unref(NULL);
  CHECK(midge_message_topic(NULL).len == 0 && midge_message_payload(NULL).len == 0);
  CHECK(midge_message_flags(NULL) == 0 && midge_message_origin(NULL, NULL) == MIDGE_ORIGIN_HOST);
  CHECK(!midge_message_prop(NULL, 3, 0, NULL, NULL, NULL));

  CHECK(midge_broker_stats(b, NULL) == MIDGE_E_INVALID);
  CHECK(midge_broker_quiesce(bad, 0) == MIDGE_E_CLOSED);
  CHECK(midge_broker_wait_subscribers(b, NULL, 0, 0) == MIDGE_E_INVALID);
  CHECK(midge_broker_wait_subscribers(b, "+", 0, 0) == MIDGE_E_INVALID);
  CHECK(midge_broker_wait_subscribers(b, "a", 1, 0) == MIDGE_E_TIMEOUT);
  CHECK(midge_broker_disconnect(b, NULL, 0x98) == MIDGE_E_INVALID);
  CHECK(midge_broker_disconnect(b, "x", 0) == MIDGE_E_INVALID);
  CHECK(midge_broker_disconnect(b, "x", 0xff) == MIDGE_E_INVALID);
  CHECK(midge_broker_disconnect(b, "x", 0x98) == MIDGE_E_NOT_FOUND);
  CHECK(midge_broker_clear_session(b, "x") == MIDGE_E_NOT_FOUND);
  CHECK(midge_broker_clear_session(b, NULL) == MIDGE_E_INVALID);
  CHECK(midge_broker_retained(b, NULL, NULL, 0, &size) == MIDGE_E_INVALID);
  CHECK(midge_broker_retained(b, "#", NULL, 1, &size) == MIDGE_E_INVALID);
  CHECK(midge_broker_retained(b, "#", NULL, 0, NULL) == MIDGE_E_INVALID);
  CHECK(midge_broker_set_retained(b, "a/#", "x", 1) == MIDGE_E_INVALID);
  CHECK(midge_broker_set_retained(b, "a", NULL, 1) == MIDGE_E_INVALID);
  CHECK(midge_broker_clear_retained(b, "#/a", NULL) == MIDGE_E_INVALID);
  CHECK(midge_broker_connect_fd(b, NULL) == MIDGE_E_INVALID);
  CHECK(midge_broker_advance(bad, 1) == MIDGE_E_CLOSED);
  CHECK(midge_decision_complete(bad_decision, MIDGE_OK) == MIDGE_E_CLOSED);
  CHECK(midge_last_error(NULL) == MIDGE_E_INVALID);
  CHECK(!midge_has_feature(NULL) && !midge_has_feature("x") && midge_has_feature("mqtt5"));
  CHECK(strcmp(midge_drop_reason_name(9999), "unknown") == 0);
  CHECK(strcmp(midge_status_name(12345), "MIDGE_E_UNKNOWN") == 0);

  OK(midge_client_free(c));
  OK(midge_queue_free(q));
  OK(midge_broker_free(b));
  midge_config_free(config);
}

/* A file sets all of what it says, or nothing. */
static midge_status load(midge_config *config, const char *text) {
  char path[] = "/tmp/midge-XXXXXX";
  int fd = mkstemp(path);
  CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
  close(fd);
  midge_status status = midge_config_load(config, path);
  if (status != MIDGE_OK) CHECK(strstr(last_message(), status == MIDGE_E_NOT_FOUND ? "inflght" : path) != NULL);
  unlink(path);
  return status;
}

static void configuration_files(void) {
  midge_config *config = new_config();
  char text[64];
  OK(load(config, "listen = 'tcp://127.0.0.1:0'\nthreads = 2\n[limits]\ninflight = 7\n"));
  OK(midge_config_get(config, "limits.inflight", text, sizeof text, NULL));
  CHECK(strcmp(text, "7") == 0);
  CHECK(load(config, "[limits]\ninflight = 9\ninflght = 1\n") == MIDGE_E_NOT_FOUND);
  CHECK(load(config, "threads = 0\n") == MIDGE_E_CONFIG);
  CHECK(load(config, "[limits\n") == MIDGE_E_CONFIG);
  OK(midge_config_get(config, "limits.inflight", text, sizeof text, NULL));
  CHECK(strcmp(text, "7") == 0);
  midge_broker broker = start_with(config);
  OK(midge_broker_addr(broker, 0, text, sizeof text, NULL));
  OK(midge_broker_free(broker));
}

/* ---- 4: struct_size short, exact, long --------------------------------------------------------- */

static void struct_sizes(void) {
  midge_broker b = start();
  struct {
    midge_publish_args args;
    uint64_t newer;
  } longer = {MIDGE_PUBLISH_ARGS_INIT, 0};
  longer.args.topic = "a";
  longer.args.struct_size = sizeof longer;
  OK(midge_publish_ex(b, &longer.args, NULL)); /* newer, but asks for nothing new */
  longer.newer = 1;
  CHECK(midge_publish_ex(b, &longer.args, NULL) == MIDGE_E_ABI);
  longer.newer = 0;
  longer.args.struct_size = (uint32_t)offsetof(midge_publish_args, message_expiry_s);
  OK(midge_publish_ex(b, &longer.args, NULL)); /* older */
  for (uint32_t bad = 0; bad < offsetof(midge_publish_args, payload_free); bad += 4) {
    longer.args.struct_size = bad;
    CHECK(midge_publish_ex(b, &longer.args, NULL) == MIDGE_E_ABI);
  }
  longer.args.struct_size = UINT32_MAX;
  CHECK(midge_publish_ex(b, &longer.args, NULL) == MIDGE_E_ABI);

  struct {
    midge_stats stats;
    uint64_t newer;
  } more;
  memset(&more, 0xAA, sizeof more);
  more.stats.struct_size = sizeof more;
  OK(midge_broker_stats(b, &more.stats));
  CHECK(more.stats.struct_size == sizeof more && more.stats.state == 1);
  CHECK(more.newer == 0xAAAAAAAAAAAAAAAAULL);
  memset(&more, 0xAA, sizeof more);
  more.stats.struct_size = 8;
  OK(midge_broker_stats(b, &more.stats));
  CHECK(more.stats.state == 1 && more.stats.heartbeat == 0xAAAAAAAAAAAAAAAAULL);
  more.stats.struct_size = 4;
  CHECK(midge_broker_stats(b, &more.stats) == MIDGE_E_ABI);

  midge_queue q = queue_of(b, 0);
  midge_event event = MIDGE_EVENT_INIT;
  event.struct_size = 40;
  CHECK(midge_queue_next(q, 0, &event) == MIDGE_E_ABI);
  midge_config *config = new_config();
  midge_hooks hooks = MIDGE_HOOKS_INIT;
  hooks.struct_size = 12;
  CHECK(midge_config_set_hooks(config, &hooks) == MIDGE_E_ABI);
  hooks.struct_size = sizeof hooks;
  hooks.acl_actions = 1;
  CHECK(midge_config_set_hooks(config, &hooks) == MIDGE_E_INVALID);
  midge_config_free(config);
  midge_error_info info;
  info.struct_size = 3;
  CHECK(midge_last_error(&info) == MIDGE_E_ABI);
  OK(midge_queue_free(q));
  OK(midge_broker_free(b));
}

/* ---- 3, 5: messages and their parts ------------------------------------------------------------ */

static void properties_arrive(void) {
  midge_broker b = start();
  CHECK(everything(b, 0) == 0);
  midge_queue q = queue_of(b, 0);
  midge_client c = {0};
  midge_event event = MIDGE_EVENT_INIT;
  midge_bytes props[] = {{(const uint8_t *)"unit", 4}, {(const uint8_t *)"%", 1},
                         {(const uint8_t *)"bed", 3},  {(const uint8_t *)"7", 1}};
  midge_publish_args args = MIDGE_PUBLISH_ARGS_INIT;
  midge_bytes key = {0}, value = {0};
  uint64_t number = 0;
  uint32_t matched = 0;
  OK(midge_client_new(b, "pump", q, &c));
  OK(midge_client_subscribe(c, "ward/#", 2, 5));
  args.topic = "ward/7";
  args.payload = "97";
  args.payload_len = 2;
  args.qos = 1;
  args.payload_utf8 = 1;
  args.message_expiry_s = 60;
  args.response_topic = "answer";
  args.content_type = "text/plain";
  args.correlation_data = props[0];
  args.user_props = props;
  args.user_props_len = 4;
  OK(midge_client_publish(c, &args, &matched));
  CHECK(matched == 1);
  OK(midge_queue_next(q, 0, &event));
  const midge_message *m = event.message;
  CHECK(event.tag == 5 && is(event.topic, "ward/7") && is(event.client_id, "pump"));
  CHECK(event.wall_ns > 0 && event.mono_ns > 0 && midge_message_flags(m) == 1);
  CHECK(midge_message_prop(m, MIDGE_PROP_PAYLOAD_FORMAT, 0, NULL, NULL, &number) && number == 1);
  CHECK(midge_message_prop(m, MIDGE_PROP_MESSAGE_EXPIRY, 0, NULL, NULL, &number) && number == 60);
  CHECK(midge_message_prop(m, MIDGE_PROP_CONTENT_TYPE, 0, NULL, &value, NULL) && is(value, "text/plain"));
  CHECK(midge_message_prop(m, MIDGE_PROP_RESPONSE_TOPIC, 0, NULL, &value, NULL) && is(value, "answer"));
  CHECK(midge_message_prop(m, MIDGE_PROP_CORRELATION_DATA, 0, NULL, &value, NULL) && is(value, "unit"));
  CHECK(midge_message_prop(m, MIDGE_PROP_USER, 1, &key, &value, NULL) && is(key, "bed") && is(value, "7"));
  CHECK(!midge_message_prop(m, MIDGE_PROP_USER, 2, &key, &value, NULL));
  CHECK(midge_message_origin(m, &key) == MIDGE_ORIGIN_CLIENT && is(key, "pump"));
  midge_event_clear(&event);
  CHECK(event.message == NULL && event.type == 0);

  OK(midge_publish(b, "ward/8", "x", 1, 0, false));
  OK(midge_client_unsubscribe(c, "ward/#"));
  CHECK(midge_queue_next(q, 0, &event) == MIDGE_E_TIMEOUT); /* nothing comes after unsubscribe */

  OK(midge_publish(b, "kept/a", "1", 1, 0, true));
  OK(midge_broker_set_retained(b, "kept/b", "2", 1));
  const midge_message *list[1];
  size_t count = 0;
  OK(midge_broker_retained(b, "kept/+", list, 1, &count));
  CHECK(count == 2 && is(midge_message_topic(list[0]), "kept/a"));
  midge_message_unref(list[0]);
  OK(midge_client_subscribe(c, "kept/b", 0, 9));
  OK(midge_queue_next(q, 0, &event));
  CHECK(event.tag == 9 && (midge_message_flags(event.message) & 4) != 0);
  midge_event_clear(&event);
  OK(midge_broker_clear_retained(b, "kept/#", &count));
  CHECK(count == 2);
  OK(midge_queue_free(q)); /* before its client and its broker */
  CHECK(midge_client_subscribe(c, "x", 0, 0) == MIDGE_E_CLOSED);
  OK(midge_broker_free(b));
  CHECK(midge_client_subscribe(c, "x", 0, 0) == MIDGE_E_CLOSED);
  OK(midge_client_free(c));
}

/* ---- 6, 7: callbacks --------------------------------------------------------------------------- */

struct host {
  midge_broker broker;
  midge_queue queue;
  atomic_int freed, reentrant, threads;
  _Atomic uint64_t decision;
  midge_status auth;
};

static void free_host(void *user) { atomic_fetch_add(&((struct host *)user)->freed, 1); }

/* Every function, from inside a callback: those marked [blocking] are refused, the rest works. */
static void reenter(struct host *host) {
  int wrong = everything(host->broker, 1);
  if (wrong != 0) printf("everything.h:%d: inside a callback\n", wrong);
  if (wrong == 0) atomic_fetch_add(&host->reentrant, 1);
}

static midge_status on_auth(void *user, const midge_connect_info *info, midge_decision d) {
  struct host *host = user;
  if (is(info->client_id, "reenter")) reenter(host);
  atomic_store(&host->decision, d.id);
  return host->auth;
}

static midge_status on_acl(void *user, const midge_acl_request *request) {
  struct host *host = user;
  if (is(request->client_id, "reenter") && is(request->topic, "t")) reenter(host);
  return is(request->topic, "secret") ? MIDGE_E_DENIED : MIDGE_OK;
}

static midge_status on_publish(void *user, const midge_message *message, midge_message **replace) {
  struct host *host = user;
  if (is(midge_message_topic(message), "drop")) return MIDGE_E_DENIED;
  if (is(midge_message_topic(message), "reenter")) reenter(host);
  if (is(midge_message_topic(message), "change")) {
    midge_publish_args args = MIDGE_PUBLISH_ARGS_INIT;
    args.topic = "changed";
    args.payload = "new";
    args.payload_len = 3;
    return midge_message_new(&args, replace);
  }
  return MIDGE_OK;
}

static void on_thread_start(void *user) { atomic_fetch_add(&((struct host *)user)->threads, 1); }
static void on_thread_stop(void *user) { atomic_fetch_sub(&((struct host *)user)->threads, 1); }

static midge_hooks hooks_of(struct host *host) {
  midge_hooks hooks = MIDGE_HOOKS_INIT;
  hooks.user = host;
  hooks.user_free = free_host;
  hooks.on_auth = on_auth;
  hooks.on_acl = on_acl;
  hooks.on_publish = on_publish;
  hooks.on_thread_start = on_thread_start;
  hooks.on_thread_stop = on_thread_stop;
  return hooks;
}

static void start_host(struct host *host, const char *clock) {
  midge_config *config = new_config();
  midge_hooks hooks = hooks_of(host);
  OK(midge_config_set(config, "clock", clock));
  OK(midge_config_set(config, "threads", "2"));
  OK(midge_config_set(config, "sys.interval_s", "0"));
  OK(midge_config_set_hooks(config, &hooks));
  host->broker = start_with(config);
  host->queue = queue_of(host->broker, MIDGE_EV_CONNECT | MIDGE_EV_DISCONNECT);
}

static void hooks_decide(void) {
  struct host host = {0};
  midge_event event = MIDGE_EVENT_INIT;
  midge_client client = {0};
  start_host(&host, "system");
  int fd = dial(host.broker, "reenter");
  CHECK(got(fd, CONNACK("\x00")));
  CHECK(write(fd, "\x82\x06\x00\x01\x00\x01t\x00", 8) == 8 && got(fd, "\x90\x03\x00\x01\x00", 5));
  CHECK(write(fd, "\x82\x0b\x00\x02\x00\x06secret\x00", 13) == 13 && got(fd, "\x90\x03\x00\x02\x80", 5));
  OK(midge_broker_wait_subscribers(host.broker, "t", 1, WAIT));
  OK(midge_queue_next(host.queue, WAIT, &event));
  CHECK(event.type == MIDGE_EV_CONNECT && event.status == MIDGE_OK && is(event.client_id, "reenter"));
  midge_event_clear(&event);
  OK(midge_client_new(host.broker, NULL, host.queue, &client));
  OK(midge_client_subscribe(client, "changed", 0, 1));
  OK(midge_publish(host.broker, "reenter", "", 0, 0, false));
  OK(midge_publish(host.broker, "change", "old", 3, 0, false));
  OK(midge_queue_next(host.queue, WAIT, &event));
  CHECK(is(event.topic, "changed") && is(midge_message_payload(event.message), "new"));
  midge_event_clear(&event);
  CHECK(midge_publish(host.broker, "drop", "", 0, 0, false) == MIDGE_E_DENIED);
  OK(midge_broker_disconnect(host.broker, "reenter", 0x98));
  CHECK(gone(fd));
  close(fd);
  OK(midge_queue_next(host.queue, WAIT, &event));
  CHECK(event.type == MIDGE_EV_DISCONNECT && event.code == 0x98 && is(event.text, "by_server"));
  midge_event_clear(&event);
  CHECK(host.reentrant == 3); /* auth, acl, publish */

  host.auth = MIDGE_E_DENIED;
  fd = dial(host.broker, "no");
  CHECK(got(fd, CONNACK("\x05")));
  close(fd);
  OK(midge_queue_next(host.queue, WAIT, &event));
  CHECK(event.type == MIDGE_EV_CONNECT && event.status == MIDGE_E_DENIED);
  midge_event_clear(&event);
  while (atomic_load(&host.threads) != 3) sched_yield(); /* the last one may only just begin */
  CHECK(host.freed == 0);
  OK(midge_broker_stop(host.broker, 0));
  OK(midge_broker_join(host.broker, WAIT));
  CHECK(host.freed == 1 && host.threads == 0); /* at latest now */
  OK(midge_broker_free(host.broker));
  OK(midge_queue_free(host.queue));
  OK(midge_client_free(client));
  CHECK(host.freed == 1);
}

static void decisions_come_later(void) {
  struct host host = {0};
  midge_event event = MIDGE_EVENT_INIT;
  host.auth = MIDGE_E_WOULD_BLOCK;
  start_host(&host, "manual");
  midge_status answers[] = {MIDGE_OK, MIDGE_E_DENIED};
  for (int n = 0; n < 2; n++) {
    atomic_store(&host.decision, 0);
    int fd = dial(host.broker, n == 0 ? "yes" : "no");
    while (atomic_load(&host.decision) == 0) sched_yield();
    midge_decision d = {atomic_load(&host.decision)};
    CHECK(midge_decision_complete(d, MIDGE_E_WOULD_BLOCK) == MIDGE_E_INVALID);
    OK(midge_decision_complete(d, answers[n]));
    CHECK(midge_decision_complete(d, MIDGE_OK) == MIDGE_E_CLOSED);
    CHECK(n == 0 ? got(fd, CONNACK("\x00")) : got(fd, CONNACK("\x05")));
    OK(midge_queue_next(host.queue, WAIT, &event));
    midge_event_clear(&event);
    close(fd);
    if (n == 0) {
      OK(midge_queue_next(host.queue, WAIT, &event));
      midge_event_clear(&event);
    }
  }
  /* No answer in time is a no, and an answer after that is too late. */
  atomic_store(&host.decision, 0);
  int fd = dial(host.broker, "late");
  while (atomic_load(&host.decision) == 0) sched_yield();
  midge_decision d = {atomic_load(&host.decision)};
  while (midge_queue_next(host.queue, 1, &event) == MIDGE_E_TIMEOUT) {
    OK(midge_broker_advance(host.broker, 5001));
  }
  CHECK(event.status == MIDGE_E_DENIED);
  midge_event_clear(&event);
  CHECK(midge_decision_complete(d, MIDGE_OK) == MIDGE_E_CLOSED);
  close(fd);
  /* One that is never answered does not hold up the end. */
  atomic_store(&host.decision, 0);
  fd = dial(host.broker, "never");
  while (atomic_load(&host.decision) == 0) sched_yield();
  OK(midge_broker_free(host.broker));
  CHECK(midge_decision_complete((midge_decision){host.decision}, MIDGE_OK) == MIDGE_E_CLOSED);
  close(fd);
  OK(midge_queue_free(host.queue));
  CHECK(host.freed == 1);
}

static void user_free_on_every_path(void) {
  struct host host = {0};
  midge_hooks hooks = hooks_of(&host);
  midge_config *config = new_config(), *copy = NULL;
  midge_broker broker = {0}, blocker = start();
  char url[64];
  OK(midge_config_set_hooks(config, &hooks));
  OK(midge_config_set_hooks(config, &hooks)); /* replaced */
  CHECK(host.freed == 1);
  OK(midge_config_clone(config, &copy));
  midge_config_free(config);
  CHECK(host.freed == 1);
  OK(midge_broker_addr(blocker, 0, url, sizeof url, NULL));
  OK(midge_config_set(copy, "listen", url));
  CHECK(midge_broker_start(copy, &broker) == MIDGE_E_ADDR_IN_USE); /* a start that fails */
  CHECK(host.freed == 1);
  OK(midge_config_set(copy, "listen", ""));
  OK(midge_broker_start(copy, &broker));
  OK(midge_broker_free(broker));
  CHECK(host.freed == 1); /* the configuration still has them */
  midge_config_free(copy);
  CHECK(host.freed == 2);
  OK(midge_broker_free(blocker));

  /* Payloads: kept by a queue, then freed with the last reference. */
  blocker = start();
  midge_queue q = queue_of(blocker, 0);
  midge_client c = {0};
  midge_event event = MIDGE_EVENT_INIT;
  midge_publish_args args = MIDGE_PUBLISH_ARGS_INIT;
  char *large = malloc(100000);
  memset(large, 'x', 100000);
  OK(midge_client_new(blocker, NULL, q, &c));
  OK(midge_client_subscribe(c, "#", 0, 0));
  args.topic = "large";
  args.payload = large;
  args.payload_len = 100000;
  args.payload_free = free_host;
  args.payload_user = &host;
  OK(midge_publish_ex(blocker, &args, NULL));
  CHECK(host.freed == 2);
  OK(midge_queue_next(q, 0, &event));
  CHECK(midge_message_payload(event.message).ptr == (const uint8_t *)large); /* not a copy */
  midge_event_clear(&event);
  CHECK(host.freed == 3);
  OK(midge_broker_stop(blocker, 0));
  OK(midge_broker_join(blocker, WAIT));
  CHECK(midge_publish_ex(blocker, &args, NULL) == MIDGE_E_STATE);
  CHECK(host.freed == 3);
  OK(midge_broker_free(blocker));
  free(large);
  OK(midge_client_free(c));
  OK(midge_queue_free(q));
}

/* What is lent is freed where the broker may be called: here the last owner is the session of the
 * very client that payload_free then disconnects. */
struct lent {
  midge_broker broker;
  atomic_int freed, worked;
};

static void free_lent(void *user) {
  struct lent *lent = user;
  if (midge_publish(lent->broker, "t", "again", 5, 0, false) == MIDGE_OK &&
      midge_broker_disconnect(lent->broker, "c", 0x98) == MIDGE_OK)
    atomic_fetch_add(&lent->worked, 1);
  atomic_fetch_add(&lent->freed, 1);
}

static void payload_free_may_call_the_broker(void) {
  static char large[20000];
  static unsigned char bytes[20008];
  struct lent lent = {start(), 0, 0};
  midge_publish_args args = MIDGE_PUBLISH_ARGS_INIT;
  uint32_t matched = 0;
  int fd = dial(lent.broker, "c");
  CHECK(got(fd, CONNACK("\x00")));
  CHECK(write(fd, "\x82\x06\0\x01\0\x01t\x01", 8) == 8 && got(fd, "\x90\x03\0\x01\x01", 5));
  args.topic = "t";
  args.qos = 1;
  args.payload = large;
  args.payload_len = sizeof large;
  args.payload_free = free_lent;
  args.payload_user = &lent;
  OK(midge_publish_ex(lent.broker, &args, &matched));
  CHECK(matched == 1 && lent.freed == 0);
  for (size_t have = 0; have < sizeof large + 9;) { /* the PUBLISH */
    ssize_t count = read(fd, bytes, sizeof bytes);
    if (count <= 0) break;
    have += (size_t)count;
  }
  CHECK(write(fd, "\x40\x02\0\x01", 4) == 4);
  while (atomic_load(&lent.freed) == 0) sched_yield();
  CHECK(lent.freed == 1 && lent.worked == 1);
  CHECK(got(fd, "\x30\x08\0\x01tagain", 10) && gone(fd));
  close(fd);
  OK(midge_broker_stop(lent.broker, 1000000));
  OK(midge_broker_stop(lent.broker, 0)); /* cuts a drain short */
  OK(midge_broker_join(lent.broker, WAIT));
  OK(midge_broker_free(lent.broker));
}

/* Dispatch threads, and what they may free. */
enum { KEEP, FREE_QUEUE, FREE_BROKER };
struct reader {
  struct host host;
  int frees;
  atomic_int events;
};

static void on_event(void *user, const midge_event *event) {
  struct reader *reader = user;
  if (event->type == MIDGE_EV_MESSAGE && is(event->topic, "go")) {
    if (atomic_load(&reader->events) == 0) reenter(&reader->host);
    if (reader->frees == FREE_QUEUE) midge_queue_free(reader->host.queue);
    if (reader->frees == FREE_BROKER) midge_broker_free(reader->host.broker);
    atomic_fetch_add(&reader->events, 1);
  }
}

static void dispatch(int frees) {
  struct reader reader;
  midge_client client = {0};
  midge_event event = MIDGE_EVENT_INIT;
  memset(&reader, 0, sizeof reader);
  reader.frees = frees;
  reader.host.broker = start();
  reader.host.queue = queue_of(reader.host.broker, 0);
  OK(midge_queue_dispatch(reader.host.queue, on_event, &reader, free_host));
  CHECK(midge_queue_dispatch(reader.host.queue, on_event, &reader, free_host) == MIDGE_E_STATE);
  CHECK(midge_queue_next(reader.host.queue, 0, &event) == MIDGE_E_STATE);
  OK(midge_client_new(reader.host.broker, NULL, reader.host.queue, &client));
  OK(midge_client_subscribe(client, "go", 0, 0));
  OK(midge_publish(reader.host.broker, "go", "", 0, 0, false));
  if (frees == KEEP) {
    while (atomic_load(&reader.events) == 0) sched_yield();
    OK(midge_publish(reader.host.broker, "go", "", 0, 0, false));
    OK(midge_broker_stop(reader.host.broker, 0));
    OK(midge_broker_join(reader.host.broker, WAIT)); /* after what waited was delivered */
    CHECK(reader.events == 2 && reader.host.freed == 1);
    CHECK(midge_queue_dispatch(reader.host.queue, on_event, &reader, free_host) == MIDGE_E_CLOSED);
    OK(midge_queue_free(reader.host.queue));
  } else {
    while (atomic_load(&reader.host.freed) == 0) sched_yield();
    CHECK(reader.events == 1);
  }
  if (frees == FREE_QUEUE) {
    CHECK(midge_queue_free(reader.host.queue) == MIDGE_E_CLOSED);
    OK(midge_broker_free(reader.host.broker));
  }
  if (frees == KEEP) OK(midge_broker_free(reader.host.broker));
  if (frees == FREE_BROKER) {
    CHECK(midge_broker_free(reader.host.broker) == MIDGE_E_CLOSED);
    OK(midge_queue_free(reader.host.queue));
  }
  OK(midge_client_free(client));
  CHECK(reader.host.freed == 1 && reader.host.reentrant == 1);
}

/* ---- waiting readers --------------------------------------------------------------------------- */

static void *read_one(void *user) {
  midge_event event = MIDGE_EVENT_INIT;
  return (void *)(intptr_t)midge_queue_next(*(midge_queue *)user, MIDGE_WAIT_FOREVER, &event);
}

static void readers_are_woken(void) {
  midge_broker b = start();
  midge_queue q = queue_of(b, 0);
  midge_event event = MIDGE_EVENT_INIT;
  pthread_t thread;
  void *result;
  int32_t fd = -1;
  OK(midge_queue_wake(q)); /* before somebody waits */
  CHECK(pthread_create(&thread, NULL, read_one, &q) == 0 && pthread_join(thread, &result) == 0);
  CHECK((intptr_t)result == MIDGE_E_TIMEOUT);
  OK(midge_queue_fd(q, &fd));
  struct pollfd ready = {fd, POLLIN, 0};
  CHECK(poll(&ready, 1, 0) == 0);
  OK(midge_queue_wake(q));
  CHECK(poll(&ready, 1, 0) == 1 && poll(&ready, 1, 0) == 1); /* level-triggered */
  CHECK(midge_queue_next(q, 0, &event) == MIDGE_E_TIMEOUT && poll(&ready, 1, 0) == 0);
  CHECK((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
  CHECK(pthread_create(&thread, NULL, read_one, &q) == 0);
  OK(midge_broker_stop(b, 0));
  CHECK(pthread_join(thread, &result) == 0 && (intptr_t)result == MIDGE_E_CLOSED);
  OK(midge_broker_join(b, WAIT));
  CHECK(poll(&ready, 1, 0) == 1); /* it has something to say: closed */
  OK(midge_queue_free(q));
  OK(midge_broker_free(b));
}

/* ---- 8, 9: nothing is left, and nothing is touched ---------------------------------------------- */

static int entries(const char *path) {
  int count = 0;
  DIR *folder = opendir(path);
  while (folder != NULL && readdir(folder) != NULL) count++;
  if (folder != NULL) closedir(folder);
  return count;
}

/* The kernel takes a moment to forget a thread that was joined. */
static int comes_to(const char *path, int expected) {
  for (int tries = 0; tries < 1000000; tries++) {
    if (entries(path) == expected) return 1;
    sched_yield();
  }
  return 0;
}

static void start_and_stop(int times, int threads, int files) {
  for (int n = 0; n < times; n++) {
    midge_broker b = start();
    midge_queue q = queue_of(b, MIDGE_EV_ALL);
    int32_t fd;
    OK(midge_queue_fd(q, &fd));
    OK(midge_broker_free(b));
    OK(midge_queue_free(q));
  }
  CHECK(comes_to("/proc/self/fd", files));
  CHECK(comes_to("/proc/self/task", threads));
}

/* The threads of the library; *bad counts those that take a signal. A new thread names itself. */
static int library_threads(int *bad) {
  static const int all[] = {1, 2, 3, 10, 12, 13, 14, 15, 17}; /* HUP INT QUIT USR1 USR2 PIPE ALRM TERM CHLD */
  DIR *tasks = opendir("/proc/self/task");
  struct dirent *task;
  int found = 0;
  *bad = 0;
  while ((task = readdir(tasks)) != NULL) {
    char path[300], line[256], name[64] = "";
    unsigned long long blocked = 0;
    snprintf(path, sizeof path, "/proc/self/task/%s/status", task->d_name);
    FILE *file = fopen(path, "r");
    if (file == NULL) continue;
    while (fgets(line, sizeof line, file) != NULL) {
      sscanf(line, "Name: %63s", name);
      sscanf(line, "SigBlk: %llx", &blocked);
    }
    fclose(file);
    if (strncmp(name, "midge-", 6) != 0) continue;
    found++;
    for (size_t n = 0; n < sizeof all / sizeof *all; n++) *bad += ((blocked >> (all[n] - 1)) & 1) == 0;
  }
  closedir(tasks);
  return found;
}

static void threads_take_no_signals(void) {
  struct reader reader;
  struct dirent *task;
  sigset_t before, after;
  int bad = 0;
  memset(&reader, 0, sizeof reader);
  pthread_sigmask(SIG_SETMASK, NULL, &before);
  start_host(&reader.host, "system");
  OK(midge_queue_dispatch(reader.host.queue, on_event, &reader, NULL));
  pthread_sigmask(SIG_SETMASK, NULL, &after);
  CHECK(sigismember(&after, SIGTERM) == sigismember(&before, SIGTERM)); /* the host's own */
  while (library_threads(&bad) != 4) sched_yield(); /* three of the broker, one of the queue */
  CHECK(bad == 0);
  DIR *files = opendir("/proc/self/fd");
  while ((task = readdir(files)) != NULL) {
    int fd = atoi(task->d_name);
    if (fd < (int)sizeof inherited && !inherited[fd] && fd != dirfd(files)) CHECK((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
  }
  closedir(files);
  OK(midge_broker_free(reader.host.broker));
  OK(midge_queue_free(reader.host.queue));
}

/* The heartbeat stands still while the only thread of the broker is held up. */
static void heartbeat(void) {
  midge_broker b = start();
  midge_stats stats = {0};
  stats.struct_size = sizeof stats;
  OK(midge_broker_stats(b, &stats));
  uint64_t first = stats.heartbeat;
  while (stats.heartbeat < first + 3) {
    if (midge_broker_stats(b, &stats) != MIDGE_OK) break;
    sched_yield();
  }
  CHECK(stats.heartbeat >= first + 3);
  OK(midge_broker_stop(b, 1000));
  OK(midge_broker_stop(b, 0));
  OK(midge_broker_join(b, WAIT));
  OK(midge_broker_join(b, WAIT));
  OK(midge_broker_stats(b, &stats));
  CHECK(stats.state == 0);
  OK(midge_broker_free(b));
}

int main(int argc, char **argv) {
  int times = argc > 1 ? atoi(argv[1]) : 1000;
  for (int fd = 0; fd < (int)sizeof inherited; fd++) inherited[fd] = fcntl(fd, F_GETFD) >= 0;
  int threads = entries("/proc/self/task"), files = entries("/proc/self/fd");
  null_and_garbage();
  configuration_files();
  struct_sizes();
  properties_arrive();
  hooks_decide();
  decisions_come_later();
  user_free_on_every_path();
  payload_free_may_call_the_broker();
  dispatch(KEEP);
  dispatch(FREE_QUEUE);
  dispatch(FREE_BROKER);
  readers_are_woken();
  start_and_stop(times, threads, files);
  threads_take_no_signals();
  heartbeat();
  printf("%d passed, %d failed\n", passed, failed);
  return failed != 0;
}
