/* What valgrind and the sanitizers must find: a message that is never given back, or a write behind the
 * end of a block. */
#include <midge.h>

#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
  if (argc > 1 && strcmp(argv[1], "leak") == 0) {
    static midge_publish_args args = MIDGE_PUBLISH_ARGS_INIT;
    midge_message *message = NULL;
    args.topic = "a";
    if (midge_message_new(&args, &message) != MIDGE_OK) return 1;
    memset(&message, 0, sizeof message);
    return 0;
  }
  volatile char *block = malloc(8);
  block[8] = 1;
  free((char *)block);
  return 0;
}
