kiln_test(launch/report_test.cpp DEPS launch LIBS kiln::test_program)
kiln_test(launch/supervisor_test.cpp DEPS launch LIBS kiln::test_program)

# Tests that train with the real binary.
add_library(kiln_test_run STATIC launch/run_fixture.cpp)
target_link_libraries(kiln_test_run PUBLIC kiln::test_program fmt::fmt)
add_library(kiln::test_run ALIAS kiln_test_run)
foreach(test bad_input reproducible resume same_work signals)
  kiln_test(launch/${test}_test.cpp LIBS kiln::test_run GTest::gmock TIMEOUT 400 LABELS no_sanitizer)
  add_dependencies(launch_${test}_test kiln)
  set_tests_properties(launch_${test}_test PROPERTIES PROCESSORS 2)
endforeach()
