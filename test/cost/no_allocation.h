// While one lives, an allocation ends the test program. One thread. Replaces operator new and
// delete of the whole program.
#pragma once

namespace snp::test {

class NoAllocation {
 public:
  // `who`: what the last words name.
  explicit NoAllocation(const char* who) noexcept;
  NoAllocation(const NoAllocation&) = delete;
  NoAllocation& operator=(const NoAllocation&) = delete;
  ~NoAllocation();
};

}  // namespace snp::test
