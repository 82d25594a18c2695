/* Two Rust static libraries in one program; the other one panics while a broker runs and afterwards. */
#include <midge.h>

unsigned other_sum(unsigned count);
unsigned other_panics(unsigned zero);

int main(void) {
  midge_config *config = 0;
  midge_broker broker = {0};
  if (midge_config_new(&config) != MIDGE_OK || midge_broker_start(config, &broker) != MIDGE_OK) return 1;
  midge_config_free(config);
  if (other_sum(10) != 55 || other_panics(0) != 2) return 2;
  if (midge_publish(broker, "still/there", "x", 1, 0, true) != MIDGE_OK) return 3;
  return midge_broker_free(broker) == MIDGE_OK && other_panics(0) == 2 ? 0 : 4;
}
