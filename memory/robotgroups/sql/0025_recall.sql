-- Recall with less around its searches: they are written, and their words prefixed, in PL/pgSQL (0023), full-text search without filters is parsed once, a list
-- alone is not fused with nothing, and what each candidate was ranked by is told only when it is asked for.

CREATE OR REPLACE FUNCTION robotgroups.words_of(p_space bigint, p_query tsquery) RETURNS tsquery
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF numnode(p_query) = 0 THEN RETURN p_query; END IF;
    RETURN regexp_replace(p_query::text, $r$'((?:[^']|'')*)'$r$, '''' || to_hex(p_space) || '/\1''', 'g')::tsquery;
END $$;

CREATE OR REPLACE FUNCTION robotgroups.filter_sql(p_filter jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN '(m.expires_at IS NULL OR m.expires_at > now())'
        || CASE WHEN coalesce((p_filter->>'include_forgotten')::boolean, false) THEN '' ELSE ' AND m.forgotten_at IS NULL' END
        || CASE WHEN coalesce(p_filter->'scope', '[]') <> '[]' THEN $q$ AND m.scope @> ARRAY(SELECT jsonb_array_elements_text($4->'scope'))$q$ ELSE '' END
        || CASE WHEN coalesce(p_filter->'metadata', '{}') <> '{}' THEN $q$ AND m.metadata @> ($4->'metadata')$q$ ELSE '' END
        || CASE WHEN coalesce(p_filter->'originators', '[]') <> '[]'
            THEN $q$ AND m.originator = ANY (ARRAY(SELECT jsonb_array_elements_text($4->'originators')))$q$ ELSE '' END
        || CASE WHEN p_filter->>'since' IS NOT NULL THEN $q$ AND m.created_at >= ($4->>'since')::timestamptz$q$ ELSE '' END
        || CASE WHEN p_filter->>'until' IS NOT NULL THEN $q$ AND m.created_at < ($4->>'until')::timestamptz$q$ ELSE '' END
        -- a tag matches itself and what stands below it: a:b matches a:b:c
        || CASE WHEN coalesce(p_filter->'tags', '[]') <> '[]' THEN $q$ AND NOT EXISTS (SELECT FROM jsonb_array_elements_text($4->'tags') wanted
            WHERE NOT EXISTS (SELECT FROM unnest(m.tags) t WHERE t = wanted OR starts_with(t, wanted || ':')))$q$ ELSE '' END;
END $$;

CREATE OR REPLACE FUNCTION robotgroups.lexical_sql(p_filter jsonb, p_newer boolean, p_lexed_to bigint) RETURNS text
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    v_filter text := filter_sql(p_filter);
    v_narrow boolean := p_filter ?| '{scope,metadata,originators,since,until,tags}';
    v_found text := 'SELECT l.id, l.rank FROM (SELECT x.memory_id AS id, ts_rank(x.lexemes, $7)::float8 AS rank FROM lexemes x'
        -- filters come before the bound: what matches them is never crowded out by what does not
        || CASE WHEN v_narrow THEN ' JOIN memories m ON m.id = x.memory_id WHERE x.lexemes @@ $7 AND ' || v_filter ELSE ' WHERE x.lexemes @@ $7' END
        -- what is above the watermark is read as it stands, whether or not it has lexemes
        || CASE WHEN p_newer THEN ' AND x.memory_id <= ' || p_lexed_to ELSE '' END
        || ' ORDER BY x.memory_id DESC LIMIT 2000) l';
BEGIN
    IF p_newer THEN
        v_found := 'SELECT r.id, r.rank FROM (' || v_found || ' UNION ALL SELECT n.id, ts_rank(n.lexemes, $2)::float8 FROM (
            SELECT m.id, to_tsvector($6, m.content) AS lexemes FROM memories m WHERE m.space_id = $1 AND (m.space_id, m.id) > ($1, ' || p_lexed_to || ') AND '
            || v_filter || ') n WHERE n.lexemes @@ $2) r';
    END IF;
    RETURN 'SELECT array_agg(t.id), array_agg(t.rank) FROM (' || v_found || ' ORDER BY rank DESC, id LIMIT $3) t';
END $$;

-- As before, but parts, which is null unless p_parts.
DROP FUNCTION robotgroups.recall(bigint, text, text, integer, jsonb, bigint, text, float8, float8, integer);
CREATE FUNCTION robotgroups.recall(
    p_group bigint, p_strategy text, p_query text, p_limit integer, p_filter jsonb, p_model bigint, p_vector text,
    p_fulltext_weight float8 DEFAULT 1, p_vector_weight float8 DEFAULT 1, p_k integer DEFAULT 60, p_parts boolean DEFAULT true)
RETURNS TABLE (memory jsonb, score float8, parts jsonb)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = robotgroups, pg_temp SET timezone = 'UTC' SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
    SET plan_cache_mode = force_generic_plan AS $$
DECLARE v_space bigint; v_lexed_to bigint; v_language regconfig; v_query tsquery; v_words tsquery; v_model embedding_models; v_candidates integer := p_limit; v_best integer; v_newer boolean;
    v_sql text; v_matches bigint[]; v_ranks float8[]; v_forgotten boolean := coalesce((p_filter->>'include_forgotten')::boolean, false); v_told integer := 0; v_count integer;
    v_lexical bigint[]; v_lexical_scores float8[]; v_near bigint[]; v_near_scores float8[];
BEGIN
    SELECT s.id, s.lexed_to, g.language::regconfig INTO v_space, v_lexed_to, v_language FROM groups g JOIN spaces s ON s.id = g.space_id
        WHERE g.id = p_group AND session_user IN (g.login, g.previous_login, current_user);
    IF NOT FOUND THEN
        PERFORM assert_may_use(p_group);
        SELECT s.id, s.lexed_to, g.language::regconfig INTO v_space, v_lexed_to, v_language FROM groups g JOIN spaces s ON s.id = g.space_id WHERE g.id = p_group;
    END IF;
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
        -- as a row: by the ids alone it would read what other spaces have remembered since
        v_newer := EXISTS (SELECT FROM memories m WHERE m.space_id = v_space AND (m.space_id, m.id) > (v_space, v_lexed_to));
        v_best := v_candidates + 50;
        IF p_filter <> '{}' OR v_newer OR p_strategy = 'hybrid' THEN v_sql := lexical_sql(p_filter, v_newer, v_lexed_to); END IF;
    END IF;
    IF p_strategy <> 'hybrid' THEN
        LOOP
            IF p_strategy = 'fulltext' AND v_sql IS NULL THEN
                -- what mostly is asked: lexical_sql('{}', false), parsed once, and planned anew like the others
                PERFORM set_config('plan_cache_mode', 'force_custom_plan', true);
                SELECT array_agg(t.id), array_agg(t.rank) INTO v_near, v_near_scores FROM (
                    SELECT l.id, l.rank FROM (SELECT x.memory_id AS id, ts_rank(x.lexemes, v_words)::float8 AS rank FROM lexemes x
                        WHERE x.lexemes @@ v_words ORDER BY x.memory_id DESC LIMIT 2000) l
                    ORDER BY rank DESC, id LIMIT v_best) t;
                PERFORM set_config('plan_cache_mode', 'force_generic_plan', true);
            ELSIF p_strategy = 'fulltext' THEN
                EXECUTE v_sql INTO v_near, v_near_scores USING v_space, v_query, v_best, p_filter, p_vector, v_language, v_words;
            END IF;
            RETURN QUERY
                SELECT memory_json(m, w), r.score, CASE WHEN p_parts THEN jsonb_build_object(p_strategy || '_rank', row_number() OVER (ORDER BY r.score DESC, r.id),
                    p_strategy || '_score', r.score, 'accesses', m.access_count, 'accessed_at', m.last_accessed_at) END
                FROM (SELECT * FROM unnest(v_near, v_near_scores) x(id, score) ORDER BY 2 DESC, 1) r JOIN memories m ON m.id = r.id
                    LEFT JOIN (SELECT x.* FROM working_memory x WHERE x.group_id = p_group AND x.memory_id = ANY (v_near)) w ON w.memory_id = m.id
                WHERE m.space_id = v_space AND (v_forgotten OR m.forgotten_at IS NULL) AND (m.expires_at IS NULL OR m.expires_at > now())
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
            WHERE m.space_id = v_space AND (v_forgotten OR m.forgotten_at IS NULL) AND (m.expires_at IS NULL OR m.expires_at > now())
            ORDER BY r.rank DESC, r.id LIMIT v_candidates) c;
        EXIT WHEN cardinality(v_lexical) = v_candidates OR coalesce(cardinality(v_matches), 0) < v_best;
        v_best := 2147483647;
    END LOOP;
    RETURN QUERY
        SELECT memory_json(m, w), h.score, CASE WHEN p_parts THEN jsonb_build_object('fulltext_rank', h.l_rank, 'fulltext_score', h.l_score, 'vector_rank', h.n_rank,
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
        LEFT JOIN (SELECT x.* FROM working_memory x WHERE x.group_id = p_group AND x.memory_id = ANY (v_lexical || v_near)) w ON w.memory_id = m.id
        ORDER BY h.score DESC, h.id;
END $$;

REVOKE ALL ON FUNCTION robotgroups.recall(bigint, text, text, integer, jsonb, bigint, text, float8, float8, integer, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION robotgroups.recall(bigint, text, text, integer, jsonb, bigint, text, float8, float8, integer, boolean) TO robotgroups_robot;
