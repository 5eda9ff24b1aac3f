kiln_test(dist/communicator_test.cpp DEPS dist TORCH RANKS 1 2 3 4)
