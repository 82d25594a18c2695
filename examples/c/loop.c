/* A host that owns the loop: the broker has no thread, and is one more descriptor beside the terminal. It
 * prints what clients publish, and publishes each line of the input; the end of the input ends the program.
 *
 *   gcc loop.c $(pkg-config --cflags --libs midge) -o loop && ./loop
 */
#include <midge.h>

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define TRY(call)                                                     \
  do {                                                                \
    midge_status status_ = (call);                                    \
    if (status_ != MIDGE_OK) {                                        \
      fprintf(stderr, "%s: %s\n", #call, midge_status_name(status_)); \
      exit(1);                                                        \
    }                                                                 \
  } while (0)

/* Called in midge_broker_poll(), so on the thread of main(): nothing here needs a lock. */
static void on_event(void *user, const midge_event *event) {
  unsigned *messages = user;
  midge_bytes payload = midge_message_payload(event->message);
  ++*messages;
  printf("%u: %.*s = %.*s\n", *messages, (int)event->topic.len, (const char *)event->topic.ptr, (int)payload.len,
         payload.len ? (const char *)payload.ptr : "");
}

/* A part of what there is to do; the descriptor tells if there is more. */
static void drive(midge_broker broker) {
  midge_status status = midge_broker_poll(broker, 0);
  if (status != MIDGE_E_TIMEOUT) TRY(status);
}

int main(void) {
  midge_config *config = NULL;
  midge_broker broker = {0};
  midge_queue queue = {0};
  midge_client client = {0};
  unsigned messages = 0;
  uint16_t port = 0;
  int32_t fd = -1, timeout = -1;

  TRY(midge_config_new(&config));
  TRY(midge_config_set(config, "listen", "tcp://127.0.0.1:0"));
  TRY(midge_config_set_int(config, "threads", 0));
  TRY(midge_broker_start(config, &broker));
  midge_config_free(config);
  TRY(midge_broker_addr(broker, 0, NULL, 0, &port));
  printf("port %u\n", (unsigned)port);

  TRY(midge_queue_new(broker, 0, 256, 0, MIDGE_OVERFLOW_DROP_OLDEST, &queue));
  TRY(midge_queue_dispatch(queue, on_event, &messages, NULL));
  TRY(midge_client_new(broker, NULL, queue, &client));
  TRY(midge_client_subscribe(client, "#", 2, 0));
  TRY(midge_broker_poll_fd(broker, &fd));

  for (int running = 1; running;) {
    struct pollfd watched[] = {{fd, POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
    TRY(midge_broker_poll_timeout(broker, &timeout));
    if (poll(watched, 2, timeout) < 0) continue; /* a signal */
    if (watched[1].revents != 0) {
      char line[256];
      ssize_t length = read(STDIN_FILENO, line, sizeof line);
      running = length > 0;
      if (running) TRY(midge_publish(broker, "from/host", line, (size_t)length, 0, false));
    }
    drive(broker); /* also when a deadline has come */
  }

  TRY(midge_queue_free(queue));
  TRY(midge_broker_free(broker)); /* drives what is left to its end */
  return 0;
}
