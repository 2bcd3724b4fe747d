-- Recall finds what there is: of what few memories match also behind the index, and whatever other spaces write, or how much was forgotten.

-- First of all, and as everybody comes first to groups: who writes or reads meanwhile waits here, and not for half of what this and the next migrations change.
LOCK TABLE robotgroups.groups IN ACCESS EXCLUSIVE MODE;

-- No search can use it, for a tag matches what stands below it; each memory with tags paid for it.
DROP INDEX robotgroups.memories_tags;

-- What recall's filters say of a memory m, as SQL. Constants, by which Postgres knows how few they leave; <> '{}' is what the index of scopes asks for.
CREATE OR REPLACE FUNCTION robotgroups.filter_sql(p_filter jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN '(m.expires_at IS NULL OR m.expires_at > now())'
        || CASE WHEN coalesce((p_filter->>'include_forgotten')::boolean, false) THEN '' ELSE ' AND m.forgotten_at IS NULL' END
        || CASE WHEN coalesce(p_filter->'scope', '[]') <> '[]'
            THEN format($q$ AND m.scope <> '{}' AND m.scope @> %L::text[]$q$, ARRAY(SELECT jsonb_array_elements_text(p_filter->'scope'))) ELSE '' END
        || CASE WHEN coalesce(p_filter->'metadata', '{}') <> '{}' THEN format(' AND m.metadata @> %L::jsonb', p_filter->'metadata') ELSE '' END
        || CASE WHEN coalesce(p_filter->'originators', '[]') <> '[]'
            THEN format(' AND m.originator = ANY (%L::text[])', ARRAY(SELECT jsonb_array_elements_text(p_filter->'originators'))) ELSE '' END
        || CASE WHEN p_filter->>'since' IS NOT NULL THEN format(' AND m.created_at >= %L::timestamptz', p_filter->>'since') ELSE '' END
        || CASE WHEN p_filter->>'until' IS NOT NULL THEN format(' AND m.created_at < %L::timestamptz', p_filter->>'until') ELSE '' END
        -- a tag matches itself and what stands below it: a:b matches a:b:c
        || CASE WHEN coalesce(p_filter->'tags', '[]') <> '[]' THEN format($q$ AND NOT EXISTS (SELECT FROM unnest(%L::text[]) wanted
            WHERE NOT EXISTS (SELECT FROM unnest(m.tags) t WHERE t = wanted OR starts_with(t, wanted || ':')))$q$,
            ARRAY(SELECT jsonb_array_elements_text(p_filter->'tags'))) ELSE '' END;
END $$;

-- The filter, asking as well that what it does not match is left out before anything is ranked or counted ("narrow").
CREATE FUNCTION robotgroups.narrowed(p_filter jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE AS $$ SELECT p_filter || '{"narrow": true}' $$;

-- What full-text recall finds, as SQL: the ids and ranks of the best, $3 at most; $1 space, $2 query, $6 language, $7 the query in the space's own words (words_of).
-- No more than the newest 2,000 matches are ranked: of a word that stands in every fourth memory, ts_rank would read them all to order what is hardly ordered by it.
-- p_newer: there are memories without lexemes. The space is asked for as well: its words are its own, but what lacks a word are others' memories, too. Where no word
-- leads there ("own"), the space's memories are looked through, the newest first.
CREATE OR REPLACE FUNCTION robotgroups.lexical_sql(p_filter jsonb, p_newer boolean, p_lexed_to bigint) RETURNS text
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    v_filter text := filter_sql(p_filter);
    v_narrow boolean := p_filter ?| '{scope,metadata,originators,since,until,tags,narrow}';
    v_own boolean := p_filter ? 'own';
    v_found text := 'SELECT l.id, l.rank FROM (SELECT x.memory_id AS id, ts_rank(x.lexemes, $7)::float8 AS rank FROM lexemes x'
        -- filters come before the bound: what matches them is never crowded out by what does not
        || CASE WHEN v_narrow OR v_own THEN ' JOIN memories m ON m.id = x.memory_id WHERE ' || v_filter || ' AND ' ELSE ' WHERE ' END
        || CASE WHEN v_own THEN 'm' ELSE 'x' END || '.space_id = $1 AND x.lexemes @@ $7'
        -- what is above the watermark is read as it stands, whether or not it has lexemes
        || CASE WHEN p_newer THEN ' AND x.memory_id <= ' || p_lexed_to ELSE '' END
        || ' ORDER BY ' || CASE WHEN v_own THEN 'm.id' ELSE 'x.memory_id' END || ' DESC LIMIT 2000) l';
BEGIN
    IF p_newer THEN
        v_found := 'SELECT r.id, r.rank FROM (' || v_found || ' UNION ALL SELECT n.id, ts_rank(n.lexemes, $2)::float8 FROM (
            SELECT m.id, to_tsvector($6, m.content) AS lexemes FROM memories m WHERE m.space_id = $1 AND (m.space_id, m.id) > ($1, ' || p_lexed_to || ') AND '
            || v_filter || ') n WHERE n.lexemes @@ $2) r';
    END IF;
    RETURN 'SELECT array_agg(t.id), array_agg(t.rank) FROM (' || v_found || ' ORDER BY rank DESC, id LIMIT $3) t';
END $$;

-- The best by words, in their order: ids and ranks. Some of them may be forgotten or expired, but p_limit are not, if there are as many. Caller's settings.
CREATE FUNCTION robotgroups.lexical(p_space bigint, p_lexed_to bigint, p_newer boolean, p_few boolean, p_language regconfig, p_filter jsonb, p_query tsquery, p_limit integer,
    OUT ids bigint[], OUT ranks float8[])
LANGUAGE plpgsql STABLE AS $$
DECLARE v_words tsquery := words_of(p_space, p_query); v_best integer := p_limit + 50; v_filter jsonb := p_filter;
BEGIN
    IF querytree(v_words) IN ('', 'T') AND numnode(v_words) > 0 THEN v_filter := p_filter || '{"own": true}'; END IF;  -- the words are to be absent
    -- what mostly is asked: lexical_sql('{}', false), parsed once; planned anew like the others where a common word may have many memories
    IF v_filter = '{}' AND NOT p_newer AND p_few THEN
        -- this plan is kept, however many there are before it is made again: + 0 lets it not read all, in the order of their ids
        SELECT array_agg(t.id), array_agg(t.rank) INTO ids, ranks FROM (
            SELECT l.id, l.rank FROM (SELECT x.memory_id AS id, ts_rank(x.lexemes, v_words)::float8 AS rank FROM lexemes x
                WHERE x.lexemes @@ v_words AND x.space_id = p_space ORDER BY x.memory_id + 0 DESC LIMIT 2000) l
            ORDER BY rank DESC, id LIMIT v_best) t;
    ELSIF v_filter = '{}' AND NOT p_newer THEN
        PERFORM set_config('plan_cache_mode', 'force_custom_plan', true);
        SELECT array_agg(t.id), array_agg(t.rank) INTO ids, ranks FROM (
            SELECT l.id, l.rank FROM (SELECT x.memory_id AS id, ts_rank(x.lexemes, v_words)::float8 AS rank FROM lexemes x
                WHERE x.lexemes @@ v_words AND x.space_id = p_space ORDER BY x.memory_id DESC LIMIT 2000) l
            ORDER BY rank DESC, id LIMIT v_best) t;
        PERFORM set_config('plan_cache_mode', 'force_generic_plan', true);
    ELSE
        EXECUTE lexical_sql(v_filter, p_newer, p_lexed_to) INTO ids, ranks USING p_space, p_query, v_best, NULL, NULL, p_language, v_words;
    END IF;
    IF cardinality(ids) >= least(v_best, 2000) AND (SELECT count(*) FROM (SELECT FROM memories m WHERE m.id = ANY (ids) AND (m.expires_at IS NULL OR m.expires_at > now())
            AND (coalesce((p_filter->>'include_forgotten')::boolean, false) OR m.forgotten_at IS NULL) LIMIT p_limit) l) < p_limit THEN
        EXECUTE lexical_sql(narrowed(v_filter), p_newer, p_lexed_to) INTO ids, ranks USING p_space, p_query, p_limit, NULL, NULL, p_language, v_words;
    END IF;
END $$;

-- Candidates of vector recall as SQL: ids and scores (cosine similarity), best first, ties to the older; $1 space, $3 limit, $5 vector. By the model's own HNSW index when it
-- has one (an iterative scan goes on, whatever the filters refuse, to hnsw.max_scan_tuples); else exact, and then the memories are looked up from the nearest on, no further
-- than to the limit. Narrow: exact, of what the filters leave.
CREATE OR REPLACE FUNCTION robotgroups.vector_sql(p_filter jsonb, p_model robotgroups.embedding_models) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT format('SELECT (array_agg(c.id ORDER BY c.distance, c.id))[:$3], (array_agg(1 - c.distance ORDER BY c.distance, c.id))[:$3] FROM (%s) c', format(
        CASE WHEN p_filter ? 'narrow' THEN $q$
            SELECT n.* FROM (SELECT m.id, e.%1$s AS distance FROM memories m JOIN embeddings e ON e.memory_id = m.id
                WHERE e.model_id = %2$s AND m.space_id = $1 AND %3$s OFFSET 0) n ORDER BY n.distance, n.id LIMIT $3$q$
        WHEN p_model.indexed THEN $q$
            SELECT m.id, e.%1$s AS distance FROM embeddings e JOIN memories m ON m.id = e.memory_id WHERE e.model_id = %2$s AND m.space_id = $1 AND %3$s
            ORDER BY e.%1$s FETCH FIRST ($3) ROWS WITH TIES$q$
        ELSE $q$
            SELECT m.id, n.distance FROM (SELECT e.memory_id, e.%1$s AS distance FROM embeddings e WHERE e.model_id = %2$s ORDER BY 2, 1) n
            JOIN memories m ON m.id = n.memory_id WHERE m.space_id = $1 AND %3$s ORDER BY n.distance, n.memory_id LIMIT $3$q$ END,
        format(CASE WHEN p_model.dimensions > 2000 THEN 'half::public.halfvec(%1$s) OPERATOR(public.<=>) $5::public.halfvec(%1$s)'
            ELSE 'embedding::public.vector(%1$s) OPERATOR(public.<=>) $5::public.vector(%1$s)' END, p_model.dimensions),
        p_model.id, robotgroups.filter_sql(p_filter)))
$$;

-- The nearest by meaning, in their order, none that is forgotten or expired: ids and scores. Caller's settings.
CREATE FUNCTION robotgroups.nearest(p_space bigint, p_model robotgroups.embedding_models, p_filter jsonb, p_vector text, p_limit integer, OUT ids bigint[], OUT scores float8[])
LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_vector public.vector := CASE WHEN p_model.dimensions <= 2000 THEN p_vector END;
    v_half public.halfvec := CASE WHEN p_model.dimensions > 2000 THEN p_vector END;
BEGIN
    IF p_filter = '{}' AND NOT p_model.indexed THEN
        -- vector_sql('{}', p_model), parsed and planned once; a vector's distance to NULL is NULL, and is not computed
        SELECT array_agg(c.id), array_agg(1 - c.distance) INTO ids, scores FROM (
            SELECT m.id, n.distance FROM (
                SELECT e.memory_id, coalesce(e.embedding OPERATOR(public.<=>) v_vector, e.half OPERATOR(public.<=>) v_half) AS distance
                FROM embeddings e WHERE e.model_id = p_model.id ORDER BY 2, 1) n
            JOIN memories m ON m.id = n.memory_id WHERE m.space_id = p_space AND (m.expires_at IS NULL OR m.expires_at > now()) AND m.forgotten_at IS NULL
            ORDER BY n.distance, n.memory_id LIMIT p_limit) c;
        RETURN;
    END IF;
    IF p_model.indexed THEN
        PERFORM set_config('hnsw.iterative_scan', 'relaxed_order', true), set_config('hnsw.ef_search', greatest(100, least(1000, 2 * p_limit))::text, true);
    END IF;
    EXECUTE vector_sql(p_filter, p_model) INTO ids, scores USING p_space, NULL, p_limit, NULL, p_vector;
    IF p_model.indexed AND coalesce(cardinality(ids), 0) < p_limit THEN
        EXECUTE vector_sql(narrowed(p_filter), p_model) INTO ids, scores USING p_space, NULL, p_limit, NULL, p_vector;
    END IF;
END $$;

-- As before, of what the functions above find. Of a time in which nothing else is asked for, as in "what did we do last week?", full-text recall tells the newest.
CREATE OR REPLACE FUNCTION robotgroups.recall_rows(
    p_group bigint, p_strategy text, p_query text, p_limit integer, p_filter jsonb, p_model bigint, p_vector text,
    p_fulltext_weight float8 DEFAULT 1, p_vector_weight float8 DEFAULT 1, p_k integer DEFAULT 60, p_parts boolean DEFAULT true)
RETURNS TABLE (id bigint, content text, originator text, tokens integer, tags text[], metadata jsonb, created_at timestamptz,
    remembered_at timestamptz, remember_count integer, forgotten_at timestamptz, in_working_memory boolean, keeper text, access_count integer,
    last_accessed_at timestamptz, scope text[], version integer, expires_at timestamptz, pinned boolean,
    score float8, parts jsonb)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = robotgroups, pg_temp SET timezone = 'UTC' SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
    SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE v_space bigint; v_lexed_to bigint; v_language regconfig; v_query tsquery; v_model embedding_models; v_candidates integer := p_limit; v_newer boolean; v_mine boolean; v_few boolean;
    v_forgotten boolean := coalesce((p_filter->>'include_forgotten')::boolean, false); v_lexical bigint[]; v_lexical_scores float8[]; v_near bigint[]; v_near_scores float8[];
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
        SELECT n.ids, n.scores INTO v_near, v_near_scores FROM nearest(v_space, v_model, p_filter, p_vector, v_candidates) n;
    END IF;
    IF p_strategy <> 'vector' THEN
        v_query := websearch_to_tsquery(v_language, p_query);
        IF p_strategy = 'fulltext' AND numnode(v_query) = 0 AND p_filter ?| '{since,until}' THEN
            EXECUTE 'SELECT array_agg(t.id), array_agg(1.0 / t.place) FROM (SELECT m.id, row_number() OVER (ORDER BY m.created_at DESC, m.id DESC) AS place FROM memories m WHERE m.space_id = $1 AND '
                || filter_sql(p_filter) || ' ORDER BY m.created_at DESC, m.id DESC LIMIT $2) t' INTO v_lexical, v_lexical_scores USING v_space, p_limit;
        ELSE
            SELECT l.ids, l.ranks INTO v_lexical, v_lexical_scores FROM lexical(v_space, v_lexed_to, v_newer, v_few, v_language, p_filter, v_query, v_candidates) l;
        END IF;
    END IF;
    IF p_strategy <> 'hybrid' THEN
        IF p_strategy = 'fulltext' THEN v_near := v_lexical; v_near_scores := v_lexical_scores; END IF;
        RETURN QUERY
            WITH w AS MATERIALIZED (SELECT x.* FROM working_memory x WHERE x.group_id = p_group AND x.memory_id = ANY (v_near))
            SELECT m.id, m.content, m.originator, m.tokens, m.tags, m.metadata, m.created_at, m.remembered_at, m.remember_count, m.forgotten_at,
                w.memory_id IS NOT NULL, w.keeper, coalesce(w.access_count, 0), w.last_accessed_at, m.scope, m.version, m.expires_at, coalesce(w.pinned, false),
                r.score, CASE WHEN p_parts THEN jsonb_build_object(p_strategy || '_rank', row_number() OVER (ORDER BY r.score DESC, r.id),
                p_strategy || '_score', r.score, 'accesses', m.access_count, 'accessed_at', m.last_accessed_at) END
            FROM (SELECT * FROM unnest(v_near, v_near_scores) x(id, score) ORDER BY 2 DESC, 1) r JOIN memories m ON m.id = r.id
                LEFT JOIN w ON w.memory_id = m.id
            WHERE m.space_id IS NOT DISTINCT FROM v_space AND (v_forgotten OR m.forgotten_at IS NULL) AND (m.expires_at IS NULL OR m.expires_at > now())
            ORDER BY r.score DESC, r.id LIMIT p_limit;
        RETURN;
    END IF;
    SELECT array_agg(c.id), array_agg(c.rank) INTO v_lexical, v_lexical_scores FROM (
        SELECT m.id, r.rank FROM (SELECT * FROM unnest(v_lexical, v_lexical_scores) x(id, rank) ORDER BY 2 DESC, 1) r JOIN memories m ON m.id = r.id
        WHERE m.space_id IS NOT DISTINCT FROM v_space AND (v_forgotten OR m.forgotten_at IS NULL) AND (m.expires_at IS NULL OR m.expires_at > now())
        ORDER BY r.rank DESC, r.id LIMIT v_candidates) c;
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

DO $$ DECLARE f regprocedure; BEGIN
    FOR f IN SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname = 'robotgroups' AND p.proname IN ('narrowed', 'lexical', 'nearest')
    LOOP EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f); END LOOP;
END $$;
