/* Publishing a prepared message to a queue of the same process, without a copy, allocates nothing once
 * everything has warmed up. Counts every allocation of this thread, the library's included: all of the
 * way is on it, while the broker's own thread may still be starting. */
#include <midge.h>

#include <stddef.h>
#include <stdio.h>
#include <string.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

static _Thread_local long allocations;

void *malloc(size_t size) {
  allocations++;
  return __libc_malloc(size);
}
void *calloc(size_t count, size_t size) {
  allocations++;
  return __libc_calloc(count, size);
}
void *realloc(void *old, size_t size) {
  allocations++;
  return __libc_realloc(old, size);
}
int posix_memalign(void **out, size_t alignment, size_t size) {
  allocations++;
  *out = __libc_memalign(alignment, size);
  return *out == NULL ? 12 : 0;
}

static void count(void *user) { ++*(int *)user; }

static int round_trips(midge_broker broker, midge_queue queue, const midge_message *message, const void *payload) {
  for (int sent = 0; sent < 1000; sent++) {
    midge_event event = MIDGE_EVENT_INIT;
    uint32_t matched = 0;
    if (midge_publish_message(broker, message, &matched) != MIDGE_OK || matched != 1 ||
        midge_queue_next(queue, 0, &event) != MIDGE_OK)
      return 0;
    if (midge_message_payload(event.message).ptr != payload) return 0; /* the very bytes */
    midge_event_clear(&event);
  }
  return 1;
}

int main(void) {
  static char payload[64];
  int freed = 0;
  midge_config *config = NULL;
  midge_broker broker = {0};
  midge_queue queue = {0};
  midge_client client = {0};
  midge_message *message = NULL;
  midge_publish_args args = MIDGE_PUBLISH_ARGS_INIT;
  memset(payload, 'x', sizeof payload);
  args.topic = "ward/7/spo2";
  args.payload = payload;
  args.payload_len = sizeof payload;
  args.payload_free = count;
  args.payload_user = &freed;
  if (midge_config_new(&config) != MIDGE_OK || midge_config_set(config, "sys.interval_s", "0") != MIDGE_OK ||
      midge_broker_start(config, &broker) != MIDGE_OK || midge_queue_new(broker, 0, 64, 0, 0, &queue) != MIDGE_OK ||
      midge_client_new(broker, NULL, queue, &client) != MIDGE_OK ||
      midge_client_subscribe(client, "ward/+/spo2", 0, 0) != MIDGE_OK || midge_message_new(&args, &message) != MIDGE_OK)
    return 1;
  if (!round_trips(broker, queue, message, payload)) return 2;
  long before = allocations;
  if (!round_trips(broker, queue, message, payload)) return 3;
  long during = allocations - before;
  printf("%ld allocations for 1000 messages, %ld before\n", during, before);
  if (before == 0 || during != 0 || freed != 0) return 4;
  midge_message_unref(message);
  midge_config_free(config);
  if (midge_broker_free(broker) != MIDGE_OK || midge_client_free(client) != MIDGE_OK) return 5;
  return midge_queue_free(queue) == MIDGE_OK && freed == 1 ? 0 : 6;
}
