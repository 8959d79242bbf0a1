#include "snp/device/pcap_queue.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

namespace snp::device {
namespace {

// draft-ietf-opsawg-pcap 4 and 5.
constexpr std::uint32_t kMagicNanoseconds = 0xa1b23c4d;
constexpr std::uint32_t kLinkTypeEthernet = 1;
constexpr std::uint32_t kSnapLength = 128 * 1024;
constexpr std::size_t kBufferBytes = 512 * 1024;

struct FileHeader {
  std::uint32_t magic = kMagicNanoseconds;
  std::uint16_t version_major = 2, version_minor = 4;
  std::uint32_t reserved[2] = {};
  std::uint32_t snap_length = kSnapLength;
  std::uint32_t link_type = kLinkTypeEthernet;
};
static_assert(sizeof(FileHeader) == 24);

struct RecordHeader {
  std::uint32_t seconds = 0, nanoseconds = 0;
  std::uint32_t captured = 0, original = 0;
};
static_assert(sizeof(RecordHeader) == 16);

class CaptureDevice final : public PacketDevice {
 public:
  CaptureDevice(std::unique_ptr<PacketDevice> inner, std::string path)
      : inner_(std::move(inner)), path_(std::move(path)) {}
  [[nodiscard]] const DeviceCaps& caps() const noexcept override { return inner_->caps(); }
  [[nodiscard]] std::string_view name() const noexcept override { return inner_->name(); }
  [[nodiscard]] std::uint32_t ifindex() const noexcept override { return inner_->ifindex(); }
  Result<std::unique_ptr<PacketQueue>> open_queue(std::uint32_t queue) override {
    auto opened = inner_->open_queue(queue);
    if (!opened) return opened;
    auto captured = PcapQueue::open(std::move(*opened), path_ + "." + std::to_string(queue));
    if (!captured) return tl::unexpected(captured.error());
    return std::unique_ptr<PacketQueue>(std::move(*captured));
  }

 private:
  std::unique_ptr<PacketDevice> inner_;
  std::string path_;
};

}  // namespace

PcapQueue::PcapQueue(std::unique_ptr<PacketQueue> inner, UniqueFd file)
    : inner_(std::move(inner)), file_(std::move(file)) {
  buffer_.reserve(kBufferBytes);
}

PcapQueue::~PcapQueue() {
  write_out();
}

Result<std::unique_ptr<PcapQueue>> PcapQueue::open(std::unique_ptr<PacketQueue> inner,
                                                   const std::string& path) {
  UniqueFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file.is_open()) return fail_errno("cannot write a capture to " + path);
  const FileHeader header;
  if (::write(file.get(), &header, sizeof(header)) != ssize_t{sizeof(header)})
    return fail_errno("cannot write a capture to " + path);
  return std::unique_ptr<PcapQueue>(new PcapQueue(std::move(inner), std::move(file)));
}

std::size_t PcapQueue::receive(std::span<RxFrame> out) noexcept {
  const std::size_t count = inner_->receive(out);
  for (const RxFrame& frame : out.first(count))
    record({&frame.bytes, 1});
  return count;
}

bool PcapQueue::transmit(const TxFrame& frame) noexcept {
  const bool is_sent = inner_->transmit(frame);
  const std::array<std::span<const std::byte>, 3> pieces = {frame.headers, frame.payload[0],
                                                            frame.payload[1]};
  if (is_sent) record(pieces);
  return is_sent;
}

void PcapQueue::flush() noexcept {
  inner_->flush();
  write_out();
}

void PcapQueue::record(std::span<const std::span<const std::byte>> pieces) noexcept {
  if (!file_.is_open()) return;
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  std::size_t length = 0;
  for (const auto& piece : pieces)
    length += piece.size();
  std::size_t left = std::min<std::size_t>(length, kSnapLength);
  const RecordHeader header = {
      static_cast<std::uint32_t>(now.tv_sec), static_cast<std::uint32_t>(now.tv_nsec),
      static_cast<std::uint32_t>(left), static_cast<std::uint32_t>(length)};
  if (buffer_.size() + sizeof(header) + left > kBufferBytes) write_out();
  const auto append = [this](std::span<const std::byte> bytes) {
    buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
  };
  append(std::as_bytes(std::span(&header, 1)));
  for (const auto& piece : pieces) {
    const std::size_t taken = std::min(left, piece.size());
    append(piece.first(taken));
    left -= taken;
  }
}

void PcapQueue::write_out() noexcept {
  std::span<const std::byte> rest = buffer_;
  while (!rest.empty() && file_.is_open()) {
    const ssize_t written = ::write(file_.get(), rest.data(), rest.size());
    if (written > 0) {
      rest = rest.subspan(static_cast<std::size_t>(written));
    } else if (errno != EINTR) {
      file_.reset();
    }
  }
  buffer_.clear();
}

std::unique_ptr<PacketDevice> wrap_with_capture(std::unique_ptr<PacketDevice> inner,
                                                std::string path) {
  return std::make_unique<CaptureDevice>(std::move(inner), std::move(path));
}

}  // namespace snp::device
