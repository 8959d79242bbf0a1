#include "snp/host/xt_rules.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <optional>

#include <arpa/inet.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/x_tables.h>
#include <linux/netfilter/xt_conntrack.h>
#include <linux/netfilter/xt_multiport.h>
#include <linux/netfilter/xt_state.h>
#include <linux/netfilter/xt_tcpudp.h>
#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netfilter_ipv6/ip6_tables.h>
#include <netinet/in.h>

namespace snp::host {
namespace {

using Conditions = std::vector<Condition>;

// --- addresses ---

struct Address {
  std::array<std::uint8_t, 16> bytes{};
  std::size_t length = 16;
};

Address address_of(const in_addr& address) {
  Address out;
  out.length = sizeof address;
  std::memcpy(out.bytes.data(), &address, sizeof address);
  return out;
}

Address address_of(const in6_addr& address) {
  Address out;
  std::memcpy(out.bytes.data(), &address, sizeof address);
  return out;
}

IpAddress ip_of(const Address& address) {
  IpAddress out;
  if (address.length == 4) out = IpAddress::v4(0, 0, 0, 0);
  std::copy_n(address.bytes.begin(), address.length,
              out.bytes.end() - static_cast<std::ptrdiff_t>(address.length));
  return out;
}

// Nothing: 255.0.255.0 and the like.
std::optional<unsigned> bits_of(const Address& mask) {
  unsigned bits = 0;
  bool has_ended = false;
  for (std::size_t i = 0; i < mask.length; ++i) {
    const auto ones = static_cast<unsigned>(std::countl_one(mask.bytes[i]));
    if ((has_ended && mask.bytes[i] != 0) ||
        mask.bytes[i] != static_cast<std::uint8_t>(0xff00u >> ones))
      return std::nullopt;
    bits += ones;
    has_ended = ones < 8;
  }
  return bits;
}

void add_net(Field field, const Address& address, const Address& mask, bool is_inverted,
             Conditions& out) {
  const auto bits = bits_of(mask);
  if (bits == 0u && !is_inverted) return;
  const auto range = bits ? range_of_prefix(ip_of(address), *bits) : std::nullopt;
  if (!range) return out.push_back(not_understood());
  Condition condition;
  condition.field = field;
  condition.is_negated = is_inverted;
  condition.addresses.push_back(*range);
  out.push_back(std::move(condition));
}

// --- devices ---

// The mask covers as much of the name as is compared: with its end, or, of "eth+", without.
void add_device(Field field, std::span<const char> name, std::span<const unsigned char> mask,
                bool is_inverted, Conditions& out) {
  const auto compared = static_cast<std::size_t>(
      std::find_if(mask.begin(), mask.end(), [](unsigned char byte) { return byte != 0xff; }) -
      mask.begin());
  if (compared == 0 && !is_inverted) return;
  std::string text(name.begin(), std::find(name.begin(), name.end(), '\0'));
  if (compared <= text.size()) text = text.substr(0, compared) + "*";
  Condition condition;
  condition.field = field;
  condition.is_negated = is_inverted;
  condition.devices.push_back(std::move(text));
  out.push_back(std::move(condition));
}

// --- protocols ---

void add_protocol(unsigned protocol, bool is_inverted, Conditions& out) {
  const bool is_tcp = protocol == IPPROTO_TCP;
  if (protocol != 0 && is_tcp == is_inverted) out.push_back(never());
}

// --- matches ---

using Bytes = std::span<const std::byte>;

template <class T>
bool read(Bytes bytes, T& out) {
  if (bytes.size() < sizeof out) return false;
  std::memcpy(&out, bytes.data(), sizeof out);
  return true;
}

void add_ports(Field field, const __u16 (&range)[2], bool is_inverted, Conditions& out) {
  if (range[0] == 0 && range[1] == 0xffff && !is_inverted) return;
  Condition condition;
  condition.field = field;
  condition.is_negated = is_inverted;
  condition.ports.push_back({range[0], range[1]});
  out.push_back(std::move(condition));
}

bool add_tcp(Bytes data, Conditions& out) {
  xt_tcp tcp{};
  if (!read(data, tcp)) return false;
  add_ports(Field::kSourcePort, tcp.spts, (tcp.invflags & XT_TCP_INV_SRCPT) != 0, out);
  add_ports(Field::kDestinationPort, tcp.dpts, (tcp.invflags & XT_TCP_INV_DSTPT) != 0, out);
  return tcp.flg_mask == 0 && tcp.option == 0 &&
         (tcp.invflags & (XT_TCP_INV_FLAGS | XT_TCP_INV_OPTION)) == 0;
}

bool add_multiport(Bytes data, Conditions& out) {
  xt_multiport_v1 ports{};
  if (!read(data, ports) || ports.flags > XT_MULTIPORT_DESTINATION || ports.count > XT_MULTI_PORTS)
    return false;
  Condition condition;
  condition.field =
      ports.flags == XT_MULTIPORT_SOURCE ? Field::kSourcePort : Field::kDestinationPort;
  condition.is_negated = ports.invert != 0;
  for (std::size_t i = 0; i < ports.count; ++i) {
    const bool is_range = ports.pflags[i] != 0 && i + 1u < ports.count;
    const std::uint16_t first = ports.ports[i];
    condition.ports.push_back({first, is_range ? ports.ports[++i] : first});
  }
  out.push_back(std::move(condition));
  return true;
}

bool add_state(unsigned mask, bool is_inverted, Conditions& out) {
  Condition condition;
  condition.field = Field::kState;
  condition.is_negated = is_inverted == ((mask & XT_STATE_BIT(IP_CT_ESTABLISHED)) != 0);
  out.push_back(std::move(condition));
  return true;
}

bool add_conntrack(Bytes data, unsigned revision, Conditions& out) {
  if (revision != 2 && revision != 3) return false;
  xt_conntrack_mtinfo2 asked{};  // 3 is longer, and begins with it
  return read(data, asked) && asked.match_flags == XT_CONNTRACK_STATE &&
         add_state(asked.state_mask, (asked.invert_flags & XT_CONNTRACK_STATE) != 0, out);
}

// False: it asks for more than `out` got.
bool add_match(std::string_view name, unsigned revision, Bytes data, Conditions& out) {
  if (name == "comment") return true;
  if (name == "tcp" && revision == 0) return add_tcp(data, out);
  if (name == "multiport" && revision == 1) return add_multiport(data, out);
  if (name == "conntrack") return add_conntrack(data, revision, out);
  xt_state_info state{};
  return name == "state" && revision == 0 && read(data, state) &&
         add_state(state.statemask, false, out);
}

// `matches`: what stands between the head of an entry and its target.
void add_matches(Bytes matches, Conditions& out) {
  while (!matches.empty()) {
    xt_entry_match head{};
    if (!read(matches, head) || head.u.match_size < sizeof head ||
        head.u.match_size > matches.size())
      return out.push_back(not_understood());
    const char* name = head.u.user.name;
    const Bytes data = matches.subspan(sizeof head, head.u.match_size - sizeof head);
    if (!add_match({name, ::strnlen(name, sizeof head.u.user.name)}, head.u.user.revision, data,
                   out))
      out.push_back(not_understood());
    matches = matches.subspan(head.u.match_size);
  }
}

// --- heads ---

constexpr unsigned kInvertedIn = IPT_INV_VIA_IN, kInvertedOut = IPT_INV_VIA_OUT,
                   kInvertedSource = IPT_INV_SRCIP, kInvertedDestination = IPT_INV_DSTIP,
                   kInvertedProtocol = IPT_INV_PROTO;
static_assert(kInvertedIn == IP6T_INV_VIA_IN && kInvertedOut == IP6T_INV_VIA_OUT &&
              kInvertedSource == IP6T_INV_SRCIP && kInvertedDestination == IP6T_INV_DSTIP &&
              kInvertedProtocol == IP6T_INV_PROTO);

template <class Head>
void add_head(const Head& head, Conditions& out) {
  const unsigned inverted = head.invflags;
  add_protocol(head.proto, (inverted & kInvertedProtocol) != 0, out);
  add_net(Field::kSource, address_of(head.src), address_of(head.smsk),
          (inverted & kInvertedSource) != 0, out);
  add_net(Field::kDestination, address_of(head.dst), address_of(head.dmsk),
          (inverted & kInvertedDestination) != 0, out);
  add_device(Field::kInDevice, head.iniface, head.iniface_mask, (inverted & kInvertedIn) != 0, out);
  add_device(Field::kOutDevice, head.outiface, head.outiface_mask, (inverted & kInvertedOut) != 0,
             out);
}

template <class Entry>
Entry head_of(Bytes entry) {
  Entry head{};
  std::memcpy(&head, entry.data(), std::min(entry.size(), sizeof head));
  return head;
}

std::optional<Heading> heading_of(std::string_view hook) {
  if (hook == "PREROUTING" || hook == "INPUT") return Heading::kIn;
  if (hook == "OUTPUT" || hook == "POSTROUTING") return Heading::kOut;
  return std::nullopt;
}

std::optional<RuleChains::Site> find_concern(const XtTable& table, ChainId base,
                                             const FlowView& view) {
  if (view.flow.remote.address.is_v4() != (table.family == XtFamily::kIpv4)) return std::nullopt;
  Packet packet = packet_of(view, *heading_of(table.chains.at(base).name));
  if (table.name == "nat") packet.is_established = false;  // not a matter of the verdict
  return table.chains.find_concern(base, packet);
}

}  // namespace

std::vector<Condition> conditions_of(XtFamily family, std::span<const std::byte> entry) {
  Conditions conditions;
  std::size_t length = sizeof(ipt_entry);
  if (family == XtFamily::kIpv4) {
    const auto head = head_of<ipt_entry>(entry);
    add_head(head.ip, conditions);
    if ((head.ip.flags & IPT_F_FRAG) != 0) conditions.push_back(not_understood());
  } else {
    auto head = head_of<ip6t_entry>(entry);
    length = sizeof head;
    if ((head.ipv6.flags & IP6T_F_PROTO) == 0) head.ipv6.proto = 0;
    add_head(head.ipv6, conditions);
    if ((head.ipv6.flags & IP6T_F_TOS) != 0) conditions.push_back(not_understood());
  }
  add_matches(entry.subspan(std::min(length, entry.size())), conditions);
  return conditions;
}

bool is_goto(XtFamily family, std::span<const std::byte> entry) {
  if (family == XtFamily::kIpv4) return (head_of<ipt_entry>(entry).ip.flags & IPT_F_GOTO) != 0;
  return (head_of<ip6t_entry>(entry).ipv6.flags & IP6T_F_GOTO) != 0;
}

Step step_of_target(std::string_view target, bool is_goto, bool is_chain, ChainId chain) {
  if (is_chain) return {is_goto ? Effect::kGoes : Effect::kJumps, chain, 0, {}};
  if (target.empty()) return {Effect::kCounts, 0, 0, {}};
  if (target == "ACCEPT") return {Effect::kAccepts, 0, 0, {}};
  if (target == "RETURN") return {Effect::kReturns, 0, 0, {}};
  return {Effect::kActs, 0, 0, {}};
}

Features features_of_table(const std::shared_ptr<const XtTable>& table) {
  Features features;
  for (const ChainId base : table->bases) {
    const RuleChain& chain = table->chains.at(base);
    if (!heading_of(chain.name) || (chain.is_accepting && chain.rules.empty())) continue;
    Feature feature;
    feature.reason = table->name == "nat" ? chimney::Reason::kNat : chimney::Reason::kFirewall;
    feature.what = std::string(table->family == XtFamily::kIpv4 ? "iptables" : "ip6tables") +
                   ": table " + table->name + ", chain " + chain.name;
    feature.concerns = [table, base](const FlowView& view) {
      return find_concern(*table, base, view).has_value();
    };
    feature.where = [table, base](const FlowView& view) {
      const auto site = find_concern(*table, base, view);
      return site ? to_string(table->chains, *site, base, "rule") : std::string();
    };
    features.push_back(std::move(feature));
  }
  return features;
}

}  // namespace snp::host
