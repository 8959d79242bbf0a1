// What conntrack knows of a connection. Control thread, recovery.
#pragma once

#include "snp/base/result.h"
#include "snp/wire/address.h"

namespace snp::host {

// Before a connection goes home: conntrack has not seen what the target carried, and would call the
// next packets invalid, out of the window that it remembers. From now on it judges the windows of
// this connection no more (as with net.netfilter.nf_conntrack_tcp_be_liberal, but of this one
// only). Nothing happens where it does not know the connection.
Result<> forgive_gaps(const FourTuple& flow);

}  // namespace snp::host
