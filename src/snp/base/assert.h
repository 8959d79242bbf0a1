// SNP_ASSERT is for our own bugs, never for what came from outside. It stays on in release builds.
#pragma once

#include <cstdio>
#include <cstdlib>

#define SNP_ASSERT(condition)                                                                \
  do {                                                                                       \
    if (!(condition)) [[unlikely]] {                                                         \
      std::fprintf(stderr, "%s:%d: assertion failed: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                          \
    }                                                                                        \
  } while (false)
