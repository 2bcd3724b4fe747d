-- Writing memory by sets: one statement remembers many, for the group commit of a robot. Everything that changes a shared space holds the space's
-- row first, its groups' rows in the order of their ids second: no two of them wait for each other.

-- Takes the right to change a group's memory: the space's row when it is shared, then the group's.
CREATE FUNCTION robotgroups.lock_memory(p_group bigint) RETURNS robotgroups.groups
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp AS $$
DECLARE g groups;
BEGIN
    IF current_setting('synchronous_commit') NOT IN ('on', 'remote_apply') THEN
        PERFORM set_config('synchronous_commit', 'on', true);  -- M1: whatever the login has set
    END IF;
    PERFORM FROM spaces s JOIN groups x ON x.space_id = s.id WHERE x.id = p_group AND s.name IS NOT NULL FOR NO KEY UPDATE OF s;
    SELECT * INTO g FROM groups WHERE id = p_group FOR NO KEY UPDATE;
    IF NOT FOUND THEN RAISE EXCEPTION 'no group has id %', p_group USING ERRCODE = 'RG002'; END IF;
    RETURN g;
END $$;

CREATE OR REPLACE FUNCTION robotgroups.assert_may_use(p_group bigint) RETURNS void
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
BEGIN
    -- the previous login works until every robot has come back under the new one
    IF EXISTS (SELECT FROM groups WHERE id = p_group AND session_user IN (login, previous_login)) THEN RETURN; END IF;
    IF NOT pg_has_role(session_user, current_user, 'MEMBER') THEN
        RAISE EXCEPTION 'login % may not use group %', session_user, p_group USING ERRCODE = '42501';
    END IF;
END $$;

CREATE OR REPLACE FUNCTION robotgroups.fence(p_group bigint, p_robot text, p_tenure bigint) RETURNS text
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp AS $$
DECLARE v_active text[];
BEGIN
    IF EXISTS (SELECT FROM robots WHERE group_id = p_group AND name = p_robot AND role = 'active' AND tenure = p_tenure) THEN RETURN p_robot; END IF;
    v_active := active_robots(p_group);
    IF p_tenure IS NULL THEN
        IF NOT pg_has_role(session_user, current_user, 'MEMBER') THEN
            RAISE EXCEPTION 'a robot must claim its tenure' USING ERRCODE = '42501';
        END IF;
        IF v_active = '{}' THEN RAISE EXCEPTION 'the group has no active robot' USING ERRCODE = 'RG010'; END IF;
        RETURN v_active[1];
    END IF;
    RAISE EXCEPTION '% is not active under tenure %', p_robot, p_tenure USING ERRCODE = 'RG001', DETAIL = to_jsonb(v_active)::text;
END $$;

CREATE FUNCTION robotgroups.scope_json(p_scope text[]) RETURNS jsonb
LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(jsonb_object_agg(split_part(s, '=', 1), substr(s, strpos(s, '=') + 1)), '{}') FROM unnest(p_scope) s
$$;

-- The same content in two scopes is two memories. An unscoped one's hash is its content's alone.
CREATE FUNCTION robotgroups.memory_hash(p_content text, p_scope text[]) RETURNS bytea
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN p_scope = '{}' THEN sha256(convert_to(p_content, 'UTF8'))
        ELSE sha256(sha256(convert_to(p_content, 'UTF8')) || sha256(convert_to(p_scope::text, 'UTF8'))) END
$$;

-- One memory as JSON. Plain SQL without settings of its own, so that it is inlined; callers set the time zone.
CREATE OR REPLACE FUNCTION robotgroups.memory_json(m robotgroups.memories, w robotgroups.working_memory) RETURNS jsonb
LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object('id', m.id, 'content', m.content, 'originator', m.originator, 'tokens', m.tokens, 'tags', m.tags,
        'metadata', m.metadata, 'created_at', m.created_at, 'remembered_at', m.remembered_at, 'remember_count', m.remember_count,
        'forgotten_at', m.forgotten_at, 'in_working_memory', w.memory_id IS NOT NULL, 'keeper', w.keeper,
        'access_count', coalesce(w.access_count, 0), 'last_accessed_at', w.last_accessed_at,
        'scope', CASE WHEN m.scope = '{}' THEN '{}'::jsonb ELSE robotgroups.scope_json(m.scope) END,
        'version', m.version, 'expires_at', m.expires_at, 'pinned', coalesce(w.pinned, false))
$$;

-- The least valuable memories of a working set, in the order in which they go, until p_need tokens are free; none that is pinned or in p_spare. What a policy
-- calls least valuable, ties to the older memory (robotgroups.eviction is the same in Python; a test compares them):
--   balanced  ln(1 + accesses) + 1 / (1 + hours since the last access): HTM's formula, with its sign right
--   lru       the last access;  lfu  accesses, then the last access;  fifo  when it came in
-- No more than p_need candidates are needed: each frees a token at least. plpgsql, for a plan that is kept.
-- sums: what is free once each has left. sure: so many of them, from the first on, are less valuable than whatever is going to be remembered later.
CREATE FUNCTION robotgroups.least_valuable(p_group bigint, p_policy text, p_need integer, p_spare bigint[],
    OUT memories bigint[], OUT slots integer[], OUT freed integer, OUT sums integer[], OUT sure integer)
LANGUAGE plpgsql STABLE SET search_path = robotgroups, pg_temp SET enable_seqscan = off AS $$
DECLARE v_now double precision := extract(epoch FROM now());
BEGIN
    SELECT array_agg(r.memory_id), array_agg(r.slot), sum(r.tokens), array_agg(r.freed_after), count(*) FILTER (WHERE r.below_new)
        INTO memories, slots, freed, sums, sure FROM (
        SELECT v.memory_id, v.slot, v.tokens, sum(v.tokens) OVER (ORDER BY v.value, v.second, v.memory_id ROWS UNBOUNDED PRECEDING)::integer AS freed_after,
            CASE p_policy WHEN 'balanced' THEN v.value < 1 WHEN 'lfu' THEN v.value = 0 ELSE true END AS below_new
        FROM (
            SELECT w.memory_id, w.slot, w.tokens, CASE p_policy
                    WHEN 'balanced' THEN w.weight + 3600 / (3600 + greatest(v_now - w.accessed_s, 0))
                    WHEN 'lru' THEN w.accessed_s
                    WHEN 'lfu' THEN w.access_count
                    ELSE date_part('epoch', w.added_at) END AS value,
                CASE p_policy WHEN 'lfu' THEN w.accessed_s ELSE 0 END AS second
            FROM working_memory w WHERE w.group_id = p_group AND NOT w.pinned AND w.tokens > 0
                AND (p_spare = '{}' OR NOT w.memory_id = ANY (p_spare))
            ORDER BY value, second, w.memory_id LIMIT p_need) v) r
    WHERE r.freed_after - r.tokens < p_need;
END $$;

-- Who leaves when many are remembered one after the other: ranked once, for two hundred and more to go. It stands for a minute, as the policy saw the working set
-- then; what has come in since is more valuable. Lost in a crash, it is made again.
CREATE UNLOGGED TABLE robotgroups.rankings (
    group_id bigint PRIMARY KEY REFERENCES robotgroups.groups ON DELETE CASCADE,
    policy text NOT NULL,
    ranked_at timestamptz NOT NULL,
    memories bigint[] NOT NULL,
    slots integer[] NOT NULL,
    sums integer[] NOT NULL
) WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);
COMMENT ON COLUMN robotgroups.rankings.sums IS 'tokens that are free once each has left; groups.ranking_used says how many have left';
ALTER TABLE robotgroups.rankings ALTER COLUMN memories SET STORAGE PLAIN, ALTER COLUMN slots SET STORAGE PLAIN, ALTER COLUMN sums SET STORAGE PLAIN,
    ALTER COLUMN memories SET STATISTICS 0, ALTER COLUMN slots SET STATISTICS 0, ALTER COLUMN sums SET STATISTICS 0;

-- As least_valuable, and keeps who is next (rankings), unless some were spared. The caller holds the group's row, and notes in it that none of these has left.
CREATE FUNCTION robotgroups.rank(g robotgroups.groups, p_need integer, p_spare bigint[], OUT memories bigint[], OUT slots integer[], OUT freed integer)
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp AS $$
DECLARE v record; v_now integer := 1; v_last integer;
BEGIN
    SELECT * INTO v FROM least_valuable(g.id, g.eviction, p_need + 200 * g.working_memory_tokens / greatest(g.working_memory_nodes, 1), p_spare);
    WHILE v.sums[v_now] < p_need LOOP v_now := v_now + 1; END LOOP;
    freed := v.sums[v_now]; memories := v.memories[:v_now]; slots := v.slots[:v_now];
    v_last := least(v.sure, v_now + 256);
    IF p_spare <> '{}' OR v_last <= v_now THEN
        DELETE FROM rankings WHERE group_id = g.id;
    ELSE
        INSERT INTO rankings AS x VALUES (g.id, g.eviction, now(), v.memories[v_now + 1:v_last], v.slots[v_now + 1:v_last],
                ARRAY(SELECT s - freed FROM unnest(v.sums[v_now + 1:v_last]) s))
            ON CONFLICT (group_id) DO UPDATE SET policy = excluded.policy, ranked_at = excluded.ranked_at, memories = excluded.memories, slots = excluded.slots,
                sums = excluded.sums;
    END IF;
END $$;

-- Evicts the least valuable memories until p_need tokens are free; returns how many left. Each is an event of its own.
CREATE FUNCTION robotgroups.evict(p_group bigint, p_need integer, p_spare bigint[]) RETURNS integer
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp AS $$
DECLARE v record; v_count integer;
BEGIN
    IF p_need <= 0 THEN RETURN 0; END IF;
    SELECT l.* INTO v FROM groups g, least_valuable(p_group, g.eviction, p_need, p_spare) l WHERE g.id = p_group;
    v_count := coalesce(cardinality(v.memories), 0);
    IF v_count = 0 THEN RETURN 0; END IF;
    DELETE FROM working_memory WHERE group_id = p_group AND slot = ANY (v.slots);
    WITH counted AS (
        UPDATE groups SET revision = revision + v_count, working_memory_nodes = working_memory_nodes - v_count,
            working_memory_tokens = working_memory_tokens - v.freed WHERE id = p_group RETURNING revision, epoch)
    INSERT INTO changes (group_id, revision, kind, epoch, memory_ids) SELECT p_group, c.revision, 'evicted', c.epoch, v.memories FROM counted c;
    PERFORM announce(p_group, (SELECT revision FROM groups WHERE id = p_group));
    RETURN v_count;
END $$;

CREATE OR REPLACE FUNCTION robotgroups.make_room(p_group bigint, p_need integer) RETURNS integer
LANGUAGE sql SET search_path = robotgroups, pg_temp AS $$ SELECT evict(p_group, p_need, '{}') $$;

-- Puts a memory that fits into the working set, evicting first (M4), and writes the event.
CREATE FUNCTION robotgroups.place(p_group bigint, m robotgroups.memories, p_robot text, p_kind text, p_accesses integer, p_spare bigint[]) RETURNS bigint
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp SET timezone = 'UTC' AS $$
DECLARE w working_memory;
BEGIN
    PERFORM evict(p_group, (SELECT working_memory_tokens - max_tokens FROM groups WHERE id = p_group) + m.tokens, p_spare);
    UPDATE groups SET working_memory_nodes = working_memory_nodes + 1, working_memory_tokens = working_memory_tokens + m.tokens, slots = slots + 1
        WHERE id = p_group;
    INSERT INTO working_memory (group_id, slot, memory_id, tokens, keeper, access_count)
        SELECT p_group, slots, m.id, m.tokens, p_robot, p_accesses FROM groups WHERE id = p_group RETURNING * INTO w;
    RETURN append_change(p_group, p_kind, m.id, p_robot, memory_json(m, w));
END $$;

CREATE OR REPLACE FUNCTION robotgroups.enter_working_memory(p_group bigint, p_memory bigint, p_robot text, p_kind text, OUT revision bigint, OUT entered boolean)
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp SET timezone = 'UTC' AS $$
DECLARE m memories;
BEGIN
    SELECT * INTO m FROM memories WHERE id = p_memory;
    SELECT m.tokens <= max_tokens - pinned_tokens INTO entered FROM groups WHERE id = p_group;
    revision := CASE WHEN entered THEN place(p_group, m, p_robot, p_kind, 0, '{}')
        ELSE append_change(p_group, p_kind, p_memory, p_robot, memory_json(m, NULL)) END;
END $$;

-- Tells the other groups of a shared space that hold these memories in their working sets what they are now (M3). The space's row is held.
CREATE FUNCTION robotgroups.tell_other_groups(p_group bigint, p_memories bigint[], p_robot text) RETURNS void
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp SET timezone = 'UTC' AS $$
DECLARE v record;
BEGIN
    FOR v IN SELECT w AS w, m AS m FROM working_memory w JOIN memories m ON m.id = w.memory_id
        WHERE w.memory_id = ANY (p_memories) AND w.group_id <> p_group ORDER BY w.group_id, w.memory_id LOOP
        PERFORM append_change((v.w).group_id, 'updated', (v.m).id, p_robot, memory_json(v.m, v.w));
    END LOOP;
END $$;

-- Takes a memory out of the working set of every group of the space that holds it; p_group's own event has p_kind even when it did not hold it. Returns
-- that one's revision.
CREATE FUNCTION robotgroups.leave_working_memory(p_group bigint, p_memory bigint, p_robot text, p_kind text) RETURNS bigint
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp AS $$
DECLARE v_group bigint; w working_memory;
BEGIN
    FOR v_group IN SELECT x.id FROM groups x WHERE x.space_id = (SELECT space_id FROM groups WHERE id = p_group) ORDER BY x.id LOOP
        PERFORM FROM groups WHERE id = v_group FOR NO KEY UPDATE;
        DELETE FROM working_memory WHERE group_id = v_group AND memory_id = p_memory RETURNING * INTO w;
        CONTINUE WHEN NOT FOUND;
        UPDATE groups SET working_memory_nodes = working_memory_nodes - 1, working_memory_tokens = working_memory_tokens - w.tokens,
            pinned_tokens = pinned_tokens - CASE WHEN w.pinned THEN w.tokens ELSE 0 END WHERE id = v_group;
        IF v_group <> p_group THEN PERFORM append_change(v_group, p_kind, p_memory, p_robot, '{}'); END IF;
    END LOOP;
    RETURN append_change(p_group, p_kind, p_memory, p_robot, '{}');
END $$;

CREATE TYPE robotgroups.remember_item AS (
    ord integer, content text, tokens integer, originator text, tags text[], metadata jsonb, scope text[], key text, expires_at timestamptz,
    hash bytea, id bigint, known boolean, error text, message text);

-- Remembers many at once, each once (M2): the same content in the same scope, or the same key, is one memory. No two items may be the same: whoever gathers
-- them sees to that. p_items: [{"content", "tokens", "originator", "tags", "metadata", "scope": ["key=value"], "key", "expires_at"}].
-- Durable when it returns in autocommit (M1). An item that is refused has its SQLSTATE in "error" and does not hinder the others.
-- What a full working set has to let go is decided once for all of them, and is never one of them; what comes in takes its places.
-- at: its created_at, if it is new. evicted: who left for it and those that follow, in the revisions before its own. With them a cache needs no reading of the feed.
-- It is one function with few statements on purpose: each costs more than the work on a memory does.
CREATE FUNCTION robotgroups.remember_batch(p_group bigint, p_robot text, p_tenure bigint, p_items jsonb)
RETURNS TABLE (ord integer, id bigint, revision bigint, epoch bigint, created boolean, in_working_memory boolean, error text, message text,
    at timestamptz, evicted bigint[])
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp SET timezone = 'UTC'
    -- a plan that was made while the tables were small shall not scan them once they are large
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off AS $$
#variable_conflict use_column
DECLARE
    g groups; v_robot text := p_robot; v_all remember_item[]; v_items remember_item[]; v_enter remember_item[]; v_shared boolean; v_fenced boolean;
    v_errors boolean; v_keys boolean; v_known boolean; v_tagged boolean; v_ends boolean; v_total bigint; v_room integer; v_at integer := 1; v_end integer;
    v_held bigint[]; v_gone bigint[]; v_slots integer[]; v_freed integer; v_base bigint; v_entered integer; v_jobs text[]; v_used integer; v_need integer;
BEGIN
    IF current_setting('synchronous_commit') NOT IN ('on', 'remote_apply') THEN PERFORM set_config('synchronous_commit', 'on', true); END IF;  -- M1
    -- what mostly is so: a group with a space of its own, and its own login
    SELECT x.* INTO g FROM groups x WHERE x.id = p_group AND session_user IN (x.login, current_user) AND NOT x.shares FOR NO KEY UPDATE;
    v_shared := NOT FOUND;
    IF v_shared THEN
        PERFORM assert_may_use(p_group);
        g := lock_memory(p_group);
        v_shared := g.shares;
    END IF;
    IF p_tenure IS NULL THEN v_robot := fence(p_group, p_robot, p_tenure); END IF;
    v_room := g.max_tokens - g.pinned_tokens;
    -- the lock of the group (or space) keeps everybody else from remembering: what is not found now is new, and gets its id here
    SELECT array_agg(ROW(x.ord, x.content, coalesce(m.tokens, x.tokens), x.originator, x.tags, x.metadata, x.scope, x.key, x.expires_at, x.hash,
                coalesce(m.id, nextval('memories_id_seq')), m.id IS NOT NULL,
                CASE WHEN x.blank OR x.bytes > 262144 OR x.expires_at <= now() OR x.expires_at >= '10000-01-01' THEN 'RG012' WHEN r.name IS NULL THEN 'RG003' END,
                CASE WHEN x.blank THEN 'content must not be blank'
                    WHEN x.bytes > 262144 THEN format('content is too large: it has %s bytes of UTF-8, a memory may have 262144: split it', x.bytes)
                    WHEN x.expires_at <= now() THEN format('expires_at %s is not in the future', x.expires_at)
                    WHEN x.expires_at >= '10000-01-01' THEN format('expires_at %s is after the year 9999', x.expires_at)
                    WHEN r.name IS NULL THEN format('originator %s is no member of group %s', x.originator, g.name) END)::remember_item),
            sum(coalesce(m.tokens, x.tokens)), bool_or(x.key IS NOT NULL), bool_or(x.blank OR x.bytes > 262144 OR r.name IS NULL OR x.expires_at <= now() OR x.expires_at >= '10000-01-01'), bool_or(m.id IS NOT NULL),
            bool_or(x.tags <> '{}'), bool_or(x.expires_at IS NOT NULL), p_tenure IS NULL OR EXISTS (
                SELECT FROM robots f WHERE f.group_id = p_group AND f.name = p_robot AND f.role = 'active' AND f.tenure = p_tenure)
        INTO v_all, v_total, v_keys, v_errors, v_known, v_tagged, v_ends, v_fenced
        FROM (SELECT j.ordinality::integer AS ord, j.content, greatest(j.tokens, 0) AS tokens, coalesce(j.originator, v_robot) AS originator,
                coalesce(j.tags, '{}') AS tags, coalesce(j.metadata, '{}') AS metadata, coalesce(j.scope, '{}') AS scope, j.key, j.expires_at,
                memory_hash(j.content, coalesce(j.scope, '{}')) AS hash, coalesce(j.content !~ '\S', true) AS blank,
                octet_length(j.content) AS bytes
            FROM ROWS FROM (jsonb_to_recordset(p_items) AS (content text, tokens integer, originator text, tags text[], metadata jsonb,
                scope text[], key text, expires_at timestamptz)) WITH ORDINALITY j ORDER BY j.ordinality) x
        -- not "=": it would let a plan made while the space was small read all of the space for each item (index memories_space)
        LEFT JOIN memories m ON m.content_hash = x.hash AND m.space_id IS NOT DISTINCT FROM g.space_id
        LEFT JOIN robots r ON r.group_id = p_group AND r.name = x.originator;
    IF NOT v_fenced THEN PERFORM fence(p_group, p_robot, p_tenure); END IF;  -- R2: says who is active
    IF v_ends THEN p_items := NULL; END IF;  -- the feed tells times, however they were written
    IF v_keys THEN
        -- what was acknowledged before is answered again, even when its originator has left meanwhile
        RETURN QUERY SELECT x.ord, k.memory_id, k.revision, k.epoch, k.created, k.in_working_memory,
                CASE WHEN k.content_hash <> x.hash THEN 'RG008' END,
                CASE WHEN k.content_hash <> x.hash THEN format('idempotency key %s was used with other content', x.key) END, NULL::timestamptz, NULL::bigint[]
            -- OFFSET 0: each key by itself, whatever plan was made while the group had none
            FROM unnest(v_all) x CROSS JOIN LATERAL (SELECT * FROM idempotency_keys y WHERE y.group_id = p_group AND y.key = x.key OFFSET 0) k;
        IF FOUND THEN
            p_items := NULL;
            v_all := ARRAY(SELECT x FROM unnest(v_all) x
                WHERE NOT EXISTS (SELECT FROM idempotency_keys k WHERE k.group_id = p_group AND k.key = x.key) ORDER BY x.ord);
        END IF;
    END IF;
    IF v_errors THEN
        RETURN QUERY SELECT x.ord, NULL::bigint, NULL::bigint, NULL::bigint, NULL::boolean, NULL::boolean, x.error, x.message, NULL::timestamptz, NULL::bigint[]
            FROM unnest(v_all) x WHERE x.error IS NOT NULL;
        p_items := NULL;
        v_all := ARRAY(SELECT x FROM unnest(v_all) x WHERE x.error IS NULL ORDER BY x.ord);
    END IF;
    WHILE v_at <= cardinality(v_all) LOOP
        -- M4 at every revision: as many at a time as the working set can hold beside what is pinned; mostly that is all
        IF v_at = 1 AND v_total <= v_room THEN
            v_items := v_all; v_enter := v_all; v_entered := v_total; v_end := cardinality(v_all);
        ELSE
            p_items := NULL; v_end := v_at; v_entered := v_all[v_at].tokens;
            WHILE v_end < cardinality(v_all) AND v_entered + v_all[v_end + 1].tokens <= v_room LOOP
                v_end := v_end + 1; v_entered := v_entered + v_all[v_end].tokens;
            END LOOP;
            v_items := v_all[v_at:v_end]; v_enter := v_items;
            IF v_entered > v_room THEN v_enter := '{}'; v_entered := 0; END IF;
        END IF;
        v_at := v_end + 1; v_held := '{}'; v_gone := '{}'; v_slots := '{}'; v_freed := 0; v_used := g.ranking_used;
        IF v_known THEN
            UPDATE memories m SET remember_count = m.remember_count + 1, remembered_at = now(), forgotten_at = NULL,
                    tags = (SELECT coalesce(array_agg(DISTINCT t ORDER BY t), '{}') FROM unnest(m.tags || i.tags) t),
                    metadata = m.metadata || i.metadata, expires_at = i.expires_at
                FROM unnest(v_items) i WHERE i.known AND m.id = i.id;
            WITH touched AS (
                UPDATE working_memory w SET access_count = w.access_count + 1, last_accessed_at = now()
                WHERE w.group_id = p_group AND w.memory_id IN (SELECT i.id FROM unnest(v_items) i WHERE i.known) RETURNING w.memory_id)
            SELECT coalesce(array_agg(t.memory_id), '{}') INTO v_held FROM touched t;
            -- what is held and pinned may have no room beside what is pinned: it was not among those that enter, and frees nothing
            SELECT coalesce(array_agg(i ORDER BY i.ord), '{}'), coalesce(sum(i.tokens), 0) INTO v_enter, v_entered
                FROM unnest(v_enter) i WHERE NOT i.id = ANY (v_held);
        END IF;
        IF g.working_memory_tokens + v_entered > g.max_tokens THEN
            v_need := g.working_memory_tokens + v_entered - g.max_tokens;
            -- by the ranking, if it still stands: none of those who leave was accessed, pinned, changed or taken out since
            SELECT r.memories[v_used + 1:e.i], r.slots[v_used + 1:e.i], r.sums[e.i] - b.sum, e.i INTO v_gone, v_slots, v_freed, v_used
                FROM rankings r, LATERAL (SELECT CASE WHEN v_used > 0 THEN r.sums[v_used] ELSE 0 END) b(sum),
                    LATERAL (SELECT s.i FROM generate_series(v_used + 1, cardinality(r.sums)) s(i) WHERE r.sums[s.i] - b.sum >= v_need LIMIT 1) e
                WHERE r.group_id = p_group AND v_held = '{}' AND r.policy = g.eviction AND r.ranked_at BETWEEN now() - interval '1 minute' AND now()
                    AND (SELECT (count(*), sum(w.tokens)) = (e.i - v_used, r.sums[e.i] - b.sum) FROM working_memory w
                        WHERE w.group_id = p_group AND w.slot = ANY (r.slots[v_used + 1:e.i]) AND w.memory_id = ANY (r.memories[v_used + 1:e.i]) AND NOT w.pinned
                            AND w.last_accessed_at <= r.ranked_at);
            IF NOT FOUND THEN
                SELECT n.* INTO v_gone, v_slots, v_freed FROM rank(g, v_need, v_held) n;
                v_used := 0;
            END IF;
        END IF;
        v_base := g.revision + cardinality(v_gone);
        WITH stored AS (
            INSERT INTO memories (id, space_id, group_id, content, content_hash, originator, tokens, tags, metadata, scope, expires_at)
                OVERRIDING SYSTEM VALUE
                SELECT i.id, g.space_id, p_group, i.content, i.hash, i.originator, i.tokens, i.tags, i.metadata, i.scope, i.expires_at
                FROM unnest(v_items) i WHERE NOT i.known),
        placed AS (
            -- no join: a plan made while the working set was small would read all of it for each
            UPDATE working_memory w SET memory_id = v_enter[array_position(v_slots, w.slot)].id, tokens = v_enter[array_position(v_slots, w.slot)].tokens,
                    keeper = v_enter[array_position(v_slots, w.slot)].originator, added_at = now(), access_count = 0, last_accessed_at = now(), pinned = false
                WHERE w.group_id = p_group AND w.slot = ANY (v_slots[:cardinality(v_enter)])),
        logged AS (
            INSERT INTO changes (group_id, revision, kind, epoch, memory_ids, robot, payload)
                SELECT p_group, v_base, 'evicted', g.epoch, v_gone, NULL, '{}' WHERE v_gone <> '{}'
                -- the items as they were sent say all that changes_after has to tell of each
                UNION ALL SELECT p_group, v_base + cardinality(v_items), 'added', g.epoch, ARRAY(SELECT i.id FROM unnest(v_items) i), v_robot,
                    jsonb_build_object('room', v_room, 'items', coalesce(p_items, (SELECT jsonb_agg(to_jsonb(i) - '{ord,hash,id,known,error,message,key}'::text[])
                        FROM unnest(v_items) i))) WHERE NOT v_known)
        INSERT INTO working_memory (group_id, slot, memory_id, tokens, keeper)
            SELECT p_group, g.slots + i.n, i.id, i.tokens, i.originator
            FROM unnest(v_enter[cardinality(v_slots) + 1:]) WITH ORDINALITY i(ord, content, tokens, originator, tags, metadata, scope, key, expires_at, hash, id, known, error, message, n);
        IF cardinality(v_enter) < cardinality(v_slots) THEN
            DELETE FROM working_memory w WHERE w.group_id = p_group AND w.slot = ANY (v_slots[cardinality(v_enter) + 1:]);
        END IF;
        UPDATE groups x SET revision = v_base + cardinality(v_items), working_memory_nodes = g.working_memory_nodes - cardinality(v_gone) + cardinality(v_enter),
            working_memory_tokens = g.working_memory_tokens - v_freed + v_entered,
            slots = g.slots + greatest(cardinality(v_enter) - cardinality(v_slots), 0), ranking_used = v_used WHERE x.id = p_group;
        IF v_known THEN
            INSERT INTO changes (group_id, revision, kind, epoch, memory_id, robot, payload)
                SELECT p_group, v_base + i.place, CASE WHEN i.id = ANY (v_held) THEN 'updated' ELSE 'added' END, g.epoch, i.id, i.originator, memory_json(m, w)
                FROM unnest(v_items) WITH ORDINALITY i(ord, content, tokens, originator, tags, metadata, scope, key, expires_at, hash, id, known, error, message, place)
                JOIN memories m ON m.id = i.id LEFT JOIN working_memory w ON w.group_id = p_group AND w.memory_id = i.id;
            IF v_shared THEN PERFORM tell_other_groups(p_group, ARRAY(SELECT i.id FROM unnest(v_items) i WHERE i.known), v_robot); END IF;
        END IF;
        IF v_keys THEN
            INSERT INTO idempotency_keys (group_id, key, content_hash, memory_id, revision, epoch, created, in_working_memory)
                SELECT p_group, i.key, i.hash, i.id, v_base + i.place, g.epoch, NOT i.known, i.tokens <= v_room OR i.id = ANY (v_held)
                FROM unnest(v_items) WITH ORDINALITY i(ord, content, tokens, originator, tags, metadata, scope, key, expires_at, hash, id, known, error, message, place) WHERE i.key IS NOT NULL;
        END IF;
        v_jobs := CASE WHEN v_shared THEN jobs_for(g.space_id) ELSE jobs_of(g.embedding, g.extraction) END;
        IF v_tagged OR v_jobs <> '{}' THEN
            INSERT INTO jobs (space_id, memory_id, kind)
                SELECT g.space_id, i.id, k.kind
                FROM unnest(v_items) i, unnest(v_jobs || CASE WHEN i.tags <> '{}' THEN ARRAY['relate'] ELSE '{}' END) k(kind)
                WHERE NOT i.known OR k.kind = 'relate'
                ON CONFLICT (memory_id, kind) DO NOTHING;
        END IF;
        RETURN QUERY SELECT i.ord, i.id, v_base + i.place, g.epoch, NOT i.known, i.tokens <= v_room OR i.id = ANY (v_held), NULL::text, NULL::text,
                CASE WHEN NOT i.known THEN now() END, CASE WHEN i.place = 1 THEN v_gone END
            FROM unnest(v_items) WITH ORDINALITY i(ord, content, tokens, originator, tags, metadata, scope, key, expires_at, hash, id, known, error, message, place);
        g.revision := v_base + cardinality(v_items);
        IF v_at <= cardinality(v_all) THEN SELECT x.* INTO g FROM groups x WHERE x.id = p_group; END IF;
    END LOOP;
    IF v_at > 1 THEN PERFORM announce(p_group, g.revision); END IF;
END $$;

-- The feed, an event a revision: what a batch wrote as one row is told one by one. A reader who is behind what was pruned is told so, and gets no gap.
CREATE OR REPLACE FUNCTION robotgroups.changes_after(p_group bigint, p_revision bigint, p_limit integer) RETURNS SETOF robotgroups.changes
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = robotgroups, pg_temp SET timezone = 'UTC' AS $$
DECLARE v_pruned bigint;
BEGIN
    PERFORM assert_may_use(p_group);
    SELECT pruned_to INTO v_pruned FROM groups WHERE id = p_group;
    IF p_revision < v_pruned THEN
        RAISE EXCEPTION 'changes up to % are gone: start from a snapshot', v_pruned USING ERRCODE = 'RG015', DETAIL = v_pruned::text;
    END IF;
    RETURN QUERY
        SELECT c.group_id, e.revision, c.kind, c.epoch, e.memory_id, e.robot, e.payload, c.created_at, NULL::bigint[]
        FROM (SELECT * FROM changes x WHERE x.group_id = p_group AND x.revision > p_revision ORDER BY x.revision LIMIT p_limit) c,
            LATERAL (
                SELECT c.revision, c.memory_id, c.robot, c.payload WHERE c.memory_ids IS NULL
                UNION ALL SELECT c.revision - cardinality(c.memory_ids) + i.place, i.id, c.robot, '{}'::jsonb
                    FROM unnest(c.memory_ids) WITH ORDINALITY i(id, place) WHERE c.kind IN ('evicted', 'forgotten')
                UNION ALL SELECT c.revision - cardinality(c.memory_ids) + i.place, c.memory_ids[i.place], coalesce(i.item->>'originator', c.robot),
                        added_json(c, c.memory_ids[i.place], i.item)
                    FROM jsonb_array_elements(c.payload->'items') WITH ORDINALITY i(item, place) WHERE c.kind = 'added' AND c.memory_ids IS NOT NULL
            ) e
        WHERE e.revision > p_revision ORDER BY e.revision LIMIT p_limit;
END $$;

-- The feed as it is stored, for readers that tell it themselves (robotgroups.feed): the rows that hold the p_limit revisions after p_revision, the first and the
-- last of them perhaps with some more. What a listening robot asks with each notification: no more statements than it needs.
CREATE FUNCTION robotgroups.feed_after(p_group bigint, p_revision bigint, p_limit integer) RETURNS SETOF robotgroups.changes
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = robotgroups, pg_temp SET enable_seqscan = off AS $$
DECLARE v_revision bigint; v_pruned bigint;
BEGIN
    SELECT g.revision, g.pruned_to INTO v_revision, v_pruned FROM groups g WHERE g.id = p_group AND session_user IN (g.login, g.previous_login, current_user);
    IF NOT FOUND THEN PERFORM assert_may_use(p_group); END IF;
    IF p_revision < v_pruned THEN
        RAISE EXCEPTION 'changes up to % are gone: start from a snapshot', v_pruned USING ERRCODE = 'RG015', DETAIL = v_pruned::text;
    END IF;
    RETURN QUERY SELECT * FROM changes c WHERE c.group_id = p_group AND c.revision > p_revision AND c.revision <= p_revision + p_limit ORDER BY c.revision;
    IF v_revision > p_revision + p_limit THEN  -- the next row may begin before
        RETURN QUERY SELECT * FROM (SELECT * FROM changes x WHERE x.group_id = p_group AND x.revision > p_revision + p_limit ORDER BY x.revision LIMIT 1) c
            WHERE c.revision - cardinality(c.memory_ids) < p_revision + p_limit;
    END IF;
END $$;

-- What memory_json told of a memory in the moment in which it was new, out of the item that it was made from. An erased one is told by its id alone.
CREATE FUNCTION robotgroups.added_json(c robotgroups.changes, p_id bigint, p_item jsonb) RETURNS jsonb
LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN p_item ? 'erased' THEN jsonb_build_object('id', p_id, 'erased', true) ELSE
        jsonb_build_object('id', p_id, 'content', p_item->'content', 'originator', coalesce(p_item->>'originator', c.robot), 'tokens', p_item->'tokens',
            'tags', coalesce(nullif(p_item->'tags', 'null'), '[]'), 'metadata', coalesce(nullif(p_item->'metadata', 'null'), '{}'),
            'created_at', c.created_at, 'remembered_at', c.created_at, 'remember_count', 1, 'forgotten_at', NULL,
            'in_working_memory', placed, 'keeper', CASE WHEN placed THEN coalesce(p_item->>'originator', c.robot) END,
            'access_count', 0, 'last_accessed_at', CASE WHEN placed THEN c.created_at END,
            'scope', robotgroups.scope_json(ARRAY(SELECT jsonb_array_elements_text(coalesce(nullif(p_item->'scope', 'null'), '[]')))),
            'version', 1, 'expires_at', (p_item->>'expires_at')::timestamptz, 'pinned', false) END
    FROM (SELECT (p_item->>'tokens')::integer <= (c.payload->>'room')::integer) t(placed)
$$;

-- What is to be done in the background with a new memory.
CREATE FUNCTION robotgroups.jobs_of(p_embedding jsonb, p_extraction jsonb) RETURNS text[]
LANGUAGE sql IMMUTABLE AS $$
    SELECT array_remove(ARRAY[
        CASE WHEN p_embedding->>'provider' <> 'none' THEN 'embed' END,
        CASE WHEN p_extraction->>'provider' <> 'none' AND (p_extraction->>'tags')::boolean THEN 'tags' END,
        CASE WHEN p_extraction->>'provider' <> 'none' AND (p_extraction->>'propositions')::boolean THEN 'propositions' END], NULL)
$$;

-- One memory, as before the batch: for robots of the previous release, and for whoever remembers by hand.
CREATE OR REPLACE FUNCTION robotgroups.remember(
    p_group bigint, p_robot text, p_tenure bigint, p_content text, p_tokens integer, p_originator text, p_tags text[], p_metadata jsonb, p_key text,
    OUT id bigint, OUT revision bigint, OUT epoch bigint, OUT created boolean, OUT in_working_memory boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
DECLARE v record;
BEGIN
    SELECT * INTO v FROM remember_batch(p_group, p_robot, p_tenure, jsonb_build_array(jsonb_build_object('content', p_content, 'tokens', p_tokens,
        'originator', p_originator, 'tags', p_tags, 'metadata', p_metadata, 'key', p_key)));
    IF v.error IS NOT NULL THEN RAISE EXCEPTION '%', v.message USING ERRCODE = v.error; END IF;
    id := v.id; revision := v.revision; epoch := v.epoch; created := v.created; in_working_memory := v.in_working_memory;
END $$;

CREATE OR REPLACE FUNCTION robotgroups.forget(p_group bigint, p_robot text, p_tenure bigint, p_memory bigint, OUT revision bigint, OUT epoch bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
DECLARE g groups; v_robot text;
BEGIN
    PERFORM assert_may_use(p_group);
    g := lock_memory(p_group); epoch := g.epoch; revision := g.revision;
    v_robot := fence(p_group, p_robot, p_tenure);
    PERFORM FROM memories WHERE space_id = g.space_id AND id = p_memory;
    IF NOT FOUND THEN RAISE EXCEPTION 'no memory has id %', p_memory USING ERRCODE = 'RG011'; END IF;
    UPDATE memories SET forgotten_at = now() WHERE id = p_memory AND forgotten_at IS NULL;
    IF FOUND THEN revision := leave_working_memory(p_group, p_memory, v_robot, 'forgotten'); END IF;
END $$;

CREATE OR REPLACE FUNCTION robotgroups.restore(p_group bigint, p_robot text, p_tenure bigint, p_memory bigint, OUT revision bigint, OUT epoch bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
DECLARE g groups; v_robot text;
BEGIN
    PERFORM assert_may_use(p_group);
    g := lock_memory(p_group); epoch := g.epoch; revision := g.revision;
    v_robot := fence(p_group, p_robot, p_tenure);
    PERFORM FROM memories WHERE space_id = g.space_id AND id = p_memory;
    IF NOT FOUND THEN RAISE EXCEPTION 'no memory has id %', p_memory USING ERRCODE = 'RG011'; END IF;
    UPDATE memories SET forgotten_at = NULL WHERE id = p_memory AND forgotten_at IS NOT NULL;
    IF NOT FOUND THEN RETURN; END IF;
    SELECT e.revision INTO revision FROM enter_working_memory(p_group, p_memory, v_robot, 'restored') e;
END $$;

-- Empties the working set but for what is pinned; returns how many left.
CREATE OR REPLACE FUNCTION robotgroups.clear_working_memory(p_group bigint, p_robot text, p_tenure bigint) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
DECLARE v_robot text; v_count integer; v_tokens integer;
BEGIN
    PERFORM assert_may_use(p_group);
    PERFORM lock_memory(p_group);
    v_robot := fence(p_group, p_robot, p_tenure);
    WITH gone AS (DELETE FROM working_memory WHERE group_id = p_group AND NOT pinned RETURNING tokens)
    SELECT count(*), coalesce(sum(tokens), 0) INTO v_count, v_tokens FROM gone;
    IF v_count = 0 THEN RETURN 0; END IF;
    UPDATE groups SET working_memory_nodes = working_memory_nodes - v_count, working_memory_tokens = working_memory_tokens - v_tokens WHERE id = p_group;
    PERFORM append_change(p_group, 'cleared', NULL, v_robot, jsonb_build_object('count', v_count));
    RETURN v_count;
END $$;

-- Keeps memories in the working set (they are never evicted nor cleared), or lets them go as others do; returns how many changed.
CREATE FUNCTION robotgroups.pin(p_group bigint, p_robot text, p_tenure bigint, p_memories bigint[], p_pinned boolean,
    OUT changed integer, OUT revision bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp SET timezone = 'UTC' AS $$
DECLARE g groups; v_robot text; m memories; w working_memory; v_id bigint;
BEGIN
    PERFORM assert_may_use(p_group);
    g := lock_memory(p_group);
    v_robot := fence(p_group, p_robot, p_tenure);
    changed := 0; revision := g.revision;
    IF NOT p_pinned THEN DELETE FROM rankings WHERE group_id = p_group; END IF;  -- they may be less valuable than what was ranked
    FOREACH v_id IN ARRAY p_memories LOOP
        SELECT * INTO m FROM memories WHERE space_id = g.space_id AND id = v_id AND forgotten_at IS NULL;
        IF NOT FOUND THEN RAISE EXCEPTION 'no memory has id %', v_id USING ERRCODE = 'RG011'; END IF;
        SELECT * INTO g FROM groups WHERE id = p_group;
        SELECT * INTO w FROM working_memory WHERE group_id = p_group AND memory_id = v_id;
        CONTINUE WHEN CASE WHEN FOUND THEN w.pinned = p_pinned ELSE NOT p_pinned END;
        IF p_pinned AND g.pinned_tokens + m.tokens > g.max_tokens THEN
            RAISE EXCEPTION 'memory % has % tokens, which do not fit beside the % that are pinned of max_tokens %', v_id, m.tokens, g.pinned_tokens,
                g.max_tokens USING ERRCODE = 'RG012';
        END IF;
        IF w.memory_id IS NULL THEN PERFORM enter_working_memory(p_group, v_id, v_robot, 'added'); END IF;
        UPDATE working_memory SET pinned = p_pinned WHERE group_id = p_group AND memory_id = v_id RETURNING * INTO w;
        UPDATE groups SET pinned_tokens = pinned_tokens + CASE WHEN p_pinned THEN m.tokens ELSE -m.tokens END WHERE id = p_group;
        revision := append_change(p_group, 'updated', v_id, v_robot, memory_json(m, w));
        changed := changed + 1;
    END LOOP;
END $$;

-- Recalled memories come into the working set, or count as accessed when they are there: best first, as many as fit without one taking another's place.
CREATE FUNCTION robotgroups.into_working_memory(p_group bigint, p_robot text, p_tenure bigint, p_memories bigint[], OUT entered bigint[], OUT revision bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp SET timezone = 'UTC' AS $$
DECLARE g groups; v_robot text; m memories; w working_memory; v_id bigint; v_sum integer := 0;
BEGIN
    PERFORM assert_may_use(p_group);
    g := lock_memory(p_group);
    v_robot := fence(p_group, p_robot, p_tenure);
    entered := '{}'; revision := g.revision;
    FOREACH v_id IN ARRAY p_memories LOOP
        UPDATE memories SET access_count = access_count + 1, last_accessed_at = now()
            WHERE space_id = g.space_id AND id = v_id AND forgotten_at IS NULL RETURNING * INTO m;
        CONTINUE WHEN NOT FOUND;
        UPDATE working_memory SET access_count = access_count + 1, last_accessed_at = now() WHERE group_id = p_group AND memory_id = v_id RETURNING * INTO w;
        IF FOUND THEN
            revision := append_change(p_group, 'updated', v_id, v_robot, memory_json(m, w));
            IF NOT w.pinned THEN v_sum := v_sum + m.tokens; END IF;
        ELSE
            CONTINUE WHEN v_sum + m.tokens > g.max_tokens - g.pinned_tokens;
            revision := place(p_group, m, v_robot, 'added', 1, entered);
            v_sum := v_sum + m.tokens;
        END IF;
        entered := entered || v_id;
    END LOOP;
END $$;

CREATE OR REPLACE FUNCTION robotgroups.transfer_working_memory(p_group bigint, p_robot text, p_tenure bigint, p_source text, p_target text) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp SET timezone = 'UTC' AS $$
DECLARE v_robot text; w working_memory; m memories; v_count integer := 0; v_name text;
BEGIN
    PERFORM assert_may_use(p_group);
    PERFORM lock_memory(p_group);
    v_robot := fence(p_group, p_robot, p_tenure);
    FOREACH v_name IN ARRAY ARRAY[p_source, p_target] LOOP
        IF NOT EXISTS (SELECT FROM robots WHERE group_id = p_group AND name = v_name) THEN
            RAISE EXCEPTION 'the group has no robot %', v_name USING ERRCODE = 'RG003';
        END IF;
    END LOOP;
    FOR w IN UPDATE working_memory SET keeper = p_target WHERE group_id = p_group AND keeper = p_source AND p_source <> p_target RETURNING * LOOP
        SELECT * INTO m FROM memories WHERE id = w.memory_id;
        PERFORM append_change(p_group, 'updated', w.memory_id, v_robot, memory_json(m, w));
        v_count := v_count + 1;
    END LOOP;
    RETURN v_count;
END $$;
