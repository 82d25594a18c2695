/* What docs/c-process.md says about threads, their scheduling, stacks, errno and the log. Prints
 * "N passed, M failed". */
#include "client.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/syscall.h>

static void ignore(void *user, const midge_event *event) { (void)user, (void)event; }

/* ---- threads ---------------------------------------------------------------------------------- */

struct seen {
  int threads, real_time, other_cpus;
};

/* Looks at the threads of the library, which name themselves midge-*. */
static struct seen look(const cpu_set_t *wanted) {
  struct seen seen = {0, 0, 0};
  DIR *tasks = opendir("/proc/self/task");
  struct dirent *task;
  while ((task = readdir(tasks)) != NULL) {
    char path[300], name[32] = "";
    if (!isdigit(task->d_name[0])) continue;
    snprintf(path, sizeof path, "/proc/self/task/%s/comm", task->d_name);
    FILE *file = fopen(path, "r");
    if (file == NULL) continue;
    if (fgets(name, sizeof name, file) == NULL) name[0] = 0;
    fclose(file);
    if (strncmp(name, "midge-", 6) != 0) continue;
    cpu_set_t cpus;
    pid_t id = (pid_t)atoi(task->d_name);
    int class = sched_getscheduler(id);
    seen.threads++;
    seen.real_time += class == SCHED_FIFO || class == SCHED_RR;
    seen.other_cpus += sched_getaffinity(id, sizeof cpus, &cpus) != 0 || !CPU_EQUAL(&cpus, wanted);
  }
  closedir(tasks);
  return seen;
}

static atomic_int started;

static void counts(void *user) {
  (void)user;
  atomic_fetch_add(&started, 1);
}

/* The class of the thread that starts a broker is not handed on, its processors are. */
static void *starts_in_real_time(void *user) {
  struct sched_param priority = {.sched_priority = 1};
  midge_config *config = new_config();
  midge_hooks hooks = MIDGE_HOOKS_INIT;
  cpu_set_t one;
  (void)user;
  CPU_ZERO(&one);
  CPU_SET(sched_getcpu(), &one);
  CHECK(sched_setaffinity(0, sizeof one, &one) == 0);
  if (sched_setscheduler(0, SCHED_FIFO, &priority) != 0) {
    /* Not allowed here: the processors are looked at all the same. */
    printf("skipped: no right to real-time priority\n");
    if (getenv("CI") != NULL) failed++;
  }
  hooks.on_thread_start = counts;
  OK(midge_config_set_hooks(config, &hooks));
  OK(midge_config_set(config, "threads", "2"));
  midge_broker b = start_with(config);
  midge_queue q = queue_of(b, MIDGE_EV_ALL);
  OK(midge_queue_dispatch(q, ignore, NULL, NULL));
  struct seen seen = look(&one);
  while (atomic_load(&started) < 2 || seen.threads < 3 || seen.real_time > 0) {
    sched_yield();
    struct timespec moment = {0, 1000000}; /* one processor, and this thread goes first on it */
    nanosleep(&moment, NULL);
    seen = look(&one);
  }
  CHECK(seen.threads == 3 && seen.other_cpus == 0);
  OK(midge_broker_free(b));
  OK(midge_queue_free(q));
  return NULL;
}

static void real_time(void) {
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, starts_in_real_time, NULL) == 0 && pthread_join(thread, NULL) == 0);
}

/* ---- stacks ----------------------------------------------------------------------------------- */

static void *calls_everything(void *user) {
  static char large[300000];
  midge_broker *b = user;
  CHECK(everything(*b, 0) == 0);
  OK(midge_publish(*b, "large", large, sizeof large, 1, true));
  return NULL;
}

/* A thread of the host needs 64 KiB for any call, its own frames included. */
static void a_small_stack_will_do(void) {
  pthread_attr_t attributes;
  pthread_t thread;
  midge_broker b = start();
  CHECK(pthread_attr_init(&attributes) == 0 && pthread_attr_setstacksize(&attributes, 64 << 10) == 0);
  CHECK(pthread_create(&thread, &attributes, calls_everything, &b) == 0 && pthread_join(thread, NULL) == 0);
  pthread_attr_destroy(&attributes);
  OK(midge_broker_free(b));
}

/* ---- errno ------------------------------------------------------------------------------------ */

static void errno_stays(void) {
  midge_event event = MIDGE_EVENT_INIT;
  midge_config *config = new_config();
  midge_error_info info = {sizeof info, 0, 0, 0, {0}};
  errno = 77;
  CHECK(midge_config_load(config, "/nowhere/midge.toml") == MIDGE_E_IO && errno == 77);
  OK(midge_last_error(&info));
  CHECK(info.os_error == ENOENT);
  OK(midge_config_set(config, "listen", "tcp://127.0.0.1:0"));
  errno = 77;
  midge_broker b = start_with(config);
  midge_queue q = queue_of(b, 0);
  CHECK(midge_queue_next(q, 1, &event) == MIDGE_E_TIMEOUT && errno == 77);
  CHECK(everything(b, 0) == 0);
  errno = 77;
  OK(midge_broker_free(b));
  CHECK(errno == 77);
}

/* ---- the log ---------------------------------------------------------------------------------- */

struct lines {
  pthread_mutex_t lock;
  char last[512];
  int32_t level;
  int count;
  midge_broker broker;
  atomic_int freed;
};

static void gets_lines(void *user, int32_t level, const char *text) {
  struct lines *lines = user;
  /* Where callbacks run the broker may be called. */
  if (midge_publish(lines->broker, "log", text, strlen(text), 0, false) != MIDGE_OK) return;
  if (midge_broker_quiesce(lines->broker, 0) != MIDGE_E_REENTRANT) return;
  pthread_mutex_lock(&lines->lock);
  snprintf(lines->last, sizeof lines->last, "%s", text);
  lines->level = level;
  lines->count++;
  pthread_mutex_unlock(&lines->lock);
}

static void freed(void *user) { atomic_fetch_add(&((struct lines *)user)->freed, 1); }

static int line_count(struct lines *lines) {
  pthread_mutex_lock(&lines->lock);
  int count = lines->count;
  pthread_mutex_unlock(&lines->lock);
  return count;
}

/* Has the broker warn: it cannot accept, since the process has no descriptor left. */
static void accept_fails(midge_broker b, struct lines *lines) {
  struct rlimit limit, none;
  uint16_t port = 0;
  int before = lines == NULL ? 0 : line_count(lines), highest = 0;
  OK(midge_broker_addr(b, 0, NULL, 0, &port));
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  /* The next descriptor would be the limit. */
  while ((highest = dup(fd)) < 0) {
  }
  close(highest);
  CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
  none = limit;
  none.rlim_cur = (rlim_t)highest;
  CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
  CHECK(connect(fd, (struct sockaddr *)&to, sizeof to) == 0);
  while (lines != NULL && line_count(lines) == before) sched_yield();
  CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
  close(fd);
}

static void told_to_a_callback(void) {
  struct lines lines = {.lock = PTHREAD_MUTEX_INITIALIZER}, others = {.lock = PTHREAD_MUTEX_INITIALIZER};
  midge_broker b = start();
  lines.broker = others.broker = b;
  CHECK(midge_log_set(gets_lines, 7, &lines, freed) == MIDGE_E_INVALID && atomic_load(&lines.freed) == 0);
  OK(midge_log_set(gets_lines, MIDGE_LOG_WARN, &lines, freed));
  accept_fails(b, &lines);
  pthread_mutex_lock(&lines.lock);
  CHECK(lines.level == MIDGE_LOG_WARN && strstr(lines.last, "accept failed") != NULL);
  pthread_mutex_unlock(&lines.lock);
  /* Another one takes over, and the first is let go. */
  OK(midge_log_set(gets_lines, MIDGE_LOG_WARN, &others, freed));
  while (atomic_load(&lines.freed) == 0) sched_yield();
  OK(midge_broker_free(b));
  b = start();
  pthread_mutex_lock(&others.lock);
  others.broker = b;
  pthread_mutex_unlock(&others.lock);
  accept_fails(b, &others);
  OK(midge_log_set(NULL, MIDGE_LOG_OFF, NULL, NULL));
  while (atomic_load(&others.freed) == 0) sched_yield();
  OK(midge_broker_free(b));
  CHECK(atomic_load(&lines.freed) == 1 && atomic_load(&others.freed) == 1);
}

int main(void) {
  /* The environment is the host's: what Rust would make of this does not concern the library. */
  setenv("RUST_MIN_STACK", "1000000000000000", 1);
  setenv("RUST_BACKTRACE", "full", 1);
  real_time();
  a_small_stack_will_do();
  errno_stays();
  told_to_a_callback();
  return result();
}
