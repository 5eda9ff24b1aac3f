# cmake --install build --prefix P
#   P/bin/kiln                      finds LibTorch, then runs the program
#   P/lib/kiln/kiln                 the program, and install_torch.sh, which puts LibTorch beside it
#   P/lib/libkiln_*.a               for find_package(kiln): P/lib/cmake/kiln
#   P/include/kiln/core/trainer.h   #include <kiln/core/trainer.h>
#   P/share/kiln                    recipes
# The prefix may be moved: no file in it names it.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(kiln_torch_version 2.11)  # launch/setup.sh installs it
configure_file(launch/run_installed.sh ${CMAKE_BINARY_DIR}/installed/kiln @ONLY)
install(PROGRAMS ${CMAKE_BINARY_DIR}/installed/kiln DESTINATION bin COMPONENT programs)
install(PROGRAMS launch/install_torch.sh DESTINATION lib/kiln COMPONENT programs)
install(PROGRAMS $<TARGET_FILE:kiln> DESTINATION lib/kiln COMPONENT programs)
install(DIRECTORY configs DESTINATION share/kiln COMPONENT programs FILES_MATCHING PATTERN *.toml)
install(FILES LICENSE README.md DESTINATION share/doc/kiln COMPONENT programs)
install(DIRECTORY docs/ DESTINATION share/doc/kiln COMPONENT programs PATTERN examples EXCLUDE)

# Headers include each other as "core/types.h"; another project may have a folder core of its own.
set(kiln_rooms core dist data models launch)
install(CODE "set(kiln_from \"${PROJECT_SOURCE_DIR}\")\nset(kiln_rooms \"${kiln_rooms}\")"
        COMPONENT development)
install(SCRIPT cmake/install_headers.cmake COMPONENT development)

list(TRANSFORM kiln_rooms PREPEND kiln_ OUTPUT_VARIABLE kiln_targets)
install(TARGETS ${kiln_targets} EXPORT kilnTargets ARCHIVE DESTINATION lib COMPONENT development
        INCLUDES DESTINATION include)
install(EXPORT kilnTargets NAMESPACE kiln:: DESTINATION lib/cmake/kiln COMPONENT development)
configure_package_config_file(cmake/kilnConfig.cmake.in ${CMAKE_BINARY_DIR}/installed/kilnConfig.cmake
                              INSTALL_DESTINATION lib/cmake/kiln)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/installed/kilnConfigVersion.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/installed/kilnConfig.cmake
              ${CMAKE_BINARY_DIR}/installed/kilnConfigVersion.cmake
              cmake/libraries.cmake cmake/torch.cmake
        DESTINATION lib/cmake/kiln COMPONENT development)
