/* A client of bytes, of MQTT 3.1.1 and 5.0. */
#ifndef CLIENT_H
#define CLIENT_H

#include "check.h"

#ifndef _WIN32
#include <netinet/in.h>
#endif

/* ---- connections ------------------------------------------------------------------------------- */

/* Inside the process, without a port. */
UNUSED static int dial_raw(midge_broker broker) {
  int32_t fd = -1;
  OK(midge_broker_connect_fd(broker, &fd));
  return fd;
}

/* Over TCP, to this port of this machine. */
UNUSED static int dial_tcp(uint16_t port) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK(connect(fd, (struct sockaddr *)&to, sizeof to) == 0);
  return fd;
}

UNUSED static void say(int fd, const void *packet, size_t length) {
  CHECK(write(fd, packet, length) == (ssize_t)length);
}

/* Says CONNECT of 3.1.1, with a clean session. */
UNUSED static void hello(int fd, const char *id) {
  unsigned char packet[64] = {0x10, 0, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 0};
  size_t length = strlen(id);
  packet[1] = (unsigned char)(12 + length);
  packet[13] = (unsigned char)length;
  memcpy(packet + 14, id, length);
  say(fd, packet, 14 + length);
}

UNUSED static int dial(midge_broker broker, const char *id) {
  int fd = dial_raw(broker);
  hello(fd, id);
  return fd;
}

/* Of 5.0, with a user property and a session that lasts for a minute. */
UNUSED static int dial5(midge_broker broker, const char *id) {
  unsigned char packet[96] = {0x10, 0, 0,  4,    'M', 'Q', 'T', 'T', 5,   2,   0, 0, 16,  0x11, 0,
                              0,    0, 60, 0x26, 0,   4,   'w', 'a', 'r', 'd', 0, 2, '1', '2',  0};
  size_t length = strlen(id);
  int fd = dial_raw(broker);
  packet[1] = (unsigned char)(29 + length);
  packet[29] = 0;
  packet[30] = (unsigned char)length;
  memcpy(packet + 31, id, length);
  say(fd, packet, 31 + length);
  return fd;
}

/* ---- what comes -------------------------------------------------------------------------------- */

#define CONNACK(code) "\x20\x02\x00" code, 4

/* Reads so many bytes; whether they came. */
UNUSED static int take(int fd, unsigned char *bytes, size_t length) {
  for (size_t have = 0; have < length;) {
    struct pollfd ready = {fd, POLLIN, 0};
    if (poll(&ready, 1, WAIT) != 1) return 0;
    ssize_t count = read(fd, bytes + have, length - have);
    if (count <= 0) return 0;
    have += (size_t)count;
  }
  return 1;
}

UNUSED static int got(int fd, const void *expected, size_t length) {
  unsigned char bytes[256];
  return take(fd, bytes, length) && memcmp(bytes, expected, length) == 0;
}

UNUSED static int gone(int fd) {
  unsigned char byte;
  struct pollfd ready = {fd, POLLIN, 0};
  return poll(&ready, 1, WAIT) == 1 && read(fd, &byte, 1) <= 0;
}

/* The next packet, a short one, without its head; its type, or 0. */
UNUSED static int next_packet(int fd, unsigned char *body, size_t *length) {
  unsigned char head[2];
  if (!take(fd, head, 2) || !take(fd, body, head[1])) return 0;
  *length = head[1];
  return head[0];
}

/* Whether the next packet is of this type, with this code at this place and this text anywhere. */
UNUSED static int answers(int fd, int type, size_t at, int code, const char *text) {
  unsigned char body[256];
  size_t length = 0;
  int is_type = next_packet(fd, body, &length);
  if (is_type != type || length <= at || body[at] != code) {
    printf("packet %#x with %#x in place of %#x with %#x\n", is_type, length > at ? body[at] : 0, type, code);
    return 0;
  }
  return text == NULL || memmem(body, length, text, strlen(text)) != NULL;
}

/* ---- what it does ------------------------------------------------------------------------------ */

/* A client of 5.0 that has got in. */
UNUSED static int enter(midge_broker broker, const char *id) {
  int fd = dial5(broker, id);
  CHECK(answers(fd, 0x20, 1, 0, NULL));
  return fd;
}

/* Of 5.0. */
UNUSED static void subscribe(int fd, const char *filter, int qos) {
  unsigned char packet[64] = {0x82, 0, 0, 1, 0, 0};
  size_t length = strlen(filter);
  packet[1] = (unsigned char)(6 + length);
  packet[6] = (unsigned char)length;
  memcpy(packet + 7, filter, length);
  packet[7 + length] = (unsigned char)qos;
  say(fd, packet, 8 + length);
}

/* An empty message at QoS 1, of 5.0. */
UNUSED static void publish1(int fd, const char *topic) {
  unsigned char packet[64] = {0x32, 0, 0};
  size_t length = strlen(topic);
  packet[1] = (unsigned char)(5 + length);
  packet[3] = (unsigned char)length;
  memcpy(packet + 4, topic, length);
  packet[5 + length] = 9; /* packet identifier, no properties */
  say(fd, packet, 7 + length);
}

/* Takes a message at QoS 1 and acknowledges it. */
UNUSED static void take_and_acknowledge(int fd) {
  unsigned char body[256], puback[4] = {0x40, 2, 0, 0};
  size_t length;
  CHECK((next_packet(fd, body, &length) & 0xf0) == 0x30);
  size_t at = 2 + (size_t)body[1];
  puback[2] = body[at];
  puback[3] = body[at + 1];
  say(fd, puback, 4);
}

#endif
