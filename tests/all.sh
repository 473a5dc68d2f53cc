#!/bin/sh
# Everything that must hold: what is quick beside what takes long, and a failure ends it. Called by `make test` with .venv first in PATH.
set -e
cd "$(dirname "$0")/.."
step() { printf '\n== %s\n' "$1"; }

said=$(mktemp)
(
    set -e
    step "notebooks clean, package in step with them"
    python tests/in_step.py
    step "ruff, hadolint"
    ruff check anklealign tests benchmarks
    hadolint Dockerfile
    step "wheel, in an empty environment"
    python tests/wheel.py
) > "$said" 2>&1 &
beside=$!
trap 'kill $beside 2>/dev/null || true; rm -f "$said"' EXIT

step "notebooks"
OMP_NUM_THREADS=1 nbdev-test --n-workers 2 --do-print

kill -0 $beside 2>/dev/null || wait $beside || { cat "$said"; exit 1; }

step "end to end"
OMP_NUM_THREADS=1 pytest -n 2 tests

step "what was looked at in the meantime"
wait $beside || { cat "$said"; exit 1; }
cat "$said"
