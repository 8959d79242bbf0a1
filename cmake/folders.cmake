# One library per folder; its link line is its row of the dependency rule.
#
#   snp_folder(tcp USES base wire stats state [LIBS fmt::fmt] [TEST_LIBS ...] [TSAN])
#
# makes snp::tcp from tcp/**/*.cpp, checks that each header compiles alone, and makes snp_tcp_test
# (label unit) from tcp/**/*_test.cpp, and snp_tcp_root_test (label root: privileges, namespaces) from
# tcp/**/*_root_test.cpp. A folder without sources is a header-only library. With TSAN its unit tests
# also run under ThreadSanitizer (preset tsan, target snp_tsan_tests). tcp/NAME_bench.cpp becomes
# NAME_bench in the preset bench.
find_package(GTest REQUIRED)
include(GoogleTest)

# What `make test` builds for its sanitized runs; the root tests run on the release build only.
add_custom_target(snp_unit_tests)
add_custom_target(snp_tsan_tests)

function(snp_folder name)
  cmake_parse_arguments(ARG "TSAN" "" "USES;LIBS;TEST_LIBS" ${ARGN})
  set(dir ${CMAKE_CURRENT_SOURCE_DIR}/${name})
  string(REPLACE "/" "_" target snp_${name})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${dir}/*.cpp)
  file(GLOB_RECURSE headers CONFIGURE_DEPENDS ${dir}/*.h)
  # Folders of their own inside of others: drivers, backends, and what needs DPDK.
  foreach(inner device/drivers rss/backends netdma/dmadev)
    if(NOT name MATCHES "^${inner}")
      list(FILTER sources EXCLUDE REGEX "/${inner}/")
      list(FILTER headers EXCLUDE REGEX "/${inner}/")
    endif()
  endforeach()
  set(tests ${sources})
  list(FILTER tests INCLUDE REGEX "_test\\.cpp$")
  list(FILTER sources EXCLUDE REGEX "_test\\.cpp$|_main\\.cpp$|_bench\\.cpp$")

  set(links snp_options ${ARG_LIBS})
  foreach(used ${ARG_USES})
    string(REPLACE "/" "_" used ${used})
    list(APPEND links snp_${used})
  endforeach()

  if(sources)
    add_library(${target} STATIC ${sources})
    target_link_libraries(${target} PUBLIC ${links})
    target_sources(${target} PUBLIC FILE_SET HEADERS BASE_DIRS ${CMAKE_SOURCE_DIR}/src FILES ${headers})
  else()
    add_library(${target} INTERFACE)
    target_link_libraries(${target} INTERFACE ${links})
    target_sources(${target} INTERFACE FILE_SET HEADERS BASE_DIRS ${CMAKE_SOURCE_DIR}/src FILES ${headers})
  endif()

  if(SNP_BENCHMARKS)
    find_package(benchmark REQUIRED)
    file(GLOB benches CONFIGURE_DEPENDS ${dir}/*_bench.cpp)
    foreach(bench ${benches})
      get_filename_component(program ${bench} NAME_WE)
      add_executable(${program} ${bench})
      target_link_libraries(${program} PRIVATE ${target} ${ARG_TEST_LIBS} benchmark::benchmark)
    endforeach()
  endif()

  set(root_tests ${tests})
  list(FILTER root_tests INCLUDE REGEX "_root_test\\.cpp$")
  list(FILTER tests EXCLUDE REGEX "_root_test\\.cpp$")
  foreach(kind unit root)
    set(files ${tests})
    set(program ${target}_test)
    if(kind STREQUAL "root")
      set(files ${root_tests})
      set(program ${target}_root_test)
    endif()
    if(files AND BUILD_TESTING AND NOT SNP_FUZZERS)
      add_executable(${program} ${files})
      target_link_libraries(${program} PRIVATE ${target} ${ARG_TEST_LIBS} GTest::gmock GTest::gtest_main)
      if(kind STREQUAL "unit")
        add_dependencies(snp_unit_tests ${program})
      endif()
      if(ARG_TSAN AND kind STREQUAL "unit")
        add_dependencies(snp_tsan_tests ${program})
      endif()
      gtest_discover_tests(${program} TEST_PREFIX ${name}/ DISCOVERY_TIMEOUT 60
                           PROPERTIES LABELS ${kind} TIMEOUT 120)
    endif()
  endforeach()
endfunction()
