#pragma once

#include <ATen/core/Tensor.h>
#include <mpi.h>

namespace kiln {

/// Throws Error(kCommunication) with MPI's own text when `status` is not MPI_SUCCESS.
void check_mpi(int status, const char* call);

/// Type of a tensor's elements. bf16 is a two-byte integer to MPI: add it with mpi_sum() only.
MPI_Datatype mpi_type(at::ScalarType type);
/// MPI_SUM, or for bf16 an operation of our own that adds in fp32.
MPI_Op mpi_sum(at::ScalarType type);
/// Number of elements as MPI counts them; throws where it does not fit.
int mpi_count(std::int64_t numel);

/// A communicator of our own over the same ranks, whose errors are returned, not fatal.
/// MPI_Finalize frees it, because freeing is a collective call that a failed job cannot complete.
MPI_Comm duplicate(MPI_Comm parent);

}  // namespace kiln

#define KILN_MPI(call) ::kiln::check_mpi(call, #call)
