#!/bin/sh
# Whether Postgres serves: over TCP, so that the server that start.sh sets up does not count.
for BIN in /usr/lib/postgresql/*/bin; do :; done
exec "$BIN/pg_isready" -q -h 127.0.0.1 -p 5432 -U robotgroups_operator -d robotgroups
