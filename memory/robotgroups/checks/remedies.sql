-- What to do about what `check` finds: by the name of the check, words, and statements for the owner where statements can do it. {group}: the id of the group that was
-- told of. Run check again afterwards: what was broken may have hidden something else.

-- failovers-ahead
-- Rows of this group's history are of another database, or were changed by hand. They are history alone: delete them.
DELETE FROM robotgroups.failovers f USING robotgroups.groups g WHERE g.id = {group} AND f.group_id = g.id AND (f.epoch > g.epoch OR f.revision > g.revision);

-- failovers-order
-- Rows of this group's history are of another database, or were changed by hand. They are history alone: delete those that are out of order.
DELETE FROM robotgroups.failovers f WHERE f.group_id = {group}
    AND EXISTS (SELECT FROM robotgroups.failovers o WHERE o.group_id = f.group_id AND o.id < f.id AND (o.epoch >= f.epoch OR o.revision >= f.revision));

-- epochs
-- The feed cannot be trusted: give it up, and every robot starts from the working set as it is.
@feed

-- epoch-of-group
-- The feed cannot be trusted: give it up, and every robot starts from the working set as it is.
@feed

-- tenures
-- A robot's place was changed by hand: give it the tenure that its role has, then restart it.
UPDATE robotgroups.robots r SET tenure = CASE r.role WHEN 'active' THEN greatest(g.epoch, 1) ELSE 0 END FROM robotgroups.groups g
    WHERE g.id = {group} AND r.group_id = g.id AND ((r.role = 'active') <> (r.tenure > 0) OR r.tenure > g.epoch);

-- promotions
-- The feed tells of a failover otherwise than the history: give the feed up, and every robot starts from the working set as it is.
@feed

-- fsync
-- Set fsync and full_page_writes to on in the server's configuration and restart it; what was acknowledged since they were off is only as safe as the server was.

-- hashes
-- Contents or scopes were changed by hand: make their hashes anew. If that is refused, another memory says the same already: erase one of the two.
UPDATE robotgroups.memories SET content_hash = robotgroups.memory_hash(content, scope) WHERE content_hash <> robotgroups.memory_hash(content, scope);

-- duplicates
-- The unique constraint is missing or its index is damaged. Remove all but the oldest, then: ALTER TABLE robotgroups.memories ADD CONSTRAINT memories_once UNIQUE
-- (space_id, content_hash), or if it stands: REINDEX INDEX robotgroups.memories_once.
BEGIN;
SELECT robotgroups.lock_memory({group});
SELECT robotgroups.remove_memories(d.space_id, {group}, d.ids, NULL, true, NULL) FROM (
    SELECT m.space_id, array_agg(m.id) AS ids FROM robotgroups.groups g JOIN robotgroups.memories m ON m.space_id = g.space_id WHERE g.id = {group}
        AND EXISTS (SELECT FROM robotgroups.memories o WHERE o.space_id = m.space_id AND o.content_hash = m.content_hash AND o.id < m.id) GROUP BY 1) d;
COMMIT;

-- keys
-- Delete the keys: a request that is tried again with one is remembered once all the same, by its content.
DELETE FROM robotgroups.idempotency_keys k WHERE k.group_id = {group} AND NOT EXISTS (
    SELECT FROM robotgroups.groups g JOIN robotgroups.memories m ON m.space_id = g.space_id WHERE g.id = k.group_id AND m.id = k.memory_id);

-- feed-gaps
-- The feed cannot be trusted: give it up, and every robot starts from the working set as it is.
@feed

-- feed-head
-- The feed cannot be trusted: give it up, and every robot starts from the working set as it is.
@feed

-- feed-rows
-- The feed cannot be trusted: give it up, and every robot starts from the working set as it is.
@feed

-- feed-of-nobody
-- Nobody reads these changes any more: delete them.
DELETE FROM robotgroups.changes c WHERE NOT EXISTS (SELECT FROM robotgroups.groups g WHERE g.id = c.group_id);

-- sums
-- Count the working set anew.
@sums

-- budget
-- Evict what is too much. What is pinned stays: unpin some of it, or give the group a higher max_tokens.
SELECT robotgroups.make_room(g.id, g.working_memory_tokens - g.max_tokens) FROM robotgroups.groups g WHERE g.id = {group};

-- places
-- The working set was changed by hand: take out what is there twice, count it anew, and let every robot start from it.
DELETE FROM robotgroups.working_memory w WHERE w.group_id = {group}
    AND EXISTS (SELECT FROM robotgroups.working_memory o WHERE o.group_id = w.group_id AND o.memory_id = w.memory_id AND o.slot < w.slot);
@sums
@feed

-- working-set
-- The working set was changed by hand: take out what does not belong there, count it anew, and let every robot start from it.
DELETE FROM robotgroups.working_memory w WHERE w.group_id = {group} AND NOT EXISTS (
    SELECT FROM robotgroups.groups g JOIN robotgroups.memories m ON m.space_id = g.space_id
    WHERE g.id = w.group_id AND m.id = w.memory_id AND m.forgotten_at IS NULL AND m.tokens = w.tokens);
@sums
@feed

-- presence
-- Take that presence away: a robot that lives registers anew.
DELETE FROM robotgroups.presence p USING robotgroups.groups g WHERE g.id = {group} AND p.group_id = g.id AND (p.applied_revision > g.revision
    OR NOT EXISTS (SELECT FROM robotgroups.robots r WHERE r.group_id = p.group_id AND r.name = p.robot));

-- empty
-- Nobody can reach it: delete it. If it has memories, make a group that names it as its space instead, and look at them first.
DELETE FROM robotgroups.spaces s WHERE NOT EXISTS (SELECT FROM robotgroups.groups g WHERE g.space_id = s.id)
    AND NOT EXISTS (SELECT FROM robotgroups.memories m WHERE m.space_id = s.id);

-- members
-- A group was moved by hand. One that is told of with two namespaces: UPDATE robotgroups.spaces with the cluster and namespace_uid of its group (adopt_group moves both).
-- A space that two have: give it a name (UPDATE robotgroups.spaces SET name = …) if they are to share it, else export what is theirs and make them anew.

-- memories
-- They belong to their space all the same: forget from which group they came. One whose space is gone can be reached by nobody: delete it.
UPDATE robotgroups.memories m SET group_id = NULL WHERE m.group_id IS NOT NULL
    AND NOT EXISTS (SELECT FROM robotgroups.groups g WHERE g.id = m.group_id AND g.space_id = m.space_id);

-- versions
-- What memories say is whole; number what they said before anew.
UPDATE robotgroups.memories m SET version = greatest(m.version, v.versions + 1)
    FROM (SELECT memory_id, count(*)::integer AS versions FROM robotgroups.memory_versions GROUP BY 1) v WHERE v.memory_id = m.id AND m.version <= v.versions;
UPDATE robotgroups.memory_versions v SET version = -n.version FROM (
    SELECT x.memory_id, x.version AS old, m.version - row_number() OVER (PARTITION BY x.memory_id ORDER BY x.version DESC) AS version
    FROM robotgroups.memory_versions x JOIN robotgroups.memories m ON m.id = x.memory_id) n WHERE v.memory_id = n.memory_id AND v.version = n.old;
UPDATE robotgroups.memory_versions SET version = -version WHERE version < 0;

-- lexemes
-- Have them made anew: the robots do it in the background, and recall finds everything meanwhile.
DELETE FROM robotgroups.lexemes l WHERE NOT EXISTS (SELECT FROM robotgroups.memories m WHERE m.id = l.memory_id AND m.space_id = l.space_id)
    OR NOT starts_with((tsvector_to_array(l.lexemes))[1], to_hex(l.space_id) || '/');
UPDATE robotgroups.spaces s SET lexed_to = x.first - 1 FROM (
    SELECT m.space_id, min(m.id) AS first FROM robotgroups.memories m
    WHERE NOT EXISTS (SELECT FROM robotgroups.lexemes l WHERE l.memory_id = m.id) GROUP BY 1) x WHERE x.space_id = s.id AND s.lexed_to >= x.first;

-- models
-- Let go of indexes that are not there, and of models of other spaces; then apply the group's settings again. An index is made anew in the background.
UPDATE robotgroups.embedding_models e SET indexed = false WHERE e.indexed AND NOT EXISTS (
    SELECT FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid
    WHERE c.relnamespace = 'robotgroups'::regnamespace AND c.relname = 'embeddings_hnsw_' || e.id AND i.indisvalid);
UPDATE robotgroups.spaces s SET serving_model = NULL FROM robotgroups.embedding_models e WHERE e.id = s.serving_model AND e.space_id <> s.id;
UPDATE robotgroups.spaces s SET target_model = NULL FROM robotgroups.embedding_models e WHERE e.id = s.target_model AND e.space_id <> s.id;

-- embeddings
-- Delete them, and have them made anew in the background.
DELETE FROM robotgroups.embeddings e USING robotgroups.embedding_models x WHERE x.id = e.model_id AND (
    coalesce(public.vector_dims(e.embedding), public.vector_dims(e.half)) <> x.dimensions OR (e.half IS NULL) <> (x.dimensions <= 2000)
    OR NOT EXISTS (SELECT FROM robotgroups.memories m WHERE m.id = e.memory_id AND m.space_id = x.space_id));
SELECT robotgroups.backfill(s.id, s.target_model) FROM robotgroups.spaces s WHERE s.target_model IS NOT NULL;

-- unqueued
-- Have them embedded in the background.
SELECT robotgroups.backfill(s.id, s.target_model) FROM robotgroups.spaces s WHERE s.target_model IS NOT NULL;

-- jobs
-- Give the jobs to their memories' spaces; delete those of none.
UPDATE robotgroups.jobs j SET space_id = m.space_id FROM robotgroups.memories m WHERE m.id = j.memory_id AND m.space_id <> j.space_id;
DELETE FROM robotgroups.jobs j WHERE NOT EXISTS (SELECT FROM robotgroups.memories m WHERE m.id = j.memory_id);

-- relations
-- Delete them: they lead out of the space, or nowhere.
DELETE FROM robotgroups.relations r WHERE NOT EXISTS (SELECT FROM robotgroups.memories m WHERE m.id = r.source AND m.space_id = r.space_id)
    OR NOT EXISTS (SELECT FROM robotgroups.memories m WHERE m.id = r.target AND m.space_id = r.space_id);

-- files
-- Delete these chunks, then load their files again.
WITH gone AS (
    DELETE FROM robotgroups.file_chunks c USING robotgroups.files f WHERE f.id = c.file_id
        AND NOT EXISTS (SELECT FROM robotgroups.memories m WHERE m.id = c.memory_id AND m.space_id = f.space_id) RETURNING c.file_id)
UPDATE robotgroups.files SET digest = '' WHERE id IN (SELECT file_id FROM gone);

-- indexes
-- REINDEX INDEX CONCURRENTLY robotgroups.NAME, with the name that was told.

-- row-security
-- ALTER TABLE robotgroups.NAME ENABLE ROW LEVEL SECURITY, or NO FORCE ROW LEVEL SECURITY, as it says; drop a view, or ALTER VIEW … SET (security_invoker = true).

-- policies
-- Put the policies back as migration 0015_walls makes them: own_rows alone, for SELECT, to robotgroups_robot, of the rows of the login's own group.

-- table-rights
-- Take the rights away, also from whoever else was told of.
REVOKE ALL ON ALL TABLES IN SCHEMA robotgroups FROM PUBLIC, robotgroups_robot;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA robotgroups FROM PUBLIC, robotgroups_robot;
REVOKE ALL ON SCHEMA robotgroups FROM PUBLIC;
REVOKE CREATE ON SCHEMA robotgroups FROM robotgroups_robot;

-- function-rights
-- REVOKE EXECUTE ON FUNCTION … FROM whoever was told of (PUBLIC for everybody); what robots may not call but should: GRANT EXECUTE ON FUNCTION … TO robotgroups_robot.

-- function-settings
-- If robots are to call it: ALTER FUNCTION … SECURITY DEFINER SET search_path = robotgroups, pg_temp; if not: REVOKE EXECUTE ON FUNCTION … FROM robotgroups_robot.

-- owners
-- ALTER … OWNER TO the schema's owner, as a superuser; then look at what it was made or changed to.

-- logins
-- Take from the login what it has beyond robotgroups_robot (REVOKE, ALTER ROLE). One that is gone: the operator makes it anew when the Secret GROUP-robotgroups is deleted.

-- role-of-robots
-- ALTER ROLE robotgroups_robot NOLOGIN NOSUPERUSER NOCREATEROLE NOCREATEDB NOREPLICATION NOBYPASSRLS; REVOKE every role that it is a member of.
