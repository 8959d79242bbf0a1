// The TCP sockets of the network namespace, as the kernel lists them (sock_diag). Control thread.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "snp/base/result.h"
#include "snp/host/socket_mark.h"
#include "snp/wire/address.h"

namespace snp::host {

struct TcpSocketRow {
  FourTuple flow;
  std::string state;  // RFC 9293's, with underscores; "LISTENING"
  bool is_listening = false;
};

Result<std::vector<TcpSocketRow>> list_tcp_sockets();

// Where the kernel's counters of each connection stand, by its four-tuple: those that can be
// offloaded, and those that are. Empty when the kernel does not tell.
std::map<FourTuple, SocketMark> list_socket_marks();

}  // namespace snp::host
