# KILN_HAS_CUBLASLT is ON where CUDA is, the toolkit has cuBLAS's headers, and the library that
# LibTorch loads is found (two of them in one process would not do). Otherwise
# models/kernels/device/no_device_matmul.cpp stands in.
set(KILN_HAS_CUBLASLT OFF)
if(KILN_HAS_CUDA AND EXISTS ${KILN_TORCH}/lib/libc10_cuda.so)
  # LibTorch's header of handles includes cuSOLVER's as well.
  find_path(KILN_CUBLASLT_INCLUDE cublasLt.h PATHS ${CUDAToolkit_INCLUDE_DIRS} NO_DEFAULT_PATH)
  find_path(KILN_CUSOLVER_INCLUDE cusolverDn.h PATHS ${CUDAToolkit_INCLUDE_DIRS} NO_DEFAULT_PATH)
  file(GLOB kiln_cublaslt_folders ${KILN_TORCH}/../nvidia/*/lib)
  find_library(KILN_CUBLASLT_LIBRARY NAMES libcublasLt.so.${CUDAToolkit_VERSION_MAJOR} cublasLt
               HINTS ${kiln_cublaslt_folders} ${KILN_TORCH}/lib ${CUDAToolkit_LIBRARY_DIR})
  if(KILN_CUBLASLT_INCLUDE AND KILN_CUSOLVER_INCLUDE AND KILN_CUBLASLT_LIBRARY)
    set(KILN_HAS_CUBLASLT ON)
    add_library(kiln::cublaslt INTERFACE IMPORTED GLOBAL)
    # Past CMake, which would want its folder before cudart's: it is in the build's RPATH already.
    target_link_libraries(kiln::cublaslt INTERFACE -Wl,${KILN_CUBLASLT_LIBRARY})
  endif()
endif()
message(STATUS "Kiln: cuBLASLt ${KILN_HAS_CUBLASLT} ${KILN_CUBLASLT_LIBRARY}")
