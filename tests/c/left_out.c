/* A build from which everything was left out that can be: each answers MIDGE_E_UNSUPPORTED and says how to
 * get it, and the rest works. Prints "N passed, M failed". */
#include "client.h"

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
  unsigned char body[256] = {0};
  size_t rest;
  int s = dial_tcp(port);
  say(s, connect_packet, length);
  CHECK(next_packet(s, body, &rest) == 0x20 && rest == 2);
  close(s);
  return body[1];
}

static void clients_of_3_1_are_refused_and_others_served(void) {
  midge_broker b = start();
  uint16_t port = 0;
  OK(midge_broker_addr(b, 0, NULL, 0, &port));

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
