/* A build from which everything was left out that can be: each answers MIDGE_E_UNSUPPORTED and says how to
 * get it, and the rest works. Prints "N passed, M failed". */
#include "check.h"

#include <arpa/inet.h>
#include <netinet/in.h>

/* Whether the last failure is about this feature. */
static int tells(const char *feature) {
  const char *message = last_message();
  return strstr(message, feature) != NULL && strstr(message, "build Midge with its feature") != NULL;
}

static void what_is_left_out_says_so(void) {
  midge_config *config = new_config();
  const char *all[] = {"mqtt31", "mqtt3.1", "sys", "toml", "unix"};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) CHECK(!midge_has_feature(all[i]));
  CHECK(midge_has_feature("tcp") && midge_has_feature("mqtt3.1.1") && midge_has_feature("mqtt5"));

  CHECK(midge_config_set(config, "listen", "unix:///tmp/x") == MIDGE_E_UNSUPPORTED && tells("\"unix\""));
  CHECK(midge_config_set(config, "mqtt.versions", "3.1") == MIDGE_E_UNSUPPORTED && tells("\"mqtt31\""));
  CHECK(midge_config_set_int(config, "sys.interval_s", 10) == MIDGE_E_UNSUPPORTED && tells("\"sys\""));
  CHECK(midge_config_load(config, "midge.toml") == MIDGE_E_UNSUPPORTED && tells("\"toml\""));
  CHECK(strcmp(midge_status_name(MIDGE_E_UNSUPPORTED), "MIDGE_E_UNSUPPORTED") == 0);

  /* What needs nothing of it is taken. */
  OK(midge_config_set_int(config, "sys.interval_s", 0));
  OK(midge_config_set(config, "mqtt.versions", "3.1.1,5"));
  midge_config_free(config);
}

static void a_running_broker_says_so_too(void) {
  midge_broker b = start();
  int32_t fd = 77;
  CHECK(midge_broker_connect_fd(b, &fd) == MIDGE_E_UNSUPPORTED && tells("\"unix\""));
  CHECK(fd == 77);
  OK(midge_broker_stop(b, 0));
  midge_broker_free(b);
}

/* Sends a CONNECT and returns the second byte of CONNACK's body: its return code. */
static int connack(uint16_t port, const void *connect_packet, size_t length) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
  unsigned char answer[5] = {0};
  int s = socket(AF_INET, SOCK_STREAM, 0);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  CHECK(connect(s, (struct sockaddr *)&address, sizeof address) == 0);
  CHECK(send(s, connect_packet, length, MSG_NOSIGNAL) == (ssize_t)length);
  CHECK(recv(s, answer, 4, MSG_WAITALL) == 4 && answer[0] == 0x20);
  close(s);
  return answer[3];
}

static void clients_of_3_1_are_refused_and_others_served(void) {
  midge_broker b = start();
  uint16_t port = 0;
  OK(midge_broker_addr(b, 0, NULL, 0, NULL, &port));

  CHECK(connack(port,
                "\x10\x0f\x00\x06MQIsdp\x03\x02\x00\x00\x00\x01"
                "a",
                17) == 1);
  CHECK(connack(port,
                "\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01"
                "a",
                15) == 0);
  OK(midge_broker_stop(b, 0));
  midge_broker_free(b);
}

int main(void) {
  what_is_left_out_says_so();
  a_running_broker_says_so_too();
  clients_of_3_1_are_refused_and_others_served();
  return result();
}
