/* What the test programs share: CHECK, brokers and queues, a client of bytes. */
#ifndef CHECK_H
#define CHECK_H

#include "everything.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

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
#define UNUSED __attribute__((unused))

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

/* ---- a client of bytes ------------------------------------------------------------------------ */

UNUSED static int dial(midge_broker broker, const char *id) {
  int32_t fd = -1;
  unsigned char packet[64] = {0x10, 0, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 0};
  size_t length = strlen(id);
  packet[1] = (unsigned char)(12 + length);
  packet[13] = (unsigned char)length;
  memcpy(packet + 14, id, length);
  OK(midge_broker_connect_fd(broker, &fd));
  CHECK(write(fd, packet, 14 + length) == (ssize_t)(14 + length));
  return fd;
}

UNUSED static int got(int fd, const void *expected, size_t length) {
  unsigned char bytes[256];
  size_t have = 0;
  while (have < length) {
    struct pollfd ready = {fd, POLLIN, 0};
    if (poll(&ready, 1, WAIT) != 1) return 0;
    ssize_t count = read(fd, bytes + have, length - have);
    if (count <= 0) return 0;
    have += (size_t)count;
  }
  return memcmp(bytes, expected, length) == 0;
}

UNUSED static int gone(int fd) {
  char byte;
  struct pollfd ready = {fd, POLLIN, 0};
  return poll(&ready, 1, WAIT) == 1 && read(fd, &byte, 1) <= 0;
}

#define CONNACK(code) "\x20\x02\x00" code, 4

UNUSED static int result(void) {
  printf("%d passed, %d failed\n", passed, failed);
  return failed != 0;
}

#endif
