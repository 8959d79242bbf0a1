// Which CPU the interrupt of each receive queue comes to. Any thread.
#pragma once

#include <cstdint>
#include <string>

#include "snp/rss/backends/card.h"
#include "snp/rss/backends/sysfs.h"

namespace snp::rss {

// From /proc/interrupts and /proc/irq (`proc`: a folder of tests); what cannot be found out is
// empty. Drivers name an interrupt after device and queue ("eth0-rx-3", "virtio0-input.3").
QueueCpus queue_cpus_of(const Sysfs& sysfs, const std::string& device, std::uint32_t queues,
                        const std::string& proc = "/proc");

// The queue in the name of an interrupt; nothing: it is none that receives.
std::optional<std::uint32_t> queue_in_interrupt(const std::string& name);

}  // namespace snp::rss
