/* What the test programs share: CHECK, brokers and queues. */
#ifndef CHECK_H
#define CHECK_H

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))

#ifdef _WIN32
#include "on_windows.h"
#else
#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

UNUSED static int is_inherited(int fd) { return (fcntl(fd, F_GETFD) & FD_CLOEXEC) == 0; }
#endif

#include "everything.h"

static int passed, failed;

#define CHECK(condition)                                     \
  do {                                                       \
    if (condition) {                                         \
      passed++;                                              \
    } else {                                                 \
      failed++;                                              \
      printf("%s:%d: %s\n", __FILE__, __LINE__, #condition); \
    }                                                        \
  } while (0)

#define OK(call) CHECK((call) == MIDGE_OK)
#define WAIT 20000
UNUSED static const char *last_message(void) {
  static midge_error_info info;
  info.struct_size = sizeof info;
  return midge_last_error(&info) == MIDGE_OK ? info.message : "";
}

UNUSED static int is(midge_bytes bytes, const char *text) {
  return bytes.len == strlen(text) && (bytes.len == 0 || memcmp(bytes.ptr, text, bytes.len) == 0);
}

UNUSED static midge_config *new_config(void) {
  midge_config *config = NULL;
  OK(midge_config_new(&config));
  return config;
}

UNUSED static midge_broker start_with(midge_config *config) {
  midge_broker broker = {0};
  OK(midge_broker_start(config, &broker));
  midge_config_free(config);
  return broker;
}

UNUSED static midge_broker start(void) {
  midge_config *config = new_config();
  OK(midge_config_set(config, "listen", "tcp://127.0.0.1:0"));
  return start_with(config);
}

UNUSED static midge_queue queue_of(midge_broker broker, uint32_t mask) {
  midge_queue queue = {0};
  OK(midge_queue_new(broker, mask, 64, 0, MIDGE_OVERFLOW_DROP_OLDEST, &queue));
  return queue;
}

UNUSED static int result(void) {
  printf("%d passed, %d failed\n", passed, failed);
  return failed != 0;
}

#endif
