// What of the host must see the packets of connections, and so keeps them in the host (reference
// 3.2): one watch for each kind, all behind FeatureWatch. Control thread only.
//
// A feature is judged for one connection at a time. The rule for all watches: what cannot concern
// a connection, by its addresses, ports or device, leaves it alone; what may, concerns it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "snp/base/result.h"
#include "snp/chimney/reason.h"
#include "snp/wire/address.h"

namespace snp::host {

// A connection as features see it.
struct FlowView {
  FourTuple flow;
  std::string device;     // that its packets pass; empty: not known
  bool is_local = false;  // both ends are on this host, the device is lo
  // Firewalls: that its packets would be let through is all that is asked. Else it is also asked
  // whether a rule would count them, and what conntrack says of the connection is open.
  bool is_acceptance_enough = false;
};

struct Feature {
  chimney::Reason reason;
  std::string what;  // "nftables: table inet filter, chain input"
  // Empty: every connection. May outlive the watch.
  std::function<bool(const FlowView&)> concerns = {};
  // Pre: it concerns the connection. By what of it: "chain input, rule 3". May be empty.
  std::function<std::string(const FlowView&)> where = {};
};

using Features = std::vector<Feature>;

class FeatureWatch {
 public:
  virtual ~FeatureWatch() = default;

  // Readable when something may have changed. The watch's own.
  [[nodiscard]] virtual int fd() const noexcept = 0;
  // Takes what made it readable; true: look() again.
  virtual bool drain() = 0;
  // Nobody tells it of (all) changes: look() when it matters, and now and then.
  [[nodiscard]] virtual bool is_blind() const noexcept { return false; }
  // All that is there now. An error: not known, every connection may be concerned.
  virtual Result<Features> look() = 0;
};

using WatchPtr = std::unique_ptr<FeatureWatch>;

// kUnsupported: this kernel has no such feature, there is nothing to watch.
Result<WatchPtr> watch_nftables();
Result<WatchPtr> watch_iptables();  // iptables-legacy and ip6tables-legacy
Result<WatchPtr> watch_xfrm();
Result<WatchPtr> watch_device_programs();  // XDP and tc, of other owners
Result<WatchPtr> watch_tcx();
// Bridges, their ports, and forwarding: the caller counts the last only together with kNat.
Result<WatchPtr> watch_routing();
// Packet sockets that see what goes over lo: they concern local connections only.
Result<WatchPtr> watch_captures();

}  // namespace snp::host
