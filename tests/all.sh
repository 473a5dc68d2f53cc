#!/bin/sh
# Everything that must hold, in order, stopping at the first failure. Called by `make test` with .venv first in PATH.
set -e
cd "$(dirname "$0")/.."
step() { printf '\n== %s\n' "$1"; }

step "notebooks clean, package in step with them"
python tests/in_step.py

step "ruff"
ruff check anklealign tests benchmarks
hadolint Dockerfile

wheel=$(mktemp)
python tests/wheel.py > "$wheel" 2>&1 &
building=$!
trap 'kill $building 2>/dev/null || true; rm -f "$wheel"' EXIT

step "notebooks"
OMP_NUM_THREADS=1 nbdev-test --n-workers 2 --do-print

step "end to end"
OMP_NUM_THREADS=1 pytest -n 2 --dist worksteal -m 'not slow' --durations=10 tests

step "wheel (built and installed in the meantime)"
wait $building || { cat "$wheel"; exit 1; }
cat "$wheel"
