#!/bin/sh
# Starts the embedded Postgres: creates the database on the first start, brings logins and extensions to what the operator needs at every
# start, then becomes postgres (PID 1). Works with any image that has Debian's PostgreSQL 17 or later with pgvector and a user
# `postgres` with uid 999.
set -eu

PGDATA=/var/lib/postgresql/data/pgdata
CONFIG=/etc/robotgroups-postgres
say() { echo "start.sh: $*"; }

for BIN in /usr/lib/postgresql/*/bin; do :; done  # the last, when an image has several
MAJOR=$(basename "$(dirname "$BIN")")
[ -x "$BIN/postgres" ] || { say "this image has no /usr/lib/postgresql/*/bin/postgres: use pgvector/pgvector:pg17 or the project's" >&2; exit 1; }
[ "$MAJOR" -ge 17 ] || { say "PostgreSQL $MAJOR is too old: use an image with PostgreSQL 17 or later" >&2; exit 1; }

# One server per data directory, also where two containers share it (a node cut off and replaced): the lock lives as long as postgres.
exec 9>"$(dirname "$PGDATA")/.lock"
flock -w 30 9 || { say "another Postgres still runs on this volume: it has to end first" >&2; exit 1; }

if [ ! -s "$PGDATA/PG_VERSION" ]; then
  say "first start: creating the database in $PGDATA"
  rm -rf "$PGDATA.new"  # of a first start that was interrupted
  # The builtin provider sorts alike in every image; LC_CTYPE must know Unicode, or full text search would not fold "Ä" to "ä".
  "$BIN/initdb" -D "$PGDATA.new" -U postgres --auth-local=peer --auth-host=scram-sha-256 --encoding=UTF8 --data-checksums \
    --locale-provider=builtin --builtin-locale=C.UTF-8 --locale=C.UTF-8 >/dev/null
  mv "$PGDATA.new" "$PGDATA"
  sync -f "$PGDATA"
fi
DATA_MAJOR=$(cat "$PGDATA/PG_VERSION")
[ "$DATA_MAJOR" = "$MAJOR" ] || {
  say "the data are of PostgreSQL $DATA_MAJOR and the image has $MAJOR: use an image with $DATA_MAJOR, or dump there and restore here" >&2; exit 1; }
chmod 0700 "$PGDATA"          # the kubelet opens it to the fsGroup, which Postgres refuses
rm -f "$PGDATA/postmaster.pid"  # of a server that was killed: the lock above shows that none runs

# Unreachable (a socket in /tmp only) until it is set up.
stop() { "$BIN/pg_ctl" -D "$PGDATA" -m fast -s stop; }
trap 'say "stopped during the setup"; stop || true; exit 143' TERM INT
"$BIN/pg_ctl" -D "$PGDATA" -w -t 3600 -s start \
  -o "-c config_file=$CONFIG/postgresql.conf -c hba_file=$CONFIG/pg_hba.conf -c listen_addresses='' -c unix_socket_directories=/tmp"
"$BIN/psql" -X -q -v ON_ERROR_STOP=1 -h /tmp -U postgres -d postgres -f "$CONFIG/setup.sql" || { stop; exit 1; }
stop
trap - TERM INT

say "ready to serve: PostgreSQL $MAJOR"
exec "$BIN/postgres" -D "$PGDATA" -c "config_file=$CONFIG/postgresql.conf" -c "hba_file=$CONFIG/pg_hba.conf"
