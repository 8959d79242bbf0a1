// Questions and answers on a clock of the test's own.
#include "snp/daemon/event_desk.h"

#include <map>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "snp/commands/command.h"

namespace snp::daemon {
namespace {

using Permission = EventDesk::Permission;

class EventDeskTest : public testing::Test {
 protected:
  EventDeskTest() {
    EventDesk::Hooks hooks;
    hooks.send = [this](std::uint64_t session, const std::string& text) {
      if (deaf_.contains(session)) return false;
      told_[session].push_back(commands::Json::parse(text));
      return true;
    };
    hooks.dismiss = [this](std::uint64_t session, const std::string&) {
      dismissed_.push_back(session);
    };
    hooks.call_at = [this](Instant when, std::function<void()> task) {
      due_.emplace(when, std::move(task));
    };
    hooks.now = [this] { return now_; };
    hooks.on_settled = [this](QuestionId id) { settled_.push_back(id); };
    hooks.on_change = [this] { ++changes_; };
    hooks.is_live = [this](const SlotUse& use) { return !dead_.contains(use.slot); };
    desk_.set_hooks(std::move(hooks));
  }

  void join(std::uint64_t session, const char* name = "guard", bool has_veto = true) {
    EventDesk::Client client;
    client.name = name;
    client.has_veto = has_veto;
    ASSERT_TRUE(desk_.subscribe(session, client));
  }
  Permission ask(QuestionId& id, ipc::SlotId slot = 1) { return desk_.ask(id, {1, slot, 1}, {}); }
  void pass(Duration time) {
    now_ += time;
    while (!due_.empty() && due_.begin()->first <= now_) {
      const auto task = std::move(due_.begin()->second);
      due_.erase(due_.begin());
      task();
    }
  }
  void set(const char* name, const char* value) { ASSERT_TRUE(settings_.set(name, value)); }

  settings::Settings settings_;
  EventDesk desk_{settings_};
  Instant now_ = Instant{} + seconds(5);
  std::multimap<Instant, std::function<void()>> due_;
  std::map<std::uint64_t, std::vector<commands::Json>> told_;
  std::set<std::uint64_t> deaf_;
  std::set<ipc::SlotId> dead_;
  std::vector<std::uint64_t> dismissed_;
  std::vector<QuestionId> settled_;
  int changes_ = 0;
};

TEST_F(EventDeskTest, WithoutAVetoEverythingIsGranted) {
  join(1, "listener", false);
  QuestionId id = 0;
  EXPECT_EQ(ask(id), Permission::kGranted);
  EXPECT_EQ(id, 0u);
  set("veto_required", "enabled");
  EXPECT_EQ(ask(id), Permission::kRefused);
  EXPECT_TRUE(desk_.refusal(0));
}

TEST_F(EventDeskTest, AllMustAllowOneRefuses) {
  join(1);
  join(2, "second");
  QuestionId id = 0;
  EXPECT_EQ(ask(id), Permission::kAsked);
  EXPECT_EQ(told_[1].at(0).at("id"), id);
  EXPECT_EQ(told_[1].at(0).at("event"), "question");
  ASSERT_TRUE(desk_.answer(1, id, true, ""));
  EXPECT_TRUE(settled_.empty());
  EXPECT_EQ(ask(id), Permission::kAsked);
  ASSERT_TRUE(desk_.answer(2, id, true, ""));
  EXPECT_EQ(settled_, std::vector{id});
  EXPECT_EQ(ask(id), Permission::kGranted);  // and is not asked again
  EXPECT_EQ(told_[1].size(), 1u);

  QuestionId other = 0;
  EXPECT_EQ(ask(other), Permission::kAsked);
  ASSERT_TRUE(desk_.answer(1, other, false, "no"));
  EXPECT_EQ(settled_.back(), other);  // nobody else is waited for
  EXPECT_EQ(ask(other), Permission::kRefused);
  EXPECT_EQ(desk_.refusal(other), "guard: no");
}

TEST_F(EventDeskTest, SilenceCountsAsTheSettingSays) {
  join(1);
  QuestionId id = 0;
  EXPECT_EQ(ask(id), Permission::kAsked);
  pass(milliseconds(99));
  EXPECT_TRUE(settled_.empty());
  pass(milliseconds(1));
  EXPECT_EQ(settled_, std::vector{id});
  EXPECT_EQ(ask(id), Permission::kGranted);
  set("veto_unanswered", "host");
  EXPECT_EQ(ask(id), Permission::kRefused);
  ASSERT_TRUE(desk_.answer(1, id, true, ""));  // late
  EXPECT_EQ(changes_, 1);
  EXPECT_EQ(ask(id), Permission::kGranted);
  ASSERT_TRUE(desk_.answer(1, id, true, ""));
  EXPECT_EQ(changes_, 1);  // as before
  ASSERT_TRUE(desk_.answer(1, id, false, ""));
  EXPECT_EQ(changes_, 2);
  EXPECT_EQ(desk_.refusal(id), "guard");
}

TEST_F(EventDeskTest, WhoDoesNotReadIsNotWaitedFor) {
  join(1);
  deaf_.insert(1);
  QuestionId id = 0;
  EXPECT_EQ(ask(id), Permission::kGranted);
  EXPECT_EQ(desk_.rows().at(0).unanswered, 1u);
  set("veto_unanswered", "host");
  QuestionId other = 0;
  EXPECT_EQ(ask(other), Permission::kRefused);
}

TEST_F(EventDeskTest, WhoLetsTooManyPassIsDismissed) {
  join(1);
  for (std::uint32_t i = 0; i + 1 < EventDesk::kMostUnanswered; ++i) {
    QuestionId id = 0;
    ASSERT_EQ(ask(id), Permission::kAsked);
    pass(milliseconds(100));
  }
  QuestionId id = 0;
  ASSERT_EQ(ask(id), Permission::kAsked);
  ASSERT_TRUE(desk_.answer(1, id, true, ""));  // it lives: counted anew
  for (std::uint32_t i = 0; i < EventDesk::kMostUnanswered; ++i) {
    EXPECT_TRUE(dismissed_.empty());
    QuestionId next = 0;
    ASSERT_EQ(ask(next), Permission::kAsked);
    pass(milliseconds(100));
  }
  EXPECT_EQ(dismissed_, std::vector<std::uint64_t>{1});
}

TEST_F(EventDeskTest, WhoLeavesRefusesNothing) {
  join(1);
  join(2, "second");
  QuestionId open = 0;
  QuestionId refused = 0;
  ask(open);
  ask(refused);
  ASSERT_TRUE(desk_.answer(2, open, true, ""));
  ASSERT_TRUE(desk_.answer(2, refused, true, ""));
  ASSERT_TRUE(desk_.answer(1, refused, false, ""));
  desk_.unsubscribe(1);
  EXPECT_EQ(settled_, (std::vector{refused, open}));
  EXPECT_EQ(changes_, 1);
  EXPECT_EQ(ask(open), Permission::kGranted);
  EXPECT_EQ(ask(refused), Permission::kGranted);
  join(3, "third");  // has not been asked yet
  EXPECT_EQ(ask(open), Permission::kAsked);
  EXPECT_EQ(told_[3].size(), 1u);
  EXPECT_EQ(told_[2].size(), 2u);
}

TEST_F(EventDeskTest, AnswersAreChecked) {
  QuestionId id = 0;
  EXPECT_FALSE(desk_.answer(1, 1, true, ""));
  join(1);
  join(2, "listener", false);
  EXPECT_FALSE(desk_.answer(2, 1, true, ""));
  ask(id);
  join(3, "late");
  EXPECT_FALSE(desk_.answer(3, id, true, ""));     // it was not asked this
  EXPECT_TRUE(desk_.answer(1, id + 1, true, ""));  // of a connection that is over, perhaps
}

TEST_F(EventDeskTest, EventsThatAreLostAreCounted) {
  join(1, "slow", false);
  desk_.publish(
      {.kind = "offloaded", .flow = {}, .program = {}, .target = {}, .detail = {}, .by = {}});
  deaf_.insert(1);
  for (int i = 0; i < 3; ++i)
    desk_.publish(
        {.kind = "offloaded", .flow = {}, .program = {}, .target = {}, .detail = {}, .by = {}});
  deaf_.clear();
  desk_.publish(
      {.kind = "uploaded", .flow = {}, .program = {}, .target = {}, .detail = {}, .by = {}});
  ASSERT_EQ(told_[1].size(), 2u);
  EXPECT_FALSE(told_[1][0].contains("lost"));
  EXPECT_EQ(told_[1][1].at("lost"), 3);
  EXPECT_EQ(told_[1][1].at("number"), 5);
  EXPECT_EQ(desk_.rows().at(0).lost, 3u);
}

TEST_F(EventDeskTest, AtMostSoManyClients) {
  for (std::uint64_t i = 0; i < EventDesk::kMostClients; ++i)
    join(i + 1);
  EXPECT_FALSE(desk_.subscribe(99, {.name = "more"}));
  EXPECT_FALSE(desk_.subscribe(1, {.name = "again"}));
}

}  // namespace
}  // namespace snp::daemon
