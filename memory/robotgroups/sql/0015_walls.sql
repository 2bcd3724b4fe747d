-- The walls around a group (S1). The first: a robot's login has no right to any table, and EXECUTE on the functions for robots alone, which take the group from
-- session_user. The second, here: were a table granted to it by mistake, it would see its own group's rows and no other's, and change none. The owner, as whom
-- the functions run, is not subject to it (ENABLE, not FORCE): row-level security would turn off the full-text index.

-- The groups, and their spaces, that the session's login is for.
CREATE FUNCTION robotgroups.my_groups() RETURNS bigint[]
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
    SELECT coalesce(array_agg(id), '{}') FROM groups WHERE session_user IN (login, previous_login)
$$;

CREATE FUNCTION robotgroups.my_spaces() RETURNS bigint[]
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
    SELECT coalesce(array_agg(DISTINCT space_id), '{}') FROM groups WHERE session_user IN (login, previous_login)
$$;

CREATE FUNCTION robotgroups.is_mine(p_memory bigint) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
    SELECT EXISTS (SELECT FROM memories m JOIN groups g ON g.space_id = m.space_id WHERE m.id = p_memory AND session_user IN (g.login, g.previous_login))
$$;

-- Every table of the schema: by its space, else its group, else its memory. What is nobody's (migrations) is seen by none.
DO $$
DECLARE t record; v_mine text;
BEGIN
    FOR t IN SELECT c.relname, array_agg(a.attname::text) AS columns FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE c.relnamespace = 'robotgroups'::regnamespace AND c.relkind = 'r' GROUP BY c.relname LOOP
        v_mine := CASE
            WHEN t.relname = 'groups' THEN 'id = ANY ((SELECT robotgroups.my_groups())::bigint[])'
            WHEN t.relname = 'spaces' THEN 'id = ANY ((SELECT robotgroups.my_spaces())::bigint[])'
            WHEN 'space_id' = ANY (t.columns) THEN 'space_id = ANY ((SELECT robotgroups.my_spaces())::bigint[])'
            WHEN 'group_id' = ANY (t.columns) THEN 'group_id = ANY ((SELECT robotgroups.my_groups())::bigint[])'
            WHEN 'memory_id' = ANY (t.columns) THEN 'robotgroups.is_mine(memory_id)'
        END;
        EXECUTE format('ALTER TABLE robotgroups.%I ENABLE ROW LEVEL SECURITY', t.relname);
        IF v_mine IS NOT NULL THEN
            EXECUTE format('CREATE POLICY own_rows ON robotgroups.%I FOR SELECT TO robotgroups_robot USING (%s)', t.relname, v_mine);
        END IF;
    END LOOP;
    -- a view shows what its owner sees, unless it is told to ask as who asks
    FOR t IN SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'robotgroups'::regnamespace AND c.relkind = 'v' LOOP
        EXECUTE format('ALTER VIEW robotgroups.%I SET (security_invoker = true)', t.relname);
    END LOOP;
END $$;

-- As in 0013: no statistics of what may be erased.
ALTER TABLE robotgroups.files ALTER COLUMN tags SET STATISTICS 0, ALTER COLUMN metadata SET STATISTICS 0, ALTER COLUMN scope SET STATISTICS 0;

-- What a new function may be run by: nobody but the owner, until it is granted.
REVOKE ALL ON ALL TABLES IN SCHEMA robotgroups FROM PUBLIC, robotgroups_robot;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA robotgroups FROM PUBLIC, robotgroups_robot;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA robotgroups FROM PUBLIC;
GRANT EXECUTE ON FUNCTION robotgroups.my_groups(), robotgroups.my_spaces(), robotgroups.is_mine(bigint) TO robotgroups_robot;
