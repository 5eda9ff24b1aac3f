# Flags of every target. The processor is one of some years ago, never -march=native: a binary built
# on one node must run, and give the same bits, on another.
option(KILN_PORTABLE "Build what other processors get in place of x86-64's own instructions" OFF)
set(kiln_processor portable)
set(kiln_other_processor x86)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
  set(kiln_march x86-64-v3)  # Haswell, Zen
  if(NOT KILN_PORTABLE)
    set(kiln_processor x86)
    set(kiln_other_processor portable)
  endif()
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
  set(kiln_march armv8.2-a)  # Graviton 2, Ampere Altra, Grace
else()
  message(FATAL_ERROR "Kiln knows x86-64 and aarch64, not ${CMAKE_SYSTEM_PROCESSOR}")
endif()
add_library(kiln_flags INTERFACE)
add_library(kiln::flags ALIAS kiln_flags)
target_compile_options(kiln_flags INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-march=${kiln_march} -g1>
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wconversion -Wshadow -Wno-sign-conversion>)
# Members that a designated initialiser leaves out have their defaults: that is how options are given.
include(CheckCXXCompilerFlag)
check_cxx_compiler_flag(-Wmissing-designated-field-initializers KILN_WARNS_OF_DEFAULTS)  # clang 19
if(KILN_WARNS_OF_DEFAULTS)
  target_compile_options(kiln_flags INTERFACE
    $<$<COMPILE_LANGUAGE:CXX>:-Wno-missing-designated-field-initializers>)
endif()
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
if(KILN_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
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
