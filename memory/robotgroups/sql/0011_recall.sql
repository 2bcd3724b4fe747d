-- Recall: full-text, vector and hybrid, each in one statement, within one space (S1).

-- Makes the lexemes of up to p_limit memories that have none yet, oldest first; returns how many. Ids of a space are given under a lock that is held until
-- the commit, so nothing can appear behind the watermark. One at a time; who comes second finds it done.
CREATE FUNCTION robotgroups.lex(p_group bigint, p_limit integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp SET enable_seqscan = off AS $$
DECLARE v_space bigint; v_language regconfig; v_from bigint; v_to bigint; v_count integer;
BEGIN
    PERFORM assert_may_use(p_group);
    SELECT g.space_id, g.language::regconfig INTO v_space, v_language FROM groups g WHERE g.id = p_group;
    -- the space's row first: whoever changes a text holds it, too, so that no lexemes are of an older text
    SELECT s.lexed_to INTO v_from FROM spaces s WHERE s.id = v_space FOR NO KEY UPDATE;
    IF NOT FOUND THEN RETURN 0; END IF;
    PERFORM set_config('synchronous_commit', 'off', true);  -- what a crash loses of it is done again
    -- locked: one that is being erased just now is waited for, and left out
    WITH todo AS MATERIALIZED (
        SELECT m.id, m.content FROM memories m
            WHERE m.space_id = v_space AND (m.space_id, m.id) > (v_space, v_from) ORDER BY m.id LIMIT p_limit FOR KEY SHARE),
    made AS (
        INSERT INTO lexemes (memory_id, space_id, lexemes) SELECT t.id, v_space, words_of(v_space, to_tsvector(v_language, t.content)) FROM todo t
        ON CONFLICT (memory_id) DO UPDATE SET lexemes = excluded.lexemes)
    SELECT count(*), max(t.id) INTO v_count, v_to FROM todo t;
    IF v_count > 0 THEN UPDATE spaces SET lexed_to = v_to WHERE id = v_space; END IF;
    RETURN v_count;
END $$;

-- What recall's filters say of a memory m, as SQL; the statement's parameters: $1 space, $2 tsquery, $3 limit, $4 filter as JSON, $5 vector, $6 language.
CREATE FUNCTION robotgroups.filter_sql(p_filter jsonb) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT '(m.expires_at IS NULL OR m.expires_at > now())'
        || CASE WHEN coalesce((p_filter->>'include_forgotten')::boolean, false) THEN '' ELSE ' AND m.forgotten_at IS NULL' END
        || CASE WHEN coalesce(p_filter->'scope', '[]') <> '[]' THEN $q$ AND m.scope @> ARRAY(SELECT jsonb_array_elements_text($4->'scope'))$q$ ELSE '' END
        || CASE WHEN coalesce(p_filter->'metadata', '{}') <> '{}' THEN $q$ AND m.metadata @> ($4->'metadata')$q$ ELSE '' END
        || CASE WHEN coalesce(p_filter->'originators', '[]') <> '[]'
            THEN $q$ AND m.originator = ANY (ARRAY(SELECT jsonb_array_elements_text($4->'originators')))$q$ ELSE '' END
        || CASE WHEN p_filter->>'since' IS NOT NULL THEN $q$ AND m.created_at >= ($4->>'since')::timestamptz$q$ ELSE '' END
        || CASE WHEN p_filter->>'until' IS NOT NULL THEN $q$ AND m.created_at < ($4->>'until')::timestamptz$q$ ELSE '' END
        -- a tag matches itself and what stands below it: a:b matches a:b:c
        || CASE WHEN coalesce(p_filter->'tags', '[]') <> '[]' THEN $q$ AND NOT EXISTS (SELECT FROM jsonb_array_elements_text($4->'tags') wanted
            WHERE NOT EXISTS (SELECT FROM unnest(m.tags) t WHERE t = wanted OR starts_with(t, wanted || ':')))$q$ ELSE '' END
$$;

-- What full-text recall finds, as SQL: the ids and ranks of the best, $3 at most. $7 is the query in the space's own words (words_of), which finds nothing of others.
-- No more than the newest 2,000 matches are ranked: of a word that stands in every fourth memory, ts_rank would read them all to order what is hardly ordered by it.
-- p_newer: there are memories without lexemes.
CREATE FUNCTION robotgroups.lexical_sql(p_filter jsonb, p_newer boolean, p_lexed_to bigint) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN p_newer THEN format('SELECT array_agg(t.id), array_agg(t.rank) FROM (SELECT * FROM (%s UNION ALL SELECT n.id, ts_rank(n.lexemes, $2) FROM (
            SELECT m.id, to_tsvector($6, m.content) AS lexemes FROM memories m WHERE m.space_id = $1 AND (m.space_id, m.id) > ($1, %s) AND %s) n WHERE n.lexemes @@ $2) r
            ORDER BY r.rank DESC, r.id LIMIT $3) t', found, p_lexed_to, robotgroups.filter_sql(p_filter))
        ELSE format('SELECT array_agg(t.id), array_agg(t.rank) FROM (SELECT * FROM (%s) r ORDER BY r.rank DESC, r.id LIMIT $3) t', found) END
    FROM (SELECT format('SELECT l.id, l.rank FROM (SELECT x.memory_id AS id, ts_rank(x.lexemes, $7) AS rank FROM lexemes x %s
            WHERE x.lexemes @@ $7 %s ORDER BY x.memory_id DESC LIMIT 2000) l',
        -- filters come before the bound: what matches them is never crowded out by what does not
        CASE WHEN narrow THEN 'JOIN memories m ON m.id = x.memory_id' END, CASE WHEN narrow THEN 'AND ' || robotgroups.filter_sql(p_filter) END) AS found
    FROM (SELECT p_filter ?| '{scope,metadata,originators,since,until,tags}'::text[] AS narrow) f) g
$$;

-- Candidates of vector recall as SQL: ids and scores (cosine similarity), best first. By the model's own HNSW index when it has one (an iterative scan goes on until
-- the limit is filled, whatever the filters refuse); else exact, and then the memories are looked up from the nearest on, no further than to the limit.
CREATE FUNCTION robotgroups.vector_sql(p_filter jsonb, p_model robotgroups.embedding_models) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT format($q$SELECT array_agg(c.id ORDER BY c.distance, c.id), array_agg(1 - c.distance ORDER BY c.distance, c.id) FROM (%s) c$q$, format(
        CASE WHEN p_model.indexed THEN $q$
            SELECT m.id, e.%1$s AS distance FROM embeddings e JOIN memories m ON m.id = e.memory_id WHERE e.model_id = %2$s AND m.space_id = $1 AND %3$s
            ORDER BY e.%1$s LIMIT $3$q$
        ELSE $q$
            SELECT m.id, n.distance FROM (SELECT e.memory_id, e.%1$s AS distance FROM embeddings e WHERE e.model_id = %2$s ORDER BY 2, 1) n
            JOIN memories m ON m.id = n.memory_id WHERE m.space_id = $1 AND %3$s ORDER BY n.distance, n.memory_id LIMIT $3$q$ END,
        format(CASE WHEN p_model.dimensions > 2000 THEN 'half::public.halfvec(%1$s) OPERATOR(public.<=>) $5::public.halfvec(%1$s)'
            ELSE 'embedding::public.vector(%1$s) OPERATOR(public.<=>) $5::public.vector(%1$s)' END, p_model.dimensions),
        p_model.id, robotgroups.filter_sql(p_filter)))
$$;

-- Recall of long-term memory, best first, ties to the older memory. p_strategy: fulltext (websearch syntax), vector (p_vector under p_model) or hybrid:
-- reciprocal rank fusion of both, each with candidates of its own, sum of weight / (p_k + rank) (Cormack, Clarke and Büttcher 2009; k = 60).
-- p_filter: {"scope": ["key=value"], "tags": [], "metadata": {}, "originators": [], "since", "until", "include_forgotten"}; what is not filtered by is absent.
-- parts: what each candidate was ranked by.
-- The searches are planned anew each time, for what they look for: a plan for any word reads all memories of a common one, or all of the space for a rare one.
-- They are kept small for that; all else has a plan that is kept.
CREATE FUNCTION robotgroups.recall(
    p_group bigint, p_strategy text, p_query text, p_limit integer, p_filter jsonb, p_model bigint, p_vector text,
    p_fulltext_weight float8 DEFAULT 1, p_vector_weight float8 DEFAULT 1, p_k integer DEFAULT 60)
RETURNS TABLE (memory jsonb, score float8, parts jsonb)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = robotgroups, pg_temp SET timezone = 'UTC' SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
    SET plan_cache_mode = force_generic_plan AS $$
DECLARE v_space bigint; v_lexed_to bigint; v_language regconfig; v_query tsquery; v_model embedding_models; v_candidates integer := p_limit; v_best integer; v_sql text;
    v_matches bigint[]; v_ranks real[]; v_forgotten boolean := coalesce((p_filter->>'include_forgotten')::boolean, false);
    v_lexical bigint[]; v_lexical_scores float8[]; v_near bigint[]; v_near_scores float8[];
BEGIN
    PERFORM assert_may_use(p_group);
    SELECT s.id, s.lexed_to, g.language::regconfig INTO v_space, v_lexed_to, v_language FROM groups g JOIN spaces s ON s.id = g.space_id WHERE g.id = p_group;
    CASE p_strategy
        WHEN 'fulltext', 'vector' THEN NULL;
        WHEN 'hybrid' THEN v_candidates := greatest(50, 2 * p_limit);
        ELSE RAISE EXCEPTION 'unknown recall strategy %', p_strategy USING ERRCODE = 'RG012';
    END CASE;
    IF p_strategy <> 'vector' THEN
        v_query := websearch_to_tsquery(v_language, p_query);
        v_sql := lexical_sql(p_filter, EXISTS (
            -- as a row: by the ids alone it would read what other spaces have remembered since
            SELECT FROM memories m WHERE m.space_id = v_space AND (m.space_id, m.id) > (v_space, v_lexed_to)), v_lexed_to);
        v_best := v_candidates + 50;
        LOOP
            EXECUTE v_sql INTO v_matches, v_ranks USING v_space, v_query, v_best, p_filter, p_vector, v_language, words_of(v_space, v_query);
            SELECT array_agg(c.id), array_agg(c.rank) INTO v_lexical, v_lexical_scores FROM (
                SELECT m.id, r.rank FROM (SELECT * FROM unnest(v_matches, v_ranks) x(id, rank) ORDER BY 2 DESC, 1) r JOIN memories m ON m.id = r.id
                WHERE m.space_id = v_space AND (v_forgotten OR m.forgotten_at IS NULL) AND (m.expires_at IS NULL OR m.expires_at > now())
                ORDER BY r.rank DESC, r.id LIMIT v_candidates) c;
            EXIT WHEN cardinality(v_lexical) = v_candidates OR coalesce(cardinality(v_matches), 0) < v_best;
            v_best := 2147483647;  -- too many of the best are forgotten or have expired
        END LOOP;
    END IF;
    IF p_strategy <> 'fulltext' THEN
        SELECT * INTO v_model FROM embedding_models e WHERE e.id = p_model AND e.space_id = v_space;
        IF NOT FOUND THEN RAISE EXCEPTION 'model % is none of this group''s', p_model USING ERRCODE = 'RG012'; END IF;
        IF v_model.indexed THEN
            PERFORM set_config('hnsw.iterative_scan', 'relaxed_order', true), set_config('hnsw.ef_search', greatest(100, least(1000, 2 * p_limit))::text, true);
        END IF;
        EXECUTE vector_sql(p_filter, v_model) INTO v_near, v_near_scores USING v_space, NULL::tsquery, v_candidates, p_filter, p_vector, v_language;
    END IF;
    RETURN QUERY
        SELECT memory_json(m, w), h.score, h.parts || jsonb_build_object('accesses', m.access_count, 'accessed_at', m.last_accessed_at)
        FROM (
            SELECT e.id, CASE p_strategy WHEN 'fulltext' THEN max(e.l_score) WHEN 'vector' THEN max(e.n_score)
                    ELSE coalesce(p_fulltext_weight / (p_k + max(e.l_rank)), 0) + coalesce(p_vector_weight / (p_k + max(e.n_rank)), 0) END AS score,
                CASE p_strategy WHEN 'fulltext' THEN jsonb_build_object('fulltext_rank', max(e.l_rank), 'fulltext_score', max(e.l_score))
                    WHEN 'vector' THEN jsonb_build_object('vector_rank', max(e.n_rank), 'vector_score', max(e.n_score))
                    ELSE jsonb_build_object('fulltext_rank', max(e.l_rank), 'fulltext_score', max(e.l_score), 'vector_rank', max(e.n_rank),
                        'vector_score', max(e.n_score)) END AS parts
            FROM (
                SELECT l.id, l.score AS l_score, l.rank AS l_rank, NULL::float8 AS n_score, NULL::bigint AS n_rank
                    FROM unnest(v_lexical, v_lexical_scores) WITH ORDINALITY l(id, score, rank)
                UNION ALL SELECT n.id, NULL, NULL, n.score, n.rank FROM unnest(v_near, v_near_scores) WITH ORDINALITY n(id, score, rank)) e
            GROUP BY e.id ORDER BY 2 DESC, 1 LIMIT p_limit) h
        JOIN memories m ON m.id = h.id
        LEFT JOIN (SELECT x.* FROM working_memory x WHERE x.group_id = p_group AND x.memory_id = ANY (v_lexical || v_near)) w ON w.memory_id = m.id
        ORDER BY h.score DESC, h.id;
END $$;

CREATE OR REPLACE FUNCTION robotgroups.recall_fulltext(
    p_group bigint, p_query text, p_limit integer, p_tags text[], p_metadata jsonb, p_since timestamptz, p_until timestamptz)
RETURNS TABLE (memory jsonb, score real)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
    SELECT r.memory, r.score::real FROM recall(p_group, 'fulltext', p_query, p_limit, jsonb_strip_nulls(jsonb_build_object('tags', nullif(p_tags, '{}'),
        'metadata', nullif(p_metadata, '{}'), 'since', p_since, 'until', p_until)), NULL, NULL) r
$$;

DO $$
DECLARE f regprocedure;
BEGIN
    -- what 0008 to 0011 made: nobody but the owner, and robots what they need of it
    FOR f IN SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname = 'robotgroups' AND p.proname IN ('group_deleted', 'lock_memory', 'scope_json', 'memory_hash', 'least_valuable', 'rank', 'evict', 'place',
            'tell_other_groups', 'leave_working_memory', 'remember_batch', 'feed_after', 'added_json', 'jobs_of', 'pin', 'into_working_memory', 'space_named', 'choose_model',
            'words_of', 'lex', 'filter_sql', 'lexical_sql', 'vector_sql', 'recall')
    LOOP EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f); END LOOP;
    FOR f IN SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname = 'robotgroups' AND p.proname IN ('remember_batch', 'feed_after', 'pin', 'into_working_memory', 'lex', 'recall')
    LOOP EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO robotgroups_robot', f); END LOOP;
    REVOKE ALL ON ALL TABLES IN SCHEMA robotgroups FROM PUBLIC;
END $$;
