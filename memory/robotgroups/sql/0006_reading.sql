-- Reading. STABLE functions see one snapshot: revision, roles and working set belong together.

CREATE FUNCTION robotgroups.find_group(p_cluster text, p_namespace_uid text, p_name text) RETURNS bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
DECLARE v_id bigint;
BEGIN
    SELECT id INTO v_id FROM groups WHERE cluster = p_cluster AND namespace_uid = p_namespace_uid AND name = p_name;
    IF NOT FOUND THEN RAISE EXCEPTION 'no group % in namespace %', p_name, p_namespace_uid USING ERRCODE = 'RG002'; END IF;
    PERFORM assert_may_use(v_id);
    RETURN v_id;
END $$;

-- Everything a cache starts from: {"revision", "epoch", "max_tokens", "roles", "working_memory": [...]}.
CREATE FUNCTION robotgroups.snapshot(p_group bigint) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
BEGIN
    PERFORM assert_may_use(p_group);
    RETURN (SELECT jsonb_build_object('revision', g.revision, 'epoch', g.epoch, 'max_tokens', g.max_tokens, 'roles', membership(p_group),
        'working_memory', (SELECT coalesce(jsonb_agg(memory_json(m, w) ORDER BY w.memory_id), '[]')
            FROM working_memory w JOIN memories m ON m.id = w.memory_id WHERE w.group_id = p_group))
        FROM groups g WHERE g.id = p_group);
END $$;

CREATE FUNCTION robotgroups.changes_after(p_group bigint, p_revision bigint, p_limit integer) RETURNS SETOF robotgroups.changes
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
BEGIN
    PERFORM assert_may_use(p_group);
    RETURN QUERY SELECT * FROM changes c WHERE c.group_id = p_group AND c.revision > p_revision ORDER BY c.revision LIMIT p_limit;
END $$;

CREATE FUNCTION robotgroups.get_memory(p_group bigint, p_memory bigint) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
DECLARE v jsonb;
BEGIN
    PERFORM assert_may_use(p_group);
    SELECT memory_json(m, w) INTO v FROM memories m LEFT JOIN working_memory w ON w.group_id = m.group_id AND w.memory_id = m.id
        WHERE m.group_id = p_group AND m.id = p_memory;
    IF NOT FOUND THEN RAISE EXCEPTION 'no memory has id %', p_memory USING ERRCODE = 'RG011'; END IF;
    RETURN v;
END $$;

-- Full-text recall: websearch syntax, best first, ties to the older memory. A tag matches itself and what stands below it (a:b matches a:b:c).
CREATE FUNCTION robotgroups.recall_fulltext(
    p_group bigint, p_query text, p_limit integer, p_tags text[], p_metadata jsonb, p_since timestamptz, p_until timestamptz)
RETURNS TABLE (memory jsonb, score real)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
DECLARE v_query tsquery;
BEGIN
    PERFORM assert_may_use(p_group);
    SELECT websearch_to_tsquery(g.language::regconfig, p_query) INTO v_query FROM groups g WHERE g.id = p_group;
    RETURN QUERY
        SELECT memory_json(m, w), hit.rank FROM (
            SELECT x.id, ts_rank(x.lexemes, v_query) AS rank FROM memories x
            WHERE x.group_id = p_group AND x.lexemes @@ v_query AND x.forgotten_at IS NULL
                AND x.metadata @> p_metadata
                AND (p_since IS NULL OR x.created_at >= p_since) AND (p_until IS NULL OR x.created_at < p_until)
                AND NOT EXISTS (SELECT FROM unnest(p_tags) wanted
                    WHERE NOT EXISTS (SELECT FROM unnest(x.tags) t WHERE t = wanted OR starts_with(t, wanted || ':')))
            ORDER BY rank DESC, x.id LIMIT p_limit) hit
        JOIN memories m ON m.id = hit.id
        LEFT JOIN working_memory w ON w.group_id = m.group_id AND w.memory_id = m.id
        ORDER BY hit.rank DESC, m.id;
END $$;

-- The state of a group as one JSON object; a robot is "live" while its presence session stands and its heartbeat is within a lease.
CREATE FUNCTION robotgroups.group_status(p_group bigint) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = robotgroups, pg_temp SET timezone = 'UTC' AS $$
BEGIN
    PERFORM assert_may_use(p_group);
    RETURN (SELECT jsonb_build_object('id', g.id, 'name', g.name, 'epoch', g.epoch, 'revision', g.revision, 'max_tokens', g.max_tokens,
        'working_memory_nodes', g.working_memory_nodes, 'working_memory_tokens', g.working_memory_tokens,
        'heartbeat_ms', g.heartbeat_ms, 'lease_ms', g.lease_ms, 'suspended', g.suspended, 'active_target', g.active_target,
        'failovers', (SELECT count(*) FROM failovers f WHERE f.group_id = g.id AND f.kind = 'failover'),
        'last_failover', (SELECT to_jsonb(f) FROM failovers f WHERE f.group_id = g.id ORDER BY f.id DESC LIMIT 1),
        'robots', (SELECT coalesce(jsonb_agg(jsonb_build_object('name', r.name, 'role', r.role, 'tenure', r.tenure, 'ordinal', r.ordinal,
                'live', p.robot IS NOT NULL AND is_responsive(p, g.lease_ms),
                'warm', coalesce(p.warm, false), 'applied_revision', coalesce(p.applied_revision, 0), 'heartbeat', coalesce(p.heartbeat, 0),
                'incarnation', coalesce(p.incarnation, r.incarnation), 'endpoint', coalesce(p.endpoint, '')) ORDER BY r.ordinal, r.name), '[]')
            FROM robots r LEFT JOIN presence p ON p.group_id = r.group_id AND p.robot = r.name WHERE r.group_id = g.id))
        FROM groups g WHERE g.id = p_group);
END $$;

CREATE FUNCTION robotgroups.list_failovers(p_group bigint, p_limit integer) RETURNS SETOF robotgroups.failovers
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
BEGIN
    PERFORM assert_may_use(p_group);
    RETURN QUERY SELECT * FROM failovers f WHERE f.group_id = p_group ORDER BY f.id DESC LIMIT p_limit;
END $$;

CREATE FUNCTION robotgroups.schema_version() RETURNS integer
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$ SELECT max(version) FROM migrations $$;
