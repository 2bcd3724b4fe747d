-- What `check` looks for in the rows: a statement for each way in which an invariant (design §2) can be broken, named by it. All of them only read; each gives a
-- row (group_id, detail) for everything that is wrong.

-- R1 failovers-ahead
SELECT f.group_id, format('failover %s has epoch %s and revision %s, its group is at epoch %s and revision %s',
    f.id, f.epoch, f.revision, g.epoch, g.revision) AS detail
FROM robotgroups.failovers f JOIN robotgroups.groups g ON g.id = f.group_id
WHERE f.epoch > g.epoch OR f.revision > g.revision ORDER BY f.id;

-- R1 failovers-order
SELECT f.group_id, format('failover %s has epoch %s and revision %s, the one before it %s and %s',
    f.id, f.epoch, f.revision, f.last_epoch, f.last_revision) AS detail
FROM (SELECT *, lag(epoch) OVER w AS last_epoch, lag(revision) OVER w AS last_revision
    FROM robotgroups.failovers WINDOW w AS (PARTITION BY group_id ORDER BY id)) f
WHERE f.epoch <= f.last_epoch OR f.revision <= f.last_revision ORDER BY f.id;

-- R1 epochs
SELECT c.group_id, format('change %s (%s) has epoch %s, the one before it %s', c.revision, c.kind, c.epoch, c.last)
    AS detail
FROM (SELECT group_id, revision, kind, epoch, lag(epoch) OVER (PARTITION BY group_id ORDER BY revision) AS last
    FROM robotgroups.changes) c
WHERE c.epoch <> c.last + CASE c.kind WHEN 'role' THEN 1 ELSE 0 END ORDER BY c.group_id, c.revision;

-- R1 epoch-of-group
SELECT g.id AS group_id, format('its epoch is %s, its newest change has %s', g.epoch, c.epoch) AS detail
FROM robotgroups.groups g CROSS JOIN LATERAL (SELECT x.epoch FROM robotgroups.changes x WHERE x.group_id = g.id
    ORDER BY x.revision DESC LIMIT 1) c
WHERE c.epoch <> g.epoch ORDER BY g.id;

-- R2 tenures
SELECT r.group_id, format('robot %s is %s under tenure %s at epoch %s', r.name, r.role, r.tenure, g.epoch) AS detail
FROM robotgroups.robots r JOIN robotgroups.groups g ON g.id = r.group_id
WHERE (r.role = 'active') <> (r.tenure > 0) OR r.tenure > g.epoch ORDER BY r.group_id, r.name;

-- R3 promotions
SELECT c.group_id, format('change %s tells of a %s at epoch %s, of which %s rows are in failovers',
    c.revision, c.payload->>'kind', c.epoch, count(f.id)) AS detail
FROM robotgroups.changes c LEFT JOIN robotgroups.failovers f ON f.group_id = c.group_id AND f.epoch = c.epoch
WHERE c.kind = 'role' AND c.payload->>'kind' IS NOT NULL
GROUP BY c.group_id, c.revision, c.payload->>'kind', c.epoch HAVING count(f.id) <> 1 ORDER BY c.group_id, c.revision;

-- M1 fsync
SELECT NULL::bigint AS group_id, format('%s is off: what was acknowledged may not survive a crash', name) AS detail
FROM pg_settings WHERE name IN ('fsync', 'full_page_writes') AND setting = 'off' ORDER BY name;

-- M2 hashes
SELECT m.group_id, format('memory %s has another hash than its content and scope', m.id) AS detail
FROM robotgroups.memories m WHERE m.content_hash <> robotgroups.memory_hash(m.content, m.scope) ORDER BY m.id;

-- M2 duplicates
SELECT min(m.group_id) AS group_id, format('memories %s of space %s are the same',
    string_agg(m.id::text, ', ' ORDER BY m.id), m.space_id) AS detail
FROM robotgroups.memories m GROUP BY m.space_id, m.content_hash HAVING count(*) > 1 ORDER BY min(m.id);

-- M2 keys
SELECT k.group_id, format('an idempotency key stands for memory %s, which is %s', k.memory_id,
    CASE WHEN m.id IS NULL THEN 'gone' ELSE 'of another space' END) AS detail
FROM robotgroups.idempotency_keys k JOIN robotgroups.groups g ON g.id = k.group_id
    LEFT JOIN robotgroups.memories m ON m.id = k.memory_id
WHERE m.space_id IS DISTINCT FROM g.space_id ORDER BY k.group_id, k.memory_id;

-- M3 feed-gaps
SELECT c.group_id, CASE WHEN c.last IS NULL THEN format('the feed begins with revision %s, after %s was pruned',
    c.first, c.pruned_to) ELSE format('revision %s follows %s', c.first, c.last) END AS detail
FROM (SELECT x.group_id, x.revision, x.revision - coalesce(cardinality(x.memory_ids), 1) + 1 AS first,
        lag(x.revision) OVER (PARTITION BY x.group_id ORDER BY x.revision) AS last, g.pruned_to
    FROM robotgroups.changes x JOIN robotgroups.groups g ON g.id = x.group_id WHERE x.revision > g.pruned_to) c
WHERE CASE WHEN c.last IS NULL THEN c.first > c.pruned_to + 1 ELSE c.first <> c.last + 1 END
ORDER BY c.group_id, c.revision;

-- M3 feed-head
SELECT g.id AS group_id, format('its revision is %s, the feed ends at %s', g.revision, coalesce(c.head, 0)) AS detail
FROM robotgroups.groups g LEFT JOIN (SELECT group_id, max(revision) AS head FROM robotgroups.changes GROUP BY 1) c
    ON c.group_id = g.id
WHERE g.revision <> coalesce(c.head, g.pruned_to) ORDER BY g.id;

-- M3 feed-rows
SELECT c.group_id, format('change %s tells of %s memories and has %s items', c.revision, cardinality(c.memory_ids),
    coalesce(jsonb_array_length(c.payload->'items'), 0)) AS detail
FROM robotgroups.changes c WHERE c.kind = 'added' AND c.memory_ids IS NOT NULL
    AND cardinality(c.memory_ids) <> coalesce(jsonb_array_length(c.payload->'items'), 0)
ORDER BY c.group_id, c.revision;

-- M3 feed-of-nobody
SELECT c.group_id, format('%s changes are of a group that is gone', count(*)) AS detail
FROM robotgroups.changes c WHERE NOT EXISTS (SELECT FROM robotgroups.groups g WHERE g.id = c.group_id)
GROUP BY c.group_id ORDER BY c.group_id;

-- M4 sums
SELECT g.id AS group_id, format('it counts %s memories with %s tokens, %s of them pinned; there are %s with %s, %s',
    g.working_memory_nodes, g.working_memory_tokens, g.pinned_tokens, w.nodes, w.tokens, w.pinned) AS detail
FROM robotgroups.groups g CROSS JOIN LATERAL (SELECT count(*) AS nodes, coalesce(sum(x.tokens), 0) AS tokens,
    coalesce(sum(x.tokens) FILTER (WHERE x.pinned), 0) AS pinned FROM robotgroups.working_memory x
    WHERE x.group_id = g.id) w
WHERE (g.working_memory_nodes, g.working_memory_tokens, g.pinned_tokens)
    IS DISTINCT FROM (w.nodes::integer, w.tokens::integer, w.pinned::integer) ORDER BY g.id;

-- M4 budget
SELECT g.id AS group_id, format('its working set has %s tokens of %s', sum(w.tokens), g.max_tokens) AS detail
FROM robotgroups.groups g JOIN robotgroups.working_memory w ON w.group_id = g.id
GROUP BY g.id HAVING sum(w.tokens) > g.max_tokens ORDER BY g.id;

-- M4 places
SELECT w.group_id, format('memory %s has %s places', w.memory_id, count(*)) AS detail
FROM robotgroups.working_memory w GROUP BY w.group_id, w.memory_id HAVING count(*) > 1
UNION ALL SELECT w.group_id, format('place %s is beyond the %s that were given', w.slot, g.slots)
FROM robotgroups.working_memory w JOIN robotgroups.groups g ON g.id = w.group_id
WHERE w.slot NOT BETWEEN 1 AND g.slots ORDER BY 1, 2;

-- M4 working-set
SELECT w.group_id, format('its working set holds memory %s, %s', w.memory_id, CASE
    WHEN m.id IS NULL THEN 'which is gone' WHEN m.space_id <> g.space_id THEN 'which is of another space'
    WHEN m.forgotten_at IS NOT NULL THEN 'which is forgotten'
    ELSE format('with %s tokens instead of %s', w.tokens, m.tokens) END) AS detail
FROM robotgroups.working_memory w JOIN robotgroups.groups g ON g.id = w.group_id
    LEFT JOIN robotgroups.memories m ON m.id = w.memory_id
WHERE m.id IS NULL OR m.space_id <> g.space_id OR m.forgotten_at IS NOT NULL OR m.tokens <> w.tokens
ORDER BY w.group_id, w.memory_id;

-- M5 presence
SELECT p.group_id, CASE WHEN r.name IS NULL THEN format('%s is present and no member', p.robot)
    ELSE format('robot %s has applied revision %s of %s', p.robot, p.applied_revision, g.revision) END AS detail
FROM robotgroups.presence p JOIN robotgroups.groups g ON g.id = p.group_id
    LEFT JOIN robotgroups.robots r ON r.group_id = p.group_id AND r.name = p.robot
WHERE r.name IS NULL OR p.applied_revision > g.revision ORDER BY p.group_id, p.robot;

-- spaces empty
SELECT NULL::bigint AS group_id, format('space %s%s has no group', s.id, ' (' || s.name || ')') AS detail
FROM robotgroups.spaces s WHERE NOT EXISTS (SELECT FROM robotgroups.groups g WHERE g.space_id = s.id) ORDER BY s.id;

-- spaces members
SELECT g.id AS group_id, format('it is of namespace %s/%s, its space %s of %s/%s', g.cluster, g.namespace_uid,
    s.id, s.cluster, s.namespace_uid) AS detail
FROM robotgroups.groups g JOIN robotgroups.spaces s ON s.id = g.space_id
WHERE (g.cluster, g.namespace_uid) <> (s.cluster, s.namespace_uid)
UNION ALL SELECT min(g.id), format('space %s is one group''s own, and %s have it', s.id, count(*))
FROM robotgroups.spaces s JOIN robotgroups.groups g ON g.space_id = s.id WHERE s.name IS NULL
GROUP BY s.id HAVING count(*) > 1 ORDER BY 1, 2;

-- spaces memories
SELECT m.group_id, CASE WHEN s.id IS NULL THEN format('memory %s is of space %s, which is gone', m.id, m.space_id)
    WHEN g.id IS NULL THEN format('memory %s comes from a group that is gone', m.id)
    ELSE format('memory %s is of space %s, its group of %s', m.id, m.space_id, g.space_id) END AS detail
FROM robotgroups.memories m LEFT JOIN robotgroups.spaces s ON s.id = m.space_id
    LEFT JOIN robotgroups.groups g ON g.id = m.group_id
WHERE s.id IS NULL OR m.group_id IS NOT NULL AND g.space_id IS DISTINCT FROM m.space_id ORDER BY m.id;

-- history versions
SELECT m.group_id, format('memory %s is at version %s, its history goes from %s to %s in %s rows',
    m.id, m.version, min(v.version), max(v.version), count(*)) AS detail
FROM robotgroups.memory_versions v JOIN robotgroups.memories m ON m.id = v.memory_id
GROUP BY m.id HAVING max(v.version) <> m.version - 1 OR count(*) <> max(v.version) - min(v.version) + 1 ORDER BY m.id;

-- search lexemes
SELECT m.group_id, format('memory %s has no lexemes, though all up to %s should', m.id, s.lexed_to) AS detail
FROM robotgroups.memories m JOIN robotgroups.spaces s ON s.id = m.space_id
WHERE m.id <= s.lexed_to AND NOT EXISTS (SELECT FROM robotgroups.lexemes l WHERE l.memory_id = m.id)
UNION ALL SELECT m.group_id, format('lexemes of memory %s are in space %s', l.memory_id, l.space_id)
FROM robotgroups.lexemes l LEFT JOIN robotgroups.memories m ON m.id = l.memory_id
WHERE m.space_id IS DISTINCT FROM l.space_id
UNION ALL SELECT m.group_id, format('lexemes of memory %s lack the mark of their space: no search finds them', l.memory_id)
FROM robotgroups.lexemes l JOIN robotgroups.memories m ON m.id = l.memory_id AND m.space_id = l.space_id
WHERE NOT starts_with((tsvector_to_array(l.lexemes))[1], to_hex(l.space_id) || '/') ORDER BY 1, 2;

-- search models
SELECT NULL::bigint AS group_id, format('space %s uses model %s, which is of space %s', s.id, e.id, e.space_id) AS detail
FROM robotgroups.spaces s JOIN robotgroups.embedding_models e ON e.id IN (s.serving_model, s.target_model)
WHERE e.space_id <> s.id
UNION ALL SELECT NULL, format('model %s should have an index, and embeddings_hnsw_%s is missing or broken', e.id, e.id)
FROM robotgroups.embedding_models e WHERE e.indexed AND NOT EXISTS (
    SELECT FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid
    WHERE c.relnamespace = 'robotgroups'::regnamespace AND c.relname = 'embeddings_hnsw_' || e.id AND i.indisvalid)
ORDER BY 2;

-- search embeddings
SELECT m.group_id, format('memory %s has a vector of %s dimensions by model %s of %s dimensions and space %s',
    e.memory_id, d.dimensions, e.model_id, x.dimensions, x.space_id) AS detail
FROM robotgroups.embeddings e JOIN robotgroups.embedding_models x ON x.id = e.model_id
    LEFT JOIN robotgroups.memories m ON m.id = e.memory_id
    CROSS JOIN LATERAL (SELECT coalesce(public.vector_dims(e.embedding), public.vector_dims(e.half)) AS dimensions) d
WHERE m.space_id IS DISTINCT FROM x.space_id OR d.dimensions IS DISTINCT FROM x.dimensions
    OR (e.half IS NULL) <> (x.dimensions <= 2000) ORDER BY e.model_id, e.memory_id;

-- search unqueued
SELECT m.group_id, format('memory %s has no embedding by model %s, and nobody is to make it', m.id, s.target_model) AS detail
FROM robotgroups.memories m JOIN robotgroups.spaces s ON s.id = m.space_id
WHERE s.target_model IS NOT NULL AND m.forgotten_at IS NULL
    AND NOT EXISTS (SELECT FROM robotgroups.embeddings e WHERE e.model_id = s.target_model AND e.memory_id = m.id)
    AND NOT EXISTS (SELECT FROM robotgroups.jobs j WHERE j.memory_id = m.id AND j.kind IN ('embed', 'backfill'))
ORDER BY m.id;

-- derived jobs
SELECT m.group_id, format('job %s (%s) of space %s is for memory %s of space %s', j.id, j.kind, j.space_id,
    j.memory_id, coalesce(m.space_id::text, '(gone)')) AS detail
FROM robotgroups.jobs j LEFT JOIN robotgroups.memories m ON m.id = j.memory_id
WHERE m.space_id IS DISTINCT FROM j.space_id ORDER BY j.id;

-- derived relations
SELECT coalesce(a.group_id, b.group_id) AS group_id, format('relation %s of space %s is from memory %s of space %s to %s of %s',
    r.kind, r.space_id, r.source, coalesce(a.space_id::text, '(gone)'), r.target, coalesce(b.space_id::text, '(gone)')) AS detail
FROM robotgroups.relations r LEFT JOIN robotgroups.memories a ON a.id = r.source
    LEFT JOIN robotgroups.memories b ON b.id = r.target
WHERE a.space_id IS DISTINCT FROM r.space_id OR b.space_id IS DISTINCT FROM r.space_id ORDER BY r.source, r.target;

-- derived files
SELECT m.group_id, format('chunk %s of file %s in space %s is memory %s of space %s', c.position, f.path, f.space_id,
    c.memory_id, coalesce(m.space_id::text, '(gone)')) AS detail
FROM robotgroups.file_chunks c JOIN robotgroups.files f ON f.id = c.file_id
    LEFT JOIN robotgroups.memories m ON m.id = c.memory_id
WHERE m.space_id IS DISTINCT FROM f.space_id ORDER BY f.id, c.position;

-- search indexes
SELECT NULL::bigint AS group_id, format('index %s is broken: REINDEX it', c.relname) AS detail
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE c.relnamespace = 'robotgroups'::regnamespace AND NOT i.indisvalid AND c.relname !~ '^embeddings_hnsw_'
ORDER BY c.relname;
