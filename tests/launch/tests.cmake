kiln_test(launch/report_test.cpp DEPS launch LIBS kiln::test_program)
kiln_test(launch/supervisor_test.cpp DEPS launch LIBS kiln::test_program)
