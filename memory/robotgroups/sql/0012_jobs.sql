-- What is done in the background after a memory is acknowledged: embeddings, tags, propositions. A robot claims jobs for a while, does them, and stores
-- the outcome if its claim still stands: at least once, by one robot at a time. None of this waits for a remember or makes one wait.
-- Locks: memories first, jobs second, each in the order of the memories.

ALTER TABLE robotgroups.spaces ADD COLUMN serving_since timestamptz NOT NULL DEFAULT now();

-- What is to be done with a memory of a space, whichever of its groups remembers it.
CREATE FUNCTION robotgroups.jobs_for(p_space bigint) RETURNS text[]
LANGUAGE sql STABLE SET search_path = robotgroups, pg_temp AS $$
    SELECT coalesce(array_agg(DISTINCT k.kind), '{}') FROM (
        SELECT 'embed' FROM spaces s WHERE s.id = p_space AND s.target_model IS NOT NULL
        UNION ALL SELECT unnest(jobs_of('{"provider": "none"}', g.extraction)) FROM groups g WHERE g.space_id = p_space) k(kind)
$$;

-- Queues jobs, or lets those that are there begin anew: whoever is at one finds its claim gone.
CREATE FUNCTION robotgroups.queue_jobs(p_space bigint, p_memories bigint[], p_kinds text[], p_not_before timestamptz DEFAULT now()) RETURNS void
LANGUAGE sql SET search_path = robotgroups, pg_temp AS $$
    INSERT INTO jobs AS j (space_id, memory_id, kind, not_before)
        SELECT p_space, m.id, k.kind, p_not_before FROM unnest(p_memories) m(id), unnest(p_kinds) k(kind) ORDER BY m.id, k.kind
        ON CONFLICT (memory_id, kind) DO UPDATE
            SET attempts = 0, not_before = excluded.not_before, claimed_by = NULL, error = NULL, refused = false
$$;

-- Queues what has no embedding by a model yet; caller holds the space's or its only group's row.
CREATE FUNCTION robotgroups.backfill(p_space bigint, p_model bigint) RETURNS void
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp AS $$
BEGIN
    PERFORM FROM jobs j WHERE j.space_id = p_space AND j.kind IN ('embed', 'backfill') ORDER BY j.memory_id, j.kind FOR UPDATE;
    DELETE FROM jobs j WHERE j.space_id = p_space AND j.kind = 'backfill';
    UPDATE jobs j SET attempts = 0, claimed_by = NULL, error = NULL, refused = false,
        not_before = CASE j.not_before WHEN 'infinity' THEN j.not_before ELSE now() END WHERE j.space_id = p_space AND j.kind = 'embed';
    -- the newest first: they are asked for most
    INSERT INTO jobs (space_id, memory_id, kind, not_before)
        SELECT p_space, m.id, 'backfill', CASE WHEN m.forgotten_at IS NULL THEN now() ELSE 'infinity' END FROM memories m
        WHERE m.space_id = p_space AND NOT EXISTS (SELECT FROM embeddings e WHERE e.model_id = p_model AND e.memory_id = m.id)
            AND NOT EXISTS (SELECT FROM jobs j WHERE j.memory_id = m.id AND j.kind = 'embed') ORDER BY m.id DESC;
END $$;

-- Another extraction than before is for what is remembered from now on. What no group of the space wants any more is not done; what failed is tried again.
CREATE FUNCTION robotgroups.choose_extraction(p_space bigint) RETURNS void
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp AS $$
DECLARE v_kinds text[] := jobs_for(p_space);
BEGIN
    PERFORM FROM jobs j WHERE j.space_id = p_space AND j.kind IN ('tags', 'propositions') ORDER BY j.memory_id, j.kind FOR UPDATE;
    DELETE FROM jobs j WHERE j.space_id = p_space AND j.kind IN ('tags', 'propositions') AND j.kind <> ALL (v_kinds);
    UPDATE jobs j SET not_before = now() WHERE j.space_id = p_space AND j.kind IN ('tags', 'propositions') AND j.error IS NOT NULL AND j.claimed_by IS NULL
        AND j.not_before < 'infinity';
END $$;

-- Whoever changes a content: what was made of the old one goes, and is made anew.
CREATE FUNCTION robotgroups.content_changed() RETURNS trigger
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp AS $$
BEGIN
    NEW.propositions := NULL;
    DELETE FROM jobs WHERE memory_id = NEW.id AND kind = 'backfill';
    DELETE FROM embeddings WHERE memory_id = NEW.id;
    PERFORM queue_jobs(NEW.space_id, ARRAY[NEW.id], jobs_for(NEW.space_id), CASE WHEN NEW.forgotten_at IS NULL THEN now() ELSE 'infinity' END);
    RETURN NEW;
END $$;
CREATE TRIGGER content_changed BEFORE UPDATE OF content ON robotgroups.memories
    FOR EACH ROW WHEN (OLD.content IS DISTINCT FROM NEW.content) EXECUTE FUNCTION robotgroups.content_changed();

-- A forgotten memory is shown to no model, until it is restored.
CREATE FUNCTION robotgroups.forgotten_changed() RETURNS trigger
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp AS $$
BEGIN
    UPDATE jobs SET claimed_by = NULL, not_before = CASE WHEN NEW.forgotten_at IS NULL THEN now() ELSE 'infinity' END
        WHERE memory_id = NEW.id AND kind IN ('embed', 'backfill', 'tags', 'propositions');
    RETURN NULL;
END $$;
CREATE TRIGGER forgotten_changed AFTER UPDATE OF forgotten_at ON robotgroups.memories
    FOR EACH ROW WHEN ((OLD.forgotten_at IS NULL) <> (NEW.forgotten_at IS NULL)) EXECUTE FUNCTION robotgroups.forgotten_changed();

-- What a robot has to know to work in the background: {"serving": {"id", "config"} (recall compares with it), "target" (memories are embedded by it),
-- "extraction", "due": [kinds that have jobs due]}. Without a provider of embeddings both models are null.
CREATE FUNCTION robotgroups.background_work(p_group bigint) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = robotgroups, pg_temp SET enable_seqscan = off AS $$
BEGIN
    PERFORM assert_may_use(p_group);
    RETURN (SELECT jsonb_build_object(
            'serving', (SELECT jsonb_build_object('id', m.id, 'config', m.config) FROM embedding_models m
                WHERE m.id = s.serving_model AND s.target_model IS NOT NULL),
            'target', (SELECT jsonb_build_object('id', m.id, 'config', m.config) FROM embedding_models m WHERE m.id = s.target_model),
            'extraction', g.extraction,
            'due', (SELECT coalesce(jsonb_agg(k.kind), '[]') FROM unnest('{embed,backfill,tags,propositions,relate}'::text[]) k(kind)
                WHERE EXISTS (SELECT FROM jobs j WHERE j.space_id = s.id AND j.kind = k.kind AND j.not_before <= now())))
        FROM groups g JOIN spaces s ON s.id = g.space_id WHERE g.id = p_group);
END $$;

-- Claims up to p_limit jobs that are due, of the first kind first, for p_lease_s seconds: then they may be claimed again. Of a content, the first p_characters
-- (NULL: all). "model" is what an embedding is wanted by; "serving" is the one that recall still uses, when it lacks this memory too.
CREATE FUNCTION robotgroups.claim_jobs(
    p_group bigint, p_robot text, p_incarnation uuid, p_kinds text[], p_limit integer, p_lease_s double precision DEFAULT 30, p_characters integer DEFAULT NULL)
RETURNS TABLE (id bigint, memory_id bigint, kind text, content text, version integer, attempts integer, model bigint, serving bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE s spaces; v_kind text; v_left integer := p_limit; v_count integer;
BEGIN
    PERFORM assert_may_use(p_group);
    -- who was replaced gets no more work
    IF NOT EXISTS (SELECT FROM presence p WHERE p.group_id = p_group AND p.robot = p_robot AND p.incarnation = p_incarnation) THEN RETURN; END IF;
    PERFORM set_config('synchronous_commit', 'off', true);  -- what a crash loses of it is claimed again
    SELECT x.* INTO s FROM groups g JOIN spaces x ON x.id = g.space_id WHERE g.id = p_group;
    FOREACH v_kind IN ARRAY p_kinds LOOP
        EXIT WHEN v_left <= 0;
        CONTINUE WHEN v_kind IN ('embed', 'backfill') AND s.target_model IS NULL;
        RETURN QUERY
            WITH due AS (
                SELECT j.id FROM jobs j WHERE j.space_id = s.id AND j.kind = v_kind AND j.not_before <= now()
                ORDER BY j.not_before, j.id LIMIT v_left FOR UPDATE SKIP LOCKED),
            claimed AS (
                UPDATE jobs j SET claimed_by = p_incarnation, not_before = now() + make_interval(secs => p_lease_s), attempts = j.attempts + 1
                FROM due WHERE j.id = due.id RETURNING j.*)
            SELECT c.id, c.memory_id, c.kind, CASE WHEN p_characters IS NULL THEN m.content ELSE left(m.content, p_characters) END, m.version, c.attempts,
                CASE WHEN v_kind IN ('embed', 'backfill') THEN s.target_model END,
                CASE WHEN v_kind = 'embed' AND s.serving_model <> s.target_model AND NOT EXISTS (
                    SELECT FROM embeddings e WHERE e.model_id = s.serving_model AND e.memory_id = m.id) THEN s.serving_model END
            FROM claimed c JOIN memories m ON m.id = c.memory_id
            WHERE m.forgotten_at IS NULL AND (m.expires_at IS NULL OR m.expires_at > now()) ORDER BY c.id;
        GET DIAGNOSTICS v_count = ROW_COUNT;
        v_left := v_left - v_count;
    END LOOP;
END $$;

-- Prolongs claims while the work goes on; returns how many still stand.
CREATE FUNCTION robotgroups.renew_jobs(p_group bigint, p_incarnation uuid, p_jobs bigint[], p_lease_s double precision) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp SET enable_seqscan = off AS $$
DECLARE v_count integer;
BEGIN
    PERFORM assert_may_use(p_group);
    PERFORM set_config('synchronous_commit', 'off', true);
    UPDATE jobs SET not_before = now() + make_interval(secs => p_lease_s) WHERE id IN (SELECT m.id FROM my_jobs(p_group, p_incarnation, p_jobs) m);
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END $$;

-- Those of these jobs whose claim still stands, locked.
CREATE FUNCTION robotgroups.my_jobs(p_group bigint, p_incarnation uuid, p_jobs bigint[]) RETURNS SETOF robotgroups.jobs
LANGUAGE sql SET search_path = robotgroups, pg_temp AS $$
    SELECT j.* FROM jobs j WHERE j.id = ANY (p_jobs) AND j.claimed_by = p_incarnation AND j.space_id = (SELECT g.space_id FROM groups g WHERE g.id = p_group)
    ORDER BY j.memory_id, j.kind FOR UPDATE
$$;

-- Gives claims back undone; nothing is held against the jobs.
CREATE FUNCTION robotgroups.release_jobs(p_group bigint, p_incarnation uuid, p_jobs bigint[]) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp SET enable_seqscan = off AS $$
DECLARE v_count integer;
BEGIN
    PERFORM assert_may_use(p_group);
    PERFORM set_config('synchronous_commit', 'off', true);
    UPDATE jobs SET claimed_by = NULL, not_before = now(), attempts = attempts - 1
        WHERE id IN (SELECT m.id FROM my_jobs(p_group, p_incarnation, p_jobs) m);
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END $$;

-- Notes why claimed jobs could not be done, and when they are tried again: after twice the time, up to a minute when the endpoint was at fault, up to an hour
-- when it does not take the text (p_refused). Never is one given up.
CREATE FUNCTION robotgroups.fail_jobs(p_group bigint, p_incarnation uuid, p_jobs bigint[], p_errors text[], p_refused boolean) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp SET enable_seqscan = off AS $$
DECLARE v_count integer;
BEGIN
    PERFORM assert_may_use(p_group);
    PERFORM set_config('synchronous_commit', 'off', true);
    UPDATE jobs j SET claimed_by = NULL, error = left(f.error, 500), refused = p_refused,
            not_before = now() + make_interval(secs => least(2 ^ least(j.attempts, 20), CASE WHEN p_refused THEN 3600 ELSE 60 END))
        FROM my_jobs(p_group, p_incarnation, p_jobs) m JOIN unnest(p_jobs, p_errors) f(id, error) ON f.id = m.id WHERE j.id = m.id;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END $$;

-- Stores the vectors of claimed jobs' memories under a model: p_vectors up to 2000 dimensions, p_halves beyond, the other one NULL. What was updated since it
-- was claimed (p_versions) is embedded again. p_done: that was the last of it. Returns how many were stored.
CREATE FUNCTION robotgroups.finish_embeddings(
    p_group bigint, p_model bigint, p_incarnation uuid, p_jobs bigint[], p_versions integer[], p_vectors public.vector[], p_halves public.halfvec[],
    p_done boolean DEFAULT true) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp SET enable_seqscan = off AS $$
DECLARE s spaces; v_dimensions integer; v_wrong integer; v_jobs bigint[]; v_count integer := 0;
BEGIN
    PERFORM assert_may_use(p_group);
    PERFORM set_config('synchronous_commit', 'off', true);
    PERFORM FROM memories m WHERE m.id IN (SELECT j.memory_id FROM jobs j WHERE j.id = ANY (p_jobs)) ORDER BY m.id FOR KEY SHARE;
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

-- Adds extracted tags to a claimed job's memory, which every cache hears of (M3). No memory gets more than 64 by it. False: the claim is gone, or the
-- memory was updated meanwhile.
CREATE FUNCTION robotgroups.finish_tags(p_group bigint, p_robot text, p_incarnation uuid, p_job bigint, p_version integer, p_tags text[]) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp SET timezone = 'UTC' AS $$
DECLARE g groups; m memories; w working_memory; v_tags text[];
BEGIN
    PERFORM assert_may_use(p_group);
    g := lock_memory(p_group);
    SELECT * INTO m FROM memories x WHERE x.space_id = g.space_id AND x.id = (SELECT j.memory_id FROM jobs j WHERE j.id = p_job) FOR NO KEY UPDATE;
    IF NOT FOUND OR NOT EXISTS (SELECT FROM my_jobs(p_group, p_incarnation, ARRAY[p_job]) j WHERE j.kind = 'tags') THEN RETURN false; END IF;
    IF m.version <> p_version THEN
        PERFORM release_jobs(p_group, p_incarnation, ARRAY[p_job]);
        RETURN false;
    END IF;
    DELETE FROM jobs WHERE id = p_job;
    v_tags := ARRAY(SELECT t.tag FROM unnest(p_tags) WITH ORDINALITY t(tag, place) WHERE t.tag <> ALL (m.tags)
        GROUP BY t.tag ORDER BY min(t.place) LIMIT greatest(64 - cardinality(m.tags), 0));
    IF v_tags = '{}' THEN RETURN true; END IF;
    UPDATE memories x SET tags = ARRAY(SELECT t FROM unnest(m.tags || v_tags) t ORDER BY t) WHERE x.id = m.id RETURNING * INTO m;
    PERFORM queue_jobs(g.space_id, ARRAY[m.id], '{relate}');
    SELECT * INTO w FROM working_memory x WHERE x.group_id = p_group AND x.memory_id = m.id;
    PERFORM append_change(p_group, 'updated', m.id, p_robot, memory_json(m, w));
    PERFORM tell_other_groups(p_group, ARRAY[m.id], p_robot);
    RETURN true;
END $$;

-- Stores extracted propositions with a claimed job's memory. False: the claim is gone, or the memory was updated meanwhile.
CREATE FUNCTION robotgroups.finish_propositions(p_group bigint, p_incarnation uuid, p_job bigint, p_version integer, p_propositions text[]) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
DECLARE v_memory bigint; v_version integer;
BEGIN
    PERFORM assert_may_use(p_group);
    PERFORM set_config('synchronous_commit', 'off', true);
    SELECT x.id, x.version INTO v_memory, v_version FROM memories x WHERE x.id = (SELECT j.memory_id FROM jobs j WHERE j.id = p_job) FOR NO KEY UPDATE;
    IF NOT FOUND OR NOT EXISTS (SELECT FROM my_jobs(p_group, p_incarnation, ARRAY[p_job]) j WHERE j.kind = 'propositions') THEN RETURN false; END IF;
    IF v_version <> p_version THEN
        PERFORM release_jobs(p_group, p_incarnation, ARRAY[p_job]);
        RETURN false;
    END IF;
    UPDATE memories SET propositions = p_propositions WHERE id = v_memory;
    DELETE FROM jobs WHERE id = p_job;
    RETURN true;
END $$;

-- The tags that a group's newest memories have, the most used first: extraction prefers them to new ones that mean the same.
CREATE FUNCTION robotgroups.tags_in_use(p_group bigint, p_limit integer) RETURNS text[]
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
BEGIN
    PERFORM assert_may_use(p_group);
    RETURN ARRAY(SELECT t.tag FROM (
            SELECT m.tags FROM memories m WHERE m.space_id = (SELECT g.space_id FROM groups g WHERE g.id = p_group)
                AND m.tags <> '{}' AND m.forgotten_at IS NULL ORDER BY m.id DESC LIMIT 2000) n, unnest(n.tags) t(tag)
        GROUP BY t.tag ORDER BY count(*) DESC, t.tag LIMIT p_limit);
END $$;

-- How many memories vector recall does not know yet.
CREATE FUNCTION robotgroups.unembedded(p_group bigint) RETURNS bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = robotgroups, pg_temp SET enable_seqscan = off AS $$
BEGIN
    PERFORM assert_may_use(p_group);
    RETURN (SELECT jobs_waiting(s.id, 'embed') + CASE WHEN s.serving_model = s.target_model THEN jobs_waiting(s.id, 'backfill') ELSE 0 END
        FROM groups g JOIN spaces s ON s.id = g.space_id WHERE g.id = p_group);
END $$;

CREATE FUNCTION robotgroups.jobs_waiting(p_space bigint, p_kind text) RETURNS bigint
LANGUAGE sql STABLE SET search_path = robotgroups, pg_temp AS $$
    SELECT count(*) FROM jobs WHERE space_id = p_space AND kind = p_kind AND not_before < 'infinity'
$$;

-- Lets recall use the model that memories are embedded by, once it has all of them, but for those that it has refused several times. Owner only.
CREATE FUNCTION robotgroups.finish_model(p_space bigint) RETURNS boolean
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp AS $$
DECLARE s spaces; v_group bigint;
BEGIN
    SELECT * INTO s FROM spaces WHERE id = p_space;
    IF s.target_model IS NULL OR s.serving_model = s.target_model OR NOT is_embedded(p_space) THEN RETURN false; END IF;
    UPDATE spaces SET serving_model = s.target_model, serving_since = now() WHERE id = p_space AND target_model = s.target_model;
    IF NOT FOUND THEN RETURN false; END IF;
    UPDATE jobs SET kind = 'embed' WHERE space_id = p_space AND kind = 'backfill';  -- those that it has refused
    FOR v_group IN SELECT id FROM groups WHERE space_id = p_space ORDER BY id LOOP
        PERFORM announce(v_group, (SELECT revision FROM groups WHERE id = v_group));
    END LOOP;
    RETURN true;
END $$;

-- Whether a space's target model has embedded all that it can; what is missing for no reason is queued.
CREATE FUNCTION robotgroups.is_embedded(p_space bigint) RETURNS boolean
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp AS $$
DECLARE v_model bigint; v_missing bigint[];
BEGIN
    IF EXISTS (SELECT FROM jobs j WHERE j.space_id = p_space AND j.kind IN ('embed', 'backfill') AND j.not_before < 'infinity'
        AND NOT (j.refused AND j.attempts >= 3)) THEN RETURN false; END IF;
    SELECT target_model INTO v_model FROM spaces WHERE id = p_space;
    v_missing := ARRAY(SELECT m.id FROM memories m WHERE m.space_id = p_space AND m.forgotten_at IS NULL
        AND NOT EXISTS (SELECT FROM embeddings e WHERE e.model_id = v_model AND e.memory_id = m.id)
        AND NOT EXISTS (SELECT FROM jobs j WHERE j.memory_id = m.id AND j.kind IN ('embed', 'backfill')) ORDER BY m.id LIMIT 10000);
    IF v_missing = '{}' THEN RETURN true; END IF;
    PERFORM queue_jobs(p_space, v_missing, '{backfill}');
    RETURN false;
END $$;

-- Models that are used no more, and have not been for so long that no robot compares with them any more. A space without a model uses none anew: it keeps
-- what it has.
CREATE VIEW robotgroups.retired_models AS
    SELECT e.id, e.indexed FROM robotgroups.embedding_models e JOIN robotgroups.spaces s ON s.id = e.space_id
    WHERE s.target_model IS NOT NULL AND e.id <> s.target_model AND e.id IS DISTINCT FROM s.serving_model AND s.serving_since < now() - interval '1 minute';

-- Deletes up to p_limit embeddings of retired models, and a model that has none left; returns how many rows went. Owner only. One with an index keeps its
-- rows until that is dropped: taking rows out of an HNSW index costs more than making it.
CREATE FUNCTION robotgroups.prune_models(p_limit integer) RETURNS integer
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp AS $$
DECLARE v_model bigint; v_count integer;
BEGIN
    FOR v_model IN SELECT r.id FROM retired_models r WHERE NOT r.indexed ORDER BY r.id LOOP
        DELETE FROM embeddings WHERE model_id = v_model AND memory_id IN (SELECT x.memory_id FROM embeddings x WHERE x.model_id = v_model LIMIT p_limit);
        GET DIAGNOSTICS v_count = ROW_COUNT;
        IF v_count > 0 THEN RETURN v_count; END IF;
        DELETE FROM embedding_models WHERE id = v_model;
    END LOOP;
    RETURN 0;
END $$;

-- What tells one embedding from another; of the rest it is how it is asked for.
CREATE FUNCTION robotgroups.embedding_identity(p_embedding jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE AS $$
    SELECT jsonb_build_array(p_embedding->'provider', p_embedding->'model', p_embedding->'dimensions', p_embedding->'base_url')
$$;

-- As before, with the work that waits in the background; and whether groups of one space disagree about its embedding.
CREATE OR REPLACE FUNCTION robotgroups.group_status(p_group bigint) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = robotgroups, pg_temp SET timezone = 'UTC' AS $$
BEGIN
    PERFORM assert_may_use(p_group);
    RETURN (SELECT jsonb_build_object('id', g.id, 'name', g.name, 'epoch', g.epoch, 'revision', g.revision, 'max_tokens', g.max_tokens,
        'working_memory_nodes', g.working_memory_nodes, 'working_memory_tokens', g.working_memory_tokens,
        'heartbeat_ms', g.heartbeat_ms, 'lease_ms', g.lease_ms, 'suspended', g.suspended, 'active_target', g.active_target,
        'unembedded', unembedded(p_group), 'backfill', CASE WHEN s.serving_model <> s.target_model THEN jobs_waiting(s.id, 'backfill') ELSE 0 END,
        'failing_jobs', (SELECT count(*) FROM jobs j WHERE j.space_id = g.space_id AND j.error IS NOT NULL),
        'job_error', (SELECT j.error FROM jobs j WHERE j.space_id = g.space_id AND j.error IS NOT NULL ORDER BY j.id LIMIT 1),
        'embedding_conflict', CASE WHEN g.shares AND g.embedding->>'provider' <> 'none' THEN (
            SELECT format('%s of the same space %s another embedding: the one that was set last serves all of them; give them the same',
                string_agg(o.name, ', ' ORDER BY o.name), CASE WHEN count(*) = 1 THEN 'names' ELSE 'name' END)
            FROM groups o WHERE o.space_id = g.space_id AND o.embedding->>'provider' <> 'none' AND embedding_identity(o.embedding) <> embedding_identity(g.embedding)
            HAVING count(*) > 0) END,
        'failovers', (SELECT count(*) FROM failovers f WHERE f.group_id = g.id AND f.kind = 'failover'),
        'last_failover', (SELECT to_jsonb(f) FROM failovers f WHERE f.group_id = g.id ORDER BY f.id DESC LIMIT 1),
        'robots', (SELECT coalesce(jsonb_agg(jsonb_build_object('name', r.name, 'role', r.role, 'tenure', r.tenure, 'ordinal', r.ordinal,
                'live', p.robot IS NOT NULL AND is_responsive(p, g.lease_ms),
                'warm', coalesce(p.warm, false), 'applied_revision', coalesce(p.applied_revision, 0), 'heartbeat', coalesce(p.heartbeat, 0),
                'incarnation', coalesce(p.incarnation, r.incarnation), 'endpoint', coalesce(p.endpoint, '')) ORDER BY r.ordinal, r.name), '[]')
            FROM robots r LEFT JOIN presence p ON p.group_id = r.group_id AND p.robot = r.name WHERE r.group_id = g.id))
        FROM groups g JOIN spaces s ON s.id = g.space_id WHERE g.id = p_group);
END $$;

DO $$
DECLARE f regprocedure;
BEGIN
    FOR f IN SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname = 'robotgroups' AND p.proname IN ('jobs_for', 'queue_jobs', 'backfill', 'choose_extraction', 'content_changed', 'forgotten_changed', 'background_work',
            'claim_jobs', 'renew_jobs', 'my_jobs', 'release_jobs', 'fail_jobs', 'finish_embeddings', 'finish_tags', 'finish_propositions', 'tags_in_use',
            'embedding_identity', 'unembedded', 'jobs_waiting', 'finish_model', 'is_embedded', 'prune_models')
    LOOP EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f); END LOOP;
    FOR f IN SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname = 'robotgroups' AND p.proname IN ('background_work', 'claim_jobs', 'renew_jobs', 'release_jobs', 'fail_jobs', 'finish_embeddings',
            'finish_tags', 'finish_propositions', 'tags_in_use', 'unembedded')
    LOOP EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO robotgroups_robot', f); END LOOP;
END $$;
