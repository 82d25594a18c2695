/* What C sees and says beyond the first version: snapshots, receipts, refusals with reasons, answers
 * that come later, subscribe options, texts by length, numbers for reasons, connections and sessions. Prints "N passed, M failed". */
#include "client.h"

/* ---- snapshots --------------------------------------------------------------------------------- */

static int text_is(midge_bytes bytes, const char *text) { return is(bytes, text) && bytes.ptr[bytes.len] == 0; }

static void snapshots(void) {
  midge_broker b = start();
  midge_snapshot s = {0}, kept = {0};
  midge_client_info client = {0}, again = {0};
  midge_session_info session = {0};
  midge_subscription_info subscription = {0};
  size_t left = 9, total = 9;
  client.struct_size = sizeof client;
  again.struct_size = sizeof again;
  session.struct_size = sizeof session;
  subscription.struct_size = sizeof subscription;
  OK(midge_snapshot_clients(b, 0, &s));
  CHECK(midge_snapshot_next_client(s, &client) == MIDGE_E_NOT_FOUND);
  OK(midge_snapshot_free(s));
  CHECK(midge_snapshot_next_client(s, &client) == MIDGE_E_CLOSED && midge_snapshot_free(s) == MIDGE_E_CLOSED);

  int first = enter(b, "pump"), second = dial(b, "old");
  CHECK(got(second, CONNACK("\x00")));
  subscribe(first, "ward/+/spo2", 0x2d); /* QoS 1, No Local, Retain As Published, Retain Handling 2 */
  CHECK(answers(first, 0x90, 3, 1, NULL));
  OK(midge_snapshot_clients(b, 0, &s));
  OK(midge_snapshot_size(s, &left, &total));
  CHECK(left == 2 && total == 2);
  OK(midge_snapshot_next_client(s, &client));
  OK(midge_snapshot_next_client(s, &again));
  const midge_client_info *pump = text_is(client.client_id, "pump") ? &client : &again;
  const midge_client_info *old = pump == &client ? &again : &client;
  CHECK(text_is(pump->client_id, "pump") && text_is(pump->peer_addr, "memory") && pump->username.len == 0);
  CHECK(pump->protocol == 5 && pump->subscriptions == 1 && old->protocol == 4 && text_is(old->client_id, "old"));
  OK(midge_snapshot_size(s, &left, NULL));
  CHECK(left == 0 && midge_snapshot_next_client(s, &client) == MIDGE_E_NOT_FOUND);
  CHECK(midge_snapshot_next_message(s, NULL) == MIDGE_E_INVALID);
  kept = s;

  OK(midge_snapshot_subscriptions(b, "pump", 0, &s));
  OK(midge_snapshot_next_subscription(s, &subscription));
  CHECK(text_is(subscription.filter, "ward/+/spo2") && text_is(subscription.client_id, "pump"));
  CHECK(subscription.qos == 1 && subscription.no_local == 1 && subscription.retain_as_published == 1 &&
        subscription.retain_handling == MIDGE_RETAIN_DO_NOT_SEND && subscription.subscription_id == 0);
  OK(midge_snapshot_free(s));
  OK(midge_snapshot_subscriptions(b, "old", 0, &s));
  OK(midge_snapshot_size(s, &left, &total));
  CHECK(left == 0 && total == 0);
  OK(midge_snapshot_free(s));
  close(first);
  midge_queue q = queue_of(b, MIDGE_EV_DISCONNECT);
  for (;;) { /* until the session is without a connection */
    OK(midge_snapshot_sessions(b, 0, &s));
    int offline = 0;
    while (midge_snapshot_next_session(s, &session) == MIDGE_OK)
      if (text_is(session.client_id, "pump") && !session.connected) {
        CHECK(session.expiry_s == 60 && session.subscriptions == 1 && session.has_will == 0);
        offline = 1;
      }
    OK(midge_snapshot_free(s));
    if (offline) break;
    midge_event event = MIDGE_EVENT_INIT;
    OK(midge_queue_next(q, WAIT, &event));
    midge_event_clear(&event);
  }

  /* A bound: the rest is counted. */
  for (int n = 0; n < 5; n++) {
    char topic[16];
    snprintf(topic, sizeof topic, "kept/%d", n);
    OK(midge_broker_set_retained(b, topic, "x", 1));
  }
  OK(midge_snapshot_retained(b, "kept/#!", 6, 2, &s));
  OK(midge_snapshot_size(s, &left, &total));
  CHECK(left == 2 && total == 5);
  OK(midge_broker_free(b)); /* snapshots outlive their broker */
  const midge_message *message = NULL, *next = NULL;
  OK(midge_snapshot_next_message(s, &message));
  OK(midge_snapshot_next_message(s, &next));
  CHECK(midge_snapshot_next_message(s, &next) == MIDGE_E_NOT_FOUND);
  OK(midge_snapshot_free(s));
  CHECK(strcmp(midge_message_topic_text(message), "kept/0") == 0 && (midge_message_flags(message) & 12) == 12);
  CHECK(midge_message_topic_text(message) == midge_message_topic_text(message));
  CHECK(strcmp(midge_message_topic_text(NULL), "") == 0);
  midge_message_unref(message);
  midge_message_unref(next);
  CHECK(text_is(pump->client_id, "pump") && text_is(old->client_id, "old"));
  OK(midge_snapshot_free(kept));
  OK(midge_queue_free(q));
  close(second);
}

/* ---- receipts ---------------------------------------------------------------------------------- */

struct waiter {
  midge_receipt receipt;
  midge_status status;
};

static void *wait_for(void *argument) {
  struct waiter *waiter = argument;
  waiter->status = midge_receipt_wait(waiter->receipt, MIDGE_WAIT_FOREVER);
  return NULL;
}

static void receipts(void) {
  midge_broker b = start();
  midge_publish_args args = MIDGE_PUBLISH_ARGS_INIT;
  midge_receipt r = {0};
  midge_receipt_info info = {0};
  midge_receipt_outcome outcome = {0};
  struct waiter waiter = {{0}, 1};
  pthread_t thread;
  info.struct_size = sizeof info;
  outcome.struct_size = sizeof outcome;
  args.topic = "dose";
  args.qos = 1;
  args.payload = "1";
  args.payload_len = 1;
  OK(midge_publish_receipt(b, &args, &r));
  OK(midge_receipt_state(r, &info));
  CHECK(info.matched == 0 && info.outcomes == 0 && info.acknowledged == 1);
  OK(midge_receipt_wait(r, MIDGE_WAIT_FOREVER)); /* no receiver has to acknowledge it */
  OK(midge_receipt_free(r));
  CHECK(midge_receipt_wait(r, 0) == MIDGE_E_CLOSED && midge_receipt_free(r) == MIDGE_E_CLOSED);

  int fd = enter(b, "pump");
  subscribe(fd, "dose", 1);
  CHECK(answers(fd, 0x90, 3, 1, NULL));
  OK(midge_publish_receipt(b, &args, &r));
  OK(midge_receipt_state(r, &info));
  CHECK(info.matched == 1 && info.outcomes == 1 && info.sent + info.queued == 1 && info.dropped == 0 &&
        !info.acknowledged);
  OK(midge_receipt_outcome_at(r, 0, &outcome));
  CHECK(is(outcome.client_id, "pump") && outcome.outcome != MIDGE_OUTCOME_DROPPED && outcome.reason == 0);
  CHECK(midge_receipt_outcome_at(r, 1, &outcome) == MIDGE_E_NOT_FOUND);
  CHECK(midge_receipt_wait(r, 0) == MIDGE_E_TIMEOUT && midge_receipt_wait(r, 1) == MIDGE_E_TIMEOUT);
  waiter.receipt = r;
  CHECK(pthread_create(&thread, NULL, wait_for, &waiter) == 0);
  take_and_acknowledge(fd);
  OK(midge_receipt_wait(r, WAIT));
  pthread_join(thread, NULL);
  CHECK(waiter.status == MIDGE_OK);
  OK(midge_receipt_state(r, &info));
  CHECK(info.acknowledged == 1);
  OK(midge_receipt_free(r));

  /* To one session, whatever it has subscribed to; its payload taken over. */
  args.topic = "to/you";
  OK(midge_broker_send(b, "pump", &args, &r));
  take_and_acknowledge(fd);
  OK(midge_receipt_wait(r, WAIT));
  OK(midge_receipt_free(r));
  args.payload = calloc(1, 1);
  args.payload_user = (void *)(uintptr_t)args.payload;
  args.payload_free = free;
  OK(midge_broker_send(b, "pump", &args, NULL));
  take_and_acknowledge(fd);
  args.payload = calloc(1, 1);
  args.payload_user = (void *)(uintptr_t)args.payload;
  CHECK(midge_broker_send(b, "nobody", &args, NULL) == MIDGE_E_NOT_FOUND); /* still ours */
  free(args.payload_user);
  args.payload = NULL;
  args.payload_len = 0;
  args.payload_free = NULL;

  /* A session that is away: QoS 0 is dropped, QoS 1 waits; the end of the broker ends the wait. */
  midge_queue q = queue_of(b, MIDGE_EV_DISCONNECT);
  midge_event event = MIDGE_EVENT_INIT;
  close(fd);
  OK(midge_queue_next(q, WAIT, &event));
  CHECK(event.detail == MIDGE_END_CONNECTION_LOST && is(event.text, midge_end_reason_name(event.detail)));
  midge_event_clear(&event);
  args.topic = "dose";
  args.qos = 0;
  OK(midge_publish_receipt(b, &args, &r));
  OK(midge_receipt_outcome_at(r, 0, &outcome));
  CHECK(outcome.outcome == MIDGE_OUTCOME_DROPPED && outcome.reason == MIDGE_DROP_NOT_CONNECTED);
  OK(midge_receipt_state(r, &info));
  CHECK(info.dropped == 1);
  OK(midge_receipt_free(r));
  args.qos = 1;
  OK(midge_publish_receipt(b, &args, &r));
  OK(midge_receipt_outcome_at(r, 0, &outcome));
  CHECK(outcome.outcome == MIDGE_OUTCOME_QUEUED);
  waiter.receipt = r;
  CHECK(pthread_create(&thread, NULL, wait_for, &waiter) == 0);
  OK(midge_receipt_free(r)); /* threads that wait, or are about to, return */
  pthread_join(thread, NULL);
  CHECK(waiter.status == MIDGE_E_CLOSED);
  OK(midge_publish_receipt(b, &args, &r));
  waiter.receipt = r;
  CHECK(pthread_create(&thread, NULL, wait_for, &waiter) == 0);
  OK(midge_broker_stop(b, 0));
  pthread_join(thread, NULL);
  CHECK(waiter.status == MIDGE_OK); /* the session has ended, and its messages with it */
  OK(midge_broker_join(b, WAIT));
  OK(midge_receipt_wait(r, WAIT));
  OK(midge_broker_free(b));
  OK(midge_receipt_state(r, &info)); /* the account outlives the broker */
  CHECK(info.queued == 1);
  OK(midge_receipt_free(r));
  OK(midge_queue_free(q));
}

/* ---- decisions --------------------------------------------------------------------------------- */

struct judge {
  midge_broker broker;
  _Atomic uint64_t decision;
  atomic_int receive_status, spare_closed, user_props;
};

static midge_status on_auth(void *user, const midge_connect_info *info, midge_decision d) {
  struct judge *judge = user;
  midge_decision same = {0};
  if (info->user_props_len == 2 && is(info->user_props[0], "ward") && is(info->user_props[1], "12"))
    atomic_store(&judge->user_props, 1);
  if (is(info->client_id, "banned")) return midge_refuse(MIDGE_RC_BANNED, "until Monday", NULL);
  if (is(info->client_id, "moved")) return midge_refuse(MIDGE_RC_SERVER_MOVED, NULL, "other:1883");
  if (is(info->client_id, "wrong")) return midge_refuse(0, "a success is no refusal", NULL);
  if (is(info->client_id, "later")) {
    midge_status put_off = midge_decision_defer(&same);
    CHECK(same.id == d.id);
    atomic_store(&judge->decision, d.id);
    return put_off;
  }
  return MIDGE_OK;
}

static midge_status on_acl(void *user, const midge_acl_request *request) {
  struct judge *judge = user;
  midge_decision d = {0};
  if (request->action == MIDGE_ACL_RECEIVE) {
    atomic_store(&judge->receive_status, midge_decision_defer(&d));
    return MIDGE_OK;
  }
  if (is(request->topic, "full")) return midge_refuse(MIDGE_RC_QUOTA_EXCEEDED, "one each day", NULL);
  if (is(request->topic, "large")) return midge_refuse(MIDGE_RC_PACKET_TOO_LARGE, NULL, NULL);
  if (is(request->topic, "no")) return MIDGE_E_DENIED;
  if (is(request->topic, "inner")) { /* a refusal inside answers the callback inside alone */
    CHECK(midge_publish(judge->broker, "checked", "x", 1, 0, false) == MIDGE_E_DENIED);
    return MIDGE_E_DENIED;
  }
  if (is(request->topic, "outer")) { /* and this one survives what is called after it */
    midge_status refused = midge_refuse(MIDGE_RC_QUOTA_EXCEEDED, "outer", NULL);
    CHECK(midge_publish(judge->broker, "checked", "x", 1, 0, false) == MIDGE_E_DENIED);
    return refused;
  }
  if (is(request->topic, "nothing")) return MIDGE_E_WOULD_BLOCK; /* which was never put off */
  if (is(request->topic, "spare")) {
    (void)midge_decision_defer(&d); /* and answered at once all the same */
    atomic_store(&judge->decision, d.id);
    return MIDGE_OK;
  }
  if (is(request->topic, "later")) {
    midge_status put_off = midge_decision_defer(&d);
    atomic_store(&judge->decision, d.id);
    return put_off;
  }
  return MIDGE_OK;
}

static midge_status on_publish(void *user, const midge_message *message, midge_message **replace) {
  midge_decision d = {0};
  (void)user;
  (void)replace;
  if (!is(midge_message_topic(message), "checked")) return MIDGE_OK;
  CHECK(midge_decision_defer(&d) == MIDGE_E_STATE); /* it must answer at once */
  return midge_refuse(MIDGE_RC_PAYLOAD_FORMAT_INVALID, "no number", NULL);
}

static void start_judge(struct judge *judge, const char *clock) {
  midge_config *config = new_config();
  midge_hooks hooks = MIDGE_HOOKS_INIT;
  hooks.acl_actions = 1u << MIDGE_ACL_PUBLISH | 1u << MIDGE_ACL_SUBSCRIBE | 1u << MIDGE_ACL_RECEIVE;
  hooks.user = judge;
  hooks.on_auth = on_auth;
  hooks.on_acl = on_acl;
  hooks.on_publish = on_publish;
  OK(midge_config_set(config, "clock", clock));
  OK(midge_config_set(config, "sys.interval_s", "0"));
  OK(midge_config_set_hooks(config, &hooks));
  judge->broker = start_with(config);
}

static midge_decision asked(struct judge *judge) {
  uint64_t id;
  while ((id = atomic_exchange(&judge->decision, 0)) == 0) sched_yield();
  return (midge_decision){id};
}

static void refusals_have_reasons(void) {
  struct judge judge = {0};
  midge_event event = MIDGE_EVENT_INIT;
  start_judge(&judge, "system");
  midge_queue q = queue_of(judge.broker, MIDGE_EV_REPLACED | MIDGE_EV_CONNECT);
  CHECK(midge_refuse(MIDGE_RC_BANNED, NULL, NULL) == MIDGE_E_STATE); /* no question is open */
  int fd = dial5(judge.broker, "banned");
  CHECK(answers(fd, 0x20, 1, MIDGE_RC_BANNED, "until Monday"));
  close(fd);
  OK(midge_queue_next(q, WAIT, &event));
  CHECK(event.type == MIDGE_EV_CONNECT && event.status == MIDGE_E_DENIED && event.detail == MIDGE_END_REFUSED);
  CHECK(event.code == MIDGE_RC_BANNED && is(event.text, "refused") && is(event.refusal, "until Monday"));
  CHECK(is(event.client_id, "banned") && event.username.len == 0 && event.connection != 0 && event.session == 0);
  midge_event_clear(&event);
  CHECK(event.refusal.ptr == NULL && event.connection == 0);
  fd = dial5(judge.broker, "moved");
  CHECK(answers(fd, 0x20, 1, MIDGE_RC_SERVER_MOVED, "other:1883"));
  close(fd);
  OK(midge_queue_next(q, WAIT, &event));
  midge_event_clear(&event);
  fd = dial5(judge.broker, "wrong");
  CHECK(answers(fd, 0x20, 1, MIDGE_RC_NOT_AUTHORIZED, NULL));
  close(fd);
  OK(midge_queue_next(q, WAIT, &event));
  midge_event_clear(&event);

  fd = enter(judge.broker, "pump");
  CHECK(judge.user_props == 1);
  OK(midge_queue_next(q, WAIT, &event));
  CHECK(event.type == MIDGE_EV_CONNECT && event.status == MIDGE_OK && event.detail == 5 && event.code == 0);
  midge_event_clear(&event);
  publish1(fd, "full");
  CHECK(answers(fd, 0x40, 2, MIDGE_RC_QUOTA_EXCEEDED, "one each day"));
  publish1(fd, "checked");
  CHECK(answers(fd, 0x40, 2, MIDGE_RC_PAYLOAD_FORMAT_INVALID, "no number"));
  publish1(fd, "inner");
  CHECK(answers(fd, 0x40, 2, MIDGE_RC_NOT_AUTHORIZED, NULL));
  publish1(fd, "outer");
  CHECK(answers(fd, 0x40, 2, MIDGE_RC_QUOTA_EXCEEDED, "outer"));
  publish1(fd, "no");
  CHECK(answers(fd, 0x40, 2, MIDGE_RC_NOT_AUTHORIZED, NULL));
  publish1(fd, "nothing");
  CHECK(answers(fd, 0x40, 2, MIDGE_RC_NOT_AUTHORIZED, NULL));
  publish1(fd, "large"); /* a code that PUBACK cannot carry */
  CHECK(answers(fd, 0x40, 2, MIDGE_RC_IMPLEMENTATION_SPECIFIC_ERROR, NULL));
  OK(midge_queue_next(q, WAIT, &event));
  CHECK(event.type == MIDGE_EV_REPLACED && event.code == MIDGE_RC_IMPLEMENTATION_SPECIFIC_ERROR);
  CHECK(event.tag == MIDGE_RC_PACKET_TOO_LARGE && event.detail == MIDGE_PACKET_PUBACK && is(event.text, "PUBACK"));
  midge_event_clear(&event);
  subscribe(fd, "full", 0);
  CHECK(answers(fd, 0x90, 18, MIDGE_RC_QUOTA_EXCEEDED, "one each day"));
  CHECK(midge_publish(judge.broker, "checked", "x", 1, 0, false) == MIDGE_E_DENIED);
  midge_error_info error = {sizeof error, 0, 0, 0, {0}};
  OK(midge_last_error(&error));
  CHECK(error.reason == MIDGE_RC_PAYLOAD_FORMAT_INVALID && strstr(error.message, "no number") != NULL);
  close(fd);
  OK(midge_broker_free(judge.broker));
  OK(midge_queue_free(q));
}

static void *answer(void *argument) {
  OK(midge_decision_refuse(asked(argument), MIDGE_RC_QUOTA_EXCEEDED, "not you", NULL));
  return NULL;
}

/* What the host publishes in a client's name waits for the answer, too. */
static void the_host_waits_for_answers(void) {
  struct judge judge = {0};
  midge_client client = {0};
  midge_publish_args args = MIDGE_PUBLISH_ARGS_INIT;
  midge_receipt receipt = {0};
  pthread_t thread;
  start_judge(&judge, "system");
  midge_queue q = queue_of(judge.broker, 0);
  OK(midge_client_new(judge.broker, "gui", q, &client));
  args.topic = "later";
  CHECK(pthread_create(&thread, NULL, answer, &judge) == 0);
  CHECK(midge_client_publish_receipt(client, &args, &receipt) == MIDGE_E_DENIED && receipt.id == 0);
  CHECK(strstr(last_message(), "not you") != NULL);
  pthread_join(thread, NULL);
  OK(midge_broker_free(judge.broker));
  OK(midge_client_free(client));
  OK(midge_queue_free(q));
}

static void answers_come_later(void) {
  struct judge judge = {0};
  start_judge(&judge, "manual");
  int fd = enter(judge.broker, "pump"), other = enter(judge.broker, "free");

  publish1(fd, "later");
  midge_decision d = asked(&judge);
  say(other, "\xc0\x00", 2); /* only the asker waits */
  CHECK(got(other, "\xd0\x00", 2));
  OK(midge_decision_complete(d, MIDGE_OK));
  CHECK(answers(fd, 0x40, 1, 9, NULL));
  CHECK(midge_decision_complete(d, MIDGE_OK) == MIDGE_E_CLOSED);
  CHECK(midge_decision_refuse(d, MIDGE_RC_BANNED, NULL, NULL) == MIDGE_E_CLOSED &&
        midge_decision_free(d) == MIDGE_E_CLOSED);

  publish1(fd, "later");
  d = asked(&judge);
  CHECK(midge_decision_refuse(d, 0x10, NULL, NULL) == MIDGE_E_INVALID); /* still owed */
  OK(midge_decision_refuse(d, MIDGE_RC_QUOTA_EXCEEDED, "come back", NULL));
  CHECK(answers(fd, 0x40, 2, MIDGE_RC_QUOTA_EXCEEDED, "come back"));

  publish1(fd, "later"); /* one that is freed unanswered is a no */
  OK(midge_decision_free(asked(&judge)));
  CHECK(answers(fd, 0x40, 2, MIDGE_RC_NOT_AUTHORIZED, NULL));
  OK(midge_decision_free((midge_decision){0}));

  subscribe(fd, "later", 1);
  OK(midge_decision_complete(asked(&judge), MIDGE_OK));
  CHECK(answers(fd, 0x90, 3, 1, NULL));
  subscribe(fd, "later", 1);
  OK(midge_decision_complete(asked(&judge), MIDGE_E_DENIED));
  CHECK(answers(fd, 0x90, 3, MIDGE_RC_NOT_AUTHORIZED, NULL));

  publish1(fd, "spare"); /* put off, and answered at once: what is returned holds */
  CHECK(answers(fd, 0x40, 1, 9, NULL));
  CHECK(midge_decision_complete(asked(&judge), MIDGE_E_DENIED) == MIDGE_E_CLOSED);

  CHECK(midge_decision_defer(&d) == MIDGE_E_STATE); /* no question is open */
  OK(midge_publish(judge.broker, "later", "", 0, 0, false));
  CHECK(got(fd, "\x30\x08\x00\x05later\x00", 10));
  CHECK(judge.receive_status == MIDGE_E_STATE); /* that one must answer at once */

  publish1(fd, "later"); /* no answer in time is a no, and the answer is too late */
  d = asked(&judge);
  struct pollfd ready = {fd, POLLIN, 0};
  while (poll(&ready, 1, 1) == 0) OK(midge_broker_advance(judge.broker, 5001));
  CHECK(answers(fd, 0x40, 2, MIDGE_RC_NOT_AUTHORIZED, NULL));
  CHECK(midge_decision_complete(d, MIDGE_OK) == MIDGE_E_CLOSED);
  close(fd);
  fd = dial5(judge.broker, "later");
  OK(midge_decision_refuse(asked(&judge), MIDGE_RC_SERVER_BUSY, "later", NULL));
  CHECK(answers(fd, 0x20, 1, MIDGE_RC_SERVER_BUSY, "later"));
  close(fd);

  publish1(other, "later"); /* one that is never answered does not hold up the end */
  d = asked(&judge);
  OK(midge_broker_free(judge.broker));
  CHECK(midge_decision_complete(d, MIDGE_OK) == MIDGE_E_CLOSED);
  close(other);
}

/* ---- subscribe options, texts by length ---------------------------------------------------------- */

static int pending(midge_queue q, uint32_t tag) {
  midge_event event = MIDGE_EVENT_INIT;
  int count = 0;
  while (midge_queue_next(q, 0, &event) == MIDGE_OK) {
    CHECK(event.tag == tag);
    count++;
    midge_event_clear(&event);
  }
  return count;
}

static void subscribe_options(void) {
  midge_broker b = start();
  midge_queue q = queue_of(b, 0);
  midge_client named = {0}, nameless = {0};
  midge_subscribe_args how = MIDGE_SUBSCRIBE_ARGS_INIT;
  midge_publish_args args = MIDGE_PUBLISH_ARGS_INIT;
  OK(midge_client_new(b, "gui", q, &named));
  OK(midge_client_new(b, NULL, q, &nameless));
  OK(midge_broker_set_retained(b, "t", "kept", 4));
  how.filter = "t";
  how.tag = 1;
  OK(midge_client_subscribe_ex(named, &how));
  CHECK(pending(q, 1) == 1);
  how.tag = 2;
  how.retain_handling = MIDGE_RETAIN_SEND_IF_NEW;
  OK(midge_client_subscribe_ex(named, &how)); /* replaces one */
  CHECK(pending(q, 2) == 0);
  OK(midge_client_unsubscribe(named, "t"));
  OK(midge_client_subscribe_ex(named, &how));
  CHECK(pending(q, 2) == 1);
  how.tag = 3;
  how.retain_handling = MIDGE_RETAIN_DO_NOT_SEND;
  how.no_local = 1;
  OK(midge_client_subscribe_ex(named, &how));
  CHECK(pending(q, 3) == 0);
  args.topic = "t and more";
  args.topic_len = 1;
  args.response_topic = "r and more";
  args.response_topic_len = 1;
  args.content_type = "c and more";
  args.content_type_len = 1;
  OK(midge_client_publish(named, &args, NULL)); /* its own */
  CHECK(pending(q, 3) == 0);
  OK(midge_client_publish(nameless, &args, NULL)); /* the host's */
  midge_event event = MIDGE_EVENT_INIT;
  midge_bytes value = {0};
  OK(midge_queue_next(q, 0, &event));
  CHECK(event.tag == 3 && is(event.topic, "t"));
  CHECK(midge_message_prop(event.message, MIDGE_PROP_RESPONSE_TOPIC, 0, NULL, &value, NULL) && is(value, "r"));
  CHECK(midge_message_prop(event.message, MIDGE_PROP_CONTENT_TYPE, 0, NULL, &value, NULL) && is(value, "c"));
  midge_event_clear(&event);
  CHECK(midge_client_subscribe_ex(nameless, &how) == MIDGE_E_INVALID && strstr(last_message(), "no_local") != NULL);
  how.filter = "$share/g/t";
  CHECK(midge_client_subscribe_ex(named, &how) == MIDGE_E_INVALID && strstr(last_message(), "no_local") != NULL);
  how.no_local = 0;
  how.retain_handling = 3;
  CHECK(midge_client_subscribe_ex(named, &how) == MIDGE_E_INVALID && strstr(last_message(), "retain_handling") != NULL);
  how.retain_handling = 0;
  how.qos = 3;
  CHECK(midge_client_subscribe_ex(named, &how) == MIDGE_E_INVALID && strstr(last_message(), "qos") != NULL);

  /* A NUL inside is not where a topic ends: such a topic is refused, not cut. */
  CHECK(midge_publish_n(b, "t\0hidden", 8, "", 0, 0, false) == MIDGE_E_INVALID);
  args.topic = "t\0hidden";
  args.topic_len = 8;
  CHECK(midge_publish_ex(b, &args, NULL) == MIDGE_E_INVALID);
  how.qos = 0;
  how.filter = "t\0hidden";
  how.filter_len = 8;
  CHECK(midge_client_subscribe_ex(named, &how) == MIDGE_E_INVALID);
  CHECK(midge_publish_n(b, "\xff\xff", 2, "", 0, 0, false) == MIDGE_E_INVALID);
  CHECK(midge_publish_n(b, "", 0, "", 0, 0, false) == MIDGE_E_INVALID);
  OK(midge_publish_n(b, "t", MIDGE_NUL_TERMINATED, "", 0, 0, false));
  CHECK(pending(q, 3) == 1);
  char text[3];
  size_t need = 0;
  midge_bytes bytes = {(const uint8_t *)"abc", 3};
  CHECK(midge_bytes_copy(bytes, text, sizeof text, &need) == MIDGE_E_LIMIT && need == 4);
  bytes.len = 2;
  OK(midge_bytes_copy(bytes, text, sizeof text, NULL));
  CHECK(strcmp(text, "ab") == 0);
  OK(midge_broker_free(b));
  OK(midge_client_free(named));
  OK(midge_client_free(nameless));
  OK(midge_queue_free(q));
}

/* An end that has a number of its own. */
static void ends_have_numbers(void) {
  midge_broker b = start();
  midge_queue q = queue_of(b, MIDGE_EV_DISCONNECT | MIDGE_EV_CONNECT);
  midge_event event = MIDGE_EVENT_INIT;
  static const struct {
    const char *packet;
    size_t length;
    uint32_t end;
  } ends[] = {
      {"\xe0\x00", 2, MIDGE_END_BY_CLIENT},
      {"\x00\x00", 2, MIDGE_END_PROTOCOL_VIOLATION},
  };
  for (size_t n = 0; n < sizeof ends / sizeof *ends; n++) {
    int fd = enter(b, "pump");
    OK(midge_queue_next(q, WAIT, &event));
    midge_event_clear(&event);
    say(fd, ends[n].packet, ends[n].length);
    OK(midge_queue_next(q, WAIT, &event));
    CHECK(event.type == MIDGE_EV_DISCONNECT && event.detail == ends[n].end);
    midge_event_clear(&event);
    close(fd);
  }
  int fd = enter(b, "pump"), again = enter(b, "pump");
  for (int seen = 0; !seen;) {
    OK(midge_queue_next(q, WAIT, &event));
    if (event.type == MIDGE_EV_DISCONNECT) {
      CHECK(event.detail == MIDGE_END_TAKEN_OVER && event.code == MIDGE_RC_SESSION_TAKEN_OVER);
      seen = 1;
    }
    midge_event_clear(&event);
  }
  OK(midge_broker_stop(b, 0));
  for (int seen = 0; !seen;) {
    OK(midge_queue_next(q, WAIT, &event));
    if (event.type == MIDGE_EV_DISCONNECT) {
      CHECK(event.detail == MIDGE_END_SHUTDOWN);
      seen = 1;
    }
    midge_event_clear(&event);
  }
  close(fd);
  close(again);
  OK(midge_broker_free(b));
  OK(midge_queue_free(q));
}

/* ---- numbers of connections and sessions, refusals ----------------------------------------------- */

static void takes(midge_queue q, midge_event *event, uint32_t type) {
  midge_event_clear(event);
  OK(midge_queue_next(q, WAIT, event));
  CHECK(event->type == type && event->status == MIDGE_OK && event->refusal.len == 0);
}

/* Two of the same client identifier: which connection and which session an event is about. */
static void events_tell_connections_apart(void) {
  static const char resume[] = "\x10\x16\0\4MQTT\5\0\0\0\5\x11\0\0\0\x3c\0\4pump";
  midge_broker b = start();
  midge_queue q = queue_of(b, MIDGE_EV_CONNECT | MIDGE_EV_DISCONNECT | MIDGE_EV_SUBSCRIBE | MIDGE_EV_SESSION_END |
                                  MIDGE_EV_PUBLISH | MIDGE_EV_DELIVER | MIDGE_EV_DROP);
  midge_client host = {0};
  midge_event event = MIDGE_EVENT_INIT;
  unsigned char body[256];
  size_t length;

  int fd = enter(b, "pump");
  takes(q, &event, MIDGE_EV_CONNECT);
  uint64_t connection = event.connection, session = event.session;
  CHECK(event.code == 0 && event.username.len == 0 && connection != 0 && session != 0);
  subscribe(fd, "dose", 0);
  CHECK(answers(fd, 0x90, 3, 0, NULL));
  takes(q, &event, MIDGE_EV_SUBSCRIBE);
  CHECK(event.connection == connection && event.session == session);

  int resumed = dial_raw(b);
  say(resumed, resume, sizeof resume - 1);
  CHECK(next_packet(resumed, body, &length) == 0x20 && body[0] == 1 && body[1] == 0);
  takes(q, &event, MIDGE_EV_DISCONNECT);
  CHECK(event.detail == MIDGE_END_TAKEN_OVER && event.connection == connection && event.session == session);
  takes(q, &event, MIDGE_EV_CONNECT);
  CHECK(event.code == 1 && event.connection > connection && event.session == session);
  connection = event.connection;

  /* A client's publish names the client, a delivery its receiver; a publish of the host names no client. */
  publish1(resumed, "dose");
  uint32_t kinds = 0;
  uint64_t message = 0;
  while (kinds != (MIDGE_EV_PUBLISH | MIDGE_EV_DELIVER)) { /* in either order */
    midge_event_clear(&event);
    OK(midge_queue_next(q, WAIT, &event));
    CHECK((event.type & (MIDGE_EV_PUBLISH | MIDGE_EV_DELIVER) & ~kinds) != 0 && is(event.topic, "dose"));
    CHECK(event.connection == connection && event.session == session);
    CHECK(event.message_number != 0 && (message == 0 || event.message_number == message));
    if (event.type == 0) break;
    kinds |= event.type;
    message = event.message_number;
  }
  OK(midge_client_new(b, NULL, q, &host));
  OK(midge_client_subscribe(host, "wave", 0, 0));
  OK(midge_publish(b, "wave", "1", 1, 0, false));
  for (int n = 0; n < 2; n++) {
    midge_event_clear(&event);
    OK(midge_queue_next(q, WAIT, &event));
    CHECK((event.type & (MIDGE_EV_MESSAGE | MIDGE_EV_PUBLISH)) != 0 && event.connection == 0 && event.session == 0);
    CHECK(event.type == MIDGE_EV_PUBLISH ? event.message_number > message : event.message_number == 0);
  }

  int fresh = enter(b, "pump"); /* with a new session */
  takes(q, &event, MIDGE_EV_DISCONNECT);
  CHECK(event.detail == MIDGE_END_TAKEN_OVER && event.connection == connection && event.session == session);
  CHECK(event.message_number == 0);
  takes(q, &event, MIDGE_EV_SESSION_END);
  CHECK(event.connection == 0 && event.session == session);
  takes(q, &event, MIDGE_EV_CONNECT);
  CHECK(event.code == 0 && event.connection > connection && event.session > session);
  midge_event_clear(&event);
  CHECK(event.connection == 0 && event.session == 0);
  close(fd);
  close(resumed);
  close(fresh);
  OK(midge_client_free(host));
  OK(midge_broker_free(b));
  OK(midge_queue_free(q));
}

/* Refused clients with the answer they got; connected clients. */
static void events_say_who_was_refused(void) {
  static const char banned[] = "\x10\x1a\0\4MQTT\5\x82\0\0\0\0\6banned\0\5nurse";
  static const char pump[] = "\x10\x18\0\4MQTT\5\x82\0\0\0\0\4pump\0\5nurse";
  struct judge judge = {0};
  midge_event event = MIDGE_EVENT_INIT;
  start_judge(&judge, "system");
  midge_queue q = queue_of(judge.broker, MIDGE_EV_CONNECT | MIDGE_EV_REPLACED);
  int fd = dial_raw(judge.broker);
  say(fd, banned, sizeof banned - 1);
  CHECK(answers(fd, 0x20, 1, MIDGE_RC_BANNED, "until Monday"));
  OK(midge_queue_next(q, WAIT, &event));
  close(fd);
  int in = dial_raw(judge.broker);
  say(in, pump, sizeof pump - 1);
  CHECK(answers(in, 0x20, 1, 0, NULL));

  /* All of it stays with the event, whatever has happened since. */
  CHECK(event.type == MIDGE_EV_CONNECT && event.status == MIDGE_E_DENIED && event.code == MIDGE_RC_BANNED);
  CHECK(is(event.client_id, "banned") && is(event.username, "nurse") && is(event.refusal, "until Monday"));
  CHECK(is(event.text, "refused") && event.connection != 0 && event.session == 0);
  uint64_t refused = event.connection;
  takes(q, &event, MIDGE_EV_CONNECT);
  CHECK(is(event.username, "nurse") && is(event.text, "nurse") && event.connection > refused && event.session != 0);
  uint64_t connection = event.connection, of_session = event.session;

  /* Snapshots have the same numbers; a shorter structure gets what it has room for. */
  midge_snapshot s = {0};
  midge_client_info client;
  midge_session_info session;
  OK(midge_snapshot_clients(judge.broker, 0, &s));
  client.struct_size = sizeof client;
  OK(midge_snapshot_next_client(s, &client));
  CHECK(client.connection == connection && client.session == event.session && text_is(client.username, "nurse"));
  OK(midge_snapshot_free(s));
  for (int n = 0; n < 2; n++) {
    memset(&session, 0xAA, sizeof session);
    session.struct_size = n == 0 ? sizeof session : (uint32_t)offsetof(midge_session_info, username);
    OK(midge_snapshot_sessions(judge.broker, 0, &s));
    OK(midge_snapshot_next_session(s, &session));
    CHECK(text_is(session.client_id, "pump") && session.subscriptions == 0);
    if (n == 0) CHECK(session.session == event.session && text_is(session.username, "nurse"));
    else CHECK(session.session == 0xAAAAAAAAAAAAAAAAULL && session.username.len == (size_t)0xAAAAAAAAAAAAAAAAULL);
    OK(midge_snapshot_free(s));
  }

  publish1(in, "large"); /* a code that PUBACK cannot carry */
  takes(q, &event, MIDGE_EV_REPLACED);
  CHECK(event.connection == connection && event.session == of_session);
  midge_event_clear(&event);
  close(in);
  OK(midge_broker_free(judge.broker));
  OK(midge_queue_free(q));
}

int main(void) {
  snapshots();
  receipts();
  refusals_have_reasons();
  answers_come_later();
  the_host_waits_for_answers();
  subscribe_options();
  ends_have_numbers();
  events_tell_connections_apart();
  events_say_who_was_refused();
  return result();
}
