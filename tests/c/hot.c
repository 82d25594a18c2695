/* The hot path: publish 64 bytes to a queue of the same process, in batches, and read it: hot COUNT [prepared].
 * Prints what it took; to be counted with `valgrind --tool=callgrind`, which does not depend on how busy the machine is. */
#include <midge.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
  static const char payload[64] = "97";
  long messages = argc > 1 ? atol(argv[1]) : 1000000, received = 0;
  midge_config *config = NULL;
  midge_broker broker = {0};
  midge_queue queue = {0};
  midge_client client = {0};
  midge_event event = MIDGE_EVENT_INIT;
  midge_message *prepared = NULL;
  midge_publish_args args = MIDGE_PUBLISH_ARGS_INIT;
  args.topic = "ward/7/spo2";
  args.payload = payload;
  args.payload_len = sizeof payload;
  double begin = now();
  if (midge_config_new(&config) != MIDGE_OK || midge_broker_start(config, &broker) != MIDGE_OK ||
      midge_publish(broker, "first", "x", 1, 0, false) != MIDGE_OK)
    return 1;
  double first = now() - begin;
  static const char hello[] = "\x10\x0d\0\4MQTT\4\2\0\0\0\1c";
  char answer[4];
  int32_t fd = -1;
  if (midge_broker_connect_fd(broker, &fd) != MIDGE_OK || write(fd, hello, sizeof hello - 1) != sizeof hello - 1 ||
      read(fd, answer, sizeof answer) != sizeof answer)
    return 1;
  double connack = now() - begin;
  close(fd);
  midge_config_free(config);
  if (midge_queue_new(broker, 0, 1024, 0, MIDGE_OVERFLOW_DROP_OLDEST, &queue) != MIDGE_OK ||
      midge_client_new(broker, NULL, queue, &client) != MIDGE_OK ||
      midge_client_subscribe(client, "ward/7/spo2", 0, 0) != MIDGE_OK)
    return 1;
  if (argc > 2 && midge_message_new(&args, &prepared) != MIDGE_OK) return 1;
  begin = now();
  for (long sent = 0; sent < messages; sent += 64) {
    for (int n = 0; n < 64; n++) {
      if ((prepared != NULL ? midge_publish_message(broker, prepared, NULL)
                            : midge_publish(broker, "ward/7/spo2", payload, sizeof payload, 0, false)) != MIDGE_OK)
        return 1;
    }
    while (midge_queue_next(queue, 0, &event) == MIDGE_OK) {
      received++;
      midge_event_clear(&event);
    }
  }
  double took = now() - begin;
  midge_message_unref(prepared);
  printf(
      "first publish after %.2f ms, first CONNACK after %.2f ms; %ld messages, %.0f ns each, %.2f million a second\n",
      first * 1e3, connack * 1e3, received, took * 1e9 / (double)received, (double)received / took / 1e6);
  return midge_broker_free(broker) == MIDGE_OK ? 0 : 1;
}
