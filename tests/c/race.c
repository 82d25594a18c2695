/* A program with a race of its own, in a callback and outside: what looks for races finds it, and nothing
 * else. `race no` has none. */
#include <midge.h>

#include <pthread.h>
#include <stdio.h>
#include <string.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int guarded, shared, races;
static struct state { int step; } state;

static void on_event(void *user, const midge_event *event) {
  struct state *given = (struct state *)user;
  MIDGE_HAPPENS_AFTER(given);
  if (event->type != MIDGE_EV_MESSAGE) return;
  if (races) shared++;
  pthread_mutex_lock(&lock);
  guarded += given->step;
  pthread_mutex_unlock(&lock);
}

static int seen(void) {
  pthread_mutex_lock(&lock);
  int count = guarded;
  pthread_mutex_unlock(&lock);
  return count;
}

int main(int argc, char **argv) {
  midge_config *config = NULL;
  midge_broker broker = {0};
  midge_queue queue = {0};
  midge_client client = {0};
  /* Handed over through the library. */
  state.step = 1;
  MIDGE_HAPPENS_BEFORE(&state);
  races = argc < 2 || strcmp(argv[1], "no") != 0;
  if (midge_config_new(&config) != MIDGE_OK || midge_broker_start(config, &broker) != MIDGE_OK ||
      midge_queue_new(broker, MIDGE_EV_ALL, 1024, 0, 0, &queue) != MIDGE_OK ||
      midge_client_new(broker, NULL, queue, &client) != MIDGE_OK ||
      midge_client_subscribe(client, "t", 0, 0) != MIDGE_OK ||
      midge_queue_dispatch(queue, on_event, &state, NULL) != MIDGE_OK)
    return 1;
  midge_config_free(config);
  for (int n = 0; n < 100; n++) {
    if (midge_publish(broker, "t", "x", 1, 0, true) != MIDGE_OK) return 1;
    if (races) shared++;
  }
  while (seen() < 100) {
  }
  if (midge_broker_free(broker) != MIDGE_OK || midge_queue_free(queue) != MIDGE_OK) return 1;
  printf("%d\n", shared);
  return 0;
}
