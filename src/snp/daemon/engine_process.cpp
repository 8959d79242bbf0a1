#include "snp/daemon/engine_process.h"

#include <algorithm>
#include <memory>
#include <string>

#include <net/if.h>
#include <sys/resource.h>
#include <unistd.h>

#include <spdlog/spdlog.h>

#include "snp/daemon/control.h"
#include "snp/daemon/copy_engines.h"
#include "snp/daemon/event_loop.h"
#include "snp/daemon/offloader.h"
#include "snp/daemon/presence.h"
#include "snp/device/drivers/af_packet/af_packet_device.h"
#include "snp/device/fault_queue.h"
#include "snp/device/pcap_queue.h"
#include "snp/engine/engine.h"
#include "snp/host/network.h"
#include "snp/rss/backends/thread_times.h"

namespace snp::daemon {
namespace {

using settings::Setting;

using Devices = std::vector<std::unique_ptr<device::PacketDevice>>;

device::FaultConfig fault_config(const settings::Settings& values) {
  const auto per_mille = [&](Setting setting) {
    return static_cast<double>(values.number(setting)) / 1000;
  };
  return {per_mille(Setting::kFaultDropPermille), per_mille(Setting::kFaultDuplicatePermille),
          per_mille(Setting::kFaultReorderPermille),
          static_cast<std::uint64_t>(values.number(Setting::kFaultSeed))};
}

// Capture outside: it shows what the engine sees, not what the faults swallowed.
std::unique_ptr<device::PacketDevice> wrap(std::unique_ptr<device::PacketDevice> device,
                                           const settings::Settings& values) {
  const device::FaultConfig faults = fault_config(values);
  if (faults.loss > 0 || faults.duplicate > 0 || faults.reorder > 0)
    device = device::wrap_with_faults(std::move(device), faults);
  const std::string& path = values.text(Setting::kPcap);
  if (path.empty()) return device;
  std::string file = path + "." + std::string(device->name());
  return device::wrap_with_capture(std::move(device), std::move(file));
}

// Larger slots are fewer, or they would take memory that hardly anybody uses.
void set_slots(device::AfPacketOptions& options, const settings::Settings& values) {
  constexpr std::uint32_t kMostBytes = 32u << 20;
  options.rx_slot_bytes =
      static_cast<std::uint32_t>(std::stoul(values.text(Setting::kReceiveSlotBytes)));
  options.rx_slots = std::min(options.rx_slots, kMostBytes / options.rx_slot_bytes);
}

Result<Devices> open_devices(const Inheritance& inheritance) {
  Devices devices;
  for (const DeviceChoice& choice : inheritance.devices) {
    device::AfPacketOptions options;
    options.queues = static_cast<std::uint32_t>(inheritance.config.number(Setting::kShards));
    set_slots(options, inheritance.config);
    auto device = device::open_af_packet(choice.name, options, *inheritance.steering);
    if (!device) return with_context(choice.name, device.error());
    devices.push_back(wrap(std::move(*device), inheritance.config));
  }
  return devices;
}

Result<std::unique_ptr<engine::Engine>> start_engine(const Inheritance& inheritance,
                                                     const Devices& devices,
                                                     CopyEngines& copy_engines) {
  const settings::Settings& values = inheritance.config;
  engine::EngineConfig config;
  config.shards = static_cast<std::uint32_t>(values.number(Setting::kShards));
  config.spin_us = static_cast<std::uint32_t>(values.number(Setting::kSpinUs));
  config.time_wait = seconds(values.number(Setting::kTimeWaitS));
  config.open_channel = [&](std::uint32_t shard) { return copy_engines.take_channel(shard); };
  config.copies = copy_engines.copier_settings();
  config.stats = inheritance.ledger->engine_stats();
  config.paths = inheritance.ledger->shard_paths();
  config.accounts = inheritance.ledger->target_accounts();
  std::vector<device::PacketDevice*> borrowed;
  for (const auto& device : devices)
    borrowed.push_back(device.get());
  return engine::Engine::start(config, borrowed, inheritance.bulletin->at<ipc::Bulletin>(0),
                               &inheritance.records->at<ipc::FlowRecord>(0));
}

// What cannot come and go without a packet lost is there since snpd started (Steering::rest()),
// unless somebody took it off.
Result<std::unique_ptr<Presence>> make_presence(EventLoop& loop, engine::Engine& engine,
                                                steer::Steering& steering,
                                                const std::set<std::uint32_t>& ifindexes,
                                                Duration linger) {
  const auto come = [&](std::uint32_t ifindex) -> Result<> {
    if (auto attached = steering.attach(ifindex); !attached) return attached;
    return engine.tap(ifindex);
  };
  const auto go = [&](std::uint32_t ifindex) -> Result<> {
    if (auto untapped = engine.untap(ifindex); !untapped) return untapped;
    if (auto rests = steering.rest(ifindex); !rests)
      spdlog::warn("traffic that is not offloaded pays for them: {}", rests.error().message);
    return {};
  };
  return Presence::open(loop, ifindexes, {come, go}, {.linger = linger});
}

// An engine that was killed may have left them awake.
void rest_devices(steer::Steering& steering, const Devices& devices) {
  for (const auto& device : devices)
    (void)steering.rest(device->ifindex());  // presence tries again
}

std::vector<HostScaling::Device> scaled_devices(const Devices& devices) {
  std::vector<HostScaling::Device> scaled;
  for (const auto& device : devices)
    scaled.push_back({std::string(device->name()), device->ifindex()});
  return scaled;
}

Result<> serve(const Inheritance& inheritance, Kept& kept, UniqueFd keeper_socket) {
  KeeperLink keeper(std::move(keeper_socket));
  settings::Settings values = inheritance.config;
  PolicyBook policy;
  policy.follow(values);
  if (auto done = policy.set_rules(inheritance.rules, rules_path(inheritance.options), values);
      !done)
    return done;
  auto loop = EventLoop::open();
  if (!loop) return tl::unexpected(loop.error());
  auto network = host::Network::open();
  if (!network) return tl::unexpected(network.error());
  auto devices = open_devices(inheritance);
  if (!devices) return tl::unexpected(devices.error());
  CopyEngines copy_engines(values, static_cast<std::uint32_t>(values.number(Setting::kShards)));
  auto engine = start_engine(inheritance, *devices, copy_engines);
  if (!engine) return tl::unexpected(engine.error());
  std::set<std::uint32_t> ifindexes;
  for (const auto& device : *devices)
    ifindexes.insert(device->ifindex());
  auto presence =
      make_presence(**loop, **engine, *inheritance.steering, ifindexes,
                    milliseconds(inheritance.config.number(Setting::kPresenceLingerMs)));
  if (!presence) return tl::unexpected(presence.error());
  // A hand-over is some 0.2 ms of work during which a connection is quiet: nobody's slice comes
  // between. The shards started before and keep their share.
  ::setpriority(PRIO_PROCESS, 0, -15);
  ReceiveScaling scaling(
      *inheritance.steering, values, inheritance.hash_key,
      [times = rss::ThreadTimes("snp-shard-")](Instant now) mutable { return times.sample(now); });
  if (auto followed = scaling.follow(); !followed) return followed;
  Accounts accounts(*inheritance.ledger, *inheritance.steering, inheritance.max_connections);
  Coexistence coexistence(**loop, values);
  Learning learning(*inheritance.learned, values);
  EventDesk events(values);
  Offloader offloader({**loop, **engine, *inheritance.steering, **network, keeper, **presence,
                       &inheritance.records->at<ipc::FlowRecord>(0), values, policy, scaling,
                       coexistence, learning, events, accounts, std::move(ifindexes),
                       inheritance.max_connections, (inheritance.restarts << 20) + 1});
  HostScaling host_scaling(**loop, values, inheritance.hash_key, scaled_devices(*devices));
  const auto recalibrated = [&] { (*engine)->set_copies(copy_engines.copier_settings()); };
  if (auto started = copy_engines.start(**loop, recalibrated); !started) return started;
  Control control({inheritance, **loop, **engine, **network, keeper, offloader, values, policy,
                   learning, coexistence, host_scaling, copy_engines, events});
  if (auto started = control.start(); !started) return started;
  spdlog::info("serving {} device(s), {} shard(s), chimney {}", devices->size(),
               values.number(Setting::kShards), values.text(Setting::kChimney));
  const bool has_steered =
      std::any_of(kept.sockets.begin(), kept.sockets.end(), [&](auto& kept_socket) {
        return inheritance.records->at<ipc::FlowRecord>(sizeof(ipc::FlowRecord) * kept_socket.first)
                   .status.load() != ipc::FlowStatus::kLocal;
      });
  if (has_steered)
    (*presence)->come_now();
  else
    rest_devices(*inheritance.steering, *devices);
  if (auto adopted = control.adopt(kept); !adopted) {
    // The shards may have begun: this is as a kill, and the records are good at any moment.
    spdlog::error("cannot go on with the connections of the engine before: {}",
                  adopted.error().message);
    spdlog::default_logger()->flush();
    ::_exit(kEngineCannotResume);
  }
  (*loop)->run();
  host_scaling.stop();
  (*presence)->stop();
  (*engine)->stop();
  return {};
}

}  // namespace

int run_engine(const Inheritance& inheritance, Kept& kept, UniqueFd keeper_socket) {
  const auto served = serve(inheritance, kept, std::move(keeper_socket));
  // The keeper clears the devices; if it is gone, that is ours to do.
  if (::getppid() != inheritance.keeper_pid) inheritance.steering->detach_all();
  if (served) return kEngineStopped;
  spdlog::error("{}", served.error().message);
  return kEngineCannotStart;
}

}  // namespace snp::daemon
