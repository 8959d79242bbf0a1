#include "snp/ipc/shared_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

namespace snp::ipc {
namespace {

Result<std::byte*> map_memory(int fd, std::size_t size, int protection) {
  void* memory = ::mmap(nullptr, size, protection, MAP_SHARED | MAP_NORESERVE, fd, 0);
  if (memory == MAP_FAILED) return fail_errno("cannot map shared memory");
  return static_cast<std::byte*>(memory);
}

}  // namespace

Result<> check_sealed(int fd, std::size_t size) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return fail_errno("cannot look at shared memory");
  const int seals = ::fcntl(fd, F_GET_SEALS);
  if (static_cast<std::size_t>(status.st_size) < size || seals < 0 || (seals & F_SEAL_SHRINK) == 0)
    return fail(Errc::kProtocol, "shared memory is too small or could shrink");
  return {};
}

SharedMemory::SharedMemory(SharedMemory&& other) noexcept
    : fd_(std::move(other.fd_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

SharedMemory& SharedMemory::operator=(SharedMemory&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

SharedMemory::~SharedMemory() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

Result<SharedMemory> SharedMemory::create(const char* name, std::size_t size) {
  SharedMemory memory;
  memory.fd_.reset(::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!memory.fd_.is_open()) return fail_errno("cannot make a memfd");
  if (::ftruncate(memory.fd(), static_cast<off_t>(size)) != 0)
    return fail_errno("cannot size a memfd");
  if (::fcntl(memory.fd(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0)
    return fail_errno("cannot seal a memfd");
  auto data = map_memory(memory.fd(), size, PROT_READ | PROT_WRITE);
  if (!data) return tl::unexpected(data.error());
  memory.data_ = *data;
  memory.size_ = size;
  return memory;
}

Result<SharedMemory> SharedMemory::map(UniqueFd fd, std::size_t size, bool writable) {
  if (auto good = check_sealed(fd.get(), size); !good) return tl::unexpected(good.error());
  auto data = map_memory(fd.get(), size, writable ? PROT_READ | PROT_WRITE : PROT_READ);
  if (!data) return tl::unexpected(data.error());
  SharedMemory memory;
  memory.fd_ = std::move(fd);
  memory.data_ = *data;
  memory.size_ = size;
  return memory;
}

Result<> SharedMemory::seal_for_readers() {
  if (::fcntl(fd_.get(), F_ADD_SEALS, F_SEAL_FUTURE_WRITE) != 0)
    return fail_errno("cannot seal a memfd for readers");
  return {};
}

}  // namespace snp::ipc
