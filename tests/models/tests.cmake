# kiln_test(models/..._test.cpp DEPS models)
