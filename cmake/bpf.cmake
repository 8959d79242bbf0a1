# snp_add_bpf(steer) compiles bpf/steer.bpf.c and makes its skeleton header "steer.skel.h",
# given to users through the target snp_bpf_steer.
find_program(SNP_BPF_CLANG clang REQUIRED)
find_program(SNP_BPFTOOL bpftool PATHS /usr/sbin REQUIRED)

function(snp_add_bpf name)
  set(source ${CMAKE_CURRENT_SOURCE_DIR}/${name}.bpf.c)
  set(object ${CMAKE_CURRENT_BINARY_DIR}/${name}.bpf.o)
  set(skeleton ${CMAKE_CURRENT_BINARY_DIR}/include/${name}.skel.h)
  file(MAKE_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/include)
  file(GLOB shared CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/shared/*.h)
  add_custom_command(OUTPUT ${object}
    COMMAND ${SNP_BPF_CLANG} -O2 -g -target bpf -D__TARGET_ARCH_x86 -Wall -Werror
            -I${CMAKE_CURRENT_SOURCE_DIR} -I/usr/include/x86_64-linux-gnu -c ${source} -o ${object}
    DEPENDS ${source} ${shared} VERBATIM)
  # The linter's analyzer follows calls into generated code, too.
  add_custom_command(OUTPUT ${skeleton}
    COMMAND ${CMAKE_COMMAND} -E echo "// NOLINTBEGIN" > ${skeleton}
    COMMAND ${SNP_BPFTOOL} gen skeleton ${object} name ${name}_bpf >> ${skeleton}
    COMMAND ${CMAKE_COMMAND} -E echo "// NOLINTEND" >> ${skeleton}
    DEPENDS ${object} VERBATIM)
  add_custom_target(snp_bpf_${name}_gen DEPENDS ${skeleton})
  add_library(snp_bpf_${name} INTERFACE)
  add_dependencies(snp_bpf_${name} snp_bpf_${name}_gen)
  target_include_directories(snp_bpf_${name} SYSTEM INTERFACE ${CMAKE_CURRENT_BINARY_DIR}/include)
endfunction()
