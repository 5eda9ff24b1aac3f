#include "models/kernels/device/device_matmul.h"

#include <ATen/Context.h>
#include <ATen/cuda/CUDAContext.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <cublasLt.h>

#include <array>
#include <map>
#include <mutex>
#include <vector>

#include "core/base/error.h"
#include "models/kernels/device/device_timing.h"
#include "models/kernels/device/measured_choice.h"

namespace kiln {
namespace {

void check(cublasStatus_t status, const char* what) {
  KILN_CHECK(status == CUBLAS_STATUS_SUCCESS, "{}: {}", what, cublasLtGetStatusString(status));
}
#define KILN_CUBLASLT(call) check(call, #call)

template <typename T>
void set(cublasLtMatmulDescOpaque_t& operation, cublasLtMatmulDescAttributes_t name,
         const T& value) {
  KILN_CUBLASLT(cublasLtMatmulDescSetAttribute(&operation, name, &value, sizeof(value)));
}
template <typename T>
void set(cublasLtMatmulPreferenceOpaque_t& preference, cublasLtMatmulPreferenceAttributes_t name,
         const T& value) {
  KILN_CUBLASLT(cublasLtMatmulPreferenceSetAttribute(&preference, name, &value, sizeof(value)));
}

cublasLtEpilogue_t to_cublaslt(Epilogue epilogue) {
  switch (epilogue) {
    case Epilogue::kGeluBias:
      return CUBLASLT_EPILOGUE_GELU_AUX_BIAS;
    case Epilogue::kBiasGradient:
      return CUBLASLT_EPILOGUE_BGRADB;
  }
  return CUBLASLT_EPILOGUE_DEFAULT;
}

/// Alignment in bytes, up to the most that cuBLASLt uses.
std::uint32_t alignment_of(const void* pointer) {
  const auto address = reinterpret_cast<std::uintptr_t>(pointer) | 256u;
  return static_cast<std::uint32_t>(address & (~address + 1));
}

/// What cuBLASLt's proposals depend on.
struct Key {
  MatmulShape shape;
  bool is_bf16 = false, is_added = false;
  std::array<std::uint32_t, 5> alignments{};
  int device = 0;
  auto operator<=>(const Key&) const = default;
};

class Call {
 public:
  Call(const MatmulShape& shape, const MatmulOperands& operands)
      : operands_(operands), beta_(operands.is_added ? 1.0f : 0.0f) {
    const auto layout = [&](cublasLtMatrixLayoutOpaque_t& matrix, bool is_transposed,
                            std::int64_t rows, std::int64_t cols, std::int64_t ld) {
      KILN_CUBLASLT(
          cublasLtMatrixLayoutInit(&matrix, operands.is_bf16 ? CUDA_R_16BF : CUDA_R_32F,
                                   static_cast<std::uint64_t>(is_transposed ? cols : rows),
                                   static_cast<std::uint64_t>(is_transposed ? rows : cols), ld));
    };
    layout(a_, shape.is_a_transposed, shape.m, shape.k, shape.lda);
    layout(b_, shape.is_b_transposed, shape.k, shape.n, shape.ldb);
    layout(d_, false, shape.m, shape.n, shape.ldd);
    KILN_CUBLASLT(cublasLtMatmulDescInit(&operation_, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    const auto transposed = [](bool is) { return is ? CUBLAS_OP_T : CUBLAS_OP_N; };
    set(operation_, CUBLASLT_MATMUL_DESC_TRANSA, transposed(shape.is_a_transposed));
    set(operation_, CUBLASLT_MATMUL_DESC_TRANSB, transposed(shape.is_b_transposed));
    set(operation_, CUBLASLT_MATMUL_DESC_EPILOGUE, to_cublaslt(shape.epilogue));
    set(operation_, CUBLASLT_MATMUL_DESC_BIAS_POINTER, operands.bias);
    if (!shape.has_aux()) return;
    set(operation_, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, operands.aux);
    set(operation_, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, shape.ldd);
  }

  std::vector<cublasLtMatmulAlgo_t> proposals(const Key& key) {
    cublasLtMatmulPreferenceOpaque_t preference;
    KILN_CUBLASLT(cublasLtMatmulPreferenceInit(&preference));
    set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
        static_cast<std::uint64_t>(at::cuda::getCUDABlasLtWorkspaceSize()));
    set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, key.alignments[0]);
    set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, key.alignments[1]);
    set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, key.alignments[2]);
    set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, key.alignments[2]);
    std::array<cublasLtMatmulHeuristicResult_t, 8> found{};
    int count = 0;
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
        at::cuda::getCurrentCUDABlasLtHandle(), &operation_, &a_, &b_, &d_, &d_, &preference,
        static_cast<int>(found.size()), found.data(), &count);
    std::vector<cublasLtMatmulAlgo_t> algorithms;
    if (status != CUBLAS_STATUS_SUCCESS) return algorithms;  // nothing fits
    for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
      if (found[i].state == CUBLAS_STATUS_SUCCESS) algorithms.push_back(found[i].algo);
    }
    return algorithms;
  }

  cublasStatus_t run(const cublasLtMatmulAlgo_t& algorithm, void* d) {
    constexpr float kOne = 1.0f;
    return cublasLtMatmul(at::cuda::getCurrentCUDABlasLtHandle(), &operation_, &kOne, operands_.a,
                          &a_, operands_.b, &b_, &beta_, d, &d_, d, &d_, &algorithm,
                          at::cuda::getCUDABlasLtWorkspace(),
                          at::cuda::getCUDABlasLtWorkspaceSize(), at::cuda::getCurrentCUDAStream());
  }

 private:
  MatmulOperands operands_;
  float beta_;
  cublasLtMatmulDescOpaque_t operation_{};
  cublasLtMatrixLayoutOpaque_t a_{}, b_{}, d_{};
};

const std::vector<cublasLtMatmulAlgo_t>& proposals_for(const Key& key, Call& call) {
  static std::mutex mutex;
  static std::map<Key, std::vector<cublasLtMatmulAlgo_t>> known;
  const std::lock_guard lock(mutex);
  const auto found = known.find(key);
  return found != known.end() ? found->second
                              : known.emplace(key, call.proposals(key)).first->second;
}

/// Timing writes to separate memory, because D may be a sum that must be added to only once.
double seconds_of(Call& call, const cublasLtMatmulAlgo_t& algorithm, const Key& key) {
  const std::int64_t num_bytes = key.shape.ldd * key.shape.n * (key.is_bf16 ? 2 : 4);
  const c10::DataPtr scratch =
      c10::cuda::CUDACachingAllocator::get()->allocate(static_cast<std::size_t>(num_bytes));
  return device_seconds([&] { KILN_CUBLASLT(call.run(algorithm, scratch.get())); });
}

std::optional<std::size_t> choose(Call& call, const std::vector<cublasLtMatmulAlgo_t>& algorithms,
                                  const Key& key) {
  static MeasuredChoice<Key> choices;
  if (at::globalContext().deterministicAlgorithms()) return 0;
  if (is_capturing()) return choices.known(key).value_or(0);
  return choices.choose(key, algorithms.size(),
                        [&](std::size_t i) { return seconds_of(call, algorithms[i], key); });
}

}  // namespace

bool device_matmul(const MatmulShape& shape, const MatmulOperands& operands) {
  if (shape.m == 0 || shape.n == 0 || shape.k == 0) return false;
  if (shape.has_aux() && shape.ldd % 8 != 0)
    return false;  // the form of aux that cuBLASLt requires
  const Key key{shape,
                operands.is_bf16,
                operands.is_added,
                {alignment_of(operands.a), alignment_of(operands.b), alignment_of(operands.d),
                 alignment_of(operands.bias), alignment_of(operands.aux)},
                c10::cuda::current_device()};
  Call call(shape, operands);
  const auto& algorithms = proposals_for(key, call);
  if (algorithms.empty()) return false;
  const auto choice = choose(call, algorithms, key);
  return choice && call.run(algorithms[*choice], operands.d) == CUBLAS_STATUS_SUCCESS;
}

}  // namespace kiln
