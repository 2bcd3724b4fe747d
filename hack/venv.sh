#!/bin/sh
# Makes the virtual environment (default .venv): the project itself, editable, with every extra and the tools, at the
# versions that the lock (default hack/locks/dev.txt) names by hash. Needs Python 3.11 or later; installs Debian's
# packages when root.
set -eu
cd "$(dirname "$0")/.."
venv=${1:-.venv}
lock=${2:-hack/locks/dev.txt}
python=${PYTHON:-python3}
uv_version=0.13.9

packages() {
  command -v apt-get >/dev/null || { echo "install: $*" >&2; exit 1; }
  [ "$(id -u)" = 0 ] || { echo "packages are missing; as root: apt-get install $*" >&2; exit 1; }
  echo "==> install Debian packages: $* (first time: 30 s)" >&2
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

command -v "$python" >/dev/null || packages python3 python3-venv ca-certificates
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "$("$python" --version) is too old: the project needs 3.11 or later (PYTHON=python3.13 make venv names another)" >&2
  exit 1
}

started=$(date +%s)
echo "==> virtual environment $venv (first time: 1 min)" >&2
if [ ! -x "$venv/bin/python" ]; then
  "$python" -c 'import ensurepip, venv' 2>/dev/null || packages python3-venv
  "$python" -m venv "$venv"
fi
uv=$(command -v uv) || uv=$venv/bin/uv
[ -x "$uv" ] || "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "uv==$uv_version"
"$uv" pip install --quiet --python "$venv/bin/python" --require-hashes --requirement "$lock"
"$uv" pip install --quiet --python "$venv/bin/python" --no-deps --no-build-isolation --editable .
echo "    done in $(($(date +%s) - started)) s: virtual environment $venv" >&2
