#include "snp/daemon/keeper.h"

#include <algorithm>
#include <array>
#include <csignal>
#include <iterator>
#include <new>
#include <optional>

#include <net/if.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <spdlog/spdlog.h>
#include <systemd/sd-daemon.h>

#include "snp/daemon/engine_process.h"
#include "snp/daemon/host_scaling.h"
#include "snp/daemon/local_links.h"
#include "snp/daemon/log.h"
#include "snp/daemon/policy_book.h"
#include "snp/daemon/recovery.h"
#include "snp/daemon/scaling_settings.h"
#include "snp/engine/clock.h"
#include "snp/host/footprint.h"
#include "snp/ipc/message_socket.h"

namespace snp::daemon {
namespace {

constexpr std::uint64_t kReservedFds = 1024;  // of everything but parked sockets
constexpr int kQuickCrashes = 5;
constexpr Duration kQuick = seconds(10);
// An engine that dies sooner may have died of what it resumed: the next one finds it in the host.
constexpr Duration kTrial = seconds(2);

// As many descriptors as flow records, if the hard limit (or our privilege) allows.
std::uint32_t raise_descriptor_limit() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  const rlim_t wanted = ipc::kFlowRecords + kReservedFds + ipc::kWaitSets * 16ull;
  rlimit higher{std::max(limit.rlim_max, wanted), std::max(limit.rlim_max, wanted)};
  if (::setrlimit(RLIMIT_NOFILE, &higher) != 0) {
    higher = {limit.rlim_max, limit.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &higher);
  }
  ::getrlimit(RLIMIT_NOFILE, &limit);
  const rlim_t room = limit.rlim_cur > 2 * kReservedFds ? limit.rlim_cur - kReservedFds : 64;
  return static_cast<std::uint32_t>(std::min<rlim_t>(room, ipc::kFlowRecords));
}

sigset_t handled_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGCHLD})
    sigaddset(&set, signal);
  return set;
}

class Keeper {
 public:
  explicit Keeper(const Options& options) { inheritance_.options = options; }
  Keeper(const Keeper&) = delete;
  Keeper& operator=(const Keeper&) = delete;

  Result<> prepare() {
    auto config = load_config(inheritance_.options);
    if (!config) return tl::unexpected(config.error());
    inheritance_.config = std::move(*config);
    if (auto done = read_rules(); !done) return done;
    open_log(inheritance_.config.text(settings::Setting::kLogLevel));
    if (auto done = choose_devices(); !done) return done;
    if (auto done = listen(); !done) return done;
    restore_host_scaling();  // what a keeper and an engine that were killed have left
    inheritance_.max_connections = raise_descriptor_limit();
    if (auto done = make_memory(); !done) return done;
    auto key = make_secret_key();
    if (!key) return tl::unexpected(key.error());
    inheritance_.hash_key = *key;
    if (auto done = steer(); !done) return done;
    return watch_signals();
  }

  Result<> run() {
    auto result = run_engines();
    clear_devices();
    return result;
  }

 private:
  Result<> run_engines() {
    int quick_crashes = 0;
    for (;;) {
      const Instant started = engine::monotonic_now();
      if (auto done = start_engine(); !done) {
        bring_home(Aim::kForGood);
        return done;
      }
      const int status = serve_engine();
      restore_host_scaling();
      kept_.since = engine::monotonic_now();
      const Duration lived = kept_.since - started;
      if (WIFEXITED(status) && WEXITSTATUS(status) == kEngineStopped) {
        bring_home(Aim::kForGood);  // what it could not finish in time
        return {};
      }
      if (WIFEXITED(status) && WEXITSTATUS(status) == kEngineCannotStart) {
        bring_home(Aim::kForGood);
        return fail(Errc::kSystem, "the engine cannot start; see the line above");
      }
      say_how_it_ended(status);
      quick_crashes = lived < kQuick ? quick_crashes + 1 : 0;
      const bool gives_up = is_told_to_stop_ || quick_crashes >= kQuickCrashes;
      bring_home(gives_up ? Aim::kForGood : lived < kTrial ? Aim::kHome : Aim::kResume);
      if (is_told_to_stop_) return {};
      if (gives_up)
        return fail(Errc::kSystem,
                    "the engine died " + std::to_string(quick_crashes) +
                        " times within seconds; every connection is in the host; please report it");
      ++inheritance_.restarts;
      if (quick_crashes > 1) pause(milliseconds(100) * (1 << quick_crashes));
      if (is_told_to_stop_) {
        bring_home(Aim::kForGood);
        return {};
      }
    }
  }

  Result<> choose_devices() {
    std::vector<std::string> names = inheritance_.config.list(settings::Setting::kDevices);
    if (names.empty()) names = links_that_are_up();
    if (names.empty())
      return fail(Errc::kNotFound, "no Ethernet device is up; bring one up or give --device DEV");
    for (const std::string& text : names) {
      auto choice = parse_device(text);
      if (!choice) return tl::unexpected(choice.error());
      if (::if_nametoindex(choice->name.c_str()) == 0)
        return fail(Errc::kNotFound, "there is no device '" + choice->name +
                                         "' in this network namespace; 'ip link' lists them");
      inheritance_.devices.push_back(std::move(*choice));
    }
    return {};
  }

  Result<> listen() {
    auto listener = ipc::listen_control();
    if (!listener && listener.error().sys_errno == EADDRINUSE)
      return fail(Errc::kBusy,
                  "another snpd serves this network namespace; stop it first, or use it: "
                  "'snp status' shows it");
    if (!listener) return tl::unexpected(listener.error());
    listener_ = std::move(*listener);
    inheritance_.listener = listener_.get();
    return {};
  }

  Result<> make_memory() {
    auto records =
        ipc::SharedMemory::create("snp.flows", sizeof(ipc::FlowRecord) * ipc::kFlowRecords);
    if (!records) return tl::unexpected(records.error());
    records_ = std::move(*records);
    auto bulletin =
        ipc::SharedMemory::create("snp.bulletin", ipc::align_page(sizeof(ipc::Bulletin)));
    if (!bulletin) return tl::unexpected(bulletin.error());
    bulletin_ = std::move(*bulletin);
    if (auto sealed = bulletin_.seal_for_readers(); !sealed) return sealed;
    new (bulletin_.data()) ipc::Bulletin;
    auto learned = ipc::SharedMemory::create("snp.learned", ipc::align_page(sizeof(LearnedMemory)));
    if (!learned) return tl::unexpected(learned.error());
    learned_ = std::move(*learned);
    inheritance_.learned = new (learned_.data()) LearnedMemory;
    inheritance_.records = &records_;
    inheritance_.bulletin = &bulletin_;
    return {};
  }

  Result<> steer() {
    auto steering = steer::Steering::load(inheritance_.max_connections);
    if (!steering) return tl::unexpected(steering.error());
    steering_ = std::move(*steering);
    for (const DeviceChoice& device : inheritance_.devices) {
      const std::uint32_t ifindex = ::if_nametoindex(device.name.c_str());
      if (auto done = steering_->attach(ifindex); !done)
        return with_context(device.name, done.error());
      ifindexes_.push_back(ifindex);
      if (auto done = steering_->rest(ifindex); !done)
        return with_context(device.name, done.error());
    }
    inheritance_.steering = steering_.get();
    auto ledger = LedgerMemory::create(ifindexes_);
    if (!ledger) return tl::unexpected(ledger.error());
    ledger_ = std::move(*ledger);
    host::count_footprint_in(ledger_->totals().footprint);
    inheritance_.ledger = &*ledger_;
    return {};
  }

  // Whatever an engine that is gone had put there.
  void clear_devices() {
    for (const std::uint32_t ifindex : ifindexes_)
      (void)steer::Steering::cleanup(ifindex);  // the device may be gone, too
  }

  Result<> watch_signals() {
    const sigset_t set = handled_signals();
    ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
    struct sigaction ignore {};
    ignore.sa_handler = SIG_IGN;
    ::sigaction(SIGPIPE, &ignore, nullptr);
    signals_.reset(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!signals_.is_open()) return fail_errno("cannot watch signals");
    inheritance_.keeper_pid = ::getpid();
    return {};
  }

  Result<> start_engine() {
    take_over_settings();
    std::array<int, 2> pair{};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair.data()) != 0)
      return fail_errno("cannot make the keeper's socket pair");
    link_.reset(pair[0]);
    UniqueFd engine_end(pair[1]);
    engine_ = ::fork();
    if (engine_ < 0) return fail_errno("cannot start the engine process");
    if (engine_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGTERM);
      if (::getppid() != inheritance_.keeper_pid) ::_exit(kEngineStopped);
      link_.reset();
      signals_.reset();
      ::_exit(run_engine(inheritance_, kept_, std::move(engine_end)));
    }
    return {};
  }

  // Refused here already: a wrong file must not be the end of an engine that starts again.
  Result<> read_rules() {
    auto text = load_rules(inheritance_.options);
    if (!text) return tl::unexpected(text.error());
    inheritance_.rules = std::move(*text);
    return PolicyBook().set_rules(inheritance_.rules, rules_path(inheritance_.options),
                                  inheritance_.config);
  }

  // As the engine that ended had them, with what was changed live.
  void take_over_settings() {
    if (kept_settings_.empty()) return;
    auto values = settings::parse_config(kept_settings_, "kept settings", {});
    if (values)
      inheritance_.config = std::move(*values);
    else
      spdlog::error("settings are those of the start again: {}", values.error().message);
  }

  // Takes news until the engine has ended; its wait status.
  int serve_engine() {
    for (;;) {
      std::array<pollfd, 2> fds{{{link_.get(), POLLIN, 0}, {signals_.get(), POLLIN, 0}}};
      if (::poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR) continue;
      if (fds[0].revents != 0 && !take_news()) link_.reset();
      if (fds[1].revents != 0) take_signals();
      int status = 0;
      if (::waitpid(engine_, &status, WNOHANG) == engine_) {
        engine_ = -1;
        while (link_.is_open() && take_news()) {
        }
        link_.reset();
        return status;
      }
    }
  }

  // One message of the engine. False: there is none, and never will be.
  bool take_news() {
    KeeperMessage message;
    auto received = ipc::receive_message(
        link_.get(), std::as_writable_bytes(std::span<KeeperMessage, 1>(&message, 1)));
    if (!received || received->length != sizeof message) return false;
    std::vector<UniqueFd>& fds = received->fds;
    switch (message.news) {
      case KeeperNews::kProgram:
        keep_program(message, fds);
        break;
      case KeeperNews::kProgramGone:
        kept_.programs.erase(message.number);
        break;
      case KeeperNews::kSocket:
        if (!fds.empty()) kept_.sockets[message.number] = std::move(fds.front());
        break;
      case KeeperNews::kForget:
        kept_.sockets.erase(message.number);
        break;
      case KeeperNews::kWaitSet: {
        const auto found = kept_.programs.find(message.number);
        if (found != kept_.programs.end() && message.size < ipc::kWaitSets && !fds.empty())
          keep_wait_set(*found->second, static_cast<ipc::WaitSetId>(message.size),
                        std::move(fds.front()));
        break;
      }
      case KeeperNews::kSettings:
        if (!fds.empty()) kept_settings_ = read_text(fds.front().get(), message.size);
        break;
      case KeeperNews::kRules:
        if (!fds.empty()) inheritance_.rules = read_text(fds.front().get(), message.size);
        break;
      case KeeperNews::kPair:
        if (!fds.empty()) keep_pair(message, std::move(fds.front()));
        break;
      case KeeperNews::kPairGone:
        kept_.pairs.erase(message.number);
        break;
      case KeeperNews::kLane: {
        const auto found = kept_.pairs.find(message.number);
        if (found != kept_.pairs.end() && message.size < 2 * ipc::kLanes && !fds.empty())
          found->second.lanes[message.size / ipc::kLanes]
                             [static_cast<ipc::LaneId>(message.size % ipc::kLanes)] =
              std::move(fds.front());
        break;
      }
      case KeeperNews::kReady:
        tell_ready();
        break;
    }
    return true;
  }

  void keep_program(const KeeperMessage& message, std::vector<UniqueFd>& fds) {
    if (fds.size() <= kFirstBellFd) return;
    auto memory = ipc::SharedMemory::map(std::move(fds[kArenaFd]), message.size, true);
    if (!memory) return;
    auto program = std::make_unique<KeptProgram>(message.number, std::move(*memory));
    program->pid = message.pid;
    program->uid = message.uid;
    program->name = message.name.data();
    program->session = std::move(fds[kSessionFd]);
    program->pidfd = std::move(fds[kPidFd]);
    program->control_bell = std::move(fds[kControlBellFd]);
    program->arena.bells.assign(std::make_move_iterator(fds.begin() + kFirstBellFd),
                                std::make_move_iterator(fds.end()));
    kept_.programs[message.number] = std::move(program);
  }

  void keep_pair(const KeeperMessage& message, UniqueFd fd) {
    auto memory = ipc::SharedMemory::map(std::move(fd), message.size, true);
    if (!memory || message.size < ipc::kPairRingsOffset) return;
    kept_.pairs[message.number] = KeptPair{std::move(*memory), message.sides, {}};
  }

  void tell_ready() {
    ::sd_notify(0, "READY=1");
    if (inheritance_.options.ready_fd < 0) return;
    const char byte = 1;
    [[maybe_unused]] const ssize_t written = ::write(inheritance_.options.ready_fd, &byte, 1);
    ::close(inheritance_.options.ready_fd);
    inheritance_.options.ready_fd = -1;
  }

  void take_signals() {
    signalfd_siginfo info{};
    while (::read(signals_.get(), &info, sizeof info) == sizeof info) {
      if (info.ssi_signo == SIGCHLD) continue;
      if (info.ssi_signo != SIGHUP) is_told_to_stop_ = true;
      if (engine_ > 0) ::kill(engine_, info.ssi_signo == SIGHUP ? SIGHUP : SIGTERM);
    }
  }

  static void say_how_it_ended(int status) {
    spdlog::error("the engine {}; seeing to its connections",
                  WIFSIGNALED(status) ? "was killed by signal " + std::to_string(WTERMSIG(status))
                                      : "ended with status " + std::to_string(WEXITSTATUS(status)));
  }

  void bring_home(Aim aim) {
    const bool was_anything = !kept_.sockets.empty();
    const Instant begin = engine::monotonic_now();
    auto* records = &records_.at<ipc::FlowRecord>(0);
    const RecoveryReport report = recover(
        kept_, records, *steering_, aim, [](const std::string& line) { spdlog::error("{}", line); },
        &*ledger_);
    if (!was_anything) return;
    spdlog::warn(
        "{} connections came home in {} us, {} were closed, {} are lost, {} wait for the next "
        "engine",
        report.home, (engine::monotonic_now() - begin) / microseconds(1), report.finished,
        report.lost, report.waiting);
  }

  // Sleeps, but wakes up when told to stop.
  void pause(Duration time) {
    const Instant until = engine::monotonic_now() + time;
    while (!is_told_to_stop_ && engine::monotonic_now() < until) {
      pollfd fd{signals_.get(), POLLIN, 0};
      const auto left = std::chrono::ceil<milliseconds>(until - engine::monotonic_now());
      if (::poll(&fd, 1, static_cast<int>(std::max<std::int64_t>(left.count(), 0))) > 0)
        take_signals();
    }
  }

  Inheritance inheritance_;
  UniqueFd listener_;
  UniqueFd signals_;
  UniqueFd link_;
  ipc::SharedMemory records_;
  ipc::SharedMemory bulletin_;
  ipc::SharedMemory learned_;
  std::unique_ptr<steer::Steering> steering_;
  std::optional<LedgerMemory> ledger_;
  std::vector<std::uint32_t> ifindexes_;  // of the devices
  Kept kept_;
  std::string kept_settings_;  // TOML
  pid_t engine_ = -1;
  bool is_told_to_stop_ = false;
};

}  // namespace

Result<> run_keeper(const Options& options) {
  Keeper keeper(options);
  if (auto done = keeper.prepare(); !done) return done;
  return keeper.run();
}

}  // namespace snp::daemon
