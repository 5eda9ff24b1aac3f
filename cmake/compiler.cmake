# Flags of every target. x86-64-v3 and never -march=native: a binary built on one node must run,
# and give the same bits, on another.
add_library(kiln_flags INTERFACE)
add_library(kiln::flags ALIAS kiln_flags)
target_compile_options(kiln_flags INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-march=x86-64-v3 -g1>
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wconversion -Wshadow -Wno-sign-conversion>)
# -O3 lengthens the build and gains nothing here: the loops that matter are in LibTorch or are small.
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -DNDEBUG")
# Contraction of a*b+c is left to explicit fma, so that all compilers give the same bits.
target_compile_options(kiln_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-ffp-contract=off>)
if(KILN_WERROR)
  target_compile_options(kiln_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Werror>)
endif()
if(KILN_SANITIZE)
  add_compile_options(-fsanitize=${KILN_SANITIZE} -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${KILN_SANITIZE})
endif()

find_program(KILN_CCACHE ccache)
if(KILN_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # Without this sloppiness ccache refuses every file that uses a precompiled header. It takes the
  # headers from the compiler's list of them: preprocessing would cost each file a second.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_DEPEND=1
      CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime ${KILN_CCACHE})
endif()
find_program(KILN_MOLD mold)
if(KILN_MOLD)
  add_link_options(-fuse-ld=mold)
endif()
