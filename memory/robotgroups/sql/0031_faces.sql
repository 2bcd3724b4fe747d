-- What robots read beside the memories: the propositions of one, and how their group's working memory is declared.

-- The statements that were extracted from a memory, in their order: none before they are, or when the group extracts none.
CREATE FUNCTION robotgroups.memory_propositions(p_group bigint, p_memory bigint) RETURNS text[]
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
DECLARE m memories;
BEGIN
    PERFORM assert_may_use(p_group);
    SELECT x.* INTO m FROM groups g JOIN memories x ON x.space_id = g.space_id WHERE g.id = p_group AND x.id = p_memory
        AND (x.expires_at IS NULL OR x.expires_at > now());
    IF NOT FOUND THEN RAISE EXCEPTION 'no memory has id %', p_memory USING ERRCODE = 'RG011'; END IF;
    RETURN coalesce(m.propositions, '{}');
END $$;

-- As group_status, which robots of the version before read and know all fields of; with what the working memory goes by. NULL: there is no such group.
CREATE FUNCTION robotgroups.group_state(p_group bigint) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
BEGIN
    PERFORM assert_may_use(p_group);
    RETURN (SELECT group_status(p_group) || jsonb_build_object('eviction', g.eviction, 'pinned_tokens', g.pinned_tokens, 'space', s.name, 'language', g.language,
            'language_conflict', language_conflict(p_group))
        FROM groups g JOIN spaces s ON s.id = g.space_id WHERE g.id = p_group);
END $$;

DO $$ DECLARE f regprocedure; BEGIN
    FOREACH f IN ARRAY ARRAY['robotgroups.memory_propositions(bigint, bigint)', 'robotgroups.group_state(bigint)']::regprocedure[] LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO robotgroups_robot', f);
    END LOOP;
END $$;
