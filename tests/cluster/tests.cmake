# Several hosts, and a scheduler: each test makes its own, where it may.
foreach(test two_hosts slurm)
  add_test(NAME cluster_${test} COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/cluster/${test}.sh $<TARGET_FILE:kiln>)
  set_tests_properties(cluster_${test} PROPERTIES LABELS no_sanitizer SKIP_RETURN_CODE 77
    TIMEOUT 600 RUN_SERIAL ON)
endforeach()
set_tests_properties(cluster_slurm PROPERTIES LABELS "full;no_sanitizer")

# A fresh machine of each Debian: set-up, demo and quick tier, an hour or two of a small machine.
foreach(suite bookworm trixie)
  add_test(NAME cluster_fresh_${suite} COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/cluster/fresh_root.sh ${suite})
  set_tests_properties(cluster_fresh_${suite} PROPERTIES LABELS "full;no_sanitizer" SKIP_RETURN_CODE 77
    TIMEOUT 14400 RUN_SERIAL ON)
endforeach()
