-- What the operator needs, brought about at every start (all of it may exist already). Run by the superuser over the local socket.
SET log_statement = 'none';               -- the password is to be in no log
SET log_min_error_statement = 'panic';
SET log_min_duration_statement = -1;
SET client_min_messages = 'warning';

\set password `cat /var/run/secrets/robotgroups-postgres/password`

SELECT 'CREATE ROLE robotgroups_operator'
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'robotgroups_operator') \gexec

-- The owner of the schema: makes the groups' logins, ends the sessions of robots that were replaced, sees who holds which lock.
ALTER ROLE robotgroups_operator WITH LOGIN CREATEROLE NOSUPERUSER NOCREATEDB NOREPLICATION NOBYPASSRLS PASSWORD :'password';
GRANT pg_signal_backend, pg_read_all_stats TO robotgroups_operator;

SELECT 'CREATE DATABASE robotgroups OWNER robotgroups_operator'
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'robotgroups') \gexec

\connect robotgroups
SET client_min_messages = 'warning';
CREATE EXTENSION IF NOT EXISTS vector;
ALTER EXTENSION vector UPDATE;            -- after a new image
