// The TCP sockets of the network namespace, as the kernel lists them (sock_diag). Control thread.
#pragma once

#include <string>
#include <vector>

#include "snp/base/result.h"
#include "snp/wire/address.h"

namespace snp::host {

struct TcpSocketRow {
  FourTuple flow;
  std::string state;  // RFC 9293's, with underscores; "LISTENING"
  bool is_listening = false;
};

Result<std::vector<TcpSocketRow>> list_tcp_sockets();

}  // namespace snp::host
