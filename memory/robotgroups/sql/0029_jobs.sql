-- Background work: what one group's login does stops no other's, and what recall by meaning does not know is told during a change of model too.

-- First of all: no weaker lock is to become this one.
ALTER TABLE robotgroups.spaces ADD COLUMN serving_lacks bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN robotgroups.spaces.serving_lacks IS 'during a change of model: how many memories the serving one had not embedded when the change began; nothing embeds them by it any more';

-- Jobs ---------------------------------------------------------------------------------------------------------------------------------------------------------

-- As before, and as finish_propositions: of its own space alone. Whoever names others' jobs holds nothing of theirs (S1).
CREATE OR REPLACE FUNCTION robotgroups.finish_embeddings(
    p_group bigint, p_model bigint, p_incarnation uuid, p_jobs bigint[], p_versions integer[], p_vectors public.vector[], p_halves public.halfvec[],
    p_done boolean DEFAULT true) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp SET enable_seqscan = off AS $$
DECLARE s spaces; v_dimensions integer; v_wrong integer; v_jobs bigint[]; v_count integer := 0;
BEGIN
    PERFORM assert_may_use(p_group);
    PERFORM set_config('synchronous_commit', 'off', true);
    PERFORM FROM memories m WHERE m.id IN (SELECT j.memory_id FROM jobs j WHERE j.id = ANY (p_jobs)
        AND j.space_id = (SELECT g.space_id FROM groups g WHERE g.id = p_group)) ORDER BY m.id FOR KEY SHARE;
    v_jobs := ARRAY(SELECT m.id FROM my_jobs(p_group, p_incarnation, p_jobs) m);
    SELECT x.* INTO s FROM groups g JOIN spaces x ON x.id = g.space_id WHERE g.id = p_group;
    IF p_model = s.target_model OR (NOT p_done AND p_model = s.serving_model) THEN
        SELECT e.dimensions INTO v_dimensions FROM embedding_models e WHERE e.id = p_model;
        SELECT n INTO v_wrong FROM (
            SELECT public.vector_dims(v) FROM unnest(p_vectors) v UNION ALL SELECT public.vector_dims(h) FROM unnest(p_halves) h) d(n) WHERE n <> v_dimensions LIMIT 1;
        IF FOUND OR (p_vectors IS NULL) <> (v_dimensions > 2000) OR (p_halves IS NULL) <> (v_dimensions <= 2000) THEN
            RAISE EXCEPTION 'model % has vectors of % dimensions (vector up to 2000, halfvec beyond), not %', p_model, v_dimensions, coalesce(v_wrong, 0)
                USING ERRCODE = 'RG012';
        END IF;
        WITH ours AS (
            SELECT g.id, j.memory_id, g.vector, g.half FROM unnest(p_jobs, p_versions, p_vectors, p_halves) g(id, version, vector, half)
            JOIN jobs j ON j.id = g.id JOIN memories m ON m.id = j.memory_id WHERE g.id = ANY (v_jobs) AND m.version = g.version),
        stored AS (
            INSERT INTO embeddings (model_id, memory_id, embedding, half) SELECT p_model, o.memory_id, o.vector, o.half FROM ours o ORDER BY o.memory_id
            ON CONFLICT (model_id, memory_id) DO UPDATE SET embedding = excluded.embedding, half = excluded.half),
        done AS (DELETE FROM jobs j USING ours o WHERE j.id = o.id AND p_done)
        SELECT count(*) INTO v_count FROM ours;
    END IF;
    -- updated meanwhile, or another model was chosen
    IF p_done THEN UPDATE jobs SET claimed_by = NULL, not_before = now(), attempts = attempts - 1 WHERE id = ANY (v_jobs); END IF;
    RETURN v_count;
END $$;

CREATE OR REPLACE FUNCTION robotgroups.finish_propositions(p_group bigint, p_incarnation uuid, p_job bigint, p_version integer, p_propositions text[]) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
DECLARE v_memory bigint; v_version integer;
BEGIN
    PERFORM assert_may_use(p_group);
    PERFORM set_config('synchronous_commit', 'off', true);
    SELECT x.id, x.version INTO v_memory, v_version FROM memories x WHERE x.space_id = (SELECT g.space_id FROM groups g WHERE g.id = p_group)
        AND x.id = (SELECT j.memory_id FROM jobs j WHERE j.id = p_job) FOR NO KEY UPDATE;
    IF NOT FOUND OR NOT EXISTS (SELECT FROM my_jobs(p_group, p_incarnation, ARRAY[p_job]) j WHERE j.kind = 'propositions') THEN RETURN false; END IF;
    IF v_version <> p_version THEN
        PERFORM release_jobs(p_group, p_incarnation, ARRAY[p_job]);
        RETURN false;
    END IF;
    UPDATE memories SET propositions = p_propositions WHERE id = v_memory;
    DELETE FROM jobs WHERE id = p_job;
    RETURN true;
END $$;

-- Each space has its row from the beginning: relate_by_tags locks it.
CREATE FUNCTION robotgroups.space_made() RETURNS trigger
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp AS $$
BEGIN
    INSERT INTO tag_totals (space_id) VALUES (NEW.id);
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION robotgroups.space_made() FROM PUBLIC;
CREATE TRIGGER space_made AFTER INSERT ON robotgroups.spaces FOR EACH ROW EXECUTE FUNCTION robotgroups.space_made();
INSERT INTO robotgroups.tag_totals (space_id) SELECT s.id FROM robotgroups.spaces s ORDER BY s.id ON CONFLICT DO NOTHING;

-- As before; one robot at a time in a space, by a row that no other group's login can lock: anybody may take an advisory lock (S1).
CREATE OR REPLACE FUNCTION robotgroups.relate_by_tags(p_group bigint, p_limit integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp SET enable_seqscan = off AS $$
DECLARE v_space bigint; v_ids bigint[]; v_tags jsonb; v_source bigint[]; v_target bigint[]; v_weight real[]; v_own boolean[]; v_safe bigint[];
BEGIN
    PERFORM assert_may_use(p_group);
    SELECT space_id INTO v_space FROM groups WHERE id = p_group;
    IF NOT EXISTS (SELECT FROM jobs j WHERE j.space_id = v_space AND j.kind = 'relate' AND j.not_before <= now()) THEN RETURN 0; END IF;
    PERFORM FROM tag_totals t WHERE t.space_id = v_space FOR NO KEY UPDATE SKIP LOCKED;
    IF NOT FOUND THEN RETURN 0; END IF;
    PERFORM set_config('synchronous_commit', 'off', true);  -- what a crash loses of it is done again
    WITH due AS MATERIALIZED (
        SELECT j.memory_id FROM jobs j WHERE j.space_id = v_space AND j.kind = 'relate' AND j.not_before <= now() ORDER BY j.not_before, j.id LIMIT p_limit),
    locked AS MATERIALIZED (
        SELECT m.id, m.tags FROM memories m WHERE m.id IN (SELECT d.memory_id FROM due d) ORDER BY m.id FOR KEY SHARE SKIP LOCKED)
    SELECT coalesce(array_agg(l.id), '{}'), coalesce(jsonb_object_agg(l.id, l.tags), '{}') INTO v_ids, v_tags FROM locked l;
    IF v_ids = '{}' THEN RETURN 0; END IF;
    PERFORM note_tags(v_space, v_ids);
    SELECT coalesce(array_agg(t.source), '{}'), coalesce(array_agg(t.target), '{}'), array_agg(t.weight), array_agg(t.own)
        INTO v_source, v_target, v_weight, v_own FROM tag_relations(v_space, v_ids) t;
    v_safe := ARRAY(SELECT m.id FROM memories m WHERE m.id = ANY (v_source || v_target) ORDER BY m.id FOR KEY SHARE SKIP LOCKED);
    v_ids := ARRAY(SELECT m.id FROM memories m WHERE m.id = ANY (v_ids) AND to_jsonb(m.tags) = v_tags->m.id::text
        AND NOT EXISTS (SELECT FROM unnest(v_source, v_target) e(source, target) WHERE m.id IN (e.source, e.target)
            AND NOT (e.source = ANY (v_safe) AND e.target = ANY (v_safe))) ORDER BY m.id FOR SHARE SKIP LOCKED);
    v_ids := ARRAY(SELECT j.memory_id FROM jobs j WHERE j.space_id = v_space AND j.kind = 'relate' AND j.memory_id = ANY (v_ids) ORDER BY j.memory_id
        FOR UPDATE SKIP LOCKED);
    DELETE FROM jobs j WHERE j.kind = 'relate' AND j.memory_id = ANY (v_ids);
    DELETE FROM relations r WHERE r.kind = 'tags' AND (r.source = ANY (v_ids) OR r.target = ANY (v_ids))
        AND NOT EXISTS (SELECT FROM unnest(v_source, v_target) e(source, target) WHERE e.source = r.source AND e.target = r.target);
    INSERT INTO relations AS r (source, target, kind, space_id, weight)
        SELECT DISTINCT ON (e.source, e.target) e.source, e.target, 'tags', v_space, e.weight
        FROM unnest(v_source, v_target, v_weight, v_own) e(source, target, weight, own)
        WHERE CASE WHEN e.own THEN e.source ELSE e.target END = ANY (v_ids) ORDER BY e.source, e.target, e.own DESC
        ON CONFLICT (source, target, kind) DO UPDATE SET weight = excluded.weight WHERE r.weight IS DISTINCT FROM excluded.weight;
    RETURN cardinality(v_ids);
END $$;

-- Models -------------------------------------------------------------------------------------------------------------------------------------------------------

-- Makes a group's embedding settings those of its space. Another model than before: every memory is queued to be embedded anew, behind what is new, and
-- recall goes on with the old model until that is done (finish_model), unless the old one has embedded nothing: then there is nothing to go on with. None: another
-- group of the space may name one; else what is embedded stays, in case a model is named again.
CREATE OR REPLACE FUNCTION robotgroups.choose_model(p_space bigint, p_embedding jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp AS $$
DECLARE s spaces; v_model bigint; v_serving bigint;
BEGIN
    SELECT * INTO s FROM spaces WHERE id = p_space FOR NO KEY UPDATE;
    IF p_embedding->>'provider' = 'none' THEN
        SELECT embedding INTO p_embedding FROM groups WHERE space_id = p_space AND embedding->>'provider' <> 'none' ORDER BY id LIMIT 1;
        IF FOUND THEN PERFORM choose_model(p_space, p_embedding); RETURN; END IF;
        UPDATE spaces SET target_model = NULL WHERE id = p_space AND target_model IS NOT NULL;
        DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE space_id = p_space AND kind IN ('embed', 'backfill') ORDER BY memory_id, kind FOR UPDATE);
        RETURN;
    END IF;
    INSERT INTO embedding_models AS x (space_id, provider, model, dimensions, config)
        VALUES (p_space, p_embedding->>'provider', p_embedding->>'model', (p_embedding->>'dimensions')::integer, p_embedding)
        ON CONFLICT (space_id, provider, model, dimensions) DO UPDATE SET config = excluded.config RETURNING x.id INTO v_model;
    IF s.target_model IS DISTINCT FROM v_model THEN
        v_serving := coalesce((SELECT e.model_id FROM embeddings e WHERE e.model_id = s.serving_model LIMIT 1), v_model);
        UPDATE spaces SET target_model = v_model, serving_model = v_serving,
            serving_since = CASE WHEN v_serving IS DISTINCT FROM s.serving_model THEN now() ELSE s.serving_since END,
            serving_lacks = CASE
                WHEN v_serving = v_model THEN 0
                WHEN s.serving_model = s.target_model THEN jobs_waiting(p_space, 'backfill')
                WHEN s.target_model IS NOT NULL THEN s.serving_lacks
                ELSE (SELECT count(*) FROM memories m WHERE m.space_id = p_space AND m.forgotten_at IS NULL
                    AND NOT EXISTS (SELECT FROM embeddings e WHERE e.model_id = v_serving AND e.memory_id = m.id))
            END WHERE id = p_space;
        PERFORM backfill(p_space, v_model);
    ELSE  -- other settings may cure what failed
        UPDATE jobs SET not_before = now() WHERE space_id = p_space AND kind IN ('embed', 'backfill') AND error IS NOT NULL AND claimed_by IS NULL
            AND not_before < 'infinity';
    END IF;
END $$;

CREATE OR REPLACE FUNCTION robotgroups.finish_model(p_space bigint) RETURNS boolean
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp AS $$
DECLARE s spaces; v_group bigint;
BEGIN
    SELECT * INTO s FROM spaces WHERE id = p_space;
    IF s.target_model IS NULL OR s.serving_model = s.target_model OR NOT is_embedded(p_space) THEN RETURN false; END IF;
    UPDATE spaces SET serving_model = s.target_model, serving_since = now(), serving_lacks = 0 WHERE id = p_space AND target_model = s.target_model;
    IF NOT FOUND THEN RETURN false; END IF;
    UPDATE jobs SET kind = 'embed' WHERE space_id = p_space AND kind = 'backfill';  -- those that it has refused
    FOR v_group IN SELECT id FROM groups WHERE space_id = p_space ORDER BY id LOOP
        PERFORM announce(v_group, 0);
    END LOOP;
    RETURN true;
END $$;

-- How many memories a vector recall that compares with this model does not know yet.
CREATE FUNCTION robotgroups.unembedded_by(p_group bigint, p_model bigint) RETURNS bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = robotgroups, pg_temp SET enable_seqscan = off AS $$
BEGIN
    PERFORM assert_may_use(p_group);
    RETURN (SELECT jobs_waiting(s.id, 'embed') + CASE
            WHEN s.target_model IS NULL THEN 0
            WHEN p_model = s.target_model THEN jobs_waiting(s.id, 'backfill')
            ELSE s.serving_lacks
        END FROM groups g JOIN spaces s ON s.id = g.space_id WHERE g.id = p_group);
END $$;

-- By the one that serves.
CREATE OR REPLACE FUNCTION robotgroups.unembedded(p_group bigint) RETURNS bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = robotgroups, pg_temp SET enable_seqscan = off AS $$
BEGIN
    RETURN unembedded_by(p_group, (SELECT s.serving_model FROM groups g JOIN spaces s ON s.id = g.space_id WHERE g.id = p_group));
END $$;

REVOKE ALL ON FUNCTION robotgroups.unembedded_by(bigint, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION robotgroups.unembedded_by(bigint, bigint) TO robotgroups_robot;
