#!/usr/bin/env bash
# Builds and runs the tests; installs what is missing first (launch/setup.sh).
#
#   bash tests/run.sh          quick tier: everything not labelled "full"
#   bash tests/run.sh --full   adds the long tests; the suite again, built for CPUs alone, with the
#                              address+undefined sanitizers; the thread sanitizer on loader,
#                              communicators and whatever else runs on threads; each fuzzing target
#                              for 20 s (tests/fuzz/run.sh)
#
# Closing line: "N passed, M failed", counted in single test cases. Exit status 0 when
# nothing failed.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

FULL=no
case "${1:-}" in
  "") ;;
  --full) FULL=yes ;;
  *) echo "usage: bash tests/run.sh [--full]" >&2; exit 2 ;;
esac

# mpirun refuses root, and inside containers its copy between processes is often forbidden.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_btl_vader_single_copy_mechanism=none OMPI_MCA_smsc=^cma  # Open MPI 4.1; 5
# Sanitizers: LibTorch and Open MPI keep memory until exit, which is no leak of ours.
export ASAN_OPTIONS=detect_leaks=0:protect_shadow_gap=0 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
export TSAN_OPTIONS="suppressions=$PWD/tests/support/tsan.supp ignore_noninstrumented_modules=1"

SUMMARY=()
run_suite() {  # $1: build folder, $2: name, then arguments for ctest
  local folder=$1 name=$2
  shift 2
  echo "tests: $name"
  ctest --test-dir "$folder" --output-on-failure -j "$(nproc)" "$@"
  SUMMARY+=("$folder/Testing/Temporary/LastTest.$name.log")
  cp "$folder/Testing/Temporary/LastTest.log" "${SUMMARY[-1]}"
}

cached() { sed -n "s/^$1:[A-Z]*=//p" build/CMakeCache.txt; }  # what build/ was configured with

build_and_run() {  # $1: preset of a sanitizer, $2: targets, then arguments for ctest
  local preset=$1 targets=$2
  shift 2
  cmake --preset "$preset" -DKILN_WERROR=ON -DCMAKE_CXX_COMPILER="$(cached CMAKE_CXX_COMPILER)" \
    -DKILN_TORCH="$(cached KILN_TORCH)" >/dev/null &&
    cmake --build "build-$preset" -j "${KILN_JOBS:-$(nproc)}" --target $targets || exit 1
  run_suite "build-$preset" "$preset" "$@"
}

KILN_TARGET=all KILN_SANITIZERS=$([[ $FULL == yes ]] && echo ON || echo OFF) bash launch/setup.sh || exit 1
run_suite build quick -LE full
if [[ $FULL == yes ]]; then
  run_suite build full -L full
  build_and_run asan all -LE 'full|no_sanitizer'
  # Loader; local and thread communicators, the exchange over them, saving beside the steps; the
  # threads that loops run on.
  build_and_run tsan "core_device_in_parallel_test core_training_trainer_test data_loader_test dist_communicator_test \
    dist_gradient_exchange_test models_operators_fused_test" \
    -R '^((core_device_in_parallel|core_training_trainer|data_loader|dist_gradient_exchange|models_operators_fused)_test|dist_communicator_test\.np1)$'
fi
fuzz_failed=0
if [[ $FULL == yes ]]; then bash tests/fuzz/run.sh 20 || fuzz_failed=1; fi
python3 tests/support/count_tests.py "${SUMMARY[@]}" && [[ $fuzz_failed -eq 0 ]]
