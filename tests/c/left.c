/* Callbacks that do not return: a stop waits for them as long as shutdown.patience_ms says, then they are
 * left, named in the log and counted, and what they use stays until they return. Prints
 * "N passed, M failed". */
#include "client.h"

#include <semaphore.h>

/* What a callback uses: it says when it is inside, and returns when it is told to. */
struct host {
  sem_t inside, go, freed;
};

static void set_up(struct host *host) {
  sem_init(&host->inside, 0, 0);
  sem_init(&host->go, 0, 0);
  sem_init(&host->freed, 0, 0);
}

static void hang(void *user) {
  struct host *host = user;
  sem_post(&host->inside);
  sem_wait(&host->go);
}

static void freed(void *user) { sem_post(&((struct host *)user)->freed); }

/* Hooks of a host that is set up with them. */
static midge_hooks hooks_of(struct host *host) {
  midge_hooks hooks = MIDGE_HOOKS_INIT;
  set_up(host);
  hooks.user = host;
  hooks.user_free = freed;
  return hooks;
}

static int is_freed(struct host *host) { return sem_trywait(&host->freed) == 0; }

static void let_go(struct host *host) {
  CHECK(!is_freed(host));
  sem_post(&host->go);
  sem_wait(&host->freed);
}

static void on_event(void *user, const midge_event *event) {
  hang(user);
  CHECK(is(event->topic, "t") && is(midge_message_payload(event->message), "x"));
}

static midge_status on_auth(void *user, const midge_connect_info *info, midge_decision d) {
  (void)d;
  hang(user);
  CHECK(is(info->client_id, "c"));
  return MIDGE_OK;
}

static midge_status on_publish(void *user, const midge_message *message, midge_message **replace) {
  (void)replace;
  if (is(midge_message_topic(message), "t")) hang(user); /* and not those of the broker itself */
  return MIDGE_OK;
}

/* ---- the log, which is told before the call returns ----------------------------------------------- */

static char line[512];
static int lines;

static void on_log(void *user, int32_t level, const char *text) {
  (void)user;
  CHECK(level == MIDGE_LOG_WARN);
  snprintf(line, sizeof line, "%s", text);
  lines++;
}

/* Whether one line was told since the last look, and names the callback. */
static int told(const char *name) {
  int was_told = lines == 1 && strstr(line, name) != NULL;
  if (!was_told) printf("%d lines, the last one: %s\n", lines, line);
  lines = 0;
  return was_told;
}

/* ---- one of each ---------------------------------------------------------------------------------- */

/* Milliseconds: more than a thread needs that does not hang. */
#define PATIENCE "100"

static midge_broker impatient(const midge_hooks *hooks, const char *patience) {
  midge_config *config = new_config();
  OK(midge_config_set(config, "shutdown.patience_ms", patience));
  OK(midge_config_set_hooks(config, hooks));
  return start_with(config);
}

/* A queue with a dispatch thread that is inside its callback. */
static midge_queue busy_queue(midge_broker b, struct host *host) {
  midge_queue q = queue_of(b, 0);
  midge_client c = {0};
  set_up(host);
  OK(midge_client_new(b, NULL, q, &c));
  OK(midge_client_subscribe(c, "t", 0, 0));
  OK(midge_queue_dispatch(q, on_event, host, freed));
  OK(midge_publish(b, "t", "x", 1, 0, false));
  sem_wait(&host->inside);
  OK(midge_client_free(c));
  return q;
}

static uint64_t left_running(midge_broker b) {
  midge_stats stats = {.struct_size = sizeof stats};
  OK(midge_broker_stats(b, &stats));
  return stats.left_running;
}

static void a_dispatch_callback_when_its_broker_is_freed(void) {
  struct host host;
  midge_broker b = impatient(NULL, PATIENCE);
  midge_queue q = busy_queue(b, &host);
  CHECK(midge_broker_free(b) == MIDGE_E_TIMEOUT && told("on_event of a queue"));
  CHECK(strstr(last_message(), "was left") != NULL);
  CHECK(midge_broker_free(b) == MIDGE_E_CLOSED && midge_broker_stop(b, 0) == MIDGE_E_CLOSED);
  let_go(&host);
  OK(midge_queue_free(q));
  CHECK(lines == 0);
}

static void a_dispatch_callback_when_its_queue_is_freed(void) {
  struct host host, second;
  midge_broker b = impatient(NULL, PATIENCE);
  midge_queue q = busy_queue(b, &host);
  CHECK(midge_queue_free(q) == MIDGE_E_TIMEOUT && told("on_event of a queue"));
  CHECK(left_running(b) == 1 && midge_queue_free(q) == MIDGE_E_CLOSED);

  /* The broker goes on. It says once of each what it has left, and is not at its end before. */
  q = busy_queue(b, &second);
  CHECK(midge_queue_free(q) == MIDGE_E_TIMEOUT && told("on_event of a queue") && left_running(b) == 2);
  OK(midge_broker_stop(b, 0));
  CHECK(midge_broker_join(b, 1) == MIDGE_E_TIMEOUT);
  let_go(&host);
  CHECK(midge_broker_free(b) == MIDGE_E_TIMEOUT && lines == 0);
  let_go(&second);
}

static void a_hook_on_a_thread_of_the_broker(void) {
  struct host host;
  midge_hooks hooks = hooks_of(&host);
  hooks.on_auth = on_auth;
  midge_broker b = impatient(&hooks, PATIENCE);
  struct host other;
  midge_queue q = {0};
  OK(midge_queue_new(b, 0, 8, 0, MIDGE_OVERFLOW_DROP_OLDEST, &q));
  set_up(&other);
  OK(midge_queue_dispatch(q, on_event, &other, freed));
  int fd = dial(b, "c");
  sem_wait(&host.inside);
  CHECK(midge_broker_free(b) == MIDGE_E_TIMEOUT && told("authenticate"));
  CHECK(is_freed(&other)); /* a thread that is not inside a callback has ended */
  let_go(&host);
  char byte;
  while (read(fd, &byte, 1) > 0) continue; /* to the end of the connection */
  close(fd);
  OK(midge_queue_free(q));
}

static void *publishes(void *broker) {
  (void)midge_publish(*(midge_broker *)broker, "t", "x", 1, 0, false);
  return NULL;
}

static void a_hook_on_a_thread_that_publishes(void) {
  struct host host;
  midge_hooks hooks = hooks_of(&host);
  pthread_t thread;
  hooks.on_publish = on_publish;
  midge_broker b = impatient(&hooks, PATIENCE);
  CHECK(pthread_create(&thread, NULL, publishes, &b) == 0);
  sem_wait(&host.inside);
  CHECK(midge_broker_free(b) == MIDGE_E_TIMEOUT && told("publish"));
  let_go(&host);
  pthread_join(thread, NULL);
}

static void the_last_function_of_a_thread(void) {
  struct host host;
  midge_hooks hooks = hooks_of(&host);
  hooks.on_thread_stop = hang;
  midge_broker b = impatient(&hooks, PATIENCE);
  CHECK(midge_broker_free(b) == MIDGE_E_TIMEOUT && told("a broker thread does not end"));
  let_go(&host);
}

static void *goes(void *host) {
  sem_post(&((struct host *)host)->go);
  return NULL;
}

static void a_callback_that_returns_in_time(void) {
  struct host host;
  pthread_t thread;
  midge_broker b = impatient(NULL, "3600000");
  midge_queue q = busy_queue(b, &host);
  CHECK(pthread_create(&thread, NULL, goes, &host) == 0);
  OK(midge_broker_free(b));
  CHECK(is_freed(&host) && lines == 0);
  OK(midge_queue_free(q));
  pthread_join(thread, NULL);
}

/* At the end of the process it is where it was. */
static void a_callback_that_never_returns(void) {
  static struct host host;
  midge_broker b = impatient(NULL, PATIENCE);
  midge_queue q = busy_queue(b, &host);
  CHECK(midge_queue_free(q) == MIDGE_E_TIMEOUT && told("on_event of a queue"));
  CHECK(midge_broker_free(b) == MIDGE_E_TIMEOUT && lines == 0);
}

int main(void) {
  OK(midge_log_set(on_log, MIDGE_LOG_WARN, NULL, NULL));
  a_dispatch_callback_when_its_broker_is_freed();
  a_dispatch_callback_when_its_queue_is_freed();
  a_hook_on_a_thread_of_the_broker();
  a_hook_on_a_thread_that_publishes();
  the_last_function_of_a_thread();
  a_callback_that_returns_in_time();
  a_callback_that_never_returns();
  return result();
}
