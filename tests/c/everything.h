/* Calls every function of midge.h, on a broker that is in use: from a callback, where the functions
 * marked [blocking] must give MIDGE_E_REENTRANT, or from outside. The test runner checks that no
 * function of the library is missing here. */
#include <midge.h>

#include <string.h>
#include <unistd.h>

static void everything_ignore(void *user, const midge_event *event) {
  (void)user;
  (void)event;
}

#define EXPECT(call, status) \
  if ((call) != (status)) return __LINE__

/* 0, or the line of what went wrong. Once at a time for each broker. */
__attribute__((unused)) static int everything(midge_broker b, int inside) {
  midge_status blocked = inside ? MIDGE_E_REENTRANT : MIDGE_E_TIMEOUT;
  midge_config *config = NULL, *copy = NULL;
  midge_broker second = {0};
  midge_queue q = {0}, other = {0};
  midge_client c = {0};
  midge_decision nobody = {b.id};
  midge_event event = MIDGE_EVENT_INIT;
  midge_stats stats = {0};
  midge_error_info error = {sizeof error, 0, 0, 0, {0}};
  midge_publish_args args = MIDGE_PUBLISH_ARGS_INIT;
  midge_subscribe_args how = MIDGE_SUBSCRIBE_ARGS_INIT;
  midge_receipt receipt = {0};
  midge_receipt_info became = {sizeof became, 0, 0, 0, 0, 0, 0};
  midge_receipt_outcome outcome = {sizeof outcome, 0, 0, 0, {0, 0}};
  midge_snapshot list_of = {0};
  midge_client_info client_info = {sizeof client_info, 0, {0}, {0, 0}, {0, 0}, {0, 0}, {0, 0}, 0, 0, 0, 0, 0};
  midge_session_info session_info = {sizeof session_info, 0, 0, 0, 0, 0, 0, {0, 0}, 0, 0, 0, 0, {0, 0}, 0};
  midge_subscription_info subscription_info = {sizeof subscription_info, 0, 0, 0, 0, 0, 0, {0, 0}, {0, 0}};
  midge_decision later = {0};
  midge_message *made = NULL;
  const midge_message *list[2];
  midge_bytes key, value;
  uint64_t number;
  uint32_t matched = 0;
  size_t count = 0;
  int32_t fd = -1;
  char text[64];

  EXPECT(midge_version() == NULL || midge_version_number() == 0 || !midge_has_feature("mqtt5"), 0);
  EXPECT(strcmp(midge_status_name(MIDGE_E_DENIED), "MIDGE_E_DENIED"), 0);
  EXPECT(strcmp(midge_drop_reason_name(0), "queue_full"), 0);
  EXPECT(strcmp(midge_end_reason_name(MIDGE_END_SHUTDOWN), "shutdown"), 0);
  EXPECT(strcmp(midge_reason_code_name(MIDGE_RC_BANNED), "Banned"), 0);
  EXPECT(strcmp(midge_packet_name(MIDGE_PACKET_PUBACK), "PUBACK"), 0);
  EXPECT(strcmp(midge_event_name(MIDGE_EV_DROP), "drop"), 0);
  EXPECT(midge_publish(b, "a/+", NULL, 0, 0, false), MIDGE_E_INVALID);
  EXPECT(midge_last_error(&error), MIDGE_OK);

  EXPECT(midge_config_new(&config), MIDGE_OK);
  EXPECT(midge_config_set(config, "clock", "manual"), MIDGE_OK);
  EXPECT(midge_config_set_int(config, "limits.inflight", 7), MIDGE_OK);
  EXPECT(midge_config_get(config, "limits.inflight", text, sizeof text, NULL), MIDGE_OK);
  EXPECT(midge_config_set_hooks(config, NULL), MIDGE_OK);
  EXPECT(midge_config_add_hooks(config, NULL), MIDGE_E_INVALID);
  EXPECT(midge_config_load(config, "/nowhere/midge.toml"), MIDGE_E_IO);
  EXPECT(midge_config_clone(config, &copy), MIDGE_OK);
  midge_config_free(config);
  EXPECT(midge_broker_start(copy, &second), MIDGE_OK);
  midge_config_free(copy);
  EXPECT(midge_broker_connect_fd(second, &fd), MIDGE_OK);
  close(fd);
  EXPECT(midge_broker_advance(second, 1), inside ? blocked : MIDGE_OK);
  EXPECT(midge_broker_stop(second, 0), MIDGE_OK);
  EXPECT(midge_broker_join(second, MIDGE_WAIT_FOREVER), inside ? blocked : MIDGE_OK);
  EXPECT(midge_broker_free(second), MIDGE_OK);

  EXPECT(midge_queue_new(b, 0, 16, 0, MIDGE_OVERFLOW_DROP_OLDEST, &q), MIDGE_OK);
  EXPECT(midge_queue_fd(q, &fd), MIDGE_OK);
  EXPECT(midge_queue_wake(q), MIDGE_OK);
  EXPECT(midge_queue_next(q, 0, &event), MIDGE_E_TIMEOUT);
  EXPECT(midge_queue_next(q, 1, &event), blocked);
  EXPECT(midge_client_new(b, "everything", q, &c), MIDGE_OK);
  EXPECT(midge_client_subscribe(c, "every/#", 1, 3), MIDGE_OK);
  args.topic = "every/thing";
  args.content_type = "text/plain";
  EXPECT(midge_publish_ex(b, &args, &matched), MIDGE_OK);
  EXPECT(midge_client_publish(c, &args, &matched), MIDGE_OK);
  EXPECT(matched, 1);
  EXPECT(midge_queue_next(q, 0, &event), MIDGE_OK);
  const midge_message *kept = midge_message_ref(event.message);
  midge_event_clear(&event);
  EXPECT(midge_message_topic(kept).len, strlen(args.topic));
  EXPECT(midge_message_payload(kept).len, 0);
  EXPECT(midge_message_flags(kept), 0);
  EXPECT(midge_message_origin(kept, &key), MIDGE_ORIGIN_HOST);
  EXPECT(midge_message_prop(kept, MIDGE_PROP_CONTENT_TYPE, 0, &key, &value, &number), true);
  midge_message_unref(kept);
  EXPECT(midge_message_new(&args, &made), MIDGE_OK);
  EXPECT(midge_publish_message(b, made, &matched), MIDGE_OK);
  EXPECT(matched, 1);
  midge_message_unref(made);
  EXPECT(midge_client_unsubscribe(c, "every/#"), MIDGE_OK);
  how.filter = "every/#!";
  how.filter_len = 7;
  EXPECT(midge_client_subscribe_ex(c, &how), MIDGE_OK);
  EXPECT(midge_publish_n(b, "every/thing!", 11, NULL, 0, 0, false), MIDGE_OK);
  EXPECT(midge_queue_next(q, 0, &event), MIDGE_OK);
  EXPECT(strcmp(midge_message_topic_text(event.message), "every/thing"), 0);
  EXPECT(midge_bytes_copy(event.topic, text, sizeof text, &count), MIDGE_OK);
  EXPECT(midge_filter_reaches(event.topic, "#"), MIDGE_OK);
  EXPECT(strcmp(text, "every/thing") == 0 && count == 12, 1);
  midge_event_clear(&event);
  EXPECT(midge_publish_receipt(b, &args, &receipt), MIDGE_OK);
  EXPECT(midge_receipt_state(receipt, &became), MIDGE_OK);
  EXPECT(became.matched == 1 && became.outcomes == 0 && became.acknowledged == 1, 1);
  EXPECT(midge_receipt_outcome_at(receipt, 0, &outcome), MIDGE_E_NOT_FOUND);
  EXPECT(midge_receipt_wait(receipt, 0), MIDGE_OK);
  EXPECT(midge_receipt_wait(receipt, 1), inside ? blocked : MIDGE_OK);
  EXPECT(midge_receipt_free(receipt), MIDGE_OK);
  EXPECT(midge_client_publish_receipt(c, &args, &receipt), MIDGE_OK);
  EXPECT(midge_receipt_free(receipt), MIDGE_OK);
  EXPECT(midge_broker_send(b, "nobody", &args, NULL), MIDGE_E_NOT_FOUND);
  EXPECT(midge_client_unsubscribe_n(c, "every/#!", 7), MIDGE_OK);
  EXPECT(midge_client_free(c), MIDGE_OK);
  EXPECT(midge_queue_new(b, MIDGE_EV_DROP, 16, 0, MIDGE_OVERFLOW_DROP_NEWEST, &other), MIDGE_OK);
  EXPECT(midge_queue_dispatch(other, everything_ignore, NULL, NULL), MIDGE_OK);
  EXPECT(midge_queue_free(other), MIDGE_OK);
  EXPECT(midge_queue_free(q), MIDGE_OK);

  EXPECT(midge_broker_set_retained(b, "every/kept", "1", 1), MIDGE_OK);
  EXPECT(midge_broker_retained(b, "every/kept", list, 2, &count), MIDGE_OK);
  EXPECT(count, 1);
  midge_message_unref(list[0]);
  EXPECT(midge_broker_clear_retained(b, "every/kept", &count), MIDGE_OK);
  EXPECT(midge_broker_set_retained_n(b, "every/kept!", 10, "1", 1), MIDGE_OK);
  EXPECT(midge_snapshot_retained(b, "every/kept", MIDGE_NUL_TERMINATED, 1, &list_of), MIDGE_OK);
  EXPECT(midge_snapshot_size(list_of, &count, NULL), MIDGE_OK);
  EXPECT(count, 1);
  EXPECT(midge_snapshot_next_message(list_of, list), MIDGE_OK);
  EXPECT(midge_snapshot_next_message(list_of, list), MIDGE_E_NOT_FOUND);
  EXPECT(midge_snapshot_free(list_of), MIDGE_OK);
  EXPECT(strcmp(midge_message_topic_text(list[0]), "every/kept"), 0);
  midge_message_unref(list[0]);
  EXPECT(midge_broker_clear_retained_n(b, "every/kept!", 10, &count), MIDGE_OK);
  EXPECT(midge_snapshot_clients(b, 0, &list_of), MIDGE_OK);
  EXPECT(midge_snapshot_next_session(list_of, &session_info), MIDGE_E_INVALID);
  while (midge_snapshot_next_client(list_of, &client_info) == MIDGE_OK) matched++;
  EXPECT(midge_snapshot_free(list_of), MIDGE_OK);
  EXPECT(midge_snapshot_sessions(b, 0, &list_of), MIDGE_OK);
  EXPECT(midge_snapshot_next_client(list_of, &client_info), MIDGE_E_INVALID);
  while (midge_snapshot_next_session(list_of, &session_info) == MIDGE_OK) matched++;
  EXPECT(midge_snapshot_free(list_of), MIDGE_OK);
  EXPECT(midge_snapshot_subscriptions(b, "nobody", 0, &list_of), MIDGE_OK);
  EXPECT(midge_snapshot_next_subscription(list_of, &subscription_info), MIDGE_E_NOT_FOUND);
  EXPECT(midge_snapshot_free(list_of), MIDGE_OK);
  stats.struct_size = sizeof stats;
  EXPECT(midge_broker_stats(b, &stats), MIDGE_OK);
  EXPECT(midge_broker_addr(b, 99, text, sizeof text, NULL), MIDGE_E_NOT_FOUND);
  EXPECT(midge_broker_disconnect(b, "nobody", 0x98), MIDGE_E_NOT_FOUND);
  EXPECT(midge_broker_clear_session(b, "nobody"), MIDGE_E_NOT_FOUND);
  EXPECT(midge_broker_poll(b, 0), inside ? MIDGE_E_REENTRANT : MIDGE_E_STATE);
  EXPECT(midge_broker_poll_fd(b, &fd), MIDGE_E_STATE);
  EXPECT(midge_broker_poll_timeout(b, &fd), MIDGE_E_STATE);
  EXPECT(midge_broker_wait_subscribers(b, "every/thing", 1, 0), blocked);
  EXPECT(midge_broker_wait_subscribers_n(b, "every/thing!", 11, 1, 0), blocked);
  EXPECT(midge_broker_quiesce(b, inside ? 0 : MIDGE_WAIT_FOREVER), inside ? blocked : MIDGE_OK);
  EXPECT(midge_log_set(NULL, MIDGE_LOG_OFF, NULL, NULL), MIDGE_OK);
  EXPECT(midge_decision_complete(nobody, MIDGE_OK), MIDGE_E_CLOSED);
  EXPECT(midge_decision_refuse(nobody, MIDGE_RC_BANNED, "no", NULL), MIDGE_E_CLOSED);
  EXPECT(midge_decision_free(nobody), MIDGE_E_CLOSED);
  if (!inside) { /* inside they would answer for the callback */
    EXPECT(midge_refuse(MIDGE_RC_BANNED, NULL, NULL), MIDGE_E_STATE);
    EXPECT(midge_decision_defer(&later), MIDGE_E_STATE);
  }
  return 0;
}
