# Several hosts, and a scheduler: each test makes its own, where it may.
foreach(test two_hosts slurm)
  add_test(NAME cluster_${test} COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/cluster/${test}.sh $<TARGET_FILE:kiln>)
  set_tests_properties(cluster_${test} PROPERTIES LABELS no_sanitizer SKIP_RETURN_CODE 77
    TIMEOUT 600 RUN_SERIAL ON)
endforeach()
set_tests_properties(cluster_slurm PROPERTIES LABELS "full;no_sanitizer")
