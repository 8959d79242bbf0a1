// Runs one scenario and prints its transcript: switch_scenarios NAME, or --list. As its peer, when
// it starts one: switch_scenarios peer ROLE PORT.
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <unistd.h>

#include "test/programs/scenario.h"

int main(int argc, char** argv) {
  if (argc == 4 && std::strcmp(argv[1], "peer") == 0) {
    ::alarm(150);
    return snp::test::play_peer(argv[2], static_cast<std::uint16_t>(std::atoi(argv[3])));
  }
  if (argc != 2) {
    std::fprintf(stderr, "usage: switch_scenarios NAME | --list\n");
    return 2;
  }
  ::alarm(120);  // a scenario that hangs fails; a busy machine is given time
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  for (const auto* family : {&snp::test::io_scenarios(), &snp::test::event_scenarios(),
                             &snp::test::process_scenarios(), &snp::test::local_scenarios()})
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
