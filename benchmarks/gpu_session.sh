#!/usr/bin/env bash
# What is to be known about detkit on a GPU, in one go: the tests marked gpu, gpu_faster_rcnn.py, and the training of
# `detkit demo`. Under 8 minutes in all on one H100 with 16 cores.
#
#     benchmarks/gpu_session.sh OUT
#     DETKIT_GPU_TESTS_ON=cpu benchmarks/gpu_session.sh OUT     # rehearses all of it, small, without a GPU
#
# OUT gets a log of each part, junit.xml, the benchmark's and the training's JSON, what the machine is, and
# summary.json. Each part has a limit of its own, and one that fails stops no other. Exit status: 0 if all
# held, 1 if a part did not, 2 if nothing could be tried.
#
# PYTHON names the interpreter; the checkout need not be installed. Packages that it lacks are looked for by pip,
# in the folder WHEELS alone if that is set, and what remains missing is said; the rest goes on.
set -uo pipefail

[ $# -eq 1 ] || { sed -n '2,15s/^# \{0,1\}//p' "$0" >&2; exit 2; }
mkdir -p "$1" && out=$(cd "$1" && pwd) || exit 2
cd "$(dirname "$0")/.." || exit 2
if [ -z "${PYTHON:-}" ]; then
    PYTHON=python3
    [ -x .venv/bin/python ] && PYTHON=.venv/bin/python
fi
on=${DETKIT_GPU_TESTS_ON:-cuda}
site=$out/site
export PYTHONPATH=$PWD:$site${PYTHONPATH:+:$PYTHONPATH} DETKIT_CACHE=$out/cache PYTHONUNBUFFERED=1
export PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 # none is needed, and a broken one would end all
: > "$out/parts.tsv"
rm -f "$out/summary.json"

# part NAME LIMIT_S COMMAND...: runs it into NAME.log, and notes its status and seconds.
part() {
    local name=$1 limit=$2 begun=$SECONDS status=0
    shift 2
    echo "$name (at most $limit s): $*"
    timeout --kill-after=10 "$limit" "$@" > "$out/$name.log" 2>&1 || status=$?
    printf '%s\t%s\t%s\t%s\n' "$name" "$status" "$((SECONDS - begun))" "$limit" >> "$out/parts.tsv"
    [ "$status" -eq 0 ] && echo "$name: held, $((SECONDS - begun)) s" && return
    [ "$status" -eq 124 ] && echo "$name: not done in $limit s"
    echo "$name: status $status after $((SECONDS - begun)) s; the end of $name.log:"
    tail -n 15 "$out/$name.log" | sed 's/^/    /'
}

# missing: the packages that the interpreter lacks, by the names that pip knows.
missing() {
    "$PYTHON" - << 'END'
from importlib.util import find_spec

PACKAGES = {
    "torch": "torch", "torchvision": "torchvision", "numpy": "numpy", "numba": "numba",
    "cv2": "opencv-python-headless", "PIL": "pillow", "pydantic": "pydantic", "yaml": "pyyaml",
    "orjson": "orjson", "msgspec": "msgspec", "safetensors": "safetensors", "typer": "typer", "rich": "rich",
    "sklearn": "scikit-learn", "pytest": "pytest",
}
print(*(name for module, name in PACKAGES.items() if find_spec(module) is None))
END
}

"$PYTHON" -c 'import torch' || { echo "$PYTHON has no torch: nothing can be tried"; exit 2; }
lacking=$(missing)
# torch's own packages belong together, and are never replaced.
wanted=$(echo "$lacking" | tr ' ' '\n' | grep -v '^torch' | tr '\n' ' ')
if [ -n "${wanted// /}" ]; then
    "$PYTHON" -c 'import numpy; print(f"numpy=={numpy.__version__}")' > "$out/constraints.txt" 2> /dev/null
    source_of=()
    [ -n "${WHEELS:-}" ] && source_of=(--no-index --find-links "$WHEELS")
    # shellcheck disable=SC2086
    timeout 90 "$PYTHON" -m pip install --quiet --disable-pip-version-check --retries 0 --timeout 10 \
        --only-binary :all: --target "$site" --constraint "$out/constraints.txt" "${source_of[@]}" $wanted \
        > "$out/pip.log" 2>&1 || echo "pip could not bring all of: $wanted(pip.log)"
    lacking=$(missing)
fi
echo "$lacking" > "$out/missing.txt"
[ -n "$lacking" ] && echo "MISSING: $lacking. What needs them fails below; the rest goes on."

{ nvidia-smi || echo "no nvidia-smi here"; nproc; } > "$out/nvidia-smi.txt" 2>&1
{
    git rev-parse HEAD 2> /dev/null
    "$PYTHON" -m torch.utils.collect_env
    "$PYTHON" -m pip list 2> /dev/null
} > "$out/versions.txt" 2>&1
if [ "$on" != cpu ] && ! "$PYTHON" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    echo "no CUDA device: nothing can be tried (DETKIT_GPU_TESTS_ON=cpu rehearses on the CPU)"
    exit 2
fi

# --confcutdir: the conftest above needs packages for tests that are not run here.
tests=("$PYTHON" -m pytest -q -m gpu --confcutdir=tests/gpu --continue-on-collection-errors -p no:cacheprovider
    --junitxml="$out/junit.xml" --durations=15 tests/gpu)
bench=("$PYTHON" benchmarks/gpu_faster_rcnn.py --json "$out/gpu_faster_rcnn.json")
train=("$PYTHON" -m detkit train faster_rcnn_resnet18_synthetic "device=$on" --out "$out/demo" --json "$out/demo.json")
held=0.8 # AP50 on the CPU is 0.89 to 0.93
slower=1
if [ "$on" = cpu ]; then
    slower=10
    bench+=(--device cpu --size 64 96 --batches 1 2 --rounds 1 --gemm 256 --no-compile)
    train+=(data.train.num_images=16 data.val.num_images=4 train.epochs=1 "data.resize={short_px: 96, long_px: 128}")
    held=0.0
    tests+=(-k "${REHEARSE:-iou or nms or scaler or page_locked}")
else
    bench+=(--rounds 5 --no-compile)
fi
rm -rf "$out/demo"
part tests $((210 * slower)) "${tests[@]}"
part benchmark $((110 * slower)) "${bench[@]}"
part demo $((130 * slower)) "${train[@]}"
part accuracy 10 "$PYTHON" -c '
import json, sys
ap50 = json.load(open(sys.argv[1]))["evaluation"]["stats"]["AP50"]
print("AP50", ap50)
sys.exit(not (ap50 or 0.0) >= float(sys.argv[2]))' "$out/demo.json" "$held"

"$PYTHON" - "$out" "$on" << 'END'
import json
import sys
from pathlib import Path

out = Path(sys.argv[1])
rows = [line.split("\t") for line in (out / "parts.tsv").read_text().splitlines()]
parts = [{"part": n, "status": int(s), "seconds": int(t), "limit": int(m)} for n, s, t, m in rows]
held = all(part["status"] == 0 for part in parts)
summary = {"device": sys.argv[2], "held": held, "missing": (out / "missing.txt").read_text().split(), "parts": parts}
(out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
print("all held" if held else "NOT ALL HELD", f"in {sum(part['seconds'] for part in parts)} s: {out}")
sys.exit(not held)
END
