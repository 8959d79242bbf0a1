// Rules of iptables-legacy and ip6tables-legacy. The kernel announces none of them: a BPF program
// says when a table was replaced. Where it cannot be had, the watch is blind.
#include <fstream>
#include <map>
#include <memory>
#include <string>

#include <sys/epoll.h>

#include <libiptc/libiptc.h>
extern "C" {  // it does not say so itself
#include <libiptc/libip6tc.h>
}

#include "snp/host/traced_watch.h"
#include "snp/host/xt_rules.h"
#include "snp/host/xtables_watch.h"

namespace snp::host {
namespace {

// The two libraries are alike but for the names.
struct Ipv4 {
  using Entry = ipt_entry;
  static constexpr XtFamily kFamily = XtFamily::kIpv4;
  static constexpr const char* kNames = "/proc/thread-self/net/ip_tables_names";
  static constexpr auto kOpen = iptc_init;
  static constexpr auto kClose = iptc_free;
  static constexpr auto kFirstChain = iptc_first_chain;
  static constexpr auto kNextChain = iptc_next_chain;
  static constexpr auto kFirstRule = iptc_first_rule;
  static constexpr auto kNextRule = iptc_next_rule;
  static constexpr auto kTarget = iptc_get_target;
  static constexpr auto kIsBase = iptc_builtin;
  static constexpr auto kPolicy = iptc_get_policy;
};
struct Ipv6 {
  using Entry = ip6t_entry;
  static constexpr XtFamily kFamily = XtFamily::kIpv6;
  static constexpr const char* kNames = "/proc/thread-self/net/ip6_tables_names";
  static constexpr auto kOpen = ip6tc_init;
  static constexpr auto kClose = ip6tc_free;
  static constexpr auto kFirstChain = ip6tc_first_chain;
  static constexpr auto kNextChain = ip6tc_next_chain;
  static constexpr auto kFirstRule = ip6tc_first_rule;
  static constexpr auto kNextRule = ip6tc_next_rule;
  static constexpr auto kTarget = ip6tc_get_target;
  static constexpr auto kIsBase = ip6tc_builtin;
  static constexpr auto kPolicy = ip6tc_get_policy;
};

template <class Ip>
class TableReader {
 public:
  explicit TableReader(xtc_handle& handle) : handle_(handle) {}

  std::shared_ptr<const XtTable> read(std::string name) {
    auto table = std::make_shared<XtTable>();
    table->family = Ip::kFamily;
    table->name = std::move(name);
    for (const char* chain = Ip::kFirstChain(&handle_); chain != nullptr;
         chain = Ip::kNextChain(&handle_))
      add_chain(chain, *table);
    for (const auto& [chain, id] : ids_)
      add_rules(chain.c_str(), table->chains.at(id));
    return table;
  }

 private:
  void add_chain(const char* name, XtTable& table) {
    RuleChain chain{name, true, {}};
    const bool is_base = Ip::kIsBase(name, &handle_) != 0;
    if (is_base) {
      xt_counters counted{};
      const char* policy = Ip::kPolicy(name, &counted, &handle_);
      chain.is_accepting = policy != nullptr && std::string_view(policy) == "ACCEPT";
    }
    const ChainId id = table.chains.add(std::move(chain));
    ids_.emplace(name, id);
    if (is_base) table.bases.push_back(id);
  }

  void add_rules(const char* name, RuleChain& out) {
    std::uint32_t number = 0;
    for (const auto* entry = Ip::kFirstRule(name, &handle_); entry != nullptr;
         entry = Ip::kNextRule(entry, &handle_))
      out.rules.push_back(read_rule(*entry, ++number));
  }

  Rule read_rule(const typename Ip::Entry& entry, std::uint32_t number) {
    const std::span bytes(reinterpret_cast<const std::byte*>(&entry), entry.target_offset);
    Rule rule;
    rule.number = number;
    rule.conditions = conditions_of(Ip::kFamily, bytes);
    const char* target = Ip::kTarget(&entry, &handle_);
    const std::string_view named = target == nullptr ? "?" : target;
    const auto chain = ids_.find(named);
    const bool is_chain = chain != ids_.end();
    Step step =
        step_of_target(named, is_goto(Ip::kFamily, bytes), is_chain, is_chain ? chain->second : 0);
    step.after = rule.conditions.size();
    // Every rule counts. Of a jump nobody reads it, of what ends a packet's way somebody may.
    if (step.effect == Effect::kAccepts) rule.steps.push_back({Effect::kCounts, 0, step.after, {}});
    rule.steps.push_back(std::move(step));
    return rule;
  }

  xtc_handle& handle_;
  std::map<std::string, ChainId, std::less<>> ids_;
};

// Asking for a table makes it, with its hooks in every packet's way: only those that are there.
template <class Ip>
Result<> add_tables(Features& out) {
  std::ifstream names(Ip::kNames);  // without iptables there is no such file
  for (std::string name; std::getline(names, name);) {
    const std::unique_ptr<xtc_handle, void (*)(xtc_handle*)> handle(Ip::kOpen(name.c_str()),
                                                                    Ip::kClose);
    if (handle == nullptr) return fail_errno("table " + name);
    for (Feature& feature : features_of_table(TableReader<Ip>(*handle).read(name)))
      out.push_back(std::move(feature));
  }
  return {};
}

class XtablesWatch final : public TracedWatch {
 public:
  using TracedWatch::TracedWatch;

  Result<Features> look() override {
    Features features;
    if (auto done = add_tables<Ipv4>(features); !done)
      return with_context("iptables", done.error());
    if (auto done = add_tables<Ipv6>(features); !done)
      return with_context("ip6tables", done.error());
    return features;
  }
};

}  // namespace

Result<WatchPtr> watch_xtables(const OpenCalls& open_calls) {
  UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll.is_open()) return fail_errno("epoll");
  return std::make_unique<XtablesWatch>(std::move(epoll), open_calls);
}

Result<WatchPtr> watch_iptables() {
  return watch_xtables(calls_of(KernelCall::kTableReplaced));
}

}  // namespace snp::host
