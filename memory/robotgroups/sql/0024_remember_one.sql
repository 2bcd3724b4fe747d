-- A lone memory, which is what mostly is remembered: the same as a batch of one, in statements without joins, which take half the time.

-- As remember_batch with [p_item], and by it when it is not as simple as that: it was there before, has tags, a key or an expiry, something is wrong with it, the group
-- shares its space, the robot is not active.
CREATE FUNCTION robotgroups.remember_one(p_group bigint, p_robot text, p_tenure bigint, p_item jsonb)
RETURNS TABLE (ord integer, id bigint, revision bigint, epoch bigint, created boolean, in_working_memory boolean, error text, message text,
    at timestamptz, evicted bigint[])
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
    g groups; r rankings; v_content text := p_item->>'content'; v_tokens integer := greatest((p_item->>'tokens')::integer, 0);
    v_originator text := coalesce(p_item->>'originator', p_robot); v_scope text[] := '{}'; v_hash bytea; v_id bigint; v_room integer; v_need integer;
    v_gone bigint[] := '{}'; v_slots integer[] := '{}'; v_freed integer := 0; v_used integer; v_end integer; v_before integer; v_revision bigint; v_jobs text[];
    v_payload jsonb;
BEGIN
    IF p_item ?| '{key,tags,expires_at}' OR (v_content ~ '\S' AND octet_length(v_content) <= 262144) IS NOT TRUE THEN
        RETURN QUERY SELECT * FROM remember_batch(p_group, p_robot, p_tenure, jsonb_build_array(p_item));
        RETURN;
    END IF;
    IF p_item->'scope' <> 'null' THEN v_scope := ARRAY(SELECT jsonb_array_elements_text(p_item->'scope')); END IF;
    v_hash := memory_hash(v_content, v_scope);
    IF current_setting('synchronous_commit') NOT IN ('on', 'remote_apply') THEN PERFORM set_config('synchronous_commit', 'on', true); END IF;  -- M1
    SELECT x.* INTO g FROM groups x WHERE x.id = p_group AND session_user IN (x.login, current_user) AND NOT x.shares FOR NO KEY UPDATE;
    -- the lock keeps everybody else from remembering: what is not found now is new
    IF FOUND THEN
        PERFORM FROM robots f WHERE f.group_id = p_group AND f.name = p_robot AND f.role = 'active' AND f.tenure = p_tenure  -- R2
            AND (v_originator = p_robot OR EXISTS (SELECT FROM robots o WHERE o.group_id = p_group AND o.name = v_originator))
            AND NOT EXISTS (SELECT FROM memories m WHERE m.content_hash = v_hash AND m.space_id IS NOT DISTINCT FROM g.space_id);
    END IF;
    IF NOT FOUND THEN
        RETURN QUERY SELECT * FROM remember_batch(p_group, p_robot, p_tenure, jsonb_build_array(p_item));
        RETURN;
    END IF;
    v_room := g.max_tokens - g.pinned_tokens; v_used := g.ranking_used;
    v_need := g.working_memory_tokens + v_tokens - g.max_tokens;
    IF v_tokens <= v_room AND v_need > 0 THEN  -- M4
        -- by the ranking, if it still stands: none of those who leave was accessed, pinned, changed or taken out since
        SELECT x.* INTO r FROM rankings x WHERE x.group_id = p_group AND x.policy = g.eviction AND x.ranked_at BETWEEN now() - interval '1 minute' AND now();
        v_before := CASE WHEN v_used > 0 THEN r.sums[v_used] ELSE 0 END;
        v_end := v_used + 1;
        WHILE r.sums[v_end] - v_before < v_need LOOP v_end := v_end + 1; END LOOP;
        v_gone := r.memories[v_used + 1:v_end]; v_slots := r.slots[v_used + 1:v_end]; v_freed := r.sums[v_end] - v_before;
        PERFORM FROM working_memory w WHERE w.group_id = p_group AND w.slot = ANY (v_slots) AND w.memory_id = ANY (v_gone) AND NOT w.pinned
            AND w.last_accessed_at <= r.ranked_at HAVING (count(*), sum(w.tokens)) = (v_end - v_used, v_freed);
        IF FOUND THEN
            v_used := v_end;
        ELSE
            SELECT n.* INTO v_gone, v_slots, v_freed FROM rank(g, v_need, '{}') n;
            v_used := 0;
        END IF;
    END IF;
    v_id := nextval('memories_id_seq');
    v_revision := g.revision + cardinality(v_gone) + 1;
    INSERT INTO memories (id, space_id, group_id, content, content_hash, originator, tokens, metadata, scope) OVERRIDING SYSTEM VALUE
        VALUES (v_id, g.space_id, p_group, v_content, v_hash, v_originator, v_tokens, coalesce(nullif(p_item->'metadata', 'null'), '{}'), v_scope);
    v_payload := jsonb_build_object('room', v_room, 'items', jsonb_build_array(p_item));
    IF v_slots <> '{}' THEN
        UPDATE working_memory w SET memory_id = v_id, tokens = v_tokens, keeper = v_originator, added_at = now(), access_count = 0, last_accessed_at = now(),
            pinned = false WHERE w.group_id = p_group AND w.slot = v_slots[1];
        IF cardinality(v_slots) > 1 THEN DELETE FROM working_memory w WHERE w.group_id = p_group AND w.slot = ANY (v_slots[2:]); END IF;
        INSERT INTO changes (group_id, revision, kind, epoch, memory_ids, robot, payload)
            VALUES (p_group, v_revision - 1, 'evicted', g.epoch, v_gone, NULL, '{}'), (p_group, v_revision, 'added', g.epoch, ARRAY[v_id], p_robot, v_payload);
    ELSE
        IF v_tokens <= v_room THEN
            INSERT INTO working_memory (group_id, slot, memory_id, tokens, keeper) VALUES (p_group, g.slots + 1, v_id, v_tokens, v_originator);
        END IF;
        INSERT INTO changes (group_id, revision, kind, epoch, memory_ids, robot, payload)
            VALUES (p_group, v_revision, 'added', g.epoch, ARRAY[v_id], p_robot, v_payload);
    END IF;
    UPDATE groups x SET revision = v_revision, ranking_used = v_used,
            working_memory_nodes = g.working_memory_nodes - cardinality(v_gone) + CASE WHEN v_tokens <= v_room THEN 1 ELSE 0 END,
            working_memory_tokens = g.working_memory_tokens - v_freed + CASE WHEN v_tokens <= v_room THEN v_tokens ELSE 0 END,
            slots = g.slots + CASE WHEN v_tokens <= v_room AND v_slots = '{}' THEN 1 ELSE 0 END WHERE x.id = p_group;
    v_jobs := jobs_of(g.embedding, g.extraction);
    IF v_jobs <> '{}' THEN
        INSERT INTO jobs (space_id, memory_id, kind) SELECT g.space_id, v_id, k.kind FROM unnest(v_jobs) k(kind) ON CONFLICT (memory_id, kind) DO NOTHING;
    END IF;
    PERFORM announce(p_group, v_revision);
    ord := 1; id := v_id; revision := v_revision; epoch := g.epoch; created := true; in_working_memory := v_tokens <= v_room; at := now(); evicted := v_gone;
    RETURN NEXT;
END $$;

REVOKE ALL ON FUNCTION robotgroups.remember_one(bigint, text, bigint, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION robotgroups.remember_one(bigint, text, bigint, jsonb) TO robotgroups_robot;
