#!/usr/bin/env bash
# Wheels of what a machine with PyTorch and transformers, but without `datasets`, lacks for gpu.sh: under 64 MiB, in the
# versions of constraints.txt, for Python 3.12 on x86-64 Linux.
#
#   tests/benchmarks/gpu_wheels.sh gpu-wheels      # here, where packages can be downloaded; the folder is ignored by git
#
# gpu.sh installs them there offline, if the folder travels along:  WHEELS=gpu-wheels tests/benchmarks/gpu.sh OUT
set -euo pipefail
folder=${1:?say which folder}
names=(annotated-types datasets dill duckdb multiprocess pydantic pydantic-core resvg-py typing-inspection)
cd "$(dirname "$0")/../.."
mapfile -t pinned < <(for name in "${names[@]}"; do grep -iE "^${name//-/[-_]}==" constraints.txt; done)
[ "${#pinned[@]}" -eq "${#names[@]}" ] || { echo "constraints.txt lacks one of: ${names[*]}" >&2; exit 1; }
platforms=(manylinux_2_28_x86_64 manylinux_2_27_x86_64 manylinux_2_17_x86_64 manylinux2014_x86_64 manylinux1_x86_64)
rm -rf "$folder"
python3 -m pip download --quiet --no-deps --only-binary=:all: --python-version "${PYTHON:-3.12}" --implementation cp \
  "${platforms[@]/#/--platform=}" --dest "$folder" "${pinned[@]}"
size=$(du -sm "$folder" | cut -f1)
echo "$(ls "$folder" | wc -l) wheels, $size MiB, in $folder"
[ "$size" -lt 64 ]
