#include "snp/host/netlink.h"

#include <cerrno>
#include <cstring>

#include <linux/rtnetlink.h>
#include <sys/socket.h>
#include <sys/time.h>

namespace snp::host {
namespace {

constexpr std::size_t kV4Offset = 12;  // of an IPv4 address in its mapped form
constexpr timeval kAnswerTimeout{1, 0};
constexpr std::size_t kAnswerBytes = 32768;

}  // namespace

NetlinkRequest::NetlinkRequest(std::uint16_t type, std::uint16_t flags)
    : header_(mnl_nlmsg_put_header(buffer_.data())) {
  header_->nlmsg_type = type;
  header_->nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | flags);
}

void NetlinkRequest::put_address(std::uint16_t attribute, const IpAddress& address) {
  if (address.is_v4())
    put(attribute, &address.bytes[kV4Offset], 4);
  else
    put(attribute, address.bytes.data(), address.bytes.size());
}

Result<NetlinkSocket> NetlinkSocket::open(int protocol) {
  NetlinkSocket socket;
  socket.fd_.reset(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol));
  if (!socket.fd_.is_open()) return fail_errno("rtnetlink socket");
  if (::setsockopt(socket.fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &kAnswerTimeout,
                   sizeof kAnswerTimeout) != 0)
    return fail_errno("rtnetlink socket, SO_RCVTIMEO");
  return socket;
}

Result<> NetlinkSocket::ask(NetlinkRequest& request,
                            const std::function<void(const nlmsghdr&)>& on_message) {
  nlmsghdr* header = request.header();
  header->nlmsg_seq = ++seq_;
  if (::send(fd_.get(), header, header->nlmsg_len, 0) < 0) return fail_errno("rtnetlink request");
  while (true) {
    const auto answer = read_answer(seq_, on_message);
    if (!answer) return Failure(answer.error());
    if (*answer == Answer::kDone) return {};
  }
}

Result<NetlinkSocket::Answer> NetlinkSocket::read_answer(
    std::uint32_t seq, const std::function<void(const nlmsghdr&)>& on_message) {
  alignas(nlmsghdr) std::array<std::byte, kAnswerBytes> buffer;
  const ssize_t got = ::recv(fd_.get(), buffer.data(), buffer.size(), 0);
  if (got < 0) return errno == EINTR ? Answer::kMore : Result<Answer>(fail_errno("rtnetlink"));
  int left = static_cast<int>(got);
  const auto* header = reinterpret_cast<const nlmsghdr*>(buffer.data());
  bool is_done = false;
  for (; mnl_nlmsg_ok(header, left); header = mnl_nlmsg_next(header, &left)) {
    if (header->nlmsg_seq != seq) continue;  // an answer that came after we had given up
    if (header->nlmsg_type == NLMSG_ERROR) {
      int error = 0;
      std::memcpy(&error, mnl_nlmsg_get_payload(header), sizeof error);
      if (error != 0) return fail_errno("rtnetlink", -error);
      is_done = true;
    } else if (header->nlmsg_type == NLMSG_DONE) {
      is_done = true;
    } else {
      on_message(*header);
      is_done = is_done || (header->nlmsg_flags & NLM_F_MULTI) == 0;
    }
  }
  return is_done ? Answer::kDone : Answer::kMore;
}

void for_each_nested(const nlattr& nested, const std::function<void(const nlattr&)>& visit) {
  const auto* start = static_cast<const char*>(mnl_attr_get_payload(&nested));
  const char* end = start + mnl_attr_get_payload_len(&nested);
  const auto* attribute = reinterpret_cast<const nlattr*>(start);
  while (mnl_attr_ok(attribute, static_cast<int>(end - reinterpret_cast<const char*>(attribute)))) {
    visit(*attribute);
    attribute = mnl_attr_next(attribute);
  }
}

std::uint8_t family_of(const IpAddress& address) {
  return address.is_v4() ? AF_INET : AF_INET6;
}

std::uint8_t prefix_bits_of(const IpAddress& address) {
  return address.is_v4() ? 32 : 128;
}

std::string text_in(const nlattr* attribute) {
  if (attribute == nullptr) return {};
  const auto* text = static_cast<const char*>(mnl_attr_get_payload(attribute));
  return {text, ::strnlen(text, mnl_attr_get_payload_len(attribute))};
}

IpAddress address_in(const nlattr* attribute) {
  IpAddress address;
  if (attribute == nullptr) return address;
  const auto* bytes = static_cast<const std::uint8_t*>(mnl_attr_get_payload(attribute));
  if (mnl_attr_get_payload_len(attribute) == 4)
    address = IpAddress::v4(bytes[0], bytes[1], bytes[2], bytes[3]);
  else if (mnl_attr_get_payload_len(attribute) == address.bytes.size())
    std::memcpy(address.bytes.data(), bytes, address.bytes.size());
  return address;
}

}  // namespace snp::host
