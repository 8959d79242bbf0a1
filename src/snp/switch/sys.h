// System calls by number, for use inside a gate: not a cancellation point, errno left alone.
#pragma once

#include <cerrno>

#include <sys/syscall.h>
#include <unistd.h>

namespace snp::switch_ {

// Answers a negative errno instead of -1 and errno.
template <class... Args>
inline long sys(long number, Args... args) noexcept {
  const int saved = errno;
  const long result = ::syscall(number, args...);
  if (result != -1) return result;
  const int error = errno;
  errno = saved;
  return -error;
}

// The way out to the C caller: a negative errno becomes -1 and errno.
template <class T = long>
inline T finish(long result) noexcept {
  if (result >= 0) return static_cast<T>(result);
  errno = static_cast<int>(-result);
  return static_cast<T>(-1);
}

}  // namespace snp::switch_
