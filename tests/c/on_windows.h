/* What the test programs use of POSIX, where sockets are no descriptors. */
#ifndef ON_WINDOWS_H
#define ON_WINDOWS_H

#include <winsock2.h>

#define poll(ready, count, timeout) WSAPoll(ready, count, timeout)
#define read(socket, bytes, length) recv(socket, (char *)(bytes), (int)(length), 0)
#define write(socket, bytes, length) send(socket, (const char *)(bytes), (int)(length), 0)
#define close(socket) closesocket(socket)
#define SOCK_CLOEXEC 0

UNUSED static void *memmem(const void *in, size_t length, const void *what, size_t size) {
  const char *at = in;
  for (; length >= size; at++, length--) {
    if (memcmp(at, what, size) == 0) return (void *)at;
  }
  return NULL;
}

/* Whether a child process would have it. */
UNUSED static int is_inherited(int socket) {
  DWORD flags = 0;
  return !GetHandleInformation((HANDLE)(intptr_t)socket, &flags) || (flags & HANDLE_FLAG_INHERIT) != 0;
}

#endif
