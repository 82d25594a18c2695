/* A plugin that has a broker for as long as it is loaded, with all that has to end: threads, hooks, a
 * dispatch thread, a client with a will, retained messages. */
#include <midge.h>

#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

static midge_broker broker;
static midge_queue queue;
static int32_t fd;
static atomic_int seen;

static midge_status allow(void *user, const midge_acl_request *request) {
  (void)user, (void)request;
  return MIDGE_OK;
}

static void count(void *user, const midge_event *event) {
  (void)user, (void)event;
  atomic_fetch_add(&seen, 1);
}

static void must(int condition) {
  if (!condition) abort();
}

__attribute__((constructor)) static void loaded(void) {
  midge_config *config = NULL;
  midge_hooks hooks = MIDGE_HOOKS_INIT;
  hooks.on_acl = allow;
  must(midge_config_new(&config) == MIDGE_OK);
  must(midge_config_set(config, "threads", "2") == MIDGE_OK);
  must(midge_config_set(config, "listen", "tcp://127.0.0.1:0") == MIDGE_OK);
  must(midge_config_set_hooks(config, &hooks) == MIDGE_OK);
  must(midge_broker_start(config, &broker) == MIDGE_OK);
  midge_config_free(config);
}

/* Has everything at work. A thread that has just been started waits for the loader, too, so this waits
 * until all have got that far. */
void plugin_work(void) {
  static const char hello[] = "\x10\x13\0\x04MQTT\x04\x06\0\0\0\x01p\0\x01w\0\x01x\x82\x06\0\x01\0\x01#\x01";
  midge_stats stats = {0};
  midge_client host;
  must(midge_queue_new(broker, MIDGE_EV_ALL, 16, 0, MIDGE_OVERFLOW_DROP_OLDEST, &queue) == MIDGE_OK);
  must(midge_client_new(broker, NULL, queue, &host) == MIDGE_OK);
  must(midge_client_subscribe(host, "#", 1, 0) == MIDGE_OK);
  must(midge_queue_dispatch(queue, count, NULL, NULL) == MIDGE_OK);
  must(midge_publish(broker, "kept", "x", 1, 1, true) == MIDGE_OK);
  must(midge_broker_connect_fd(broker, &fd) == MIDGE_OK);
  must(write(fd, hello, sizeof hello - 1) == sizeof hello - 1);
  must(midge_broker_wait_subscribers(broker, "kept", 1, 20000) == MIDGE_OK);
  stats.struct_size = sizeof stats;
  while (stats.heartbeat < 2 || atomic_load(&seen) == 0) {
    must(midge_broker_stats(broker, &stats) == MIDGE_OK);
    sched_yield();
  }
}

__attribute__((destructor)) static void unloaded(void) {
  must(midge_broker_free(broker) == MIDGE_OK);
  must(midge_queue_free(queue) == MIDGE_OK);
  close(fd);
}
