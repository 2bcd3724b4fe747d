-- Memories as rows, as snapshots and recall tell them: a memory as JSON took Postgres three times as long to write as its columns, and robots as long to read.

-- The group at one moment: in the first row its state, of which the others tell nothing, in these its working set, oldest first.
CREATE FUNCTION robotgroups.snapshot_rows(p_group bigint)
RETURNS TABLE (revision bigint, epoch bigint, max_tokens integer, roles jsonb,
    id bigint, content text, originator text, tokens integer, tags text[], metadata jsonb, created_at timestamptz,
    remembered_at timestamptz, remember_count integer, forgotten_at timestamptz, in_working_memory boolean, keeper text, access_count integer,
    last_accessed_at timestamptz, scope text[], version integer, expires_at timestamptz, pinned boolean)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
#variable_conflict use_column
BEGIN
    PERFORM assert_may_use(p_group);
    SELECT g.revision, g.epoch, g.max_tokens, membership(p_group) INTO revision, epoch, max_tokens, roles FROM groups g WHERE g.id = p_group;
    IF NOT FOUND THEN RETURN; END IF;
    RETURN NEXT;
    RETURN QUERY
        SELECT NULL::bigint, NULL::bigint, NULL::integer, NULL::jsonb, m.id, m.content, m.originator, m.tokens, m.tags, m.metadata, m.created_at, m.remembered_at, m.remember_count, m.forgotten_at,
            w.memory_id IS NOT NULL, w.keeper, coalesce(w.access_count, 0), w.last_accessed_at, m.scope, m.version, m.expires_at, coalesce(w.pinned, false)
        FROM working_memory w JOIN memories m ON m.id = w.memory_id WHERE w.group_id = p_group ORDER BY w.memory_id;
END $$;

-- As recall was, in columns. What was found is looked up by its ids alone: IS NOT DISTINCT FROM uses no index, by which all of the space could be read. The working set
-- is read once, not for each that was found; by memory it has no index, for its rows change in place.
CREATE FUNCTION robotgroups.recall_rows(
    p_group bigint, p_strategy text, p_query text, p_limit integer, p_filter jsonb, p_model bigint, p_vector text,
    p_fulltext_weight float8 DEFAULT 1, p_vector_weight float8 DEFAULT 1, p_k integer DEFAULT 60, p_parts boolean DEFAULT true)
RETURNS TABLE (id bigint, content text, originator text, tokens integer, tags text[], metadata jsonb, created_at timestamptz,
    remembered_at timestamptz, remember_count integer, forgotten_at timestamptz, in_working_memory boolean, keeper text, access_count integer,
    last_accessed_at timestamptz, scope text[], version integer, expires_at timestamptz, pinned boolean,
    score float8, parts jsonb)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = robotgroups, pg_temp SET timezone = 'UTC' SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
    SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE v_space bigint; v_lexed_to bigint; v_language regconfig; v_query tsquery; v_words tsquery; v_model embedding_models; v_candidates integer := p_limit; v_best integer; v_newer boolean; v_mine boolean; v_few boolean;
    v_sql text; v_matches bigint[]; v_ranks float8[]; v_forgotten boolean := coalesce((p_filter->>'include_forgotten')::boolean, false); v_told integer := 0; v_count integer;
    v_lexical bigint[]; v_lexical_scores float8[]; v_near bigint[]; v_near_scores float8[];
BEGIN
    -- newer: with = instead of BETWEEN the ids alone would give that order, and what other spaces have remembered since would be read
    SELECT s.id, s.lexed_to, g.language::regconfig, session_user IN (g.login, g.previous_login, current_user),
            (SELECT m.id FROM memories m WHERE m.space_id BETWEEN s.id AND s.id ORDER BY m.space_id DESC, m.id DESC LIMIT 1) > s.lexed_to,
            (SELECT c.reltuples BETWEEN 0 AND 20000 FROM pg_catalog.pg_class c WHERE c.oid = 'robotgroups.lexemes'::regclass)
        INTO v_space, v_lexed_to, v_language, v_mine, v_newer, v_few FROM groups g JOIN spaces s ON s.id = g.space_id WHERE g.id = p_group;
    IF v_mine IS NOT TRUE THEN PERFORM assert_may_use(p_group); END IF;
    CASE p_strategy
        WHEN 'fulltext', 'vector' THEN NULL;
        WHEN 'hybrid' THEN v_candidates := greatest(50, 2 * p_limit);
        ELSE RAISE EXCEPTION 'unknown recall strategy %', p_strategy USING ERRCODE = 'RG012';
    END CASE;
    IF p_strategy <> 'fulltext' THEN
        SELECT * INTO v_model FROM embedding_models e WHERE e.id = p_model AND e.space_id = v_space;
        IF NOT FOUND THEN RAISE EXCEPTION 'model % is none of this group''s', p_model USING ERRCODE = 'RG012'; END IF;
        IF v_model.indexed THEN
            PERFORM set_config('hnsw.iterative_scan', 'relaxed_order', true), set_config('hnsw.ef_search', greatest(100, least(1000, 2 * p_limit))::text, true);
        END IF;
        EXECUTE vector_sql(p_filter, v_model) INTO v_near, v_near_scores USING v_space, NULL::tsquery, v_candidates, p_filter, p_vector, v_language;
    END IF;
    IF p_strategy <> 'vector' THEN
        v_query := websearch_to_tsquery(v_language, p_query);
        v_words := words_of(v_space, v_query);
        v_best := v_candidates + 50;
        IF p_filter <> '{}' OR v_newer OR p_strategy = 'hybrid' THEN v_sql := lexical_sql(p_filter, v_newer, v_lexed_to); END IF;
    END IF;
    IF p_strategy <> 'hybrid' THEN
        LOOP
            IF p_strategy = 'fulltext' AND v_sql IS NULL THEN
                -- what mostly is asked: lexical_sql('{}', false), parsed once; planned anew like the others where a common word may have many memories
                IF v_few THEN
                    -- this plan is kept, however many there are before it is made again: + 0 lets it not read all, in the order of their ids
                    SELECT array_agg(t.id), array_agg(t.rank) INTO v_near, v_near_scores FROM (
                        SELECT l.id, l.rank FROM (SELECT x.memory_id AS id, ts_rank(x.lexemes, v_words)::float8 AS rank FROM lexemes x
                            WHERE x.lexemes @@ v_words ORDER BY x.memory_id + 0 DESC LIMIT 2000) l
                        ORDER BY rank DESC, id LIMIT v_best) t;
                ELSE
                    PERFORM set_config('plan_cache_mode', 'force_custom_plan', true);
                    SELECT array_agg(t.id), array_agg(t.rank) INTO v_near, v_near_scores FROM (
                        SELECT l.id, l.rank FROM (SELECT x.memory_id AS id, ts_rank(x.lexemes, v_words)::float8 AS rank FROM lexemes x
                            WHERE x.lexemes @@ v_words ORDER BY x.memory_id DESC LIMIT 2000) l
                        ORDER BY rank DESC, id LIMIT v_best) t;
                    PERFORM set_config('plan_cache_mode', 'force_generic_plan', true);
                END IF;
            ELSIF p_strategy = 'fulltext' THEN
                EXECUTE v_sql INTO v_near, v_near_scores USING v_space, v_query, v_best, p_filter, p_vector, v_language, v_words;
            END IF;
            RETURN QUERY
                WITH w AS MATERIALIZED (SELECT x.* FROM working_memory x WHERE x.group_id = p_group AND x.memory_id = ANY (v_near))
                SELECT m.id, m.content, m.originator, m.tokens, m.tags, m.metadata, m.created_at, m.remembered_at, m.remember_count, m.forgotten_at,
                    w.memory_id IS NOT NULL, w.keeper, coalesce(w.access_count, 0), w.last_accessed_at, m.scope, m.version, m.expires_at, coalesce(w.pinned, false),
                    r.score, CASE WHEN p_parts THEN jsonb_build_object(p_strategy || '_rank', row_number() OVER (ORDER BY r.score DESC, r.id),
                    p_strategy || '_score', r.score, 'accesses', m.access_count, 'accessed_at', m.last_accessed_at) END
                FROM (SELECT * FROM unnest(v_near, v_near_scores) x(id, score) ORDER BY 2 DESC, 1) r JOIN memories m ON m.id = r.id
                    LEFT JOIN w ON w.memory_id = m.id
                WHERE m.space_id IS NOT DISTINCT FROM v_space AND (v_forgotten OR m.forgotten_at IS NULL) AND (m.expires_at IS NULL OR m.expires_at > now())
                ORDER BY r.score DESC, r.id OFFSET v_told LIMIT p_limit - v_told;
            GET DIAGNOSTICS v_count = ROW_COUNT;
            v_told := v_told + v_count;
            EXIT WHEN p_strategy = 'vector' OR v_told = p_limit OR coalesce(cardinality(v_near), 0) < v_best;
            v_best := 2147483647;  -- too many of the best are forgotten or have expired
        END LOOP;
        RETURN;
    END IF;
    LOOP
        EXECUTE v_sql INTO v_matches, v_ranks USING v_space, v_query, v_best, p_filter, p_vector, v_language, v_words;
        SELECT array_agg(c.id), array_agg(c.rank) INTO v_lexical, v_lexical_scores FROM (
            SELECT m.id, r.rank FROM (SELECT * FROM unnest(v_matches, v_ranks) x(id, rank) ORDER BY 2 DESC, 1) r JOIN memories m ON m.id = r.id
            WHERE m.space_id IS NOT DISTINCT FROM v_space AND (v_forgotten OR m.forgotten_at IS NULL) AND (m.expires_at IS NULL OR m.expires_at > now())
            ORDER BY r.rank DESC, r.id LIMIT v_candidates) c;
        EXIT WHEN cardinality(v_lexical) = v_candidates OR coalesce(cardinality(v_matches), 0) < v_best;
        v_best := 2147483647;
    END LOOP;
    RETURN QUERY
        WITH w AS MATERIALIZED (SELECT x.* FROM working_memory x WHERE x.group_id = p_group AND x.memory_id = ANY (v_lexical || v_near))
        SELECT m.id, m.content, m.originator, m.tokens, m.tags, m.metadata, m.created_at, m.remembered_at, m.remember_count, m.forgotten_at,
            w.memory_id IS NOT NULL, w.keeper, coalesce(w.access_count, 0), w.last_accessed_at, m.scope, m.version, m.expires_at, coalesce(w.pinned, false),
            h.score, CASE WHEN p_parts THEN jsonb_build_object('fulltext_rank', h.l_rank, 'fulltext_score', h.l_score, 'vector_rank', h.n_rank,
            'vector_score', h.n_score, 'accesses', m.access_count, 'accessed_at', m.last_accessed_at) END
        FROM (
            SELECT e.id, coalesce(p_fulltext_weight / (p_k + max(e.l_rank)), 0) + coalesce(p_vector_weight / (p_k + max(e.n_rank)), 0) AS score,
                max(e.l_rank) AS l_rank, max(e.l_score) AS l_score, max(e.n_rank) AS n_rank, max(e.n_score) AS n_score
            FROM (
                SELECT l.id, l.score AS l_score, l.rank AS l_rank, NULL::float8 AS n_score, NULL::bigint AS n_rank
                    FROM unnest(v_lexical, v_lexical_scores) WITH ORDINALITY l(id, score, rank)
                UNION ALL SELECT n.id, NULL, NULL, n.score, n.rank FROM unnest(v_near, v_near_scores) WITH ORDINALITY n(id, score, rank)) e
            GROUP BY e.id ORDER BY 2 DESC, 1 LIMIT p_limit) h
        JOIN memories m ON m.id = h.id
        LEFT JOIN w ON w.memory_id = m.id
        ORDER BY h.score DESC, h.id;
END $$;

-- For robots of the version before.
CREATE OR REPLACE FUNCTION robotgroups.recall(
    p_group bigint, p_strategy text, p_query text, p_limit integer, p_filter jsonb, p_model bigint, p_vector text,
    p_fulltext_weight float8 DEFAULT 1, p_vector_weight float8 DEFAULT 1, p_k integer DEFAULT 60, p_parts boolean DEFAULT true)
RETURNS TABLE (memory jsonb, score float8, parts jsonb)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = robotgroups, pg_temp SET timezone = 'UTC' AS $$
    SELECT to_jsonb(r) - '{score,parts}'::text[] || jsonb_build_object('scope', scope_json(r.scope)), r.score, r.parts
    FROM recall_rows(p_group, p_strategy, p_query, p_limit, p_filter, p_model, p_vector, p_fulltext_weight, p_vector_weight, p_k, p_parts) r
$$;

DO $$ DECLARE f regprocedure; BEGIN
    FOREACH f IN ARRAY ARRAY['robotgroups.snapshot_rows(bigint)', 'robotgroups.recall_rows(bigint, text, text, integer, jsonb, bigint, text, float8, float8, integer, boolean)']::regprocedure[] LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO robotgroups_robot', f);
    END LOOP;
END $$;
