// The XDP program in the kernel against the model in C++: the same packet, the same bucket.
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <random>
#include <vector>

#include <linux/bpf.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <gtest/gtest.h>

#include "snp/rss/configuration.h"
#include "snp/rss/processors.h"

#include "bpf/shared/rss_hash.h"
#include "spread.skel.h"

namespace snp::rss {
namespace {

using Bytes = std::vector<std::uint8_t>;

constexpr std::uint32_t kEntries = 128;
constexpr std::size_t kEthernetBytes = 14;

class SpreadTest : public testing::Test {
 protected:
  void SetUp() override {
    programs_ = spread_bpf::open_and_load();
    ASSERT_NE(programs_, nullptr) << "cannot load the program (root is needed)";
    const CpuId cpu = 0;
    const bpf_cpumap_val value{64, {}};
    ASSERT_EQ(bpf_map_update_elem(bpf_map__fd(programs_->maps.snp_cpus), &cpu, &value, BPF_ANY), 0);
    snp_rss& rss = programs_->bss->snp_rss;
    const ToeplitzTable key(kVerificationKey);
    std::memcpy(rss.key, key.table().data(), sizeof rss.key);
    rss.mask = kEntries - 1;
    table_ = spread(std::vector<CpuId>{0}, kEntries);
  }
  void TearDown() override { spread_bpf::destroy(programs_); }

  void set_types(HashTypes types) {
    programs_->bss->snp_rss.types = types;
    model_ = Configuration(0);
    Parameters parameters;
    parameters.hash_information = types | kHashFunctionToeplitz;
    parameters.table = table_;
    parameters.key = kVerificationKey;
    ASSERT_TRUE(model_.apply(parameters));
  }

  std::uint32_t run(const Bytes& frame) {
    bpf_test_run_opts options{};
    options.sz = sizeof options;
    options.data_in = frame.data();
    options.data_size_in = static_cast<std::uint32_t>(frame.size());
    EXPECT_EQ(bpf_prog_test_run_opts(bpf_program__fd(programs_->progs.snp_spread), &options), 0)
        << ::strerrordesc_np(errno);
    return options.retval;
  }

  // The bucket that the program counted the frame in; nothing: in none.
  std::optional<std::uint32_t> bucket_of(const Bytes& frame) {
    auto& packets = programs_->bss->snp_rss.packets;
    std::ranges::fill(packets, 0);
    EXPECT_EQ(run(frame), std::uint32_t{XDP_REDIRECT});
    const auto found = std::ranges::find(packets, 1u);
    if (found == std::end(packets)) return std::nullopt;
    return static_cast<std::uint32_t>(found - std::begin(packets));
  }
  std::optional<std::uint32_t> model_bucket_of(const Bytes& frame) const {
    const auto hash = model_.place(std::as_bytes(std::span(frame).subspan(kEthernetBytes))).hash;
    if (!hash) return std::nullopt;
    return *hash & (kEntries - 1);
  }

  spread_bpf* programs_ = nullptr;
  std::vector<CpuId> table_;
  Configuration model_{0};
};

class Maker {
 public:
  explicit Maker(std::uint32_t seed) : random_(seed) {}
  std::uint32_t below(std::uint32_t limit) { return static_cast<std::uint32_t>(random_()) % limit; }
  std::uint8_t byte() { return static_cast<std::uint8_t>(random_()); }
  void append(Bytes& to, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i)
      to.push_back(byte());
  }
  std::uint8_t protocol() {
    constexpr std::array<std::uint8_t, 5> kProtocols = {6, 17, 1, 58, 132};
    return kProtocols[below(kProtocols.size())];
  }

  Bytes ethernet(std::uint16_t type) {
    Bytes frame(12, 2);
    frame.push_back(static_cast<std::uint8_t>(type >> 8));
    frame.push_back(static_cast<std::uint8_t>(type & 0xff));
    return frame;
  }
  Bytes ipv4() {
    Bytes frame = ethernet(0x0800);
    const std::uint32_t words = 5 + (below(3) == 0 ? below(11) : 0);
    Bytes ip(words * 4);
    std::ranges::generate(ip, [this] { return byte(); });
    ip[0] = static_cast<std::uint8_t>(0x40 | words);
    ip[6] = below(4) == 0 ? 0x20 : 0x40;  // more fragments; do not fragment
    ip[7] = below(6) == 0 ? 9 : 0;        // an offset
    ip[9] = protocol();
    frame.insert(frame.end(), ip.begin(), ip.end());
    append(frame, 24);
    return frame;
  }
  // Extension headers in any order and number, some of which nobody can skip.
  Bytes ipv6() {
    Bytes frame = ethernet(0x86dd);
    append(frame, 40);
    frame[kEthernetBytes] = 0x60;
    std::size_t next_at = kEthernetBytes + 6;
    constexpr std::array<std::uint8_t, 7> kKinds = {0, 43, 60, 44, 51, 50, 59};
    for (std::uint32_t left = below(10); left > 0; --left) {
      const std::uint8_t kind = kKinds[below(kKinds.size())];
      frame[next_at] = kind;
      next_at = frame.size();
      const std::uint32_t units = below(3);
      const std::size_t bytes = kind == 51 ? (units + 2) * 4 : (units + 1) * 8;
      append(frame, bytes);
      frame[next_at + 1] = static_cast<std::uint8_t>(units);
    }
    frame[next_at] = protocol();
    append(frame, 24);
    return frame;
  }

 private:
  std::mt19937 random_;
};

TEST_F(SpreadTest, PutsPacketsWhereTheModelPutsThem) {
  const std::uint32_t seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  Maker make(seed);
  constexpr HashTypes kChoices[] = {
      kIpv4 | kTcpIpv4 | kIpv6 | kTcpIpv6, kIpv4 | kIpv6, kTcpIpv4 | kTcpIpv6,
      kIpv4 | kTcpIpv4 | kUdpIpv4 | kIpv6 | kTcpIpv6 | kUdpIpv6, kUdpIpv4 | kUdpIpv6};
  std::uint32_t hashed = 0;
  for (const HashTypes types : kChoices) {
    set_types(types);
    for (int i = 0; i < 400; ++i) {
      Bytes frame = make.below(2) == 0 ? make.ipv4() : make.ipv6();
      if (make.below(5) == 0)  // cut off
        frame.resize(std::max(kEthernetBytes,
                              frame.size() - std::min<std::size_t>(frame.size(), make.below(60))));
      const auto expected = model_bucket_of(frame);
      ASSERT_EQ(bucket_of(frame), expected) << testing::PrintToString(frame);
      hashed += expected.has_value();
    }
  }
  EXPECT_GT(hashed, 500u);
}

TEST_F(SpreadTest, LeavesAloneWhatIsNoIpPacketAndCpusThatItHasNot) {
  Maker make(1);
  set_types(kIpv4 | kTcpIpv4);
  Bytes arp = make.ethernet(0x0806);
  arp.resize(60);
  EXPECT_EQ(run(arp), std::uint32_t{XDP_PASS});
  Bytes tagged = make.ethernet(0x8100);
  tagged.resize(60);
  EXPECT_EQ(run(tagged), std::uint32_t{XDP_PASS});
  std::ranges::fill(programs_->bss->snp_rss.shards, 1);
  EXPECT_EQ(run(make.ipv4()), std::uint32_t{XDP_PASS});
}

}  // namespace
}  // namespace snp::rss
