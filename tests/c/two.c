/* Two Rust static libraries in one program. */
#include <midge.h>

unsigned other_sum(unsigned count);

int main(void) {
  midge_config *config = 0;
  midge_broker broker = {0};
  if (midge_config_new(&config) != MIDGE_OK || midge_broker_start(config, &broker) != MIDGE_OK) return 1;
  midge_config_free(config);
  return other_sum(10) == 55 && midge_broker_free(broker) == MIDGE_OK ? 0 : 1;
}
