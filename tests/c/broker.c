/* The C library as its users meet it: start, publish, receive, hooks, mistakes, stop. */
#include "check.h"

static void publish_and_receive(void) {
  midge_broker broker = start();
  midge_queue queue = {0};
  midge_client client = {0};
  midge_event event = MIDGE_EVENT_INIT;
  int32_t fd = -1;
  CHECK(midge_queue_new(broker, 0, 16, 0, MIDGE_OVERFLOW_DROP_OLDEST, &queue) == MIDGE_OK);
  CHECK(midge_client_new(broker, "host", queue, &client) == MIDGE_OK);
  CHECK(midge_client_subscribe(client, "ward/+/spo2", 1, 7) == MIDGE_OK);
  CHECK(midge_queue_next(queue, 0, &event) == MIDGE_E_TIMEOUT);
  CHECK(midge_queue_fd(queue, &fd) == MIDGE_OK);
  CHECK(midge_publish(broker, "ward/7/spo2", "97", 2, 1, false) == MIDGE_OK);
  struct pollfd wait = {fd, POLLIN, 0};
  CHECK(poll(&wait, 1, WAIT) == 1);
  CHECK(midge_queue_next(queue, WAIT, &event) == MIDGE_OK);
  CHECK(event.type == MIDGE_EV_MESSAGE && event.tag == 7 && event.seq == 1);
  CHECK(is(midge_message_topic(event.message), "ward/7/spo2"));
  CHECK(is(midge_message_payload(event.message), "97"));
  const midge_message *kept = midge_message_ref(event.message);
  midge_event_clear(&event);
  CHECK(is(midge_message_payload(kept), "97"));
  midge_message_unref(kept);
  /* The queue is bounded, and says what it lost. */
  for (int n = 0; n < 20; n++) {
    CHECK(midge_publish(broker, "ward/8/spo2", "x", 1, 0, false) == MIDGE_OK);
  }
  uint64_t seen = 0, lost = 0;
  while (midge_queue_next(queue, 0, &event) == MIDGE_OK) {
    seen++;
    lost += event.lost;
    midge_event_clear(&event);
  }
  CHECK(seen == 16 && lost == 4);
  CHECK(midge_broker_stop(broker, 0) == MIDGE_OK);
  CHECK(midge_broker_join(broker, WAIT) == MIDGE_OK);
  CHECK(midge_queue_next(queue, WAIT, &event) == MIDGE_E_CLOSED);
  /* Any order, and again. */
  CHECK(midge_broker_free(broker) == MIDGE_OK);
  CHECK(midge_broker_free(broker) == MIDGE_E_CLOSED);
  CHECK(midge_client_free(client) == MIDGE_OK);
  CHECK(midge_queue_free(queue) == MIDGE_OK);
  CHECK(midge_queue_free(queue) == MIDGE_E_CLOSED);
}

static void count(void *user) { ++*(int *)user; }

static void without_a_copy(void) {
  midge_broker broker = start();
  int freed = 0;
  uint32_t matched = 9;
  midge_publish_args args = MIDGE_PUBLISH_ARGS_INIT;
  args.topic = "t";
  args.payload = "payload";
  args.payload_len = 7;
  args.payload_free = count;
  args.payload_user = &freed;
  CHECK(midge_publish_ex(broker, &args, &matched) == MIDGE_OK);
  CHECK(matched == 0 && freed == 1);
  args.topic = "a/+";
  CHECK(midge_publish_ex(broker, &args, &matched) == MIDGE_E_INVALID);
  CHECK(freed == 1); /* still the caller's */
  midge_error_info info;
  memset(&info, 0, sizeof info);
  info.struct_size = sizeof info;
  CHECK(midge_last_error(&info) == MIDGE_OK);
  CHECK(info.status == MIDGE_E_INVALID && strstr(info.message, "topic") != NULL);
  CHECK(midge_broker_free(broker) == MIDGE_OK);
}

static void mistakes(void) {
  midge_config *config = NULL;
  midge_broker broker = {0}, stale = {0x1234567890abcdefULL};
  midge_queue queue = {0};
  midge_event event = MIDGE_EVENT_INIT;
  CHECK(midge_config_new(NULL) == MIDGE_E_INVALID);
  CHECK(midge_config_new(&config) == MIDGE_OK);
  CHECK(midge_config_set(config, "limits.inflght", "1") == MIDGE_E_NOT_FOUND);
  midge_error_info info;
  memset(&info, 0, sizeof info);
  info.struct_size = sizeof info;
  CHECK(midge_last_error(&info) == MIDGE_OK && strstr(info.message, "limits.inflight") != NULL);
  CHECK(midge_config_set(config, NULL, "1") == MIDGE_E_INVALID);
  CHECK(midge_config_set_int(config, "limits.inflight", 0) != MIDGE_OK);
  CHECK(midge_broker_start(config, NULL) == MIDGE_E_INVALID);
  CHECK(midge_broker_start(NULL, &broker) == MIDGE_E_INVALID);
  CHECK(midge_broker_stop(stale, 0) == MIDGE_E_CLOSED);
  CHECK(midge_publish(stale, "t", "x", 1, 0, false) == MIDGE_E_CLOSED);
  CHECK(midge_queue_next(queue, 0, &event) != MIDGE_OK);
  midge_broker first = start();
  uint16_t port = 0;
  char address[64];
  CHECK(midge_broker_addr(first, 0, address, sizeof address, &port) == MIDGE_OK && port != 0);
  CHECK(midge_config_set(config, "listen", strchr(address, '/') ? address : "") == MIDGE_OK);
  CHECK(midge_broker_start(config, &broker) == MIDGE_E_ADDR_IN_USE);
  CHECK(broker.id == 0);
  CHECK(midge_publish(first, NULL, "x", 1, 0, false) == MIDGE_E_INVALID);
  CHECK(midge_publish(first, "t", NULL, 1, 0, false) == MIDGE_E_INVALID);
  CHECK(midge_publish(first, "t", "x", 1, 3, false) == MIDGE_E_INVALID);
  CHECK(midge_broker_free(first) == MIDGE_OK);
  midge_config_free(config);
  midge_config_free(NULL);
  CHECK(midge_broker_free((midge_broker){0}) == MIDGE_OK);
  CHECK(strcmp(midge_status_name(MIDGE_E_TIMEOUT), "MIDGE_E_TIMEOUT") == 0);
  CHECK(midge_version_number() == MIDGE_VERSION_NUMBER);
}

static midge_broker shared;

static void *flood(void *unused) {
  (void)unused;
  while (midge_publish(shared, "flood", "x", 1, 0, false) == MIDGE_OK) {
  }
  return NULL;
}

static void freed_while_others_publish(void) {
  pthread_t threads[8];
  shared = start();
  for (int n = 0; n < 8; n++) {
    CHECK(pthread_create(&threads[n], NULL, flood, NULL) == 0);
  }
  midge_stats stats;
  memset(&stats, 0, sizeof stats);
  stats.struct_size = sizeof stats;
  do {
    CHECK(midge_broker_stats(shared, &stats) == MIDGE_OK);
    sched_yield();
  } while (stats.msgs_in < 100);
  CHECK(midge_broker_free(shared) == MIDGE_OK);
  for (int n = 0; n < 8; n++) {
    CHECK(pthread_join(threads[n], NULL) == 0);
  }
}

int main(void) {
  publish_and_receive();
  without_a_copy();
  mistakes();
  freed_while_others_publish();
  return result();
}
