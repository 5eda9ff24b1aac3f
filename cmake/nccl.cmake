# KILN_HAS_NCCL is ON where CUDA is and nccl.h and a library of NCCL are found: the toolkit's or the
# system's header, and the library that LibTorch itself loads (two of them in one process would not
# do). Otherwise dist/nccl/no_nccl.cpp stands in.
set(KILN_HAS_NCCL OFF)
if(KILN_HAS_CUDA)
  find_path(KILN_NCCL_INCLUDE nccl.h HINTS ${KILN_TORCH}/../nvidia/nccl/include
            ${CUDAToolkit_INCLUDE_DIRS})
  find_library(KILN_NCCL_LIBRARY NAMES libnccl.so.2 nccl HINTS ${KILN_TORCH}/../nvidia/nccl/lib)
  if(KILN_NCCL_INCLUDE AND KILN_NCCL_LIBRARY)
    set(KILN_HAS_NCCL ON)
    add_library(kiln::nccl INTERFACE IMPORTED GLOBAL)
    target_include_directories(kiln::nccl SYSTEM INTERFACE ${KILN_NCCL_INCLUDE})
    target_link_libraries(kiln::nccl INTERFACE ${KILN_NCCL_LIBRARY} CUDA::cudart)
  endif()
endif()
message(STATUS "Kiln: NCCL ${KILN_HAS_NCCL} ${KILN_NCCL_LIBRARY}")
