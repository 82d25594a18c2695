/* Signal handlers, cancellation and what else happens to a thread that calls the library. Prints
 * "N passed, M failed". */
#include "client.h"

#include <errno.h>

/* ---- a signal handler wakes a queue ----------------------------------------------------------- */

static midge_queue woken;
static atomic_long rung, refused;

static void on_signal(int number) {
  (void)number;
  /* Never more at a time than the test can tell apart. */
  if (midge_queue_wake(woken) == MIDGE_OK) {
    atomic_fetch_add(&rung, 1);
  } else {
    atomic_fetch_add(&refused, 1);
  }
}

struct hammer {
  pthread_t target;
  atomic_int stop;
};

static void *hammer(void *user) {
  struct hammer *hammer = user;
  for (long sent = 0; !atomic_load(&hammer->stop); sent++) {
    /* One at a time, so that signals are not merged. */
    long before = atomic_load(&rung) + atomic_load(&refused);
    if (pthread_kill(hammer->target, SIGUSR1) != 0) break;
    while (atomic_load(&rung) + atomic_load(&refused) == before && !atomic_load(&hammer->stop)) sched_yield();
  }
  return NULL;
}

/* The thread is interrupted wherever it is: in a publish, in a read, in the allocator, with the lock of
 * this very queue. Every wake-up is told, and none twice. */
static void woken_from_a_handler(void) {
  struct sigaction action;
  struct hammer by = {pthread_self(), 0};
  midge_broker b = start();
  midge_event event = MIDGE_EVENT_INIT;
  midge_client c = {0};
  midge_status status;
  pthread_t thread;
  int32_t fd = -1;
  long taken = 0, messages = 0;
  woken = queue_of(b, 0);
  memset(&action, 0, sizeof action);
  action.sa_handler = on_signal;
  CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
  OK(midge_queue_fd(woken, &fd));
  OK(midge_client_new(b, NULL, woken, &c));
  OK(midge_client_subscribe(c, "t", 0, 0));
  CHECK(pthread_create(&thread, NULL, hammer, &by) == 0);
  for (int n = 0; n < 20000; n++) {
    if (midge_publish(b, "t", "x", 1, 0, false) != MIDGE_OK) failed++;
    while ((status = midge_queue_next(woken, 0, &event)) == MIDGE_OK) {
      messages++;
      midge_event_clear(&event);
    }
    if (strcmp(last_message(), "the queue was woken") == 0) taken++;
    /* Says nothing else until the next failure. */
    (void)midge_broker_stop((midge_broker){0}, 0);
    free(malloc(100 + (size_t)n));
  }
  /* And asleep. */
  for (int n = 0; n < 1000; n++) {
    CHECK(midge_queue_next(woken, WAIT, &event) == MIDGE_E_TIMEOUT);
    taken += strcmp(last_message(), "the queue was woken") == 0;
  }
  atomic_store(&by.stop, 1);
  CHECK(pthread_join(thread, NULL) == 0);
  /* The last one may still be under way to this thread. */
  while (midge_queue_next(woken, 0, &event) == MIDGE_E_TIMEOUT && strcmp(last_message(), "the queue was woken") == 0) {
    taken++;
    (void)midge_broker_stop((midge_broker){0}, 0);
  }
  while (midge_queue_next(woken, 0, &event) == MIDGE_OK) {
    messages++;
    midge_event_clear(&event);
  }
  CHECK(messages == 20000);
  CHECK(taken == atomic_load(&rung) && taken > 1000);
  CHECK(atomic_load(&refused) == 0);
  /* What says that there is something to read says it no longer. */
  struct pollfd ready = {fd, POLLIN, 0};
  CHECK(poll(&ready, 1, 0) == 0);
  raise(SIGUSR1);
  CHECK(poll(&ready, 1, 0) == 1);
  CHECK(midge_queue_next(woken, 0, &event) == MIDGE_E_TIMEOUT && poll(&ready, 1, 0) == 0);
  CHECK(midge_queue_next(woken, 0, &event) == MIDGE_E_TIMEOUT);
  errno = 77;
  CHECK(midge_queue_wake((midge_queue){0}) == MIDGE_E_INVALID && midge_queue_wake((midge_queue){77}) == MIDGE_E_CLOSED);
  OK(midge_queue_wake(woken));
  CHECK(errno == 77);
  CHECK(strcmp(last_message(), "nothing waits in the queue") == 0);
  OK(midge_queue_free(woken));
  CHECK(midge_queue_wake(woken) == MIDGE_E_CLOSED);
  OK(midge_broker_free(b));
  action.sa_handler = SIG_DFL;
  CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
}

static void *wakes(void *user) {
  midge_queue *queue = user;
  while (midge_queue_wake(*queue) == MIDGE_OK) {
  }
  return NULL;
}

/* A wake-up that a free overtakes finds nothing: no foreign descriptor is written to. */
static void freed_while_woken(void) {
  midge_broker b = start();
  for (int n = 0; n < 300; n++) {
    midge_queue q = queue_of(b, 0);
    pthread_t threads[2];
    int32_t fd = -1;
    int mine[2];
    OK(midge_queue_fd(q, &fd));
    for (int t = 0; t < 2; t++) CHECK(pthread_create(&threads[t], NULL, wakes, &q) == 0);
    if (n % 2 == 0) sched_yield();
    OK(midge_queue_free(q));
    /* Takes the number of the descriptor that has just been closed. */
    CHECK(pipe2(mine, O_NONBLOCK) == 0);
    for (int t = 0; t < 2; t++) CHECK(pthread_join(threads[t], NULL) == 0);
    char byte;
    CHECK(read(mine[0], &byte, 1) == -1 && errno == EAGAIN);
    close(mine[0]);
    close(mine[1]);
  }
  OK(midge_broker_free(b));
}

/* ---- cancellation ----------------------------------------------------------------------------- */

struct publisher {
  midge_broker broker;
  midge_queue queue;
  atomic_long published;
};

static void *publishes(void *user) {
  struct publisher *publisher = user;
  for (;;) {
    if (midge_publish(publisher->broker, "t", "x", 1, 1, true) != MIDGE_OK) return NULL;
    atomic_fetch_add(&publisher->published, 1);
    pthread_testcancel();
  }
}

static void *reads(void *user) {
  struct publisher *publisher = user;
  midge_event event = MIDGE_EVENT_INIT;
  atomic_fetch_add(&publisher->published, 1);
  /* No cancellation point, although it waits: it is woken first. */
  CHECK(midge_queue_next(publisher->queue, MIDGE_WAIT_FOREVER, &event) == MIDGE_E_TIMEOUT);
  pthread_testcancel();
  return NULL;
}

/* As docs/c.md has it: a wait that can be cancelled is a poll of the queue's descriptor. */
static void *polls(void *user) {
  struct publisher *publisher = user;
  struct pollfd ready = {-1, POLLIN, 0};
  OK(midge_queue_fd(publisher->queue, &ready.fd));
  atomic_fetch_add(&publisher->published, 1);
  poll(&ready, 1, -1);
  return NULL;
}

static void cancelled(void) {
  midge_broker b = start();
  struct publisher publisher = {b, queue_of(b, 0), 0};
  pthread_t thread;
  void *end;
  /* A client with a socket: to write to it is a cancellation point. */
  int fd = enter(b, "c");
  subscribe(fd, "t", 0);
  OK(midge_broker_wait_subscribers(b, "t", 1, WAIT));
  for (int n = 0; n < 300; n++) {
    char bytes[65536];
    long before = atomic_load(&publisher.published);
    CHECK(pthread_create(&thread, NULL, publishes, &publisher) == 0);
    while (atomic_load(&publisher.published) < before + n % 5) sched_yield();
    CHECK(pthread_cancel(thread) == 0 && pthread_join(thread, &end) == 0 && end == PTHREAD_CANCELED);
    while (recv(fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0) {
    }
  }
  for (int n = 0; n < 2; n++) {
    long before = atomic_load(&publisher.published);
    CHECK(pthread_create(&thread, NULL, n == 0 ? reads : polls, &publisher) == 0);
    while (atomic_load(&publisher.published) == before) sched_yield();
    CHECK(pthread_cancel(thread) == 0);
    if (n == 0) OK(midge_queue_wake(publisher.queue));
    CHECK(pthread_join(thread, &end) == 0 && end == PTHREAD_CANCELED);
  }
  midge_stats stats = {0};
  stats.struct_size = sizeof stats;
  OK(midge_broker_stats(b, &stats));
  CHECK(stats.panics == 0);
  OK(midge_publish(b, "t", "x", 1, 0, false));
  close(fd);
  OK(midge_broker_free(b));
}

int main(void) {
  woken_from_a_handler();
  freed_while_woken();
  cancelled();
  return result();
}
