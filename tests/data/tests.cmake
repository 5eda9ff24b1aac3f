# kiln_test(data/..._test.cpp DEPS data)
