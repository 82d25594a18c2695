/* The library is loaded at run time, used, closed while a broker runs, and used again: it stays, so
 * that its threads keep the ground under their feet. Run with the path of libmidge.so. */
#include <midge.h>

#include <dlfcn.h>
#include <stdio.h>

#define FIND(name) __extension__ __typeof__(name) *name##_ = (__typeof__(name) *)dlsym(library, #name)

int main(int argc, char **argv) {
  void *library = argc > 1 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
  if (library == NULL) {
    printf("%s\n", dlerror());
    return 1;
  }
  FIND(midge_config_new);
  FIND(midge_config_free);
  FIND(midge_broker_start);
  FIND(midge_broker_free);
  FIND(midge_publish);
  midge_config *config = NULL;
  midge_broker broker = {0};
  if (midge_config_new_(&config) != MIDGE_OK || midge_broker_start_(config, &broker) != MIDGE_OK) return 2;
  if (dlclose(library) != 0) return 3;
  if (midge_publish_(broker, "still", "there", 5, 0, true) != MIDGE_OK) return 4;
  void *again = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
  if (again == NULL || dlsym(again, "midge_publish") != (void *)midge_publish_) return 5;
  if (midge_broker_free_(broker) != MIDGE_OK) return 6;
  midge_config_free_(config);
  dlclose(again);
  puts("loaded and kept");
  return 0;
}
