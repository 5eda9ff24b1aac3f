#include "launch/main.h"

int main(int argc, char** argv) { return kiln::kiln_main(argc, argv); }
