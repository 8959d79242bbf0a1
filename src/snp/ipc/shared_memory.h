// A memfd and its mapping.
#pragma once

#include <cstddef>

#include "snp/base/result.h"
#include "snp/base/unique_fd.h"

namespace snp::ipc {

// What came from another process has at least this size and cannot shrink under a mapping.
Result<> check_sealed(int fd, std::size_t size);

class SharedMemory {
 public:
  SharedMemory() = default;
  SharedMemory(SharedMemory&& other) noexcept;
  SharedMemory& operator=(SharedMemory&& other) noexcept;
  ~SharedMemory();

  // A new memfd of fixed size (sealed against shrinking and growing), sparse, mapped read-write.
  static Result<SharedMemory> create(const char* name, std::size_t size);
  // Maps what another process made. Fails when the file is smaller than `size` or could shrink.
  static Result<SharedMemory> map(UniqueFd fd, std::size_t size, bool writable);

  // After this nobody can map the memory writable; our own mapping stays as it is
  // (F_SEAL_FUTURE_WRITE).
  Result<> seal_for_readers();

  [[nodiscard]] std::byte* data() const noexcept { return data_; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }

  template <class T>
  [[nodiscard]] T& at(std::size_t offset) const noexcept {
    return *reinterpret_cast<T*>(data_ + offset);
  }

 private:
  UniqueFd fd_;
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace snp::ipc
