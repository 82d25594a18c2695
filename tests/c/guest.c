/* Rules 8 and 9 of midge.h: nothing of the process is touched, and nothing is left behind. Prints
 * "N passed, M failed". */
#include "client.h"

#include <dlfcn.h>
#include <locale.h>
#include <sys/stat.h>
#include <sys/un.h>

static char inherited[1024]; /* descriptors that were there before the library was used */

static int entries(const char *path) {
  int count = 0;
  DIR *folder = opendir(path);
  while (folder != NULL && readdir(folder) != NULL) count++;
  if (folder != NULL) closedir(folder);
  return count;
}

/* The kernel takes a moment to forget a thread that was joined. */
static int comes_to(const char *path, int expected) {
  for (int tries = 0; tries < 1000000; tries++) {
    if (entries(path) == expected) return 1;
    sched_yield();
  }
  return 0;
}

static void start_and_stop(int times, int threads, int files) {
  for (int n = 0; n < times; n++) {
    midge_broker b = start();
    midge_queue q = queue_of(b, MIDGE_EV_ALL);
    int32_t fd;
    OK(midge_queue_fd(q, &fd));
    OK(midge_broker_free(b));
    OK(midge_queue_free(q));
  }
  CHECK(comes_to("/proc/self/fd", files));
  CHECK(comes_to("/proc/self/task", threads));
}

/* The threads of the library; *bad counts those that take a signal. A new thread names itself. */
static int library_threads(int *bad) {
  static const int all[] = {1, 2, 3, 10, 12, 13, 14, 15, 17}; /* HUP INT QUIT USR1 USR2 PIPE ALRM TERM CHLD */
  DIR *tasks = opendir("/proc/self/task");
  struct dirent *task;
  int found = 0;
  *bad = 0;
  while ((task = readdir(tasks)) != NULL) {
    char path[300], line[256], name[64] = "";
    unsigned long long blocked = 0;
    snprintf(path, sizeof path, "/proc/self/task/%s/status", task->d_name);
    FILE *file = fopen(path, "r");
    if (file == NULL) continue;
    while (fgets(line, sizeof line, file) != NULL) {
      sscanf(line, "Name: %63s", name);
      sscanf(line, "SigBlk: %llx", &blocked);
    }
    fclose(file);
    if (strncmp(name, "midge-", 6) != 0) continue;
    found++;
    for (size_t n = 0; n < sizeof all / sizeof *all; n++) *bad += ((blocked >> (all[n] - 1)) & 1) == 0;
  }
  closedir(tasks);
  return found;
}

static void ignore(void *user, const midge_event *event) {
  (void)user;
  (void)event;
}

static void threads_take_no_signals(void) {
  midge_config *config = new_config();
  struct dirent *task;
  sigset_t before, after;
  int bad = 0;
  pthread_sigmask(SIG_SETMASK, NULL, &before);
  OK(midge_config_set(config, "listen", "tcp://127.0.0.1:0"));
  OK(midge_config_set(config, "threads", "2"));
  midge_broker broker = start_with(config);
  midge_queue queue = queue_of(broker, MIDGE_EV_ALL);
  OK(midge_queue_dispatch(queue, ignore, NULL, NULL));
  pthread_sigmask(SIG_SETMASK, NULL, &after);
  CHECK(sigismember(&after, SIGTERM) == sigismember(&before, SIGTERM)); /* the host's own */
  while (library_threads(&bad) != 3) sched_yield(); /* two of the broker, one of the queue */
  CHECK(bad == 0);
  DIR *files = opendir("/proc/self/fd");
  while ((task = readdir(files)) != NULL) {
    int fd = atoi(task->d_name);
    if (fd < (int)sizeof inherited && !inherited[fd] && fd != dirfd(files))
      CHECK((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
  }
  closedir(files);
  OK(midge_broker_free(broker));
  OK(midge_queue_free(queue));
}

/* ---- what belongs to the process --------------------------------------------------------------- */

extern char **environ;
static atomic_int at_exit;

/* Every atexit() ends here. */
int __cxa_atexit(void (*function)(void *), void *argument, void *object) {
  int (*real)(void (*)(void *), void *, void *);
  *(void **)&real = dlsym(RTLD_NEXT, "__cxa_atexit");
  atomic_fetch_add(&at_exit, 1);
  return real(function, argument, object);
}

static void at_the_end(void *unused) { (void)unused; }

struct process {
  struct sigaction actions[NSIG];
  sigset_t blocked;
  char folder[4096];
  char locale[256];
  char variables[65536];
  char **environ_itself;
  mode_t mask;
  int at_exit;
};

static void look(struct process *process) {
  size_t used = 0;
  memset(process, 0, sizeof *process);
  for (int n = 1; n < NSIG; n++) sigaction(n, NULL, &process->actions[n]);
  pthread_sigmask(SIG_SETMASK, NULL, &process->blocked);
  CHECK(getcwd(process->folder, sizeof process->folder) != NULL);
  snprintf(process->locale, sizeof process->locale, "%s", setlocale(LC_ALL, NULL));
  for (char **variable = environ; *variable != NULL; variable++) {
    size_t length = strlen(*variable) + 1;
    if (used + length > sizeof process->variables) break;
    memcpy(process->variables + used, *variable, length);
    used += length;
  }
  process->environ_itself = environ;
  process->mask = umask(0);
  umask(process->mask);
  process->at_exit = at_exit;
}

/* What standard output and error are now goes to a file until `shown`. */
static int hidden[2];

static int hide(void) {
  char path[] = "/tmp/midge-XXXXXX";
  int file = mkstemp(path);
  fflush(NULL);
  for (int n = 0; n < 2; n++) {
    hidden[n] = dup(n + 1);
    dup2(file, n + 1);
  }
  unlink(path);
  return file;
}

static off_t show(int file) {
  fflush(NULL);
  off_t written = lseek(file, 0, SEEK_END);
  for (int n = 0; n < 2; n++) {
    dup2(hidden[n], n + 1);
    close(hidden[n]);
  }
  close(file);
  return written;
}

static void nothing_of_the_process_is_touched(void) {
  static struct process before, after;
  int had = at_exit;
  __cxa_atexit(at_the_end, NULL, NULL);
  CHECK(at_exit == had + 1); /* they are seen */
  int file = hide();
  CHECK(write(1, "x", 1) == 1 && write(2, "y", 1) == 1);
  off_t seen = show(file);
  CHECK(seen == 2); /* that, too */

  look(&before);
  file = hide();
  midge_broker broker = start();
  int wrong = everything(broker, 0);
  midge_status freed = midge_broker_free(broker);
  seen = show(file);
  look(&after);
  CHECK(wrong == 0 && freed == MIDGE_OK && seen == 0);
  for (int n = 1; n < NSIG; n++) {
    CHECK(before.actions[n].sa_handler == after.actions[n].sa_handler);
    CHECK(before.actions[n].sa_flags == after.actions[n].sa_flags);
  }
  CHECK(memcmp(&before.blocked, &after.blocked, sizeof before.blocked) == 0);
  CHECK(strcmp(before.folder, after.folder) == 0 && strcmp(before.locale, after.locale) == 0);
  CHECK(memcmp(before.variables, after.variables, sizeof before.variables) == 0);
  CHECK(before.environ_itself == after.environ_itself && before.mask == after.mask);
  CHECK(before.at_exit == after.at_exit);
}

/* The heartbeat stands still while the only thread of the broker is held up. */
static void heartbeat(void) {
  midge_broker b = start();
  midge_stats stats = {0};
  stats.struct_size = sizeof stats;
  OK(midge_broker_stats(b, &stats));
  uint64_t first = stats.heartbeat;
  while (stats.heartbeat < first + 3) {
    if (midge_broker_stats(b, &stats) != MIDGE_OK) break;
    sched_yield();
  }
  CHECK(stats.heartbeat >= first + 3);
  OK(midge_broker_stop(b, 1000));
  OK(midge_broker_stop(b, 0));
  OK(midge_broker_join(b, WAIT));
  OK(midge_broker_join(b, WAIT));
  OK(midge_broker_stats(b, &stats));
  CHECK(stats.state == 0);
  OK(midge_broker_free(b));
}

/* ---- SIGPIPE ----------------------------------------------------------------------------------- */

enum { MEMORY, TCP, UNIX, TRANSPORTS };

static int reach(midge_broker broker, int transport, uint16_t port, const char *path) {
  int fd = -1;
  struct sockaddr_un local = {.sun_family = AF_UNIX};
  snprintf(local.sun_path, sizeof local.sun_path, "%s", path);
  switch (transport) {
    case MEMORY: return dial_raw(broker);
    case TCP: return dial_tcp(port);
    default: fd = socket(AF_UNIX, SOCK_STREAM, 0); CHECK(connect(fd, (struct sockaddr *)&local, sizeof local) == 0);
  }
  return fd;
}

/* Threads of the process that a SIGPIPE was raised on and that block it. */
static int pending_sigpipe(void) {
  DIR *tasks = opendir("/proc/self/task");
  struct dirent *task;
  int found = 0;
  while ((task = readdir(tasks)) != NULL) {
    char path[300], line[256];
    unsigned long long pending = 0;
    snprintf(path, sizeof path, "/proc/self/task/%s/status", task->d_name);
    FILE *file = task->d_name[0] == '.' ? NULL : fopen(path, "r");
    if (file == NULL) continue;
    while (fgets(line, sizeof line, file) != NULL) sscanf(line, "SigPnd: %llx", &pending);
    fclose(file);
    found += (pending >> (SIGPIPE - 1)) & 1;
  }
  closedir(tasks);
  return found;
}

static void keep(void *unused) { (void)unused; }

/* SIGPIPE has its default action here: every way to write to a connection that is gone, plain and
 * vectored, on every transport. The connection is gone once the broker has tried. */
static void clients_that_leave_do_not_kill_the_host(void) {
  static char payload[20000]; /* large enough to be shared, and so written by writev() */
  struct sigaction action;
  sigaction(SIGPIPE, NULL, &action);
  CHECK(action.sa_handler == SIG_DFL);
  sigset_t pipe, before;
  sigemptyset(&pipe);
  sigaddset(&pipe, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &pipe, &before);
  pthread_kill(pthread_self(), SIGPIPE);
  CHECK(pending_sigpipe() == 1); /* one would be seen */
  sigwait(&pipe, &(int){0});
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  char folder[] = "/tmp/midge-XXXXXX", path[64], url[80];
  CHECK(mkdtemp(folder) != NULL);
  snprintf(path, sizeof path, "%s/socket", folder);
  snprintf(url, sizeof url, "unix://%s", path);
  midge_config *config = new_config();
  OK(midge_config_set(config, "listen", "tcp://127.0.0.1:0"));
  OK(midge_config_set(config, "listen", url));
  midge_broker broker = start_with(config);
  midge_queue queue = queue_of(broker, MIDGE_EV_DISCONNECT);
  uint16_t port = 0;
  OK(midge_broker_addr(broker, 0, NULL, 0, &port));
  for (int round = 0; round < 8 * 4 * TRANSPORTS; round++) {
    int fd = reach(broker, round % TRANSPORTS, port, path);
    int stays = round / TRANSPORTS % 2;
    midge_publish_args args = MIDGE_PUBLISH_ARGS_INIT;
    args.topic = "t";
    args.payload = payload;
    args.payload_len = round / (2 * TRANSPORTS) % 2 == 0 ? 1 : sizeof payload;
    args.payload_free = keep;
    midge_event event = MIDGE_EVENT_INIT;
    hello(fd, "c");
    say(fd, "\x82\x06\0\x01\0\x01t\0", 8);
    CHECK(got(fd, "\x20\x02\0\0\x90\x03\0\x01\0", 9));
    if (stays) shutdown(fd, SHUT_RD); /* it does not read any more, but it is there */
    else close(fd);
    for (int n = 0; n < 50 && midge_queue_next(queue, 0, &event) == MIDGE_E_TIMEOUT; n++) {
      OK(midge_publish_ex(broker, &args, NULL));
      sched_yield();
    }
    if (stays) close(fd);
    if (event.type == 0) OK(midge_queue_next(queue, WAIT, &event));
    CHECK(event.type == MIDGE_EV_DISCONNECT);
    midge_event_clear(&event);
    CHECK(pending_sigpipe() == 0);
  }
  OK(midge_broker_free(broker));
  OK(midge_queue_free(queue));
  rmdir(folder);
}

int main(int argc, char **argv) {
  int times = argc > 1 ? atoi(argv[1]) : 1000;
  for (int fd = 0; fd < (int)sizeof inherited; fd++) inherited[fd] = fcntl(fd, F_GETFD) >= 0;
  int threads = entries("/proc/self/task"), files = entries("/proc/self/fd");
  nothing_of_the_process_is_touched();
  start_and_stop(times, threads, files);
  threads_take_no_signals();
  heartbeat();
  clients_that_leave_do_not_kill_the_host();
  return result();
}
