/* Rules 2, 3 and 5 to 7 of midge.h: messages, callbacks, what is freed when, readers. Prints
 * "N passed, M failed". */
#include "client.h"

/* ---- 3, 5: messages and their parts ------------------------------------------------------------ */

static void properties_arrive(void) {
  midge_broker b = start();
  CHECK(everything(b, 0) == 0);
  midge_queue q = queue_of(b, 0);
  midge_client c = {0};
  midge_event event = MIDGE_EVENT_INIT;
  midge_bytes props[] = {
      {(const uint8_t *)"unit", 4}, {(const uint8_t *)"%", 1}, {(const uint8_t *)"bed", 3}, {(const uint8_t *)"7", 1}};
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
  midge_broker spare; /* another one, for callbacks that run while theirs has none yet, or no more */
  midge_queue queue;
  atomic_int freed, reentrant, threads;
  _Atomic uint64_t decision;
  midge_status auth;
};

/* Every function, from inside a callback: those marked [blocking] are refused, the rest works. */
static void reenter_with(struct host *host, midge_broker broker) {
  static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;
  pthread_mutex_lock(&one);
  int wrong = everything(broker, 1);
  pthread_mutex_unlock(&one);
  if (wrong != 0) printf("everything.h:%d: inside a callback\n", wrong);
  if (wrong == 0) atomic_fetch_add(&host->reentrant, 1);
}

static void reenter(struct host *host) { reenter_with(host, host->broker); }

static void free_host(void *user) {
  struct host *host = user;
  if (host->spare.id != 0) reenter_with(host, host->spare);
  atomic_fetch_add(&host->freed, 1);
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

static void on_thread_start(void *user) {
  struct host *host = user;
  if (host->spare.id != 0) reenter_with(host, host->spare);
  atomic_fetch_add(&host->threads, 1);
}

static void on_thread_stop(void *user) {
  struct host *host = user;
  if (host->spare.id != 0) reenter_with(host, host->spare);
  atomic_fetch_sub(&host->threads, 1);
}

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
  while (atomic_load(&host.threads) != 2) sched_yield(); /* the last one may only just begin */
  CHECK(host.freed == 0);
  OK(midge_broker_stop(host.broker, 0));
  OK(midge_broker_join(host.broker, WAIT));
  CHECK(host.freed == 1 && host.threads == 0); /* at latest now */
  OK(midge_broker_free(host.broker));
  OK(midge_queue_free(host.queue));
  OK(midge_client_free(client));
  CHECK(host.freed == 1);
}

/* A rule that looks how a topic begins, or asks what a filter reaches, and what it was asked last. */
struct rule {
  bool looks;
  char topic[16], group[16];
};

static midge_status keep_secrets(void *user, const midge_acl_request *request) {
  struct rule *rule = user;
  CHECK(request->struct_size == sizeof *request);
  CHECK((request->group.ptr == NULL) == (request->group.len == 0));
  OK(midge_bytes_copy(request->topic, rule->topic, sizeof rule->topic, NULL));
  OK(midge_bytes_copy(request->group, rule->group, sizeof rule->group, NULL));
  if (rule->looks) return strncmp(rule->topic, "secret/", 7) == 0 ? MIDGE_E_DENIED : MIDGE_OK;
  return midge_filter_reaches(request->topic, "secret/#") == MIDGE_E_NOT_FOUND ? MIDGE_OK : MIDGE_E_DENIED;
}

static midge_broker start_with_rule(struct rule *rule, uint32_t action, const char *shared_v3) {
  midge_config *config = new_config();
  midge_hooks hooks = MIDGE_HOOKS_INIT;
  hooks.user = rule;
  hooks.on_acl = keep_secrets;
  hooks.acl_actions = 1u << action;
  OK(midge_config_set(config, "sys.interval_s", "0"));
  OK(midge_config_set(config, "mqtt.shared_v3", shared_v3));
  OK(midge_config_set_hooks(config, &hooks));
  return start_with(config);
}

#define ASK(text) say_subscribe(fd, text, sizeof text - 1)

static void say_subscribe(int fd, const char *filter, unsigned char length) {
  unsigned char packet[64] = {0x82, (unsigned char)(5 + length), 0, 1, 0, length};
  memcpy(packet + 6, filter, length);
  CHECK(write(fd, packet, 7 + (size_t)length) == 7 + (ssize_t)length);
}

/* The group of a shared subscription leads past no rule about topics; wildcards do, but not past receive. */
static void rules_are_about_topics(void) {
  struct rule rule = {true, {0}, {0}};
  midge_broker broker = start_with_rule(&rule, MIDGE_ACL_SUBSCRIBE, "true");
  int fd = dial(broker, "spy");
  CHECK(got(fd, CONNACK("\x00")));
  ASK("$share/g/secret/#");
  CHECK(got(fd, "\x90\x03\x00\x01\x80", 5));
  CHECK(strcmp(rule.topic, "secret/#") == 0 && strcmp(rule.group, "g") == 0);
  ASK("secret/#");
  CHECK(got(fd, "\x90\x03\x00\x01\x80", 5));
  CHECK(strcmp(rule.topic, "secret/#") == 0 && rule.group[0] == 0);
  ASK("$share/g/open/+");
  CHECK(got(fd, "\x90\x03\x00\x01\x00", 5));
  CHECK(strcmp(rule.topic, "open/+") == 0 && strcmp(rule.group, "g") == 0);
  close(fd);
  OK(midge_broker_free(broker));

  /* A rule that asks is not passed by wildcards. */
  rule.looks = false;
  broker = start_with_rule(&rule, MIDGE_ACL_SUBSCRIBE, "true");
  fd = dial(broker, "spy");
  CHECK(got(fd, CONNACK("\x00")));
  ASK("#");
  CHECK(got(fd, "\x90\x03\x00\x01\x80", 5));
  ASK("$share/g/+/plan");
  CHECK(got(fd, "\x90\x03\x00\x01\x80", 5));
  ASK("secret");
  CHECK(got(fd, "\x90\x03\x00\x01\x80", 5));
  ASK("+");
  CHECK(got(fd, "\x90\x03\x00\x01\x80", 5)); /* "secret/#" matches "secret", too */
  ASK("open/#");
  CHECK(got(fd, "\x90\x03\x00\x01\x00", 5));
  CHECK(midge_filter_reaches((midge_bytes){(const uint8_t *)"a", 1}, "a#") == MIDGE_E_INVALID);
  CHECK(midge_filter_reaches((midge_bytes){(const uint8_t *)"a#", 2}, "a") == MIDGE_E_INVALID);
  close(fd);
  OK(midge_broker_free(broker));
  rule.looks = true;

  /* Where it is an ordinary filter, all of it is the topic. */
  broker = start_with_rule(&rule, MIDGE_ACL_SUBSCRIBE, "false");
  fd = dial(broker, "old");
  CHECK(got(fd, CONNACK("\x00")));
  ASK("$share/g/a");
  CHECK(got(fd, "\x90\x03\x00\x01\x00", 5));
  CHECK(strcmp(rule.topic, "$share/g/a") == 0 && rule.group[0] == 0);
  close(fd);
  OK(midge_broker_free(broker));

  broker = start_with_rule(&rule, MIDGE_ACL_RECEIVE, "true");
  fd = dial(broker, "spy");
  CHECK(got(fd, CONNACK("\x00")));
  ASK("#");
  CHECK(got(fd, "\x90\x03\x00\x01\x00", 5));
  OK(midge_publish(broker, "secret/plan", "x", 1, 0, false));
  CHECK(strcmp(rule.topic, "secret/plan") == 0 && rule.group[0] == 0);
  OK(midge_publish(broker, "open", "x", 1, 0, false));
  CHECK(got(fd, "\x30\x07\x00\x04openx", 9)); /* the first that comes */
  close(fd);
  OK(midge_broker_free(broker));
}

/* The first and the last thing on each thread, user_free, and the function that frees a payload. */
static void threads_call(void) {
  struct host host = {0};
  midge_publish_args args = MIDGE_PUBLISH_ARGS_INIT;
  host.spare = start();
  start_host(&host, "system");
  args.topic = "lent";
  args.payload_free = free_host;
  args.payload_user = &host;
  OK(midge_publish_ex(host.broker, &args, NULL));
  CHECK(host.freed == 1);
  while (atomic_load(&host.threads) != 2) sched_yield();
  OK(midge_broker_free(host.broker));
  CHECK(host.freed == 2 && host.threads == 0);
  CHECK(host.reentrant == 2 + 2 + 2);
  OK(midge_queue_free(host.queue));
  OK(midge_broker_free(host.spare));
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

/* One of several sets of callbacks. */
struct member {
  midge_status says;
  int asked, freed;
};

static midge_status member_says(struct member *member) {
  member->asked++;
  return member->says;
}

static midge_status member_auth(void *user, const midge_connect_info *info, midge_decision d) {
  (void)info, (void)d;
  return member_says(user);
}

static midge_status member_acl(void *user, const midge_acl_request *request) {
  (void)request;
  return member_says(user);
}

static void member_free(void *user) { ((struct member *)user)->freed++; }

static void sets_of_hooks_are_asked_in_their_order(void) {
  static const struct {
    midge_status says[3];
    int asked[3];
    char connack;
  } cases[] = {
      {{MIDGE_PASS, MIDGE_OK, MIDGE_E_DENIED}, {1, 1, 0}, 0x00},
      {{MIDGE_PASS, MIDGE_E_DENIED, MIDGE_OK}, {1, 1, 0}, 0x05},
      {{MIDGE_PASS, MIDGE_PASS, MIDGE_PASS}, {1, 1, 1}, 0x04},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct member members[3] = {{MIDGE_OK, 0, 0}, {MIDGE_OK, 0, 0}, {MIDGE_OK, 0, 0}};
    midge_config *config = new_config();
    for (size_t k = 0; k < 3; k++) {
      midge_hooks hooks = MIDGE_HOOKS_INIT;
      members[k].says = cases[i].says[k];
      hooks.user = &members[k];
      hooks.user_free = member_free;
      hooks.on_auth = member_auth;
      hooks.on_acl = member_acl;
      OK(midge_config_add_hooks(config, &hooks));
    }
    midge_broker broker = start_with(config);
    int fd = dial(broker, "client");
    const char connack[] = {0x20, 2, 0, cases[i].connack};
    CHECK(got(fd, connack, sizeof connack));
    for (size_t k = 0; k < 3; k++) CHECK(members[k].asked == cases[i].asked[k]);

    /* Of access control the first no counts: a yes lets the next set speak. */
    if (cases[i].connack == 0) {
      CHECK(write(fd, "\x82\x06\x00\x01\x00\x01t\x00", 8) == 8 && got(fd, "\x90\x03\x00\x01\x80", 5));
      for (size_t k = 0; k < 3; k++) CHECK(members[k].asked == cases[i].asked[k] + 1);
    }
    close(fd);
    OK(midge_broker_free(broker));
    for (size_t k = 0; k < 3; k++) CHECK(members[k].freed == 1);
  }
}

/* Of hooks that are replaced: the configuration has the new ones already. */
static void free_and_look(void *user) {
  midge_config **config = user, *copy = NULL;
  OK(midge_config_clone(*config, &copy));
  midge_config_free(copy);
  OK(midge_config_set_hooks(*config, NULL));
  *config = NULL;
}

static void user_free_may_use_the_configuration(void) {
  midge_config *config = new_config(), *seen = config;
  midge_hooks hooks = MIDGE_HOOKS_INIT;
  hooks.user = &seen;
  hooks.user_free = free_and_look;
  OK(midge_config_set_hooks(config, &hooks));
  OK(midge_config_set_hooks(config, NULL));
  CHECK(seen == NULL);
  midge_config_free(config);
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
  OK(midge_queue_wake(q)); /* before a thread waits */
  CHECK(pthread_create(&thread, NULL, read_one, &q) == 0 && pthread_join(thread, &result) == 0);
  CHECK((intptr_t)result == MIDGE_E_TIMEOUT);
  OK(midge_queue_fd(q, &fd));
  struct pollfd ready = {fd, POLLIN, 0};
  CHECK(poll(&ready, 1, 0) == 0);
  OK(midge_queue_wake(q));
  CHECK(poll(&ready, 1, WAIT) == 1 && poll(&ready, 1, 0) == 1); /* level-triggered */
  CHECK(midge_queue_next(q, 0, &event) == MIDGE_E_TIMEOUT && poll(&ready, 1, 0) == 0);
  CHECK(!is_inherited(fd));
  CHECK(pthread_create(&thread, NULL, read_one, &q) == 0);
  OK(midge_broker_stop(b, 0));
  CHECK(pthread_join(thread, &result) == 0 && (intptr_t)result == MIDGE_E_CLOSED);
  OK(midge_broker_join(b, WAIT));
  CHECK(poll(&ready, 1, WAIT) == 1); /* it has something to say: closed */
  OK(midge_queue_free(q));
  OK(midge_broker_free(b));
}

/* ---- what is refused says why ----------------------------------------------------------------- */

static int says(midge_status got, midge_status wanted, const char *part) {
  if (got == wanted && strstr(last_message(), part) != NULL) return 1;
  printf("%s: %s\n", midge_status_name(got), last_message());
  return 0;
}

static void errors_name_the_argument(void) {
  static const char large[70000];
  midge_publish_args args = MIDGE_PUBLISH_ARGS_INIT;
  midge_message *message = NULL;
  midge_queue q;
  midge_client c;
  midge_config *config = new_config();
  OK(midge_config_set(config, "limits.packet_bytes", "65536"));
  midge_broker b = start_with(config);
  q = queue_of(b, 0);
  OK(midge_client_new(b, "me", q, &c));
  CHECK(says(midge_publish(b, "a/+", "x", 1, 0, false), MIDGE_E_INVALID, "topic: "));
  CHECK(says(midge_publish(b, "a", large, sizeof large, 0, false), MIDGE_E_LIMIT, "payload: "));
  CHECK(says(midge_broker_set_retained(b, "#", "x", 1), MIDGE_E_INVALID, "topic: "));
  CHECK(says(midge_broker_set_retained(b, "a", large, sizeof large), MIDGE_E_LIMIT, "payload: "));
  args.topic = "a/+";
  CHECK(says(midge_publish_ex(b, &args, NULL), MIDGE_E_INVALID, "args.topic: "));
  CHECK(says(midge_client_publish(c, &args, NULL), MIDGE_E_INVALID, "args.topic: "));
  OK(midge_message_new(&args, &message));
  CHECK(says(midge_publish_message(b, message, NULL), MIDGE_E_INVALID, "m: topic: "));
  midge_message_unref(message);
  args.topic = "a";
  args.payload = large;
  args.payload_len = sizeof large;
  CHECK(says(midge_publish_ex(b, &args, NULL), MIDGE_E_LIMIT, "args.payload: "));
  CHECK(says(midge_client_publish(c, &args, NULL), MIDGE_E_LIMIT, "args.payload: "));
  OK(midge_message_new(&args, &message));
  CHECK(says(midge_publish_message(b, message, NULL), MIDGE_E_LIMIT, "m: payload: "));
  midge_message_unref(message);
  CHECK(says(midge_client_subscribe(c, "a/#/b", 0, 0), MIDGE_E_INVALID, "filter: "));
  OK(midge_broker_free(b));
}

static void time_has_ends(void) {
  midge_event event = MIDGE_EVENT_INIT;
  midge_config *config = new_config();
  midge_broker b = start();
  midge_queue q = queue_of(b, 0);
  /* Over is over: what is in the past is not waited for, and the sentinel is not hit by chance. */
  for (int32_t past = -1; past > -4000; past -= 997) {
    CHECK(midge_queue_next(q, past, &event) == MIDGE_E_TIMEOUT);
    CHECK(midge_broker_join(b, past) == MIDGE_E_TIMEOUT);
    CHECK(midge_broker_wait_subscribers(b, "a", 1, past) == MIDGE_E_TIMEOUT);
  }
  CHECK(midge_queue_next(q, MIDGE_WAIT_FOREVER + 1, &event) == MIDGE_E_TIMEOUT);
  CHECK(says(midge_broker_advance(b, 1), MIDGE_E_STATE, "system's clock"));
  OK(midge_broker_free(b));
  OK(midge_config_set(config, "clock", "manual"));
  b = start_with(config);
  int fd = dial(b, "c");
  CHECK(got(fd, CONNACK("\x00")));
  for (int n = 0; n < 3; n++) OK(midge_broker_advance(b, UINT64_MAX));
  OK(midge_publish(b, "a", "x", 1, 0, true));
  OK(midge_broker_free(b));
  close(fd);
}

/* From the call of stop on every function that a broker which stops refuses says so: not that a limit
 * was met, and nothing of what lies below. Before the end has come and afterwards. */
static void what_stops_says_so(void) {
  for (int joined = 0; joined < 2; joined++) {
    for (int round = 0; round < 50; round++) {
      midge_broker b = start();
      midge_queue q = {0};
      int32_t fd = -1;
      OK(midge_broker_stop(b, 0));
      if (joined) OK(midge_broker_join(b, MIDGE_WAIT_FOREVER));
      CHECK(says(midge_broker_connect_fd(b, &fd), MIDGE_E_STATE, "the broker stops"));
      CHECK(says(midge_queue_new(b, 0, 1, 0, 0, &q), MIDGE_E_STATE, "the broker stops"));
      /* Messages are taken until the engine has got that far: a drain may need them. */
      midge_status published = midge_publish(b, "a", "x", 1, 0, false);
      CHECK((!joined && published == MIDGE_OK) || says(published, MIDGE_E_STATE, "stopped"));
      midge_status retained = midge_broker_set_retained(b, "a", "x", 1);
      CHECK((!joined && retained == MIDGE_OK) || says(retained, MIDGE_E_STATE, "stopped"));
      OK(midge_broker_free(b));
    }
  }
}

#ifdef _WIN32
/* An event of the host's, for WaitForMultipleObjects(). */
static void an_event_stands_for_a_queue(void) {
  midge_broker b = start();
  midge_queue q = queue_of(b, 0);
  midge_client c = {0};
  midge_event event = MIDGE_EVENT_INIT;
  int32_t fd = -1;
  WSAEVENT comes = WSACreateEvent();
  OK(midge_client_new(b, NULL, q, &c));
  OK(midge_client_subscribe(c, "t", 0, 0));
  OK(midge_queue_fd(q, &fd));
  CHECK(WSAEventSelect((SOCKET)fd, comes, FD_READ) == 0);
  for (int n = 0; n < 3; n++) {
    CHECK(WSAWaitForMultipleEvents(1, &comes, FALSE, 0, FALSE) == WSA_WAIT_TIMEOUT);
    OK(midge_publish(b, "t", "x", 1, 0, false));
    CHECK(WSAWaitForMultipleEvents(1, &comes, FALSE, WAIT, FALSE) == WSA_WAIT_EVENT_0);
    CHECK(WSAResetEvent(comes));
    OK(midge_queue_next(q, 0, &event));
    midge_event_clear(&event);
    CHECK(midge_queue_next(q, 0, &event) == MIDGE_E_TIMEOUT);
  }
  OK(midge_queue_free(q));
  OK(midge_client_free(c));
  OK(midge_broker_free(b));
  WSACloseEvent(comes);
}
#endif

int main(void) {
  properties_arrive();
  hooks_decide();
  sets_of_hooks_are_asked_in_their_order();
  rules_are_about_topics();
  threads_call();
  decisions_come_later();
  user_free_on_every_path();
  user_free_may_use_the_configuration();
  payload_free_may_call_the_broker();
  dispatch(KEEP);
  dispatch(FREE_QUEUE);
  dispatch(FREE_BROKER);
  readers_are_woken();
  errors_name_the_argument();
  time_has_ends();
  what_stops_says_so();
#ifdef _WIN32
  an_event_stands_for_a_queue();
#endif
  return result();
}
