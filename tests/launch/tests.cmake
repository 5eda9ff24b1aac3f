kiln_test(launch/report_test.cpp DEPS launch LIBS kiln::test_program)
kiln_test(launch/supervisor_test.cpp DEPS launch LIBS kiln::test_program)

# Tests that train with the real binary.
add_library(kiln_test_run STATIC launch/diffusion_fixture.cpp launch/run_fixture.cpp
  launch/text_fixture.cpp)
target_link_libraries(kiln_test_run PUBLIC kiln::test_program fmt::fmt)
add_library(kiln::test_run ALIAS kiln_test_run)
foreach(test bad_input bert bert_bad_input diffusion_pipeline reproducible resume same_work signals two_phase)
  kiln_test(launch/${test}_test.cpp LIBS kiln::test_run GTest::gmock TIMEOUT 400 LABELS no_sanitizer)
  add_dependencies(launch_${test}_test kiln)
  set_tests_properties(launch_${test}_test PROPERTIES PROCESSORS 2)
endforeach()
kiln_test(launch/text_conditioning_test.cpp DEPS data LIBS kiln::test_run TIMEOUT 400
  LABELS no_sanitizer)
add_dependencies(launch_text_conditioning_test kiln)
set_tests_properties(launch_text_conditioning_test PROPERTIES PROCESSORS 2)
kiln_test(launch/encode_text_test.cpp DEPS launch TORCH LIBS kiln::test_run GTest::gmock
  TIMEOUT 400 LABELS no_sanitizer)
add_dependencies(launch_encode_text_test kiln)
set_tests_properties(launch_encode_text_test PROPERTIES PROCESSORS 2)
kiln_test(launch/mae_learning_test.cpp LIBS kiln::test_run TIMEOUT 3000 LABELS full)
add_dependencies(launch_mae_learning_test kiln)
set_tests_properties(launch_mae_learning_test PROPERTIES PROCESSORS 2)
kiln_test(launch/text_limits_test.cpp LIBS kiln::test_run GTest::gmock TIMEOUT 1800 LABELS full)
add_dependencies(launch_text_limits_test kiln)
kiln_test(launch/diffusion_learning_test.cpp LIBS kiln::test_run TIMEOUT 7200 LABELS full)
add_dependencies(launch_diffusion_learning_test kiln)
set_tests_properties(launch_diffusion_learning_test PROPERTIES PROCESSORS 2)
