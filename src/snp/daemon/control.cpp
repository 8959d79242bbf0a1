#include "snp/daemon/control.h"

#include <array>
#include <csignal>
#include <cstdlib>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <spdlog/spdlog.h>

#include "snp/engine/clock.h"
#include "snp/ipc/message_socket.h"
#include "snp/ipc/slot_bitmap.h"

namespace snp::daemon {
namespace {

using chimney::Reason;
using commands::Json;
using settings::Setting;

constexpr Duration kTick = seconds(5);
constexpr Duration kBalanceInterval = milliseconds(200);
constexpr Duration kLookInterval = milliseconds(250);
constexpr Duration kDeathGrace = milliseconds(100);

// Only an eventfd may be written to as one; anything else could block a shard.
bool is_eventfd(int fd) {
  std::array<char, 64> path{};
  std::array<char, 64> target{};
  std::snprintf(path.data(), path.size(), "/proc/self/fd/%d", fd);
  const ssize_t length = ::readlink(path.data(), target.data(), target.size());
  constexpr std::string_view kName = "anon_inode:[eventfd]";
  return length > 0 && std::string_view(target.data(), static_cast<std::size_t>(length)) == kName;
}

bool is_readable(int fd) {
  pollfd poll_fd{fd, POLLIN, 0};
  return ::poll(&poll_fd, 1, 0) > 0;
}

}  // namespace

Control::Control(Parts parts)
    : parts_(parts),
      buffer_(ipc::kMaxMessage),
      stored_(load_config(parts.inheritance.options).value_or(parts.settings)),
      config_path_(stored_config_path(parts.inheritance.options)),
      started_(engine::monotonic_now()) {}

Result<> Control::start() {
  EventLoop& loop = parts_.loop;
  if (auto done = loop.add(parts_.engine.event_fd(), EPOLLIN,
                           [this](std::uint32_t) { parts_.engine.dispatch(parts_.offloader); });
      !done)
    return done;
  if (auto done = loop.add(parts_.network.fd(), EPOLLIN,
                           [this](std::uint32_t) {
                             parts_.network.dispatch([this](const host::Network::Change&) {
                               is_network_check_due_ = true;
                             });
                             after_network_change();
                           });
      !done)
    return done;
  if (auto done = parts_.coexistence.start([this](Instant noticed) { follow_policy(noticed); });
      !done)
    return done;
  parts_.host_scaling.start();
  if (auto done = watch_signals(); !done) return done;
  if (auto done = watch_private_process(); !done) return done;
  loop.set_sleep_hooks([this] { return before_sleep(); },
                       [this] { bulletin().control.sleeping.store(0); });
  publish_settings();
  serve_events();
  if (auto done =
          loop.add(parts_.inheritance.listener, EPOLLIN, [this](std::uint32_t) { accept_all(); });
      !done)
    return done;
  parts_.keeper.tell(KeeperNews::kReady, 0);
  return {};
}

Result<> Control::watch_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP})
    sigaddset(&set, signal);
  signals_.reset(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals_.is_open()) return fail_errno("cannot watch signals");
  return parts_.loop.add(signals_.get(), EPOLLIN, [this](std::uint32_t) { on_signal(); });
}

Result<> Control::watch_private_process() {
  const pid_t pid = parts_.inheritance.options.private_pid;
  if (pid == 0) return {};
  private_process_.reset(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0u)));
  if (!private_process_.is_open()) {
    is_private_process_gone_ = true;
    parts_.loop.call_soon([this] { begin_stop(); });
    return {};
  }
  return parts_.loop.add(private_process_.get(), EPOLLIN, [this](std::uint32_t) {
    parts_.loop.remove(private_process_.get());
    is_private_process_gone_ = true;
    if (programs_.empty()) begin_stop();
  });
}

// --- sleep ---

// The protocol of bulletin.control.sleeping: say that we sleep, then look once more.
bool Control::before_sleep() {
  take_requests();
  if (parts_.offloader.work()) return true;
  if (!is_tick_due_ && parts_.offloader.flow_count() > 0) {
    is_tick_due_ = true;
    parts_.loop.call_at(engine::monotonic_now() + kTick, [this] { tick(); });
  }
  if (!is_look_due_ && parts_.offloader.has_new_stays()) {
    is_look_due_ = true;
    parts_.loop.call_at(engine::monotonic_now() + kLookInterval, [this] {
      is_look_due_ = false;
      parts_.offloader.look_at_stays();
    });
  }
  if (!is_balance_due_ && parts_.offloader.wants_balance()) {
    is_balance_due_ = true;
    parts_.loop.call_at(engine::monotonic_now() + kBalanceInterval, [this] { balance(); });
  }
  if (++sleeps_ == 0) sleeps_ = 1;
  bulletin().control.sleeping.store(sleeps_);
  for (const auto& [number, program] : programs_)
    if (program->arena != nullptr && !ipc::is_empty(doorbells_of(program->arena->memory).control))
      return true;
  return false;
}

void Control::tick() {
  is_tick_due_ = false;
  parts_.coexistence.look_where_blind();
  parts_.offloader.confirm_neighbours();
  parts_.offloader.trim();
  parts_.offloader.look_at_stays();
}

void Control::balance() {
  is_balance_due_ = false;
  parts_.offloader.rebalance(false);
}

void Control::take_requests() {
  for (const auto& [number, program] : programs_) {
    if (program->has_ended) continue;
    ipc::SlotBitmap& bell = doorbells_of(program->arena->memory).control;
    if (ipc::is_empty(bell)) continue;
    ipc::drain(bell, [&, p = program.get()](ipc::SlotId slot) { take_request(*p, slot); });
  }
}

void Control::take_request(Program& program, ipc::SlotId slot_id) {
  const ipc::Slot& slot = program.slot(slot_id);
  if (!is_allocated(slot.app.in_use.load())) return;
  if ((slot.app.flags.load() & ipc::slot_flag::kClosed) != 0)
    return parts_.offloader.app_closed(program, slot_id);
  switch (slot.app.request.load()) {
    case ipc::SlotRequest::kOffload:
      // Of a local connection one end asked, and the other may ask for the first time when it has
      // been brought home again. Who brought it home decides.
      if (program.note(slot_id).hand_overs > 0 &&
          static_cast<Reason>(slot.engine.reason.load()) != Reason::kIdle)
        break;
      parts_.offloader.offload(program, slot_id, {});
      break;
    case ipc::SlotRequest::kUpload: {
      const auto asked = static_cast<Reason>(slot.app.request_reason.load());
      Flow* flow = parts_.offloader.find(program.note(slot_id).flow);
      if (flow != nullptr)
        parts_.offloader.upload(*flow, asked == Reason::kOffloaded ? Reason::kByApplication : asked,
                                {});
      break;
    }
    default:
      break;
  }
}

// --- sessions ---

void Control::accept_all() {
  for (;;) {
    Caller caller = accept_caller(parts_.inheritance.listener);
    if (!caller.socket.is_open()) return;
    add_session(std::make_unique<Session>(next_session_++, std::move(caller.socket), caller.pid,
                                          caller.uid, std::move(caller.pidfd)));
  }
}

Result<std::reference_wrapper<Session>> Control::add_session(std::unique_ptr<Session> session) {
  const std::uint64_t number = session->number;
  if (auto done = parts_.loop.add(session->fd(), EPOLLIN,
                                  [this, number](std::uint32_t events) {
                                    if (const auto found = sessions_.find(number);
                                        found != sessions_.end())
                                      serve(*found->second, events);
                                  });
      !done)
    return tl::unexpected(done.error());
  return *sessions_.emplace(number, std::move(session)).first->second;
}

void Control::serve(Session& session, std::uint32_t events) {
  if ((events & EPOLLOUT) != 0) push_output(session);
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 && !take_message(session))
    end_session(session);
}

// False: the session is over. What an attached program says is taken out of its socket only when it
// has been done: if we die before, the next engine finds it there.
bool Control::take_message(Session& session) {
  const bool survives = session.program != nullptr;
  auto received = ipc::receive_message(session.fd(), buffer_, survives ? MSG_PEEK : 0);
  if (!received) return received.error().sys_errno == EAGAIN;
  if (received->length == 0) return false;
  const bool goes_on = handle_message(session, *received);
  if (survives) ipc::drop_message(session.fd());
  return goes_on;
}

bool Control::handle_message(Session& session, ipc::ReceivedMessage& received) {
  if (received.is_truncated) {
    refuse(session, "message too long");
    return false;
  }
  const Message message =
      parse_message(std::span(buffer_).first(received.length), received.fds.size());
  if (const auto* attach = std::get_if<AttachRequest>(&message)) return on_attach(session, *attach);
  if (const auto* wait_set = std::get_if<WaitSetRequest>(&message))
    return on_wait_set(session, *wait_set, std::move(received.fds.front()));
  if (const auto* lane = std::get_if<LaneRequest>(&message))
    return on_lane(session, *lane, std::move(received.fds.front()));
  if (const auto* command = std::get_if<CommandRequest>(&message))
    return on_command(session, command->text);
  if (const auto* subscribe = std::get_if<SubscribeRequest>(&message))
    return on_subscribe(session, subscribe->text);
  if (const auto* verdict = std::get_if<VerdictRequest>(&message))
    return on_verdict(session, verdict->text);
  refuse(session, std::get<Malformed>(message).why);
  return false;
}

void Control::refuse(Session& session, const std::string& why) {
  spdlog::warn("session of pid {} ended: {}", session.pid, why);
  ipc::Refused refused;
  why.copy(refused.why.data(), refused.why.size() - 1);
  session.send(ipc::bytes_of(refused));
}

bool Control::on_attach(Session& session, const AttachRequest& request) {
  const auto refused = [&](const std::string& why) {
    refuse(session, why);
    return false;
  };
  if (session.program != nullptr) return refused("attached twice");
  if (!session.pidfd.is_open()) return refused("the process is gone or cannot be watched");
  if (is_stopping_) return refused("snpd is stopping");
  UniqueFd bell(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!bell.is_open()) return refused("snpd has no descriptors left");
  const auto bytes = static_cast<std::size_t>(parts_.settings.number(Setting::kArenaBytes));
  auto memory = make_arena(bytes, shards());
  if (!memory) return refused(memory.error().message);
  const std::uint32_t number = next_program_++;
  auto arena = parts_.engine.attach(number, std::move(*memory), {});
  if (!arena) return refused(arena.error().message);
  Program& program =
      add_program(std::make_unique<Program>(number, session.pid, request.program,
                                            std::move(session.pidfd), std::move(bell), **arena),
                  session);
  if (!tell_keeper(program, session)) return refused("snpd's keeper is gone");

  ipc::Attached attached;
  attached.shards = shards();
  attached.arena_size = bytes;
  std::vector<int> fds{program.arena->memory.fd(), parts_.inheritance.bulletin->fd(),
                       program.control_bell.get()};
  for (const UniqueFd& shard_bell : program.arena->bells)
    fds.push_back(shard_bell.get());
  spdlog::info("attached: {} (pid {})", request.program, session.pid);
  return session.send(ipc::bytes_of(attached), fds);
}

bool Control::tell_keeper(const Program& program, const Session& session) {
  KeeperMessage message{.news = KeeperNews::kProgram,
                        .number = program.number,
                        .size = program.arena->memory.size(),
                        .pid = program.pid,
                        .uid = session.uid};
  program.name.copy(message.name.data(), message.name.size() - 1);
  std::vector<int> fds(kFirstBellFd);
  fds[kArenaFd] = program.arena->memory.fd();
  fds[kSessionFd] = session.fd();
  fds[kPidFd] = program.pidfd.get();
  fds[kControlBellFd] = program.control_bell.get();
  for (const UniqueFd& bell : program.arena->bells)
    fds.push_back(bell.get());
  return parts_.keeper.tell(message, fds);
}

Program& Control::add_program(std::unique_ptr<Program> owned, Session& session) {
  Program& program = *owned;
  const std::uint32_t number = program.number;
  const int pidfd = program.pidfd.get();
  session.program = &program;
  program.session = &session;
  programs_.emplace(number, std::move(owned));
  parts_.offloader.add_program(program);
  (void)parts_.loop.add(pidfd, EPOLLIN, [this, number, pidfd](std::uint32_t) {
    parts_.loop.remove(pidfd);
    if (const auto found = programs_.find(number); found != programs_.end())
      end_program(*found->second, true);
  });
  // Edge-triggered and never read: writing to it is what wakes us.
  (void)parts_.loop.add(program.control_bell.get(), EPOLLIN | EPOLLET, [](std::uint32_t) {});
  return program;
}

bool Control::on_wait_set(Session& session, const WaitSetRequest& request, UniqueFd eventfd) {
  if (session.program == nullptr || session.program->has_ended || !is_eventfd(eventfd.get())) {
    refuse(session, "wait set without an arena or an eventfd");
    return false;
  }
  ::fcntl(eventfd.get(), F_SETFL, O_NONBLOCK);
  parts_.keeper.tell(KeeperNews::kWaitSet, session.program->number, request.wait_set,
                     eventfd.get());
  parts_.engine.set_wait_set(*session.program->arena, request.wait_set, std::move(eventfd));
  return true;
}

bool Control::on_lane(Session& session, const LaneRequest& request, UniqueFd eventfd) {
  ::fcntl(eventfd.get(), F_SETFL, O_NONBLOCK);
  if (session.program == nullptr || session.program->has_ended || !is_eventfd(eventfd.get()) ||
      !parts_.offloader.pairs().add_lane(*session.program, request.pair, request.side, request.lane,
                                         std::move(eventfd))) {
    refuse(session, "lane of another's pair, or without an eventfd");
    return false;
  }
  return true;
}

void Control::end_session(Session& session) {
  const std::uint64_t number = session.number;
  if (session.is_client) parts_.events.unsubscribe(number);
  parts_.loop.remove(session.fd());
  ::shutdown(session.fd(), SHUT_RDWR);  // the keeper may hold it, too
  if (Program* program = session.program; program != nullptr) {
    program->session = nullptr;
    // A dying process closes its sockets a little before its pidfd tells.
    const std::uint32_t program_number = program->number;
    const Duration grace = is_readable(program->pidfd.get()) ? Duration(0) : kDeathGrace;
    parts_.loop.call_at(engine::monotonic_now() + grace, [this, program_number] {
      const auto found = programs_.find(program_number);
      if (found != programs_.end())
        end_program(*found->second, is_readable(found->second->pidfd.get()));
    });
  }
  sessions_.erase(number);
}

void Control::end_program(Program& program, bool is_dead) {
  if (program.has_ended) return;
  spdlog::info("{}: {} (pid {})", is_dead ? "ended" : "lost its session", program.name,
               program.pid);
  parts_.loop.remove(program.pidfd.get());
  parts_.loop.remove(program.control_bell.get());
  if (program.session != nullptr) std::exchange(program.session, nullptr)->program = nullptr;
  parts_.offloader.end_program(program, is_dead,
                               [this, number = program.number] { on_program_gone(number); });
}

void Control::on_program_gone(std::uint32_t number) {
  programs_.erase(number);
  if (is_private_process_gone_ && programs_.empty()) begin_stop();
}

// --- commands ---

bool Control::on_command(Session& session, std::string_view text) {
  if (session.is_command_running || session.is_client) {
    refuse(session, "a command before the answer to the last one");
    return false;
  }
  session.is_command_running = true;
  try {
    run_command(session, text);
  } catch (const std::exception& error) {
    reply(session.number, fail(Errc::kProtocol, std::string("bad command: ") + error.what()));
  }
  return true;
}

void Control::run_command(Session& session, std::string_view text) {
  const std::uint64_t number = session.number;
  const Json request = Json::parse(text);
  const std::string path = request.at("command").get<std::string>();
  const commands::CommandSpec* command = commands::find_command(path);
  if (command == nullptr || command->handle == nullptr)
    return reply(number, fail(Errc::kNotFound, "snpd knows no command '" + path +
                                                   "'; snp and snpd are of different versions"));
  const Json arguments = request.value("arguments", Json::object());
  if (auto checked = commands::check_arguments(*command, arguments); !checked)
    return reply(number, tl::unexpected(checked.error()));
  if (command->is_change(arguments) && session.uid != 0 && session.uid != ::geteuid())
    return reply(number,
                 fail(Errc::kDenied, path + ": only root and the owner of snpd may do that"));
  command->handle(*this, arguments,
                  [this, number](const Result<Json>& result) { reply(number, result); });
}

void Control::reply(std::uint64_t session_number, const Result<Json>& result) {
  const auto found = sessions_.find(session_number);
  if (found == sessions_.end()) return;
  Session& session = *found->second;
  session.is_command_running = false;
  const Json answer = result ? Json{{"ok", true}, {"result", *result}}
                             : Json{{"ok", false}, {"error", result.error().message}};
  session.send_reply(answer.dump(-1, ' ', false, Json::error_handler_t::replace));
  push_output(session);
}

void Control::push_output(Session& session) {
  if (!session.flush()) {
    // Not here: the caller may still use the session.
    parts_.loop.call_soon([this, number = session.number] {
      if (const auto found = sessions_.find(number); found != sessions_.end())
        end_session(*found->second);
    });
    return;
  }
  parts_.loop.change(session.fd(), session.has_output() ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

// --- signals, stop ---

void Control::on_signal() {
  signalfd_siginfo info{};
  while (::read(signals_.get(), &info, sizeof info) == sizeof info) {
    if (info.ssi_signo == SIGHUP)
      reload();
    else
      begin_stop();
  }
}

// Several messages come for one change: look once, a moment later.
void Control::after_network_change() {
  if (!is_network_check_due_) return;
  is_network_check_due_ = false;
  parts_.loop.call_soon([this] { parts_.offloader.recheck_paths(); });
}

void Control::begin_stop() {
  if (is_stopping_) return;
  is_stopping_ = true;
  spdlog::info("stopping: {} connections go home", parts_.offloader.flow_count());
  parts_.offloader.set_stopping();
  bulletin().chimney.store(ipc::ChimneyMode::kDisabled);
  parts_.loop.remove(parts_.inheritance.listener);
  stop_deadline_ = engine::monotonic_now() + seconds(parts_.settings.number(Setting::kStopS));
  for (const auto& [id, flow] : parts_.offloader.flows())
    parts_.offloader.upload(*flow, Reason::kStopping, {});
  check_stopped();
}

void Control::check_stopped() {
  const Instant now = engine::monotonic_now();
  if (parts_.offloader.flow_count() == 0 || now >= stop_deadline_ ||
      parts_.offloader.is_only_over()) {
    // What is left the keeper brings home. Without one, it ends here.
    if (::getppid() != parts_.inheritance.keeper_pid) parts_.offloader.bury_rest();
    parts_.loop.stop();
    return;
  }
  parts_.loop.call_at(now + milliseconds(5), [this] { check_stopped(); });
}

}  // namespace snp::daemon
