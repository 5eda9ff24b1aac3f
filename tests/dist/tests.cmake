kiln_test(dist/communicator_test.cpp DEPS dist TORCH RANKS 1 2 3 4)
kiln_test(dist/newest_checkpoint_test.cpp DEPS core dist TORCH LIBS GTest::gmock)
