#!/bin/sh
# Installs what tests need beside Python's packages: PgBouncer (a pooler to be refused), openssl (certificates) and
# mmdebstrap (PostgreSQL 17 in a tree of its own).
set -eu
PATH=$PATH:/usr/sbin
missing=
for program in pgbouncer openssl mmdebstrap; do
  command -v "$program" >/dev/null || missing="$missing $program"
done
[ -n "$missing" ] || exit 0
[ "$(id -u)" = 0 ] || { echo "tests need packages; as root: apt-get install$missing" >&2; exit 1; }
echo "==> install Debian packages for tests:$missing (first time: 20 s)" >&2
apt-get update -qq
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
