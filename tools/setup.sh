#!/usr/bin/env bash
# Make .venv with everything the project needs. Ipopt's library is looked for, else installed where that is allowed.
set -euo pipefail
cd "$(dirname "$0")/.."

python=""
for candidate in "${PYTHON:-python3.11}" python3.11 python3.12 python3.13 python3; do
  if command -v "$candidate" >/dev/null && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    python=$candidate
    break
  fi
done
[ -n "$python" ] || { echo "feederlab needs Python 3.11 or newer; none was found (set PYTHON=...)" >&2; exit 1; }

ipopt_ready() { command -v pkg-config >/dev/null && pkg-config --exists ipopt; }

if ! ipopt_ready; then
  packages="coinor-libipopt-dev libblas-dev liblapack-dev pkg-config build-essential"
  if command -v apt-get >/dev/null && { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }; then
    sudo=$([ "$(id -u)" = 0 ] || echo "sudo -n")
    echo "installing the Ipopt library: $packages"
    $sudo apt-get update -qq
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq $packages >/dev/null
  elif command -v brew >/dev/null; then
    brew install ipopt pkg-config
  else
    echo "the Ipopt library is missing. Install it, then run make again:" >&2
    echo "  Debian, Ubuntu:  sudo apt-get install $packages" >&2
    echo "  Fedora:          sudo dnf install coin-or-Ipopt-devel blas-devel lapack-devel pkgconf gcc" >&2
    echo "  any, with conda: conda install -c conda-forge cyipopt" >&2
    exit 1
  fi
fi

[ -x .venv/bin/python ] || "$python" -m venv .venv
.venv/bin/python -m pip install --quiet --upgrade pip
.venv/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
