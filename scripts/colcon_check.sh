#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every package must be ament_python (colcon falls back to plain `python` silently when package.xml is rejected) and build.
set -euo pipefail
cd "$(dirname "$0")/.."
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
PATH="$PWD/.venv/bin:$PATH"
list=$(colcon --log-base "$build/log" list --base-paths src launch)
echo "$list"
if echo "$list" | grep -v '(ros.ament_python)'; then
  echo "lint: the packages above are not ros.ament_python; is their package.xml valid?" >&2
  exit 1
fi
expected=$(ls src/*/package.xml launch/package.xml | wc -l)
[ "$(echo "$list" | wc -l)" -eq "$expected" ] || { echo "lint: colcon found other than $expected packages" >&2; exit 1; }
needed=$(colcon --log-base "$build/log" list --names-only --base-paths src launch --packages-up-to rove_learning)
for package in rove_recorder rove_sim rove_teleop rove_description; do
  grep -qx "$package" <<<"$needed" || { echo "lint: colcon does not see that rove_learning needs $package" >&2; exit 1; }
done
colcon --log-base "$build/log" build --base-paths src launch --build-base "$build/build" --install-base "$build/install" --event-handlers console_cohesion- >"$build/out" 2>&1 ||
  { cat "$build/out" >&2; exit 1; }
tail -n 2 "$build/out"
