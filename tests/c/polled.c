/* A broker without threads: its host polls it, and everything happens on the host's thread. */
#include "check.h"

static int threads(void) {
  int count = 0;
  DIR *tasks = opendir("/proc/self/task");
  for (struct dirent *task; (task = readdir(tasks));) count += task->d_name[0] != '.';
  closedir(tasks);
  return count;
}

static midge_config *without_threads(void) {
  midge_config *config = new_config();
  OK(midge_config_set_int(config, "threads", 0));
  return config;
}

static const char connect_packet[] = "\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01"
                                     "c";
static const char subscribe_packet[] = "\x82\x06\0\x01\0\x01t\x01";
static const char publish_packet[] = "\x30\x04\0\x01tx";

static void say(int fd, const char *packet, size_t size) { CHECK(write(fd, packet, size - 1) == (ssize_t)size - 1); }
#define SAY(fd, packet) say(fd, packet, sizeof packet)

/* Waits for the descriptor as a host would, and polls, until a client has so many bytes to read. */
static int answered(midge_broker b, int client, char *into, size_t size) {
  int32_t fd = -1, timeout = -1;
  OK(midge_broker_poll_fd(b, &fd));
  for (size_t got = 0; got < size;) {
    ssize_t count = recv(client, into + got, size - got, MSG_DONTWAIT);
    if (count == 0) return 0;
    if (count > 0) {
      got += (size_t)count;
      continue;
    }
    struct pollfd watched = {fd, POLLIN, 0};
    OK(midge_broker_poll_timeout(b, &timeout));
    if (timeout < 0 || timeout > WAIT) timeout = WAIT;
    poll(&watched, 1, timeout);
    midge_status status = midge_broker_poll(b, 0);
    if (status != MIDGE_OK && status != MIDGE_E_TIMEOUT) return 0;
  }
  return 1;
}

static int client_of(midge_broker b) {
  int32_t fd = -1;
  char connack[4];
  OK(midge_broker_connect_fd(b, &fd));
  SAY(fd, connect_packet);
  CHECK(answered(b, fd, connack, 4) && connack[0] == 0x20 && connack[3] == 0);
  return fd;
}

struct seen {
  midge_broker broker;
  pthread_t thread;
  int calls, freed;
};

static void on_event(void *user, const midge_event *event) {
  struct seen *seen = user;
  midge_queue queue = {0};
  midge_event none = MIDGE_EVENT_INIT;
  CHECK(pthread_equal(pthread_self(), seen->thread) && is(event->topic, "t"));
  CHECK(midge_broker_poll(seen->broker, WAIT) == MIDGE_E_REENTRANT);
  OK(midge_queue_new(seen->broker, 0, 1, 0, MIDGE_OVERFLOW_DROP_OLDEST, &queue));
  CHECK(midge_queue_next(queue, WAIT, &none) == MIDGE_E_REENTRANT);
  OK(midge_queue_free(queue));
  seen->calls++;
}

static void seen_free(void *user) { ((struct seen *)user)->freed++; }

static midge_status on_acl(void *user, const midge_acl_request *request) {
  struct seen *seen = user;
  (void)request;
  CHECK(pthread_equal(pthread_self(), seen->thread));
  CHECK(midge_broker_poll(seen->broker, 0) == MIDGE_E_REENTRANT);
  seen->calls++;
  return MIDGE_OK;
}

static void everything_happens_on_the_host_s_thread(void) {
  struct seen seen = {.thread = pthread_self()}, asked = {.thread = pthread_self()};
  midge_hooks hooks = MIDGE_HOOKS_INIT;
  midge_queue queue = {0};
  midge_client client = {0};
  int before = threads();

  midge_config *config = without_threads();
  OK(midge_config_set(config, "listen", "tcp://127.0.0.1:0"));
  hooks.user = &asked;
  hooks.user_free = seen_free;
  hooks.on_acl = on_acl;
  OK(midge_config_set_hooks(config, &hooks));
  midge_broker b = start_with(config);
  seen.broker = asked.broker = b;
  OK(midge_queue_new(b, 0, 16, 0, MIDGE_OVERFLOW_DROP_OLDEST, &queue));
  OK(midge_queue_dispatch(queue, on_event, &seen, seen_free));
  OK(midge_client_new(b, NULL, queue, &client));
  OK(midge_client_subscribe(client, "t", 0, 0));

  int fd = client_of(b);
  SAY(fd, publish_packet);
  while (seen.calls == 0) {
    midge_status status = midge_broker_poll(b, WAIT);
    if (status != MIDGE_OK && status != MIDGE_E_TIMEOUT) break;
  }
  CHECK(seen.calls == 1 && asked.calls > 0 && threads() == before);

  /* The loop drives the stop to its end. */
  OK(midge_broker_stop(b, WAIT));
  midge_status status;
  do status = midge_broker_poll(b, WAIT);
  while (status == MIDGE_OK || status == MIDGE_E_TIMEOUT);
  CHECK(status == MIDGE_E_CLOSED);
  OK(midge_broker_join(b, 0));
  CHECK(seen.freed == 1);
  OK(midge_queue_free(queue));
  OK(midge_broker_free(b));
  CHECK(asked.freed == 1 && threads() == before);
  close(fd);
}

static void *publish_soon(void *user) {
  midge_broker *b = user;
  OK(midge_publish(*b, "t", "y", 1, 0, false));
  return NULL;
}

static void what_blocks_drives_the_broker(void) {
  midge_broker b = start_with(without_threads());
  midge_queue queue = {0};
  midge_client client = {0};
  midge_receipt receipt = {0};
  midge_event event = MIDGE_EVENT_INIT;
  midge_publish_args args = MIDGE_PUBLISH_ARGS_INIT;
  pthread_t other;
  char answer[5];
  OK(midge_queue_new(b, 0, 16, 0, MIDGE_OVERFLOW_DROP_OLDEST, &queue));
  OK(midge_client_new(b, NULL, queue, &client));
  OK(midge_client_subscribe(client, "t", 0, 0));

  int fd = client_of(b);
  SAY(fd, subscribe_packet);
  CHECK(answered(b, fd, answer, 5));
  OK(midge_broker_wait_subscribers(b, "t", 1, WAIT));
  SAY(fd, publish_packet);
  OK(midge_queue_next(queue, WAIT, &event));
  CHECK(is(midge_message_payload(event.message), "x"));
  midge_event_clear(&event);

  /* Woken by another thread, too. */
  CHECK(pthread_create(&other, NULL, publish_soon, &b) == 0);
  OK(midge_queue_next(queue, WAIT, &event));
  CHECK(is(midge_message_payload(event.message), "y"));
  midge_event_clear(&event);
  pthread_join(other, NULL);
  CHECK(midge_queue_next(queue, 1, &event) == MIDGE_E_TIMEOUT);

  args.topic = "t";
  args.qos = 1;
  OK(midge_publish_receipt(b, &args, &receipt));
  CHECK(midge_receipt_wait(receipt, 1) == MIDGE_E_TIMEOUT);
  char unread[256];
  ssize_t count = recv(fd, unread, sizeof unread, 0);
  CHECK(count > 6);
  char puback[] = {0x40, 2, unread[count - 2], unread[count - 1]};
  CHECK(write(fd, puback, 4) == 4);
  OK(midge_receipt_wait(receipt, WAIT));
  OK(midge_broker_quiesce(b, WAIT));
  OK(midge_receipt_free(receipt));

  /* So does the end. */
  OK(midge_broker_stop(b, 0));
  OK(midge_broker_join(b, WAIT));
  OK(midge_queue_free(queue));
  OK(midge_broker_free(b));
  close(fd);
}

struct polling {
  midge_broker broker;
  midge_status last;
};

static void *poll_on(void *user) {
  struct polling *polling = user;
  do polling->last = midge_broker_poll(polling->broker, MIDGE_WAIT_FOREVER);
  while (polling->last == MIDGE_OK || polling->last == MIDGE_E_TIMEOUT);
  return NULL;
}

static void one_thread_polls_and_another_one_frees(void) {
  struct polling polling = {.broker = start_with(without_threads())};
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, poll_on, &polling) == 0);
  int32_t fd = -1;
  char connack[4];
  OK(midge_broker_connect_fd(polling.broker, &fd));
  SAY(fd, connect_packet);
  CHECK(recv(fd, connack, 4, MSG_WAITALL) == 4);
  midge_status refused;
  do refused = midge_broker_poll(polling.broker, 0);
  while (refused == MIDGE_OK || refused == MIDGE_E_TIMEOUT);
  CHECK(refused == MIDGE_E_STATE);
  OK(midge_broker_free(polling.broker));
  pthread_join(thread, NULL);
  CHECK(polling.last == MIDGE_E_CLOSED || polling.last == MIDGE_E_STATE);
  close(fd);
}

static void with_threads_it_is_not_polled(void) {
  midge_broker b = start();
  int32_t number = 7;
  CHECK(midge_broker_poll(b, 0) == MIDGE_E_STATE && strstr(last_message(), "threads = 0") != NULL);
  CHECK(midge_broker_poll_fd(b, &number) == MIDGE_E_STATE && midge_broker_poll_fd(b, NULL) == MIDGE_E_INVALID);
  CHECK(midge_broker_poll_timeout(b, &number) == MIDGE_E_STATE);
  CHECK(midge_broker_poll_timeout(b, NULL) == MIDGE_E_INVALID && number == 7);
  OK(midge_broker_free(b));
  CHECK(midge_broker_poll(b, 0) == MIDGE_E_CLOSED && midge_broker_poll_fd(b, &number) == MIDGE_E_CLOSED);
}

int main(void) {
  everything_happens_on_the_host_s_thread();
  what_blocks_drives_the_broker();
  one_thread_polls_and_another_one_frees();
  with_threads_it_is_not_polled();
  return result();
}
