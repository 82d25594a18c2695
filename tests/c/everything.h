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
  EXPECT(midge_publish(b, "a/+", NULL, 0, 0, false), MIDGE_E_INVALID);
  EXPECT(midge_last_error(&error), MIDGE_OK);

  EXPECT(midge_config_new(&config), MIDGE_OK);
  EXPECT(midge_config_set(config, "clock", "manual"), MIDGE_OK);
  EXPECT(midge_config_set_int(config, "limits.inflight", 7), MIDGE_OK);
  EXPECT(midge_config_get(config, "limits.inflight", text, sizeof text, NULL), MIDGE_OK);
  EXPECT(midge_config_set_hooks(config, NULL), MIDGE_OK);
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
  stats.struct_size = sizeof stats;
  EXPECT(midge_broker_stats(b, &stats), MIDGE_OK);
  EXPECT(midge_broker_addr(b, 99, text, sizeof text, NULL), MIDGE_E_NOT_FOUND);
  EXPECT(midge_broker_disconnect(b, "nobody", 0x98), MIDGE_E_NOT_FOUND);
  EXPECT(midge_broker_clear_session(b, "nobody"), MIDGE_E_NOT_FOUND);
  EXPECT(midge_broker_wait_subscribers(b, "every/thing", 1, 0), blocked);
  EXPECT(midge_broker_quiesce(b, inside ? 0 : -1), inside ? blocked : MIDGE_OK);
  EXPECT(midge_decision_complete(nobody, MIDGE_OK), MIDGE_E_CLOSED);
  return 0;
}
