#include "dist/mpi/mpi_check.h"

#include <limits>

#include "core/base/error.h"
#include "dist/host_sum.h"

namespace kiln {
namespace {

void add_bf16(void* addend, void* sum, int* count, MPI_Datatype*) {
  add_into(sum, addend, *count, at::kBFloat16);
}

MPI_Op make_bf16_sum() {
  MPI_Op op = MPI_OP_NULL;
  KILN_MPI(MPI_Op_create(add_bf16, /*commute=*/1, &op));
  return op;
}

}  // namespace

void check_mpi(int status, const char* call) {
  if (status == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = "unknown error";
  int length = 0;
  MPI_Error_string(status, text, &length);
  throw communication_error("{} failed: {}", call, text);
}

MPI_Datatype mpi_type(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return MPI_FLOAT;
    case at::kDouble:
      return MPI_DOUBLE;
    case at::kLong:
      return MPI_INT64_T;
    case at::kBFloat16:
      return MPI_UINT16_T;
    default:
      KILN_CHECK(false, "no MPI type for {}", c10::toString(type));
  }
  return MPI_DATATYPE_NULL;
}

MPI_Op mpi_sum(at::ScalarType type) {
  static const MPI_Op bf16_sum = make_bf16_sum();
  return type == at::kBFloat16 ? bf16_sum : MPI_SUM;
}

int mpi_count(std::int64_t numel) {
  KILN_CHECK(numel <= std::numeric_limits<int>::max(), "one message of {} elements", numel);
  return static_cast<int>(numel);
}

MPI_Comm duplicate(MPI_Comm parent) {
  MPI_Comm copy = MPI_COMM_NULL;
  KILN_MPI(MPI_Comm_dup(parent, &copy));
  KILN_MPI(MPI_Comm_set_errhandler(copy, MPI_ERRORS_RETURN));
  return copy;
}

}  // namespace kiln
