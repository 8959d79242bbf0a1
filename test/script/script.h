// A packet script, parsed: what the connection starts from and what happens, in order. The language
// is described in doc/packet-scripts.md. Plain data; numbers are those of the text, relative.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "snp/base/time.h"
#include "snp/tcp/connection.h"

#include "test/script/expression.h"

namespace snp::script {

struct Place {
  std::uint32_t line = 1;
  std::uint32_t column = 1;
};

// When an event happens. A range is allowed for segments that we send.
struct When {
  enum class Kind : std::uint8_t { kAbsolute, kRelative, kAny };
  Kind kind = Kind::kRelative;
  Duration from{};
  Duration to{};
};

// What the connection starts from: the lines `--name=value`. Sequence numbers of a script are
// relative: 1 is the first byte of either stream.
struct Setup {
  ConnectionState state;
  tcp::Limits limits;
  // The number that a script calls 0; so near the ends that the first segments wrap.
  SeqNum iss{0xfffffe00u};
  SeqNum irs{0x7ffffe00u};
  std::uint32_t sndbuf = 1u << 18;
  std::uint32_t rcvbuf = 1u << 17;
  std::uint32_t queued = 0;  // bytes written, from 1 on
  std::uint32_t sent = 0;    // of them sent and not acknowledged; a FIN counts
  std::uint32_t unread = 0;  // bytes received before 1 and not read

  Setup();
};

struct Packet {
  enum class Options : std::uint8_t { kNone, kListed, kAny };
  enum class Ecn : std::uint8_t { kNotSaid, kNoEct, kEct0, kCe };

  bool is_outbound = false;
  std::uint8_t flags = 0;
  Ecn ecn = Ecn::kNotSaid;
  Options how_options = Options::kNone;
  std::uint32_t seq = 0;
  std::uint32_t length = 0;
  std::optional<std::uint32_t> ack;
  std::optional<std::uint16_t> wnd;  // as on the wire
  std::optional<std::uint32_t> gso;  // payload of each packet of a merged one
  TcpOptions options;                // SACK blocks relative
};

// A system call of the application: `write(4, ..., 1000) = 1000`.
struct Call {
  std::string name;
  std::vector<std::int64_t> numbers;  // the arguments that are numbers, the descriptor first
  std::vector<std::string> words;     // those that are words: option levels and names, strings
  std::int64_t result = 0;
  std::string error;  // errno's name, with result -1
};

struct Assertion {
  Place place;
  std::string text;
  Expression expression;
};

struct Code {
  std::vector<Assertion> assertions;
};

// What the host does: hand-overs and the path.
struct HostAct {
  enum class Kind : std::uint8_t { kHandOver, kRestart, kUpload, kOffload, kPathMtu };
  Kind kind = Kind::kHandOver;
  std::uint32_t value = 0;
};

struct Event {
  Place place;
  std::string text;  // as written, one line
  When when;
  std::variant<Packet, Call, Code, HostAct> what;
  // Why no hand-over is placed between this event and the next one; empty: it is.
  std::string no_handover;
};

struct Script {
  std::string path;
  Setup setup;
  std::vector<Event> events;
};

}  // namespace snp::script
