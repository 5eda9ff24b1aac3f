#!/usr/bin/env bash
# Builds the fuzzing targets (preset "fuzz": clang, address and undefined sanitizers) and runs them.
#
#   bash tests/fuzz/run.sh SECONDS [TARGET...]      each target that long; default: all of them
#
# Seeds are made of the tests' files; inputs that reach new code are kept in build-fuzz/corpus/TARGET.
# A finding lies in build-fuzz/findings; `build-fuzz/fuzz/fuzz_TARGET FILE` repeats it. Closing line:
# "N passed, M failed". Exit status 0 without findings.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

seconds=${1:?usage: bash tests/fuzz/run.sh SECONDS [TARGET...]}
shift
targets=("$@")
[[ ${#targets[@]} -gt 0 ]] || targets=($(ls tests/fuzz/fuzz_*.cpp | sed 's/.*fuzz_\(.*\)\.cpp/\1/'))

cached() { sed -n "s/^$1:[A-Z]*=//p" build/CMakeCache.txt; }
cmake --preset fuzz -DKILN_WERROR=ON -DKILN_TORCH="${KILN_TORCH:-$(cached KILN_TORCH)}" >/dev/null &&
  cmake --build build-fuzz -j "${KILN_JOBS:-$(nproc)}" --target "${targets[@]/#/fuzz_}" || exit 1
python3 tests/fuzz/make_seeds.py build-fuzz/seeds || exit 1

# LibTorch and libarchive keep memory until exit, which is no leak of ours. A bad size must be found
# out, not tried: 1 GiB at once is a finding.
export ASAN_OPTIONS=detect_leaks=0:protect_shadow_gap=0 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
export HDF5_USE_FILE_LOCKING=FALSE
mkdir -p build-fuzz/findings
passed=0 failed=0
for target in "${targets[@]}"; do
  mkdir -p "build-fuzz/corpus/$target" "build-fuzz/seeds/$target"
  log=build-fuzz/findings/$target.log
  if nice -n 10 "build-fuzz/fuzz/fuzz_$target" -max_total_time="$seconds" -timeout=20 \
    -malloc_limit_mb=1024 -rss_limit_mb=4096 -max_len=65536 -print_final_stats=1 \
    -artifact_prefix="build-fuzz/findings/$target-" \
    "build-fuzz/corpus/$target" "build-fuzz/seeds/$target" >"$log" 2>&1; then
    passed=$((passed + 1))
    echo "fuzz: $target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs, no finding"
  else
    failed=$((failed + 1))
    echo "fuzz: $target: FINDING"
    tail -n 40 "$log"
  fi
done
echo "$passed passed, $failed failed"
[[ $failed -eq 0 ]]
