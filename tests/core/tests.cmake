kiln_test(core/philox_test.cpp DEPS core)
