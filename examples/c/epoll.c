/* A host with an event loop of its own: the broker's queue is one more descriptor beside the
 * terminal. Each message and event is printed; the end of the input ends the program.
 *
 *   gcc epoll.c $(pkg-config --cflags --libs midge) -o epoll && ./epoll
 */
#include <midge.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#define TRY(call)                                                     \
  do {                                                                \
    midge_status status_ = (call);                                    \
    if (status_ != MIDGE_OK) {                                        \
      fprintf(stderr, "%s: %s\n", #call, midge_status_name(status_)); \
      exit(1);                                                        \
    }                                                                 \
  } while (0)

/* All that waits, without blocking. Level-triggered: what is left is announced again. */
static int drain(midge_queue queue) {
  midge_event event = MIDGE_EVENT_INIT;
  midge_status status;
  while ((status = midge_queue_next(queue, 0, &event)) == MIDGE_OK) {
    printf("event %u #%llu %.*s %.*s\n", event.type, (unsigned long long)event.seq, (int)event.client_id.len,
           event.client_id.len ? (const char *)event.client_id.ptr : "", (int)event.topic.len,
           event.topic.len ? (const char *)event.topic.ptr : "");
    midge_event_clear(&event);
  }
  return status == MIDGE_E_TIMEOUT;
}

int main(void) {
  midge_config *config = NULL;
  midge_broker broker = {0};
  midge_queue queue = {0};
  midge_client client = {0};
  int32_t fd = -1;
  uint16_t port = 0;

  TRY(midge_config_new(&config));
  TRY(midge_config_set(config, "listen", "tcp://127.0.0.1:0"));
  TRY(midge_broker_start(config, &broker));
  midge_config_free(config);
  TRY(midge_broker_addr(broker, 0, NULL, 0, &port));
  printf("port %u\n", (unsigned)port);
  TRY(midge_queue_new(broker, MIDGE_EV_CONNECT | MIDGE_EV_DISCONNECT | MIDGE_EV_SUBSCRIBE, 256, 0,
                      MIDGE_OVERFLOW_DROP_OLDEST, &queue));
  TRY(midge_client_new(broker, NULL, queue, &client));
  TRY(midge_client_subscribe(client, "#", 2, 0));
  TRY(midge_queue_fd(queue, &fd));

  int loop = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event watch = {.events = EPOLLIN, .data.fd = fd};
  if (loop < 0 || epoll_ctl(loop, EPOLL_CTL_ADD, fd, &watch) != 0) return 1;
  watch.data.fd = STDIN_FILENO;
  if (epoll_ctl(loop, EPOLL_CTL_ADD, STDIN_FILENO, &watch) != 0) {
    fprintf(stderr, "the input has to be a terminal or a pipe\n");
    return 1;
  }
  for (int running = 1; running;) {
    struct epoll_event ready[4];
    int count = epoll_wait(loop, ready, 4, -1);
    for (int n = 0; n < count; n++) {
      char line[256];
      if (ready[n].data.fd == fd) {
        running = drain(queue);
        continue;
      }
      ssize_t length = read(STDIN_FILENO, line, sizeof line);
      if (length <= 0) {
        running = 0;
      } else {
        TRY(midge_publish(broker, "from/host", line, (size_t)length, 0, false));
      }
    }
  }
  drain(queue);
  close(loop);
  TRY(midge_queue_free(queue));
  TRY(midge_broker_free(broker));
  return 0;
}
