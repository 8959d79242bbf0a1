// System calls by number, for use inside a gate: not a cancellation point, errno left alone.
#pragma once

#include <array>
#include <cerrno>
#include <type_traits>

#include <sys/syscall.h>
#include <unistd.h>

namespace snp::switch_ {

#if defined(__x86_64__)

template <class Arg>
inline long to_word(Arg arg) noexcept {
  if constexpr (std::is_null_pointer_v<Arg>)
    return 0;
  else if constexpr (std::is_pointer_v<Arg>)
    return reinterpret_cast<long>(arg);
  else
    return static_cast<long>(arg);
}

// Answers a negative errno instead of -1 and errno. In line: every call of a connection in the host
// comes through here.
template <class... Args>
inline long sys(long number, Args... args) noexcept {
  static_assert(sizeof...(args) <= 6);
  const std::array<long, 6> words{to_word(args)...};
  // The kernel's calling convention (syscall(2)); registers that are not used cost nothing.
  // NOLINTBEGIN(hicpp-no-assembler): there is no other way past the C library
  long result = number;
  [[maybe_unused]] register long r10 asm("r10") = words[3];
  [[maybe_unused]] register long r8 asm("r8") = words[4];
  [[maybe_unused]] register long r9 asm("r9") = words[5];
  asm volatile("syscall"
               : "+a"(result)
               : "D"(words[0]), "S"(words[1]), "d"(words[2]), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  // NOLINTEND(hicpp-no-assembler)
  return result;
}

#else

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

#endif

// The way out to the C caller: a negative errno becomes -1 and errno.
template <class T = long>
inline T finish(long result) noexcept {
  if (result >= 0) return static_cast<T>(result);
  errno = static_cast<int>(-result);
  return static_cast<T>(-1);
}

}  // namespace snp::switch_
