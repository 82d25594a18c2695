/* Rules 1 and 4 of midge.h by hand: what each mistake gets, and what the message says. garbage.py makes
 * the same of the header, for every parameter. Prints "N passed, M failed". */
#include "client.h"

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
  CHECK(midge_config_set(config, "threads", "-1") == MIDGE_E_CONFIG);
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
  FILE *file = fdopen(mkstemp(path), "w");
  CHECK(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0);
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
  CHECK(load(config, "threads = -1\n") == MIDGE_E_CONFIG);
  CHECK(load(config, "[limits\n") == MIDGE_E_CONFIG);
  OK(midge_config_get(config, "limits.inflight", text, sizeof text, NULL));
  CHECK(strcmp(text, "7") == 0);
  midge_broker broker = start_with(config);
  OK(midge_broker_addr(broker, 0, text, sizeof text, NULL));
  OK(midge_broker_free(broker));
}

/* ---- 4: struct_size short, exact, long --------------------------------------------------------- */

static int untouched(const void *bytes, size_t from, size_t to) {
  const unsigned char *byte = bytes;
  while (from < to && byte[from] == 0xAA) from++;
  return from == to;
}

/* Events as shorter and as longer headers have them: what is behind their end stays as it is. */
static void events_of_other_versions(midge_broker b) {
  union {
    midge_event event;
    unsigned char bytes[sizeof(midge_event) + 16];
  } room;
  const size_t first = offsetof(midge_event, username);
  const size_t sizes[] = {first, offsetof(midge_event, connection), sizeof(midge_event), sizeof room};
  midge_queue q = queue_of(b, MIDGE_EV_PUBLISH);
  midge_client c = {0};
  OK(midge_client_new(b, NULL, q, &c));
  OK(midge_client_subscribe(c, "sized", 0, 3));
  for (size_t n = 0; n < sizeof sizes / sizeof *sizes; n++) {
    unsigned messages = 0, publishes = 0;
    OK(midge_publish(b, "sized", "x", 1, 0, false));
    for (int event = 0; event < 2; event++) { /* with and without a message of its own */
      memset(&room, 0xAA, sizeof room);
      memset(&room, 0, first);
      room.event.struct_size = (uint32_t)(first - 4);
      CHECK(midge_queue_next(q, WAIT, &room.event) == MIDGE_E_ABI);
      room.event.struct_size = (uint32_t)sizes[n];
      OK(midge_queue_next(q, WAIT, &room.event));
      messages += room.event.type == MIDGE_EV_MESSAGE && room.event.tag == 3;
      publishes += room.event.type == MIDGE_EV_PUBLISH;
      CHECK(room.event.struct_size == sizes[n] && is(room.event.topic, "sized"));
      CHECK(is(midge_message_payload(room.event.message), "x"));
      CHECK(sizes[n] < sizeof room.event || (room.event.connection == 0 && room.event.session == 0));
      CHECK(untouched(&room, sizes[n] < sizeof room.event ? sizes[n] : sizeof room.event, sizeof room));
      midge_event_clear(&room.event);
      CHECK(room.event.struct_size == sizes[n] && room.event.owner == NULL && room.event.message == NULL);
      CHECK(untouched(&room, sizes[n] < sizeof room.event ? sizes[n] : sizeof room.event, sizeof room));
    }
    CHECK(messages == 1 && publishes == 1);
  }
  OK(midge_client_free(c));
  OK(midge_queue_free(q));
}

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
  events_of_other_versions(b);
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

/* ---- 4: messages never say payloads or passwords ----------------------------------------------- */

#define PAYLOAD "payload-of-a-patient"
#define PASSWORD "password-of-a-nurse"

static void hides(midge_status status) {
  CHECK(status != MIDGE_OK && last_message()[0] != 0);
  CHECK(strstr(last_message(), PAYLOAD) == NULL && strstr(last_message(), PASSWORD) == NULL);
}

static int says(midge_bytes bytes, const char *text) {
  return bytes.len > 0 && memmem(bytes.ptr, bytes.len, text, strlen(text)) != NULL;
}

static midge_status refuse(void *user, const midge_connect_info *info, midge_decision d) {
  (void)d;
  atomic_fetch_add((atomic_int *)user, is(info->password, PASSWORD));
  return MIDGE_E_DENIED;
}

static midge_status refuse_all(void *user, const midge_message *message, midge_message **replace) {
  (void)user;
  (void)message;
  (void)replace;
  return MIDGE_E_DENIED;
}

static void secrets_stay_secret(void) {
  atomic_int seen = 0;
  midge_config *config = new_config();
  midge_hooks hooks = MIDGE_HOOKS_INIT;
  midge_publish_args args = MIDGE_PUBLISH_ARGS_INIT;
  midge_event event = MIDGE_EVENT_INIT;
  hooks.user = &seen;
  hooks.on_auth = refuse;
  hooks.on_publish = refuse_all;
  OK(midge_config_set_hooks(config, &hooks));
  OK(midge_config_set(config, "limits.packet_bytes", "1024"));
  midge_broker b = start_with(config);
  midge_queue q = queue_of(b, MIDGE_EV_CONNECT);
  args.payload = PAYLOAD;
  args.payload_len = sizeof PAYLOAD - 1;
  args.topic = "a/#";
  hides(midge_publish_ex(b, &args, NULL));
  args.topic = "a";
  hides(midge_publish_ex(b, &args, NULL)); /* denied */
  args.response_topic = "#";
  hides(midge_publish_ex(b, &args, NULL));
  args.response_topic = NULL;
  args.qos = 3;
  hides(midge_publish_ex(b, &args, NULL));
  static char large[2000] = PAYLOAD;
  hides(midge_publish(b, "a", large, sizeof large, 0, false));
  hides(midge_broker_set_retained(b, "+", PAYLOAD, sizeof PAYLOAD - 1));
  hides(midge_publish((midge_broker){b.id + 1}, "a", PAYLOAD, sizeof PAYLOAD - 1, 0, false));

  unsigned char packet[64] = "\x10\x29\0\4MQTT\4\xc2\0\0\0\1c\0\5nurse\0\x13" PASSWORD;
  int fd = dial_raw(b);
  say(fd, packet, 2 + 0x29);
  CHECK(got(fd, CONNACK("\x05")));
  OK(midge_queue_next(q, WAIT, &event));
  CHECK(event.type == MIDGE_EV_CONNECT && event.status == MIDGE_E_DENIED && seen == 1);
  CHECK(!says(event.text, PASSWORD));
  CHECK(!says(event.topic, PASSWORD));
  CHECK(!says(event.client_id, PASSWORD));
  midge_event_clear(&event);
  close(fd);
  OK(midge_queue_free(q));
  OK(midge_broker_free(b));
}

int main(void) {
  null_and_garbage();
  configuration_files();
  struct_sizes();
  secrets_stay_secret();
  return result();
}
