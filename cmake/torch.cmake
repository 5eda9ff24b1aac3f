# LibTorch as imported targets. find_package(Torch) is not used: for a CUDA build of LibTorch it
# demands a CUDA toolkit, which a CPU machine does not have.
#
# KILN_TORCH (cache variable or environment) names a LibTorch: the folder that holds include/ and
# lib/, which is a libtorch archive or site-packages/torch of a Python installation. Else it is looked
# for in kiln_torch_places. An installed Kiln brings this file along (cmake/kilnConfig.cmake.in).
if(NOT KILN_TORCH AND DEFINED ENV{KILN_TORCH})
  set(KILN_TORCH $ENV{KILN_TORCH})
endif()
if(NOT DEFINED kiln_torch_places)
  set(kiln_torch_places ${CMAKE_SOURCE_DIR}/.deps/torch)
endif()
foreach(place IN LISTS kiln_torch_places)
  file(GLOB kiln_torch_found ${place}/lib/python3*/site-packages/torch)
  foreach(folder IN LISTS kiln_torch_found place)
    if(NOT KILN_TORCH AND EXISTS ${folder}/include/ATen/ATen.h)
      set(KILN_TORCH ${folder})
    endif()
  endforeach()
endforeach()
if(NOT EXISTS ${KILN_TORCH}/include/ATen/ATen.h)
  message(FATAL_ERROR "LibTorch not found in '${KILN_TORCH}'. "
    "Run launch/setup.sh, or name a LibTorch: cmake -DKILN_TORCH=/path/to/torch (the folder that "
    "holds include/ and lib/)")
endif()
set(KILN_TORCH ${KILN_TORCH} CACHE PATH "LibTorch: the folder holding include/ and lib/" FORCE)
message(STATUS "Kiln: LibTorch ${KILN_TORCH}")

function(kiln_import_torch name)
  add_library(torch::${name} SHARED IMPORTED GLOBAL)
  set_target_properties(torch::${name} PROPERTIES
    IMPORTED_LOCATION ${KILN_TORCH}/lib/lib${name}.so IMPORTED_NO_SONAME OFF
    IMPORTED_SONAME lib${name}.so)
endfunction()
kiln_import_torch(c10)
kiln_import_torch(torch_cpu)
set(kiln_torch_libs torch::torch_cpu torch::c10)
# The OpenMP runtime whose threads LibTorch computes on; core/device/in_parallel.cpp shares them.
file(GLOB kiln_openmp ${KILN_TORCH}/lib/libgomp*.so* ${KILN_TORCH}/lib/libiomp5.so)
if(kiln_openmp)
  list(GET kiln_openmp 0 kiln_openmp)
else()
  set(kiln_openmp gomp)
endif()
list(APPEND kiln_torch_libs ${kiln_openmp})
set(kiln_torch_rpath ${KILN_TORCH}/lib)

if(KILN_HAS_CUDA AND EXISTS ${KILN_TORCH}/lib/libtorch_cuda.so)
  kiln_import_torch(torch_cuda)
  kiln_import_torch(c10_cuda)
  # Nothing names a symbol of torch_cuda when only ATen operators are called; the linker must keep it.
  list(APPEND kiln_torch_libs -Wl,--no-as-needed torch::torch_cuda torch::c10_cuda -Wl,--as-needed)
endif()
file(GLOB kiln_nvidia_libs ${KILN_TORCH}/../nvidia/*/lib)
list(APPEND kiln_torch_rpath ${kiln_nvidia_libs})

# The wheel bundles headers of another fmt than the one that is linked; ours must be found first.
get_target_property(kiln_fmt_include fmt::fmt INTERFACE_INCLUDE_DIRECTORIES)
file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/include_first)
file(CREATE_LINK ${kiln_fmt_include}/fmt ${CMAKE_BINARY_DIR}/include_first/fmt SYMBOLIC)

# Imported, so that what is installed names it and does not carry it.
add_library(kiln::torch INTERFACE IMPORTED GLOBAL)
target_include_directories(kiln::torch SYSTEM INTERFACE ${CMAKE_BINARY_DIR}/include_first)
target_include_directories(kiln::torch SYSTEM INTERFACE
  ${KILN_TORCH}/include ${KILN_TORCH}/include/torch/csrc/api/include)
target_link_libraries(kiln::torch INTERFACE ${kiln_torch_libs})
# The wheel's libraries find their own CUDA dependencies by rpath; ours need not name them.
target_link_options(kiln::torch INTERFACE -Wl,--allow-shlib-undefined)
list(APPEND CMAKE_BUILD_RPATH ${kiln_torch_rpath})

# clang from 18 on gives templates with constraints (const_data_ptr<float> is one) other names than
# the compiler that built LibTorch, and finds none of them there. It can use its older names. Whether
# it has to is tried: the answer lies in the pair of compiler and LibTorch, not in a version.
function(kiln_try_torch_names result)  # [flags...]
  set(source ${CMAKE_BINARY_DIR}/torch_names.cpp)
  file(WRITE ${source} "#include <ATen/core/TensorBase.h>
const float* data(const at::TensorBase& tensor) { return tensor.const_data_ptr<float>(); }
int main(int argc, char**) { return argc > 9 && data(at::TensorBase()) != nullptr; }\n")
  try_compile(KILN_TORCH_LINKS ${CMAKE_BINARY_DIR}/torch_names ${source}
    COMPILE_DEFINITIONS ${ARGN}
    CMAKE_FLAGS "-DINCLUDE_DIRECTORIES=${CMAKE_BINARY_DIR}/include_first;${KILN_TORCH}/include"
    LINK_OPTIONS -Wl,--allow-shlib-undefined
    LINK_LIBRARIES ${KILN_TORCH}/lib/libtorch_cpu.so ${KILN_TORCH}/lib/libc10.so
    CXX_STANDARD 20 CXX_STANDARD_REQUIRED ON
    OUTPUT_VARIABLE output)
  set(${result} ${KILN_TORCH_LINKS} PARENT_SCOPE)
  set(kiln_torch_says "${output}" PARENT_SCOPE)
endfunction()

set(kiln_torch_pair "${CMAKE_CXX_COMPILER} ${CMAKE_CXX_COMPILER_VERSION} ${KILN_TORCH}")
if(NOT "${KILN_TORCH_NAMES_OF}" STREQUAL "${kiln_torch_pair}")
  set(flag "")
  kiln_try_torch_names(links)
  if(NOT links)
    set(first "${kiln_torch_says}")
    set(flag -fclang-abi-compat=17)
    kiln_try_torch_names(links ${flag})
    if(NOT links)
      message(FATAL_ERROR "${CMAKE_CXX_COMPILER} cannot link a program against the LibTorch in "
        "${KILN_TORCH}. It says:\n${first}")
    endif()
  endif()
  set(KILN_TORCH_NAMES "${flag}" CACHE INTERNAL "Flag by which LibTorch's names are found")
  set(KILN_TORCH_NAMES_OF "${kiln_torch_pair}" CACHE INTERNAL "What KILN_TORCH_NAMES was tried with")
endif()
if(KILN_TORCH_NAMES)
  message(STATUS "Kiln: LibTorch's names need ${KILN_TORCH_NAMES}")
  target_compile_options(kiln::torch INTERFACE $<$<COMPILE_LANGUAGE:CXX>:${KILN_TORCH_NAMES}>)
endif()
