# kiln_test(launch/..._test.cpp DEPS launch)
