# Of the distribution. An installed Kiln brings this file along, and finds them where it is used.
find_package(Threads REQUIRED)
find_package(MPI REQUIRED COMPONENTS C)
find_package(HDF5 REQUIRED COMPONENTS C)
find_package(spdlog REQUIRED)
find_package(fmt REQUIRED)
find_package(JPEG REQUIRED)
find_package(PNG REQUIRED)
find_package(ZLIB REQUIRED)
find_package(ICU REQUIRED COMPONENTS uc i18n)
find_package(nlohmann_json REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)

add_library(kiln::hdf5 INTERFACE IMPORTED GLOBAL)
target_include_directories(kiln::hdf5 SYSTEM INTERFACE ${HDF5_C_INCLUDE_DIRS})
target_link_libraries(kiln::hdf5 INTERFACE ${HDF5_C_LIBRARIES})
# Without MPI's C++ bindings, which Open MPI's header would have unoptimised code link.
target_compile_definitions(MPI::MPI_C INTERFACE OMPI_SKIP_MPICXX)
