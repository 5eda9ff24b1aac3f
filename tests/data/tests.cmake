kiln_test(data/tokenizer_test.cpp DEPS data)
