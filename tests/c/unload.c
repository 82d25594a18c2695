/* The library is loaded at run time, used, closed while a broker runs, and used again: it stays, so
 * that its threads keep the ground under their feet. Then a plugin (plugin.c) is unloaded whose
 * destructor frees a broker, while the loader is locked. Run with the paths of libmidge.so and the
 * plugin. */
#include <midge.h>

#include <dlfcn.h>
#include <stdio.h>

#define FIND(name) __extension__ __typeof__(name) *name##_ = (__typeof__(name) *)dlsym(library, #name)

int main(int argc, char **argv) {
  void *library = argc > 2 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
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
  for (int round = 0; round < 4; round++) {
    library = dlopen(argv[2], RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
      printf("%s\n", dlerror());
      return 7;
    }
    __extension__ void (*plugin_work)(void) = (void (*)(void))dlsym(library, "plugin_work");
    if (plugin_work == NULL) return 8;
    plugin_work();
    /* The last one is left to exit(). */
    if (round == 3) break;
    if (dlclose(library) != 0 || dlopen(argv[2], RTLD_NOW | RTLD_NOLOAD) != NULL) return 9;
  }
  puts("loaded and kept");
  return 0;
}
