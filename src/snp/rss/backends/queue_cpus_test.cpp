// Interrupts of queues, CPU times, and the kernel's events about CPUs.
#include "snp/rss/backends/queue_cpus.h"

#include <gtest/gtest.h>

#include "snp/rss/backends/cpu_times.h"
#include "snp/rss/backends/cpu_watch.h"
#include "snp/rss/backends/fakes.h"

namespace snp::rss {
namespace {

using namespace std::string_view_literals;

TEST(QueueCpus, InterruptsAreKnownByTheirNames) {
  for (const char* name : {"virtio0-input.3", "eth0-rx-3", "eth0-TxRx-3", "i40e-eth0-TxRx-3",
                           "mlx5_comp3@pci:0000:00:04.0", "ens5-Tx-Rx-3", "eth0-rxtx-3"})
    EXPECT_EQ(queue_in_interrupt(name), 3u) << name;
  for (const char* name : {"virtio0-output.3", "virtio0-config", "eth0-tx-3", "timer", ""})
    EXPECT_EQ(queue_in_interrupt(name), std::nullopt) << name;
}

TEST(QueueCpus, AreThoseWhereTheInterruptsOfTheDeviceCome) {
  const FakeSys sys;
  const Sysfs sysfs(sys.root());
  for (const char* number : {"24", "25", "26"})
    sys.put(std::string("class/net/lo/device/msi_irqs/") + number, "msix");
  sys.put("proc/irq/25/effective_affinity_list", "3");
  sys.put("proc/irq/26/smp_affinity_list", "0-3");  // one of several: not known
  sys.put("proc/irq/30/effective_affinity_list", "1");
  sys.put("proc/interrupts",
          "           CPU0       CPU1\n"
          "  24:          0          0   PCI-MSI 1-edge      virtio0-config\n"
          "  25:         12          0   PCI-MSI 1-edge      virtio0-input.0\n"
          "  26:         12          0   PCI-MSI 1-edge      virtio0-input.1\n"
          "  30:         12          0   PCI-MSI 1-edge      virtio9-input.1\n"
          " NMI:          0          0   Non-maskable interrupts");
  const QueueCpus cpus = queue_cpus_of(sysfs, "lo", 2, sys.root() + "/proc");
  ASSERT_EQ(cpus.size(), 2u);
  EXPECT_EQ(cpus[0], 3u);
  EXPECT_EQ(cpus[1], std::nullopt);
}

TEST(CpuTimes, GiveTheShareSinceTheLastLook) {
  const FakeSys sys;
  CpuTimes times(sys.root() + "/stat");
  sys.put("stat", "cpu  9 9 9 9 9 9 9 9\ncpu0 100 0 0 100 0 0 0 0\ncpu2 0 0 0 50 0 0 0 0\nintr 5");
  EXPECT_TRUE(times.sample().empty());
  sys.put("stat",
          "cpu  9 9 9 9 9 9 9 9\ncpu0 110 0 10 150 0 0 30 0\ncpu2 0 0 0 40 0 0 0 0\nintr 5");
  const auto shares = times.sample();
  ASSERT_EQ(shares.size(), 1u);  // CPU 2 went backwards
  EXPECT_DOUBLE_EQ(shares.at(0).busy, 0.5);
  EXPECT_DOUBLE_EQ(shares.at(0).softirq, 0.3);
  EXPECT_DOUBLE_EQ(shares.at(0).kernel, 0.4);
}

TEST(CpuWatch, KnowsEventsAboutCpus) {
  EXPECT_TRUE(is_about_cpus("offline@/devices/system/cpu/cpu3\0ACTION=offline"sv));
  EXPECT_TRUE(is_about_cpus("online@/devices/system/cpu/cpu3"sv));
  EXPECT_FALSE(is_about_cpus("add@/devices/virtual/net/veth0"sv));
  EXPECT_FALSE(is_about_cpus("change@/devices/system/cpu/cpu3"sv));
  EXPECT_FALSE(is_about_cpus(""sv));
}

TEST(CpuWatch, CanBeOpenedWhereTheKernelTells) {
  auto watch = CpuWatch::open();
  ASSERT_TRUE(watch) << watch.error().message;
  EXPECT_FALSE(watch->drain());
}

}  // namespace
}  // namespace snp::rss
