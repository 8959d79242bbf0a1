#include "snp/device/pcap_queue.h"

#include <array>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

#include <sys/resource.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "snp/device/fake_queue.h"

namespace snp::device {
namespace {

struct Record {
  std::uint32_t seconds, nanoseconds, captured, original;
  std::string bytes;
};

// Reads a capture as the format's description has it.
struct Capture {
  std::uint32_t magic = 0, snap_length = 0, link_type = 0;
  std::vector<Record> records;

  explicit Capture(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    const std::string all((std::istreambuf_iterator<char>(file)), {});
    const auto word = [&all](std::size_t at) {
      std::uint32_t value = 0;
      if (at + 4 <= all.size()) std::memcpy(&value, all.data() + at, 4);
      return value;
    };
    magic = word(0);
    snap_length = word(16);
    link_type = word(20);
    for (std::size_t at = 24; at + 16 <= all.size();) {
      Record record = {word(at), word(at + 4), word(at + 8), word(at + 12), {}};
      record.bytes = all.substr(at + 16, record.captured);
      at += 16 + record.captured;
      records.push_back(record);
    }
  }
};

class PcapQueueTest : public testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove(path_); }
  void open() {
    auto fake = std::make_unique<FakeQueue>();
    inner_ = fake.get();
    auto queue = PcapQueue::open(std::move(fake), path_);
    ASSERT_TRUE(queue) << queue.error().message;
    queue_ = std::move(*queue);
  }
  bool transmit(const std::string& bytes) {
    const auto all = std::as_bytes(std::span(bytes));
    TxFrame frame;
    frame.headers = all.first(all.size() / 2);
    frame.payload[0] = all.subspan(all.size() / 2);
    return queue_->transmit(frame);
  }

  const std::string path_ = testing::TempDir() + "snp-pcap-test." + std::to_string(::getpid());
  FakeQueue* inner_ = nullptr;
  std::unique_ptr<PcapQueue> queue_;
};

TEST_F(PcapQueueTest, RecordsBothDirectionsInOrder) {
  open();
  ASSERT_TRUE(transmit("a frame that is sent"));
  std::array<RxFrame, 4> out;
  ASSERT_EQ(queue_->receive(out), 1u);
  queue_->flush();
  EXPECT_EQ(inner_->flushes, 1);
  const Capture capture(path_);
  EXPECT_EQ(capture.magic, 0xa1b23c4d);
  EXPECT_EQ(capture.link_type, 1u);
  ASSERT_EQ(capture.records.size(), 2u);
  for (const Record& record : capture.records) {
    EXPECT_EQ(record.bytes, "a frame that is sent");
    EXPECT_EQ(record.original, record.captured);
    EXPECT_GT(record.seconds, 1'500'000'000u);
    EXPECT_LT(record.nanoseconds, 1'000'000'000u);
  }
}

TEST_F(PcapQueueTest, TakesMoreThanItsBufferHolds) {
  open();
  const std::string large(60'000, 'x');
  for (int i = 0; i < 100; ++i)
    ASSERT_TRUE(transmit(large));
  queue_.reset();  // the rest is written at the end
  const Capture capture(path_);
  ASSERT_EQ(capture.records.size(), 100u);
  for (const Record& record : capture.records)
    EXPECT_EQ(record.bytes, large);
}

TEST_F(PcapQueueTest, CutsWhatIsBeyondTheSnapLength) {
  open();
  ASSERT_TRUE(transmit(std::string(300'000, 'y')));
  queue_->flush();
  const Capture capture(path_);
  ASSERT_EQ(capture.records.size(), 1u);
  EXPECT_EQ(capture.records[0].captured, capture.snap_length);
  EXPECT_EQ(capture.records[0].original, 300'000u);
}

TEST_F(PcapQueueTest, WhatWasNotSentIsNotRecorded) {
  open();
  inner_->is_full = true;
  EXPECT_FALSE(transmit("refused"));
  queue_->flush();
  EXPECT_TRUE(Capture(path_).records.empty());
}

TEST_F(PcapQueueTest, AFileThatCannotBeMadeIsNamed) {
  const auto queue = PcapQueue::open(std::make_unique<FakeQueue>(), "/nonexistent/capture");
  ASSERT_FALSE(queue);
  EXPECT_NE(queue.error().message.find("/nonexistent/capture"), std::string::npos);
}

TEST_F(PcapQueueTest, AFullDiskFromTheStartIsNamed) {
  EXPECT_FALSE(PcapQueue::open(std::make_unique<FakeQueue>(), "/dev/full"));
}

// A size limit stands for a disk that fills up: the capture ends, the traffic does not.
TEST_F(PcapQueueTest, ADiskThatFillsUpEndsTheCaptureOnly) {
  open();
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit small = before;
  small.rlim_cur = 5000;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  for (int i = 0; i < 20; ++i) {
    EXPECT_TRUE(transmit(std::string(1000, 'z')));
    queue_->flush();
  }
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  EXPECT_TRUE(transmit("goes on"));
  queue_->flush();
  const Capture capture(path_);
  EXPECT_EQ(capture.records[0].bytes, std::string(1000, 'z'));
  EXPECT_LE(capture.records.size(), 5u);
}

}  // namespace
}  // namespace snp::device
