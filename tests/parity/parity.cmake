# build/bin/parity: one file of cases per family (parity/families.h).
file(GLOB parity_sources CONFIGURE_DEPENDS RELATIVE ${CMAKE_CURRENT_SOURCE_DIR}
     parity/*.cpp parity/cases/*.cpp parity/cases/*/*.cpp)
kiln_program(parity SOURCES ${parity_sources} DEPS data models core)
