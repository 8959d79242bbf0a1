#include "test/cost/no_allocation.h"

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <new>

namespace {

// NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables): operator new asks it
const char* forbidden_to = nullptr;  // null: nobody

void* allocate(std::size_t size, std::size_t alignment) {
  if (forbidden_to != nullptr) {
    std::fprintf(stderr, "%s allocated memory\n", forbidden_to);
    std::abort();
  }
  void* memory = std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(std::size_t size) {
  return allocate(size, alignof(std::max_align_t));
}

void* operator new(std::size_t size, std::align_val_t alignment) {
  return allocate(size, static_cast<std::size_t>(alignment));
}

void operator delete(void* memory) noexcept {
  std::free(memory);
}

void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}

void operator delete(void* memory, std::align_val_t) noexcept {
  std::free(memory);
}

void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  std::free(memory);
}

namespace snp::test {

NoAllocation::NoAllocation(const char* who) noexcept {
  forbidden_to = who;
}

NoAllocation::~NoAllocation() {
  forbidden_to = nullptr;
}

}  // namespace snp::test
