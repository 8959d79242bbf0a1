// One rtnetlink request and its answer (libmnl). Control thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include <libmnl/libmnl.h>

#include "snp/base/result.h"
#include "snp/base/unique_fd.h"
#include "snp/wire/address.h"

namespace snp::host {

// A message being put together: header, family header, attributes.
class NetlinkRequest {
 public:
  NetlinkRequest(std::uint16_t type, std::uint16_t flags);
  template <class T>
  T& put_header() {
    return *static_cast<T*>(mnl_nlmsg_put_extra_header(header_, sizeof(T)));
  }
  void put(std::uint16_t attribute, const void* data, std::size_t bytes) {
    mnl_attr_put(header_, attribute, bytes, data);
  }
  void put_u8(std::uint16_t attribute, std::uint8_t value) { put(attribute, &value, 1); }
  void put_u16(std::uint16_t attribute, std::uint16_t value) { put(attribute, &value, 2); }
  void put_u32(std::uint16_t attribute, std::uint32_t value) { put(attribute, &value, 4); }
  void put_address(std::uint16_t attribute, const IpAddress& address);
  [[nodiscard]] nlmsghdr* header() { return header_; }

 private:
  alignas(nlmsghdr) std::array<std::byte, 512> buffer_{};
  nlmsghdr* header_;
};

class NetlinkSocket {
 public:
  static Result<NetlinkSocket> open(int protocol = NETLINK_ROUTE);

  // Sends the request and gives each message of the answer to `on_message`. An error that the
  // kernel answers comes back with its errno in sys_errno.
  Result<> ask(NetlinkRequest& request, const std::function<void(const nlmsghdr&)>& on_message);

 private:
  enum class Answer { kMore, kDone };
  Result<Answer> read_answer(std::uint32_t seq,
                             const std::function<void(const nlmsghdr&)>& on_message);

  UniqueFd fd_;
  std::uint32_t seq_ = 0;
};

// The attributes of a message behind its family header, by type; nullptr: not there.
template <std::size_t N>
class Attributes {
 public:
  Attributes(const nlmsghdr& header, std::size_t family_header_bytes);
  explicit Attributes(const nlattr& nested);
  const nlattr* operator[](std::size_t type) const { return type < N ? by_type_[type] : nullptr; }
  [[nodiscard]] std::uint32_t u32(std::size_t type) const {
    const nlattr* attribute = (*this)[type];
    return attribute != nullptr && mnl_attr_get_payload_len(attribute) >= 4
               ? mnl_attr_get_u32(attribute)
               : 0;
  }

 private:
  void add(const nlattr* attribute) {
    const std::uint16_t type = mnl_attr_get_type(attribute);
    if (type < N) by_type_[type] = attribute;
  }
  std::array<const nlattr*, N> by_type_{};
};

template <std::size_t N>
Attributes<N>::Attributes(const nlmsghdr& header, std::size_t family_header_bytes) {
  const auto* end = static_cast<const char*>(mnl_nlmsg_get_payload_tail(&header));
  const auto* attribute =
      static_cast<const nlattr*>(mnl_nlmsg_get_payload_offset(&header, family_header_bytes));
  while (mnl_attr_ok(attribute, static_cast<int>(end - reinterpret_cast<const char*>(attribute)))) {
    add(attribute);
    attribute = mnl_attr_next(attribute);
  }
}

template <std::size_t N>
Attributes<N>::Attributes(const nlattr& nested) {
  const auto* start = static_cast<const char*>(mnl_attr_get_payload(&nested));
  const char* end = start + mnl_attr_get_payload_len(&nested);
  const auto* attribute = reinterpret_cast<const nlattr*>(start);
  while (mnl_attr_ok(attribute, static_cast<int>(end - reinterpret_cast<const char*>(attribute)))) {
    add(attribute);
    attribute = mnl_attr_next(attribute);
  }
}

void for_each_nested(const nlattr& nested, const std::function<void(const nlattr&)>& visit);

std::uint8_t family_of(const IpAddress& address);       // AF_INET or AF_INET6
std::uint8_t prefix_bits_of(const IpAddress& address);  // 32 or 128
IpAddress address_in(const nlattr* attribute);          // by its length; zero: none
std::string text_in(const nlattr* attribute);           // up to its zero; nullptr: empty

}  // namespace snp::host
