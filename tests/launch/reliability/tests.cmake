kiln_test(launch/reliability/supervisor_test.cpp DEPS launch LIBS kiln::test_program)

# What docs/reliability.md promises, held against the real binary.
foreach(test autopsy_run doctor replay reproducible reproducible_families restart resume same_work
        signal_phases signals two_phase)
  kiln_test(launch/reliability/${test}_test.cpp LIBS kiln::test_run TIMEOUT 400 LABELS no_sanitizer)
  add_dependencies(launch_reliability_${test}_test kiln)
  set_tests_properties(launch_reliability_${test}_test PROPERTIES PROCESSORS 2)
endforeach()
set_tests_properties(launch_reliability_signal_phases_test PROPERTIES TIMEOUT 900)
target_link_libraries(launch_reliability_replay_test PRIVATE kiln::hdf5)

# System calls that fail or take long.
add_library(kiln_failing_calls SHARED support/failing_calls.c)
target_link_libraries(kiln_failing_calls PRIVATE ${CMAKE_DL_LIBS})
foreach(test autopsy_run doctor signal_phases)
  target_compile_definitions(launch_reliability_${test}_test PRIVATE
    KILN_FAILING_CALLS="$<TARGET_FILE:kiln_failing_calls>")
  add_dependencies(launch_reliability_${test}_test kiln_failing_calls)
endforeach()

# Every number of ranks, and ten signals per phase, take minutes.
function(kiln_long_run name program variable)
  add_test(NAME ${name} COMMAND ${program})
  set_tests_properties(${name} PROPERTIES LABELS "full;no_sanitizer" TIMEOUT 1800 PROCESSORS 2
    ENVIRONMENT "${variable};OMPI_ALLOW_RUN_AS_ROOT=1;OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1")
endfunction()
set_tests_properties(launch_reliability_reproducible_families_test PROPERTIES
  ENVIRONMENT "GTEST_FILTER=Quick*;OMPI_ALLOW_RUN_AS_ROOT=1;OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1")
set_tests_properties(launch_reliability_signal_phases_test PROPERTIES ENVIRONMENT
  "GTEST_FILTER=*/StartUp:*/Step:*/Saving;OMPI_ALLOW_RUN_AS_ROOT=1;OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1")
kiln_long_run(launch_reproducible_families_full launch_reliability_reproducible_families_test "GTEST_FILTER=Full*")
kiln_long_run(launch_signal_phases_full launch_reliability_signal_phases_test "KILN_SIGNAL_REPEATS=10")
