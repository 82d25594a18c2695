/* A bedside-monitor gateway. Monitors connect with MQTT and publish vital signs below their own bed;
 * the gateway watches them, raises an alarm with QoS 2, writes what happens to a file, and feeds a
 * watchdog for as long as the broker's thread gets to its work. A monitor that is torn off leaves a
 * will. Here the monitors are simulated, each over a socket pair; real ones come over TCP.
 *
 *   gcc bedside.c $(pkg-config --cflags --libs midge) -pthread -o bedside && ./bedside events.log
 */
#include <midge.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BEDS = 4, SAMPLES = 50, LOW = 90 };

#define TRY(call)                                                                        \
  do {                                                                                   \
    midge_status status_ = (call);                                                       \
    if (status_ != MIDGE_OK) {                                                           \
      midge_error_info info_;                                                            \
      info_.struct_size = sizeof info_;                                                  \
      midge_last_error(&info_);                                                          \
      fprintf(stderr, "%s: %s: %s\n", #call, midge_status_name(status_), info_.message); \
      exit(1);                                                                           \
    }                                                                                    \
  } while (0)

/* ---- access control: monitor "bed-7" may publish below "bed/7/" and nowhere else ---------------- */

static int begins(midge_bytes text, const char *with) {
  size_t length = strlen(with);
  return text.len >= length && memcmp(text.ptr, with, length) == 0;
}

static midge_status may(void *user, const midge_acl_request *request) {
  char own[64];
  (void)user;
  if (!begins(request->client_id, "bed-") || request->client_id.len > 40) return MIDGE_E_DENIED;
  snprintf(own, sizeof own, "bed/%.*s/", (int)request->client_id.len - 4, (const char *)request->client_id.ptr + 4);
  return begins(request->topic, own) ? MIDGE_OK : MIDGE_E_DENIED;
}

/* ---- events to a file, on the queue's own thread ------------------------------------------------ */

static void log_event(void *user, const midge_event *event) {
  fprintf(user, "%llu.%09llu type=%u client=%.*s topic=%.*s code=%u lost=%llu %.*s\n",
          (unsigned long long)(event->wall_ns / 1000000000), (unsigned long long)(event->wall_ns % 1000000000),
          event->type, (int)event->client_id.len, (const char *)event->client_id.ptr, (int)event->topic.len,
          (const char *)event->topic.ptr, event->code, (unsigned long long)event->lost, (int)event->text.len,
          (const char *)event->text.ptr);
}

static void close_log(void *user) { fclose(user); }

/* ---- a simulated monitor: MQTT 3.1.1, byte by byte ---------------------------------------------- */

struct monitor {
  midge_broker broker;
  int bed;
  pthread_t thread;
};

static size_t put_text(unsigned char *to, const char *text) {
  size_t length = strlen(text);
  to[0] = (unsigned char)(length >> 8);
  to[1] = (unsigned char)length;
  memcpy(to + 2, text, length);
  return length + 2;
}

static int send_packet(int fd, unsigned char type, const unsigned char *body, size_t length) {
  unsigned char packet[128] = {type, (unsigned char)length}; /* all of ours are short */
  memcpy(packet + 2, body, length);
  return write(fd, packet, length + 2) == (ssize_t)(length + 2);
}

static void *monitor(void *user) {
  struct monitor *self = user;
  unsigned char body[120] = {0, 4, 'M', 'Q', 'T', 'T', 4, 0x2e, 0, 60}; /* a retained will at QoS 1 */
  unsigned char answer[4];
  char id[16], topic[32], value[8];
  size_t length = 10, got = 0;
  int32_t fd = -1;
  snprintf(id, sizeof id, "bed-%d", self->bed);
  snprintf(topic, sizeof topic, "bed/%d/status", self->bed);
  TRY(midge_broker_connect_fd(self->broker, &fd));
  length += put_text(body + length, id);
  length += put_text(body + length, topic);
  length += put_text(body + length, "offline");
  if (!send_packet(fd, 0x10, body, length)) exit(1);
  while (got < sizeof answer) {
    ssize_t count = read(fd, answer + got, sizeof answer - got);
    if (count <= 0) exit(1);
    got += (size_t)count;
  }
  snprintf(topic, sizeof topic, "bed/%d/spo2", self->bed);
  for (int n = 0; n < SAMPLES; n++) {
    /* Bed 3 has a bad moment. */
    snprintf(value, sizeof value, "%d", self->bed == 3 && n == 25 ? 84 : 96 + n % 3);
    length = put_text(body, topic);
    memcpy(body + length, value, strlen(value));
    if (!send_packet(fd, 0x30, body, length + strlen(value))) exit(1);
  }
  if (self->bed != 1) (void)send_packet(fd, 0xe0, body, 0); /* bed 1 is torn off */
  close(fd);
  return NULL;
}

/* ---- the gateway -------------------------------------------------------------------------------- */

int main(int argc, char **argv) {
  midge_config *config = NULL;
  midge_broker broker = {0};
  midge_queue vitals = {0}, events = {0};
  midge_client gateway = {0};
  midge_hooks hooks = MIDGE_HOOKS_INIT;
  midge_event event = MIDGE_EVENT_INIT;
  midge_stats stats = {0};
  struct monitor monitors[BEDS];
  enum { VITALS = 1, STATUS, ALARM };
  uint64_t beat = 0;
  int samples = 0, alarms = 0, offline = 0, fed = 0, rounds = 0;
  FILE *log = fopen(argc > 1 ? argv[1] : "/dev/null", "w");

  if (log == NULL) return 1;
  hooks.on_acl = may;
  TRY(midge_config_new(&config));
  TRY(midge_config_set(config, "listen", "tcp://127.0.0.1:0"));
  TRY(midge_config_set(config, "limits.connections", "64"));
  TRY(midge_config_set(config, "limits.packet_bytes", "4096"));
  TRY(midge_config_set(config, "limits.total_queue_bytes", "4194304"));
  TRY(midge_config_set_hooks(config, &hooks));
  TRY(midge_broker_start(config, &broker));
  midge_config_free(config);

  TRY(midge_queue_new(broker, MIDGE_EV_ALL & ~(MIDGE_EV_PUBLISH | MIDGE_EV_DELIVER), 256, 0, MIDGE_OVERFLOW_DROP_OLDEST,
                      &events));
  TRY(midge_queue_dispatch(events, log_event, log, close_log));
  TRY(midge_queue_new(broker, 0, 4096, 1 << 20, MIDGE_OVERFLOW_DROP_OLDEST, &vitals));
  TRY(midge_client_new(broker, "gateway", vitals, &gateway));
  TRY(midge_client_subscribe(gateway, "bed/+/spo2", 0, VITALS));
  TRY(midge_client_subscribe(gateway, "bed/+/status", 1, STATUS));
  TRY(midge_client_subscribe(gateway, "alarm/#", 2, ALARM));

  for (int n = 0; n < BEDS; n++) {
    monitors[n].broker = broker;
    monitors[n].bed = n + 1;
    if (pthread_create(&monitors[n].thread, NULL, monitor, &monitors[n]) != 0) return 1;
  }
  while (samples < BEDS * SAMPLES || offline < 1 || alarms < 1 || fed < 1) {
    midge_status status = midge_queue_next(vitals, 1000, &event);
    /* The watchdog is fed only when the broker's thread has come to its work since the last time. */
    stats.struct_size = sizeof stats;
    TRY(midge_broker_stats(broker, &stats));
    if (stats.heartbeat != beat) fed++;
    beat = stats.heartbeat;
    if (status == MIDGE_E_TIMEOUT && ++rounds < 10) continue;
    TRY(status);
    midge_bytes payload = midge_message_payload(event.message);
    if (event.tag == VITALS) {
      char number[8] = "";
      samples++;
      memcpy(number, payload.ptr, payload.len < 7 ? payload.len : 7);
      if (atoi(number) < LOW) {
        char topic[64];
        snprintf(topic, sizeof topic, "alarm/%.*s", (int)event.topic.len, (const char *)event.topic.ptr);
        TRY(midge_publish(broker, topic, payload.ptr, payload.len, 2, true));
      }
    } else if (event.tag == STATUS) {
      offline++;
      printf("%.*s is torn off\n", (int)event.client_id.len, (const char *)event.client_id.ptr);
    } else {
      alarms++;
      printf("ALARM %.*s: %.*s\n", (int)event.topic.len, (const char *)event.topic.ptr, (int)payload.len,
             (const char *)payload.ptr);
    }
    midge_event_clear(&event);
  }
  for (int n = 0; n < BEDS; n++) pthread_join(monitors[n].thread, NULL);
  printf("%d samples, %d alarms, %d offline, watchdog %s\n", samples, alarms, offline, fed > 0 ? "fed" : "hungry");
  TRY(midge_broker_stop(broker, 1000));
  TRY(midge_broker_join(broker, 10000));
  TRY(midge_client_free(gateway));
  TRY(midge_queue_free(vitals));
  TRY(midge_queue_free(events));
  TRY(midge_broker_free(broker));
  return 0;
}
