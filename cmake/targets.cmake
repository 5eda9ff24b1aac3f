# kiln_library(NAME core [WITHOUT no_gpu.cpp] [CUDA_SOURCES c.cu] DEPS other LIBS ext)
#   every .cpp in the folder and below, but for those named, and those of another processor: what has
#   instructions of one in it is NAME_x86.cpp, and NAME_portable.cpp does the same without
# kiln_program(kiln SOURCES main.cpp DEPS launch)
# kiln_test(dist/communicator_test.cpp DEPS dist [RANKS 1 2 4] [LABELS slow] [TIMEOUT 60])
#   one GoogleTest program; RANKS registers it once per rank count under mpirun
# kiln_test_library(toy_training SOURCES support/toy_training.cpp LIBS kiln::core)
#   what several tests share
# kiln_vectorise(loops.cpp)
#   loops that errno and the order of -O2's passes would keep from being vectorised

# Headers that take long are compiled once for all sources, and once for all tests. An include that
# is missing in a source hides behind them: KILN_PCH=OFF finds it.
function(kiln_precompile name)
  cmake_parse_arguments(ARG "" "" "HEADERS;OPTIONS;LIBS" ${ARGN})
  file(WRITE ${CMAKE_BINARY_DIR}/pch_anchor.cpp "")
  add_library(${name} OBJECT ${CMAKE_BINARY_DIR}/pch_anchor.cpp)
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR})
  target_compile_options(${name} PRIVATE ${ARG_OPTIONS} ${kiln_pch_options})
  target_link_libraries(${name} PRIVATE kiln::torch fmt::fmt nlohmann_json::nlohmann_json ${ARG_LIBS}
                        kiln::flags)
  target_precompile_headers(${name} PRIVATE ${PROJECT_SOURCE_DIR}/core/torch.h <fmt/format.h>
                            <nlohmann/json.hpp> ${ARG_HEADERS})
endfunction()

function(kiln_use_precompiled target pch)
  target_link_libraries(${target} PUBLIC kiln::torch)
  if(KILN_PCH)
    target_precompile_headers(${target} REUSE_FROM ${pch})
    target_compile_options(${target} PRIVATE ${kiln_pch_options})
  endif()
endfunction()

set(kiln_test_environment OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1)
# Test code need not be fast; unoptimised it compiles in half the time.
set(kiln_test_options $<$<CONFIG:Release>:-O0>)
# ccache wants precompiled headers without dates (clang), or their sources' text (g++).
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  set(kiln_pch_options "$<$<COMPILE_LANGUAGE:CXX>:SHELL:-Xclang -fno-pch-timestamp>")
else()
  set(kiln_pch_options $<$<COMPILE_LANGUAGE:CXX>:-fpch-preprocess>)
endif()
if(KILN_PCH)
  kiln_precompile(kiln_pch)
endif()

function(kiln_library)
  cmake_parse_arguments(ARG "" "NAME" "WITHOUT;CUDA_SOURCES;DEPS;LIBS" ${ARGN})
  set(target kiln_${ARG_NAME})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS RELATIVE ${CMAKE_CURRENT_SOURCE_DIR} *.cpp)
  if(ARG_WITHOUT)
    list(REMOVE_ITEM sources ${ARG_WITHOUT})
  endif()
  list(FILTER sources EXCLUDE REGEX "_${kiln_other_processor}\\.cpp$")
  if(NOT KILN_HAS_CUDA)
    set(ARG_CUDA_SOURCES "")
  endif()
  add_library(${target} STATIC ${sources} ${ARG_CUDA_SOURCES})
  add_library(kiln::${ARG_NAME} ALIAS ${target})
  # What an installed library asks of its users: a language, not our flags (cmake/install.cmake).
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${ARG_NAME})
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_include_directories(${target} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>)
  list(TRANSFORM ARG_DEPS PREPEND kiln::)
  target_link_libraries(${target} PUBLIC ${ARG_DEPS} ${ARG_LIBS} $<BUILD_INTERFACE:kiln::flags>)
  kiln_use_precompiled(${target} kiln_pch)
  if(ARG_CUDA_SOURCES)
    set_source_files_properties(${ARG_CUDA_SOURCES} PROPERTIES SKIP_PRECOMPILE_HEADERS ON)
    target_compile_options(${target} PRIVATE
      $<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr -Werror=all-warnings
      -Xcompiler=-Wall,-Wextra,-Werror>)
    # For linking only: the sources of whoever uses the library need no header of CUDA.
    target_link_libraries(${target} PUBLIC $<LINK_ONLY:CUDA::cudart>)
  endif()
endfunction()

function(kiln_vectorise)
  set_source_files_properties(${ARGN} PROPERTIES COMPILE_OPTIONS "-O3;-fno-math-errno"
                              SKIP_PRECOMPILE_HEADERS ON)
endfunction()

function(kiln_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  list(TRANSFORM ARG_DEPS PREPEND kiln::)
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} kiln::flags)
  kiln_use_precompiled(${name} kiln_pch)
endfunction()

function(kiln_test_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBS" ${ARGN})
  add_library(kiln_${name} STATIC ${ARG_SOURCES})
  add_library(kiln::${name} ALIAS kiln_${name})
  target_include_directories(kiln_${name} PUBLIC ${PROJECT_SOURCE_DIR})
  target_compile_options(kiln_${name} PRIVATE ${kiln_test_options})
  target_link_libraries(kiln_${name} PUBLIC ${ARG_LIBS} GTest::gtest GTest::gmock kiln::flags)
  kiln_use_precompiled(kiln_${name} kiln_test_pch)
endfunction()

function(kiln_test source)
  cmake_parse_arguments(ARG "" "TIMEOUT" "DEPS;RANKS;LABELS;LIBS" ${ARGN})
  string(REGEX REPLACE "\\.cpp$" "" name ${source})
  string(REPLACE "/" "_" name ${name})
  set(main kiln::test_main)
  if(ARG_RANKS)
    set(main kiln::mpi_test_main)
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  add_executable(${name} ${source})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  list(TRANSFORM ARG_DEPS PREPEND kiln::)
  target_compile_options(${name} PRIVATE ${kiln_test_options})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} ${ARG_LIBS} ${main} kiln::flags)
  target_compile_definitions(${name} PRIVATE KILN_BIN_DIR="${CMAKE_RUNTIME_OUTPUT_DIRECTORY}"
                             KILN_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  kiln_use_precompiled(${name} kiln_test_pch)
  if(ARG_RANKS)
    foreach(ranks IN LISTS ARG_RANKS)
      add_test(NAME ${name}.np${ranks} COMMAND ${MPIEXEC_EXECUTABLE} --oversubscribe --bind-to none
               -np ${ranks} $<TARGET_FILE:${name}>)
      set_tests_properties(${name}.np${ranks} PROPERTIES TIMEOUT ${ARG_TIMEOUT} PROCESSORS ${ranks}
        ENVIRONMENT "${kiln_test_environment};OMPI_MCA_btl_vader_single_copy_mechanism=none;OMPI_MCA_smsc=^cma"
        LABELS "${ARG_LABELS}" SKIP_RETURN_CODE 77)
    endforeach()
  else()
    add_test(NAME ${name} COMMAND ${name})
    set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "${ARG_LABELS}"
      ENVIRONMENT "${kiln_test_environment}" SKIP_RETURN_CODE 77)
  endif()
endfunction()
