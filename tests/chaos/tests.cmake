# Random faults on the real binary: a few rounds in the quick tier, 25 in the full one.
kiln_test(chaos/chaos_test.cpp LIBS kiln::test_run TIMEOUT 300 LABELS no_sanitizer)
add_dependencies(chaos_chaos_test kiln)
set_tests_properties(chaos_chaos_test PROPERTIES PROCESSORS 2)
add_test(NAME chaos_25_rounds COMMAND chaos_chaos_test)
set_tests_properties(chaos_25_rounds PROPERTIES LABELS "full;no_sanitizer" TIMEOUT 1800 PROCESSORS 2
  ENVIRONMENT "KILN_CHAOS_ROUNDS=25;KILN_CHAOS_SEED=7;OMPI_ALLOW_RUN_AS_ROOT=1;OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1")
