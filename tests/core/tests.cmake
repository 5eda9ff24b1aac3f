kiln_test(core/philox_test.cpp DEPS core)
kiln_test(core/recipe_test.cpp DEPS core LIBS GTest::gmock)
