/* The smallest program with a broker in it: publishes to itself, then serves until Enter is pressed.
 *
 *   gcc minimal.c $(pkg-config --cflags --libs midge) -o minimal && ./minimal
 */
#include <midge.h>
#include <stdio.h>

static int failed(const char *what, midge_status status) {
  midge_error_info info;
  info.struct_size = sizeof info;
  midge_last_error(&info);
  fprintf(stderr, "%s: %s: %s\n", what, midge_status_name(status), info.message);
  return 1;
}

int main(void) {
  midge_config *config = NULL;
  midge_broker broker = {0};
  midge_queue queue = {0};
  midge_client client = {0};
  midge_event event = MIDGE_EVENT_INIT;
  char url[128];
  midge_status status;

  if ((status = midge_config_new(&config)) != MIDGE_OK) return failed("config", status);
  if ((status = midge_config_set(config, "listen", "tcp://127.0.0.1:0")) != MIDGE_OK) return failed("listen", status);
  status = midge_broker_start(config, &broker);
  midge_config_free(config);
  if (status != MIDGE_OK) return failed("start", status);
  if (midge_broker_addr(broker, 0, url, sizeof url, NULL) == MIDGE_OK) printf("clients connect to %s\n", url);

  if ((status = midge_queue_new(broker, 0, 1024, 0, MIDGE_OVERFLOW_DROP_OLDEST, &queue)) != MIDGE_OK ||
      (status = midge_client_new(broker, NULL, queue, &client)) != MIDGE_OK ||
      (status = midge_client_subscribe(client, "ward/+/spo2", 1, 0)) != MIDGE_OK)
    return failed("subscribe", status);
  if ((status = midge_publish(broker, "ward/7/spo2", "97", 2, 1, false)) != MIDGE_OK) return failed("publish", status);
  while (midge_queue_next(queue, 1000, &event) == MIDGE_OK) {
    midge_bytes payload = midge_message_payload(event.message);
    printf("%.*s = %.*s\n", (int)event.topic.len, (const char *)event.topic.ptr, (int)payload.len,
           (const char *)payload.ptr);
    midge_event_clear(&event);
    break;
  }
  getchar();
  return midge_broker_free(broker) == MIDGE_OK ? 0 : 1;
}
