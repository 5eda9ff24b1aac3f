# kiln_test(dist/..._test.cpp DEPS dist)
