kiln_test(core/philox_test.cpp DEPS core)
kiln_test(core/recipe_test.cpp DEPS core LIBS GTest::gmock)
kiln_test(core/schedule_test.cpp DEPS core)
kiln_test(core/tensorboard_test.cpp DEPS core)
