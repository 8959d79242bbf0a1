# snp_root_test(netns/redis test/netns/redis_test.py [SECONDS 400] [ALONE] [WAITS] [ARGS ...])
#
# A Python test that makes network namespaces: label root. ALONE: it measures, nothing may run beside.
# WAITS: it mostly waits, and leaves half of a small machine to others. SECONDS: longer than its own
# waits (netlab.PATIENCE_S), which say what did not come.
find_package(Python3 REQUIRED COMPONENTS Interpreter)

function(snp_root_test name script)
  cmake_parse_arguments(ARG "ALONE;WAITS" "SECONDS" "ARGS" ${ARGN})
  if(NOT ARG_SECONDS)
    set(ARG_SECONDS 400)
  endif()
  set(processors 2)
  if(ARG_WAITS)
    set(processors 1)
  endif()
  add_test(NAME ${name} COMMAND Python3::Interpreter ${CMAKE_SOURCE_DIR}/${script} ${ARG_ARGS})
  set_tests_properties(${name} PROPERTIES LABELS root TIMEOUT ${ARG_SECONDS} PROCESSORS ${processors}
    ENVIRONMENT "SNP_BUILD=${CMAKE_BINARY_DIR};PYTHONPATH=${CMAKE_SOURCE_DIR}/test/support;PYTHONDONTWRITEBYTECODE=1")
  if(ARG_ALONE)
    set_tests_properties(${name} PROPERTIES RUN_SERIAL ON)
  endif()
endfunction()
