# Compiler, warnings, sanitizers: the same for every folder. Options choose folders, never meanings.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_VERIFY_INTERFACE_HEADER_SETS ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_ARCHIVE_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib)
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)

set(SNP_SANITIZE "" CACHE STRING "sanitizers, separated by semicolons")
option(SNP_FUZZERS "build the libFuzzer targets (clang)" OFF)
option(SNP_BENCHMARKS "build the micro benchmarks" OFF)
option(SNP_FRAME_POINTERS "keep frame pointers for profiling" OFF)

find_program(SNP_CCACHE ccache)
if(SNP_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${SNP_CCACHE})
  set(CMAKE_C_COMPILER_LAUNCHER ${SNP_CCACHE})
endif()

# What every target of ours is compiled with. The switch takes the warnings but never a sanitizer:
# it lives in other people's processes.
add_library(snp_warnings INTERFACE)
target_compile_options(snp_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wold-style-cast
  -Wnon-virtual-dtor -Woverloaded-virtual -Wformat=2 -Werror)
target_include_directories(snp_warnings INTERFACE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR})

add_library(snp_options INTERFACE)
target_link_libraries(snp_options INTERFACE snp_warnings)
if(SNP_SANITIZE)
  list(JOIN SNP_SANITIZE "," sanitizers)
  target_compile_options(snp_options INTERFACE -fsanitize=${sanitizers} -fno-omit-frame-pointer)
  target_link_options(snp_options INTERFACE -fsanitize=${sanitizers})
endif()
if("thread" IN_LIST SNP_SANITIZE)
  # It does not model fences. Where we use one, everything it orders is atomic: it has nothing to say.
  target_compile_options(snp_options INTERFACE -Wno-tsan)
endif()
if(SNP_FUZZERS)
  target_compile_options(snp_options INTERFACE -fsanitize=fuzzer-no-link)
endif()
if(SNP_FRAME_POINTERS)
  target_compile_options(snp_options INTERFACE -fno-omit-frame-pointer)
endif()
