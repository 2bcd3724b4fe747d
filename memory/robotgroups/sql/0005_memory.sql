-- Writing memory: one call is one statement in autocommit (a robot stopped in mid-transaction would hold the group's row).

-- R2, the fence: refuses a writer that is not active under the tenure it claims, and names the active robots. Caller holds the group's row.
-- Without a tenure only the functions' owner may write: an SDK that opens a group without hosting robots; it writes for the first active robot.
CREATE FUNCTION robotgroups.fence(p_group bigint, p_robot text, p_tenure bigint) RETURNS text
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp AS $$
DECLARE v_active text[];
BEGIN
    v_active := active_robots(p_group);
    IF p_tenure IS NULL THEN
        IF NOT pg_has_role(session_user, current_user, 'MEMBER') THEN
            RAISE EXCEPTION 'a robot must claim its tenure' USING ERRCODE = '42501';
        END IF;
        IF v_active = '{}' THEN RAISE EXCEPTION 'the group has no active robot' USING ERRCODE = 'RG010'; END IF;
        RETURN v_active[1];
    END IF;
    IF NOT EXISTS (SELECT FROM robots WHERE group_id = p_group AND name = p_robot AND role = 'active' AND tenure = p_tenure) THEN
        RAISE EXCEPTION '% is not active under tenure %', p_robot, p_tenure
            USING ERRCODE = 'RG001', DETAIL = to_jsonb(v_active)::text;
    END IF;
    RETURN p_robot;
END $$;

CREATE FUNCTION robotgroups.memory_json(m robotgroups.memories, w robotgroups.working_memory) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = robotgroups, pg_temp SET timezone = 'UTC' AS $$
    SELECT jsonb_build_object('id', m.id, 'content', m.content, 'originator', m.originator, 'tokens', m.tokens, 'tags', to_jsonb(m.tags),
        'metadata', m.metadata, 'created_at', m.created_at, 'remembered_at', m.remembered_at, 'remember_count', m.remember_count,
        'forgotten_at', m.forgotten_at, 'in_working_memory', w.memory_id IS NOT NULL, 'keeper', w.keeper,
        'access_count', coalesce(w.access_count, 0), 'last_accessed_at', w.last_accessed_at)
$$;

-- Writes one event under the next revision. Caller holds the group's row.
CREATE FUNCTION robotgroups.append_change(p_group bigint, p_kind text, p_memory bigint, p_robot text, p_payload jsonb) RETURNS bigint
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp AS $$
DECLARE v_revision bigint; v_epoch bigint;
BEGIN
    UPDATE groups SET revision = revision + 1 WHERE id = p_group RETURNING revision, epoch INTO v_revision, v_epoch;
    INSERT INTO changes (group_id, revision, kind, epoch, memory_id, robot, payload)
        VALUES (p_group, v_revision, p_kind, v_epoch, p_memory, p_robot, p_payload);
    PERFORM announce(p_group, v_revision);
    RETURN v_revision;
END $$;

-- Evicts the least valuable memories until p_need tokens are free; returns how many left. Value ("balanced"): ln(1 + accesses) plus recency, which halves
-- in the first hour: HTM's formula, with its sign right. Ties go to the older memory. Each eviction is an event of its own.
CREATE FUNCTION robotgroups.make_room(p_group bigint, p_need integer) RETURNS integer
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp AS $$
DECLARE v record; v_count integer := 0;
BEGIN
    IF p_need <= 0 THEN RETURN 0; END IF;
    FOR v IN
        WITH valued AS (
            SELECT memory_id, tokens, ln(1 + access_count) + 1 / (1 + greatest(extract(epoch FROM now() - last_accessed_at), 0) / 3600) AS value
            FROM working_memory WHERE group_id = p_group),
        ranked AS (SELECT memory_id, tokens, sum(tokens) OVER (ORDER BY value, memory_id) - tokens AS freed_before FROM valued)
        SELECT memory_id, tokens FROM ranked WHERE freed_before < p_need ORDER BY freed_before, memory_id
    LOOP
        DELETE FROM working_memory WHERE group_id = p_group AND memory_id = v.memory_id;
        UPDATE groups SET working_memory_nodes = working_memory_nodes - 1, working_memory_tokens = working_memory_tokens - v.tokens WHERE id = p_group;
        PERFORM append_change(p_group, 'evicted', v.memory_id, NULL, '{}');
        v_count := v_count + 1;
    END LOOP;
    RETURN v_count;
END $$;

-- Puts a memory into the working set (evicting first, M4) and writes the event; returns its revision. What alone is larger stays long-term only.
CREATE FUNCTION robotgroups.enter_working_memory(p_group bigint, p_memory bigint, p_robot text, p_kind text, OUT revision bigint, OUT entered boolean)
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp AS $$
DECLARE g groups; m memories; w working_memory;
BEGIN
    SELECT * INTO g FROM groups WHERE id = p_group;
    SELECT * INTO m FROM memories WHERE id = p_memory;
    entered := m.tokens <= g.max_tokens;
    IF entered THEN
        PERFORM make_room(p_group, g.working_memory_tokens + m.tokens - g.max_tokens);
        INSERT INTO working_memory (group_id, memory_id, tokens, keeper) VALUES (p_group, p_memory, m.tokens, p_robot) RETURNING * INTO w;
        UPDATE groups SET working_memory_nodes = working_memory_nodes + 1, working_memory_tokens = working_memory_tokens + m.tokens WHERE id = p_group;
    END IF;
    revision := append_change(p_group, p_kind, p_memory, p_robot, memory_json(m, w));
END $$;

-- Remembers once (M2): the same content, or the same key, is one memory. Durable when it returns in autocommit (M1).
CREATE FUNCTION robotgroups.remember(
    p_group bigint, p_robot text, p_tenure bigint, p_content text, p_tokens integer, p_originator text, p_tags text[], p_metadata jsonb, p_key text,
    OUT id bigint, OUT revision bigint, OUT epoch bigint, OUT created boolean, OUT in_working_memory boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
DECLARE g groups; m memories; w working_memory; k idempotency_keys; v_hash bytea; v_robot text; v_by text;
BEGIN
    PERFORM assert_may_use(p_group);
    g := lock_group(p_group);
    v_robot := fence(p_group, p_robot, p_tenure);
    epoch := g.epoch;
    v_hash := sha256(convert_to(p_content, 'UTF8'));
    -- what was acknowledged before is answered again, even when its originator has left meanwhile
    IF p_key IS NOT NULL THEN
        SELECT * INTO k FROM idempotency_keys x WHERE x.group_id = p_group AND x.key = p_key;
        IF FOUND THEN
            IF k.content_hash <> v_hash THEN
                RAISE EXCEPTION 'idempotency key % was used with other content', p_key USING ERRCODE = 'RG008';
            END IF;
            id := k.memory_id; revision := k.revision; epoch := k.epoch; created := k.created; in_working_memory := k.in_working_memory;
            RETURN;
        END IF;
    END IF;
    IF btrim(p_content, E' \t\r\n') = '' THEN RAISE EXCEPTION 'content must not be blank' USING ERRCODE = 'RG012'; END IF;
    v_by := coalesce(p_originator, v_robot);
    IF NOT EXISTS (SELECT FROM robots WHERE group_id = p_group AND name = v_by) THEN
        RAISE EXCEPTION 'originator % is no member of group %', v_by, g.name USING ERRCODE = 'RG003';
    END IF;
    INSERT INTO memories AS x (group_id, content, content_hash, originator, tokens, tags, metadata, lexemes)
        VALUES (p_group, p_content, v_hash, v_by, p_tokens, p_tags, p_metadata, to_tsvector(g.language::regconfig, p_content))
        ON CONFLICT (group_id, content_hash) DO UPDATE SET remember_count = x.remember_count + 1, remembered_at = now(), forgotten_at = NULL,
            tags = (SELECT coalesce(array_agg(DISTINCT t ORDER BY t), '{}') FROM unnest(x.tags || excluded.tags) t),
            metadata = x.metadata || excluded.metadata
        RETURNING * INTO m;
    id := m.id; created := m.remember_count = 1;
    UPDATE working_memory x SET access_count = x.access_count + 1, last_accessed_at = now()
        WHERE x.group_id = p_group AND x.memory_id = m.id RETURNING * INTO w;
    IF FOUND THEN
        in_working_memory := true;
        revision := append_change(p_group, 'updated', m.id, v_by, memory_json(m, w));
    ELSE
        SELECT e.revision, e.entered INTO revision, in_working_memory FROM enter_working_memory(p_group, m.id, v_by, 'added') e;
    END IF;
    IF p_key IS NOT NULL THEN
        INSERT INTO idempotency_keys VALUES (p_group, p_key, v_hash, id, revision, epoch, created, in_working_memory);
    END IF;
END $$;

-- Hides a memory from recall and the working set until it is restored; it stays in long-term memory.
CREATE FUNCTION robotgroups.forget(p_group bigint, p_robot text, p_tenure bigint, p_memory bigint, OUT revision bigint, OUT epoch bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
DECLARE g groups; v_robot text; v_tokens integer;
BEGIN
    PERFORM assert_may_use(p_group);
    g := lock_group(p_group); epoch := g.epoch; revision := g.revision;
    v_robot := fence(p_group, p_robot, p_tenure);
    PERFORM FROM memories WHERE group_id = p_group AND id = p_memory;
    IF NOT FOUND THEN RAISE EXCEPTION 'no memory has id %', p_memory USING ERRCODE = 'RG011'; END IF;
    UPDATE memories SET forgotten_at = now() WHERE id = p_memory AND forgotten_at IS NULL;
    IF NOT FOUND THEN RETURN; END IF;
    DELETE FROM working_memory WHERE group_id = p_group AND memory_id = p_memory RETURNING tokens INTO v_tokens;
    IF FOUND THEN
        UPDATE groups SET working_memory_nodes = working_memory_nodes - 1, working_memory_tokens = working_memory_tokens - v_tokens WHERE id = p_group;
    END IF;
    revision := append_change(p_group, 'forgotten', p_memory, v_robot, '{}');
END $$;

-- Brings a forgotten memory back, into the working set too.
CREATE FUNCTION robotgroups.restore(p_group bigint, p_robot text, p_tenure bigint, p_memory bigint, OUT revision bigint, OUT epoch bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
DECLARE g groups; v_robot text;
BEGIN
    PERFORM assert_may_use(p_group);
    g := lock_group(p_group); epoch := g.epoch; revision := g.revision;
    v_robot := fence(p_group, p_robot, p_tenure);
    PERFORM FROM memories WHERE group_id = p_group AND id = p_memory;
    IF NOT FOUND THEN RAISE EXCEPTION 'no memory has id %', p_memory USING ERRCODE = 'RG011'; END IF;
    UPDATE memories SET forgotten_at = NULL WHERE id = p_memory AND forgotten_at IS NOT NULL;
    IF NOT FOUND THEN RETURN; END IF;
    SELECT e.revision INTO revision FROM enter_working_memory(p_group, p_memory, v_robot, 'restored') e;
END $$;

CREATE FUNCTION robotgroups.clear_working_memory(p_group bigint, p_robot text, p_tenure bigint) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
DECLARE g groups; v_robot text;
BEGIN
    PERFORM assert_may_use(p_group);
    g := lock_group(p_group);
    v_robot := fence(p_group, p_robot, p_tenure);
    IF g.working_memory_nodes = 0 THEN RETURN 0; END IF;
    DELETE FROM working_memory WHERE group_id = p_group;
    UPDATE groups SET working_memory_nodes = 0, working_memory_tokens = 0 WHERE id = p_group;
    PERFORM append_change(p_group, 'cleared', NULL, v_robot, jsonb_build_object('count', g.working_memory_nodes));
    RETURN g.working_memory_nodes;
END $$;

-- Makes p_target the keeper of p_source's working memories; returns how many.
CREATE FUNCTION robotgroups.transfer_working_memory(p_group bigint, p_robot text, p_tenure bigint, p_source text, p_target text) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
DECLARE v_robot text; w working_memory; m memories; v_count integer := 0; v_name text;
BEGIN
    PERFORM assert_may_use(p_group);
    PERFORM lock_group(p_group);
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
