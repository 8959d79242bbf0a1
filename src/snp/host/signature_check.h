// Does a connection sign its segments (TCP MD5, RFC 2385; TCP-AO, RFC 5925)?
#pragma once

#include "snp/host/parking.h"

namespace snp::host {

// Pre: `seen` has tuple and cookie of `fd`. False also when the kernel cannot be asked: then nobody
// can have set a key through it either, or the caller lacks CAP_NET_ADMIN and cannot park anyway.
bool is_signed(int fd, const SocketSurvey& seen);

}  // namespace snp::host
