/* There is no memory for what the host or a client gives a size to: the call or the connection fails, and
 * nothing has changed; the process goes on. The allocator of this program refuses what is large while it
 * is told to. Prints "N passed, M failed". */
#include "client.h"

#include <errno.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

static atomic_size_t largest = SIZE_MAX;
static atomic_long refusals;

static int refuse(size_t size) {
  if (size <= atomic_load(&largest)) return 0;
  atomic_fetch_add(&refusals, 1);
  errno = ENOMEM;
  return 1;
}

void *malloc(size_t size) { return refuse(size) ? NULL : __libc_malloc(size); }
void *calloc(size_t count, size_t size) { return refuse(count * size) ? NULL : __libc_calloc(count, size); }
void *realloc(void *old, size_t size) { return refuse(size) ? NULL : __libc_realloc(old, size); }
int posix_memalign(void **out, size_t alignment, size_t size) {
  *out = refuse(size) ? NULL : __libc_memalign(alignment, size);
  return *out == NULL ? ENOMEM : 0;
}

enum { LARGE = 4 << 20, LIMIT = 1 << 18 };
static char payload[LARGE];

static midge_stats stats_of(midge_broker b) {
  midge_stats stats = {0};
  stats.struct_size = sizeof stats;
  OK(midge_broker_stats(b, &stats));
  return stats;
}

static int no_memory(midge_status status, const char *argument) {
  return status == MIDGE_E_NOMEM && strstr(last_message(), argument) != NULL;
}

static midge_status copies(void *user, const midge_message *message, midge_message **replace) {
  (void)message, (void)replace;
  atomic_fetch_add((atomic_int *)user, 1);
  return MIDGE_OK;
}

static void count(void *user) { ++*(int *)user; }

static void payloads_of_the_host(void) {
  midge_config *config = new_config();
  midge_hooks hooks = MIDGE_HOOKS_INIT;
  midge_publish_args args = MIDGE_PUBLISH_ARGS_INIT;
  midge_message *message = NULL;
  midge_event event = MIDGE_EVENT_INIT;
  midge_client c = {0};
  atomic_int asked = 0;
  int freed = 0;
  hooks.on_publish = copies;
  hooks.user = &asked;
  OK(midge_config_set_hooks(config, &hooks));
  OK(midge_config_set(config, "sys.interval_s", "0"));
  midge_broker b = start_with(config);
  midge_queue q = queue_of(b, 0);
  OK(midge_client_new(b, "host", q, &c));
  OK(midge_client_subscribe(c, "t", 0, 0));
  OK(midge_publish(b, "t", "before", 6, 0, true));
  OK(midge_queue_next(q, 0, &event));
  midge_event_clear(&event);
  midge_stats before = stats_of(b);
  int before_asked = atomic_load(&asked);
  args.topic = "t";
  args.payload = payload;
  args.payload_len = sizeof payload;
  args.retain = 1;

  atomic_store(&largest, LIMIT);
  CHECK(no_memory(midge_publish(b, "t", payload, sizeof payload, 0, true), "payload"));
  CHECK(no_memory(midge_publish_ex(b, &args, NULL), "args.payload"));
  CHECK(no_memory(midge_client_publish(c, &args, NULL), "args.payload"));
  CHECK(no_memory(midge_message_new(&args, &message), "args.payload") && message == NULL);
  CHECK(no_memory(midge_broker_set_retained(b, "t", payload, sizeof payload), "payload"));
  /* One that is given needs no copy, but for a callback that might keep it: no copy, no answer, no. */
  args.payload_free = count;
  args.payload_user = &freed;
  CHECK(midge_publish_ex(b, &args, NULL) == MIDGE_E_DENIED && freed == 0);
  atomic_store(&largest, SIZE_MAX);

  midge_stats after = stats_of(b);
  CHECK(atomic_load(&refusals) == 6 && atomic_load(&asked) == before_asked);
  /* The one that was denied had come in. */
  CHECK(after.msgs_in == before.msgs_in + 1 && after.retained_bytes == before.retained_bytes && after.panics == 0);
  CHECK(midge_queue_next(q, 0, &event) == MIDGE_E_TIMEOUT);
  OK(midge_publish_ex(b, &args, NULL));
  OK(midge_queue_next(q, 0, &event));
  CHECK(midge_message_payload(event.message).len == sizeof payload);
  midge_event_clear(&event);
  OK(midge_broker_free(b));
  CHECK(freed == 1);
}

/* A queue that may become as long as its host likes is as long as there is memory for. */
static void queues_of_the_host(void) {
  enum { MESSAGES = 40000 };
  midge_broker b = start();
  midge_event event = MIDGE_EVENT_INIT;
  midge_client c = {0};
  midge_queue q = {0};
  OK(midge_queue_new(b, MIDGE_EV_ALL, SIZE_MAX, SIZE_MAX, MIDGE_OVERFLOW_DROP_OLDEST, &q));
  OK(midge_client_new(b, NULL, q, &c));
  OK(midge_client_subscribe(c, "t", 0, 0));
  atomic_store(&largest, LIMIT);
  for (int n = 0; n < MESSAGES; n++) OK(midge_publish(b, "t", "x", 1, 0, false));
  atomic_store(&largest, SIZE_MAX);
  OK(midge_publish(b, "t", "last", 4, 0, false));
  uint64_t came = 0, lost = 0, last = 0;
  while (midge_queue_next(q, 0, &event) == MIDGE_OK) {
    if (event.type == MIDGE_EV_MESSAGE) came++;
    if (event.type == MIDGE_EV_MESSAGE) last = midge_message_payload(event.message).len;
    lost += event.lost;
    midge_event_clear(&event);
  }
  CHECK(lost > 0 && came > 1000 && came + lost >= MESSAGES + 1 && last == 4);
  OK(midge_client_unsubscribe(c, "t"));
  OK(midge_broker_free(b));
}

/* A client sends a packet that there is no memory for: its connection ends, others and the broker go on. */
static void packets_of_clients(void) {
  static const unsigned char head[] = {0x31, 0x83, 0x80, 0x80, 0x02, 0, 1, 't'}; /* 4 MiB of payload */
  midge_broker b = start();
  midge_stats before = stats_of(b);
  int large = dial(b, "l"), small = dial(b, "s");
  CHECK(got(large, CONNACK("\x00")) && got(small, CONNACK("\x00")));
  atomic_store(&largest, LIMIT);
  /* Cut off in the middle, by a reset. */
  int cut = write(large, head, sizeof head) != sizeof head;
  for (size_t sent = 0; !cut && sent < sizeof payload;) {
    ssize_t part = send(large, payload + sent, sizeof payload - sent, MSG_NOSIGNAL);
    if (part <= 0) cut = 1;
    if (part > 0) sent += (size_t)part;
  }
  CHECK(cut || gone(large));
  CHECK(write(small, "\xc0\x00", 2) == 2 && got(small, "\xd0\x00", 2));
  atomic_store(&largest, SIZE_MAX);
  midge_stats after = stats_of(b);
  CHECK(after.clients == 1 && after.panics == 0 && after.retained == before.retained);
  close(large);
  close(small);
  OK(midge_broker_free(b));
}

int main(void) {
  payloads_of_the_host();
  queues_of_the_host();
  packets_of_clients();
  return result();
}
