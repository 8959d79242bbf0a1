// Runs one scenario and prints its transcript: switch_scenarios NAME, or --list.
#include <csignal>
#include <cstdio>
#include <cstring>

#include <unistd.h>

#include "test/programs/scenario.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: switch_scenarios NAME | --list\n");
    return 2;
  }
  ::alarm(20);  // a scenario that hangs fails
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  for (const auto* family :
       {&snp::test::io_scenarios(), &snp::test::event_scenarios(), &snp::test::process_scenarios()})
    for (const auto& scenario : *family) {
      if (std::strcmp(argv[1], "--list") == 0) {
        std::printf("%s\n", scenario.name);
      } else if (std::strcmp(argv[1], scenario.name) == 0) {
        scenario.run();
        return 0;
      }
    }
  return std::strcmp(argv[1], "--list") == 0 ? 0 : 2;
}
