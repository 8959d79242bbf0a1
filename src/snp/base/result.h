// Value or error, for the control path. The packet path has verdicts and counters instead.
#pragma once

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include <tl/expected.hpp>

namespace snp {

enum class Errc : unsigned char {
  kInvalid,      // what was given makes no sense
  kNotFound,     // what was named does not exist
  kFull,         // a table, ring or arena has no room
  kDenied,       // a privilege is missing
  kUnsupported,  // kernel or device lacks a feature
  kBusy,         // would succeed later
  kProtocol,     // the other side broke the protocol
  kSystem,       // a system call failed, see sys_errno
};

// One line for a person: what, where, what to do.
struct Error {
  Errc code = Errc::kInvalid;
  int sys_errno = 0;
  std::string message;
};

template <class T = void>
using Result = tl::expected<T, Error>;

using Failure = tl::unexpected<Error>;

inline Failure fail(Errc code, std::string message) {
  return Failure(Error{code, 0, std::move(message)});
}

// A failed system call: "what: reason". Reads errno, so call it first.
inline Failure fail_errno(const std::string& what, int error = errno) {
  const Errc code = error == EPERM || error == EACCES ? Errc::kDenied : Errc::kSystem;
  return Failure(Error{code, error, what + ": " + ::strerrordesc_np(error)});
}

// Adds where we were to an error on its way up: "context: message".
inline Failure with_context(const std::string& context, Error error) {
  error.message = context + ": " + error.message;
  return Failure(std::move(error));
}

}  // namespace snp
