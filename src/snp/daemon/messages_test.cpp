#include "snp/daemon/messages.h"

#include <array>
#include <random>

#include <gtest/gtest.h>

#include "snp/ipc/arena.h"
#include "snp/ipc/message_socket.h"
#include "snp/ipc/pair.h"

namespace snp::daemon {
namespace {

TEST(Messages, KnowsTheThreeRequests) {
  ipc::Attach attach;
  attach.arena_version = ipc::kArenaVersion;
  attach.pid = 7;
  std::memcpy(attach.program.data(), "a\nb", 3);
  const Message message = parse_message(ipc::bytes_of(attach), 0);
  ASSERT_TRUE(std::holds_alternative<AttachRequest>(message));
  EXPECT_EQ(std::get<AttachRequest>(message).program, "a?b");

  ipc::WaitSetMessage wait_set;
  wait_set.wait_set = 9;
  EXPECT_TRUE(std::holds_alternative<WaitSetRequest>(parse_message(ipc::bytes_of(wait_set), 1)));

  const ipc::MessageHeader command{ipc::kProtocolMagic, ipc::MessageKind::kCommand, 0};
  EXPECT_TRUE(std::holds_alternative<CommandRequest>(parse_message(ipc::bytes_of(command), 0)));
}

TEST(Messages, RefusesWhatIsWrong) {
  const auto is_malformed = [](const auto& message, std::size_t fds) {
    return std::holds_alternative<Malformed>(parse_message(ipc::bytes_of(message), fds));
  };
  ipc::Attach attach;
  EXPECT_TRUE(is_malformed(attach, 0)) << "version 0";
  attach.arena_version = ipc::kArenaVersion;
  EXPECT_TRUE(is_malformed(attach, 1)) << "an unexpected descriptor";
  ipc::WaitSetMessage wait_set;
  EXPECT_TRUE(is_malformed(wait_set, 1)) << "wait set 0";
  wait_set.wait_set = ipc::kWaitSets;
  EXPECT_TRUE(is_malformed(wait_set, 1)) << "beyond the last wait set";
  wait_set.wait_set = 1;
  EXPECT_TRUE(is_malformed(wait_set, 0)) << "no descriptor";
  EXPECT_TRUE(is_malformed(ipc::Attached{}, 0)) << "an answer, not a request";
  EXPECT_TRUE(std::holds_alternative<Malformed>(parse_message({}, 0)));
}

// Random bytes behind a right or wrong header: always an answer, never a message it did not check.
TEST(Messages, RandomBytes) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  std::array<std::byte, 600> buffer{};
  for (int i = 0; i < 100000; ++i) {
    const std::size_t length = random() % buffer.size();
    for (std::size_t n = 0; n < length; ++n)
      buffer[n] = static_cast<std::byte>(random());
    if (random() % 4 != 0 && length >= sizeof(ipc::MessageHeader)) {
      const ipc::MessageHeader header{ipc::kProtocolMagic,
                                      static_cast<ipc::MessageKind>(random() % 12), 0};
      std::memcpy(buffer.data(), &header, sizeof header);
    }
    const std::span<const std::byte> bytes(buffer.data(), length);
    const Message message = parse_message(bytes, random() % 3);
    if (const auto* wait_set = std::get_if<WaitSetRequest>(&message)) {
      ASSERT_GT(wait_set->wait_set, 0);
      ASSERT_LT(wait_set->wait_set, ipc::kWaitSets);
    }
    if (const auto* lane = std::get_if<LaneRequest>(&message)) {
      ASSERT_GT(lane->lane, 0);
      ASSERT_LT(lane->lane, ipc::kLanes);
      ASSERT_LT(lane->side, 2u);
    }
    if (const auto* command = std::get_if<CommandRequest>(&message)) {
      ASSERT_EQ(command->text.size(), length - sizeof(ipc::MessageHeader));
    }
  }
}

}  // namespace
}  // namespace snp::daemon
