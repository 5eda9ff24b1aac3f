// LibTorch's matrix products in fp32 come from MKL, which asks this function of its own whether the
// processor is Intel's, and on others picks kernels made for AMD processors of 2011 and 2017. The
// ones it has for AVX2 and AVX-512 run on any processor that reports those, which MKL checks apart
// from this, and on a Zen 4 are 8 to 40 % quicker, most so on small products.
//
// A program's symbol takes precedence over a library's. Where MKL is not part of LibTorch, or does
// not ask, nobody calls it and nothing changes.
extern "C" [[gnu::visibility("default"), gnu::used]] int mkl_serv_intel_cpu_true() { return 1; }
