// What the test programs share.
#pragma once
#include <midge.hpp>

#include <cstdio>

inline int passed, failed;

#define CHECK(...)                                                  \
  do {                                                              \
    if (__VA_ARGS__) {                                              \
      passed++;                                                     \
    } else {                                                        \
      failed++;                                                     \
      std::printf("%s:%d: %s\n", __FILE__, __LINE__, #__VA_ARGS__); \
    }                                                               \
  } while (false)

inline int results() {
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed != 0;
}
