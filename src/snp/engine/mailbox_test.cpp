#include "snp/engine/mailbox.h"

#include <memory>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "snp/engine/published.h"

namespace snp::engine {
namespace {

struct Numbered : MailNode {
  int sender = 0;
  int number = 0;
};

TEST(Mailbox, GivesTheOldestFirstAndSaysWhenItWasEmpty) {
  Mailbox box;
  std::array<Numbered, 3> mails;
  EXPECT_TRUE(box.is_empty());
  EXPECT_TRUE(box.post(mails[0]));
  EXPECT_FALSE(box.post(mails[1]));
  EXPECT_FALSE(box.post(mails[2]));
  const MailNode* node = box.take_all();
  for (const Numbered& mail : mails) {
    EXPECT_EQ(node, &mail);
    node = node->next;
  }
  EXPECT_EQ(node, nullptr);
  EXPECT_EQ(box.take_all(), nullptr);
  EXPECT_TRUE(box.post(mails[0]));
}

TEST(Mailbox, LosesNothingBetweenThreadsAndKeepsEachSendersOrder) {
  constexpr int kSenders = 3, kEach = 5000;
  Mailbox box;
  std::vector<std::unique_ptr<Numbered[]>> mails;
  mails.reserve(kSenders);
  for (int sender = 0; sender < kSenders; ++sender)
    mails.emplace_back(new Numbered[kEach]);
  std::vector<std::thread> threads;
  threads.reserve(kSenders);
  for (int sender = 0; sender < kSenders; ++sender)
    threads.emplace_back([&, sender] {
      for (int i = 0; i < kEach; ++i) {
        Numbered& mail = mails[static_cast<std::size_t>(sender)][static_cast<std::size_t>(i)];
        mail.sender = sender;
        mail.number = i;
        box.post(mail);
      }
    });
  std::array<int, kSenders> next{};
  for (int received = 0; received < kSenders * kEach;) {
    for (MailNode* node = box.take_all(); node != nullptr; node = node->next) {
      const auto& mail = static_cast<const Numbered&>(*node);
      EXPECT_EQ(mail.number, next[static_cast<std::size_t>(mail.sender)]++);
      ++received;
    }
  }
  for (auto& thread : threads)
    thread.join();
}

TEST(Published, ReadersSeeWholeValuesOnly) {
  struct Value {
    std::array<std::uint32_t, 9> words{};
  };
  Published<Value> published;
  std::atomic<bool> stops{false};
  std::thread writer([&] {
    for (std::uint32_t i = 1; i < 20000; ++i) {
      Value value;
      value.words.fill(i);
      published.store(value);
    }
    stops = true;
  });
  std::uint32_t last = 0;
  while (!stops) {
    const Value value = published.load();
    for (const std::uint32_t word : value.words)
      ASSERT_EQ(word, value.words[0]);
    ASSERT_GE(value.words[0], last);
    last = value.words[0];
  }
  writer.join();
  EXPECT_EQ(published.load().words[8], 19999u);
}

}  // namespace
}  // namespace snp::engine
