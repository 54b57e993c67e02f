#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Make .venv ready: pinned requirements, editable installs of every package, Debian packages where root and missing.
# Repeatable; when nothing it depends on has changed it returns at once.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
venv=.venv

ros_sourced() { [ -n "${ROS_DISTRO:-}" ] && "$python" -c 'import rclpy' 2>/dev/null; }

# Everything that decides what is installed: a change of any of it installs again.
fingerprint() {
  {
    cat requirements/*.txt scripts/setup.sh src/*/setup.py src/*/setup.cfg launch/setup.py launch/setup.cfg
    "$python" --version
    pwd
    if ros_sourced; then echo "ros $ROS_DISTRO"; fi
  } | sha256sum | cut -d' ' -f1
}

debian() {
  command -v dpkg-query >/dev/null || return 0
  local missing=() package
  while read -r package; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done < <(grep -v '^#' requirements/debian.txt)
  [ ${#missing[@]} -eq 0 ] && return 0
  if [ "$(id -u)" -ne 0 ]; then
    echo "setup: missing Debian packages; as root: apt-get install ${missing[*]}" >&2
    return 0
  fi
  echo "setup: installing Debian packages: ${missing[*]}"
  apt-get update -qq || true
  for package in "${missing[@]}"; do # one by one: a package that this distribution lacks must not cost the others
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >/dev/null ||
      echo "setup: cannot install $package; the camera needs EGL and the panel's tests need Chromium" >&2
  done
}

want=$(fingerprint)
if [ -f "$venv/.setup" ] && [ "$(cat "$venv/.setup")" = "$want" ]; then
  exit 0
fi

debian
options=()
if ros_sourced; then
  echo "setup: using the sourced ROS 2 ($ROS_DISTRO)"
  options=(--system-site-packages)
fi
if [ ! -x "$venv/bin/python" ]; then
  "$python" -m venv "${options[@]}" "$venv" || {
    echo "setup: cannot make a virtual environment; expected Python 3.11 or 3.12 with the venv module (Debian: python3-venv)" >&2
    exit 1
  }
fi
development=requirements/dev.txt
if ros_sourced; then
  # The pytest plugins of a ROS 2 installation (launch_testing 3.4.3) do not load in pytest 9.
  development=$(mktemp)
  trap 'rm -f "$development"' EXIT
  sed 's/^pytest==.*/pytest==8.4.2/' requirements/dev.txt >"$development"
fi
files=(-r requirements/runtime.txt -r requirements/policy.txt -r requirements/learn.txt -r "$development")
if ! ros_sourced; then files=(-r requirements/ros.txt "${files[@]}"); fi
echo "setup: installing pinned requirements into $venv (a few minutes the first time)"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check "${files[@]}" 2> >(grep -v '^WARNING: Location' >&2)
editable=()
for package in src/* launch; do editable+=(-e "$package"); done
# npm packages for the tests, into the virtual environment; without them those tests are skipped and say so.
npm_packages() {
  local packages
  mapfile -t packages < <(sed -E 's/[[:space:]]*#.*//; /^$/d' requirements/npm.txt)
  echo "setup: installing npm packages: ${packages[*]}"
  if ! command -v npm >/dev/null && [ ! -x "$venv/bin/npm" ]; then
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r requirements/node.txt 2> >(grep -v '^WARNING: Location' >&2) || return 1
  fi
  PATH=$PWD/$venv/bin:$PATH npm install --prefix "$venv" --no-save --no-package-lock --ignore-scripts --no-audit --no-fund \
    --loglevel error "${packages[@]}" >/dev/null
}
npm_packages || echo "setup: cannot install the npm packages; the headset's browser test will be skipped" >&2
echo "setup: installing the ROVE packages, editable"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation "${editable[@]}" 2> >(grep -v '^WARNING: Location' >&2)
echo "$want" >"$venv/.setup"
echo "setup: done"
