#include "launch/main.h"

#include "tests/support/toy_family/toy_twins.h"

int main(int argc, char** argv) { return kiln::kiln_main(argc, argv, kiln::test::toy_models()); }
