-- Rights: a robot's login reaches its group through these functions and nothing else (S1).

DO $$ BEGIN
    CREATE ROLE robotgroups_robot NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;  -- roles belong to the server: another database's schema made it
END $$;

REVOKE ALL ON ALL TABLES IN SCHEMA robotgroups FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA robotgroups FROM PUBLIC;
GRANT USAGE ON SCHEMA robotgroups TO robotgroups_robot;

DO $$
DECLARE f regprocedure;
BEGIN
    FOR f IN SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname = 'robotgroups' AND p.proname IN ('assert_may_use', 'schema_version', 'find_group',
            'register', 'beat', 'withdraw', 'declare_failed', 'hand_over', 'failover',
            'remember', 'forget', 'restore', 'clear_working_memory', 'transfer_working_memory',
            'snapshot', 'changes_after', 'get_memory', 'recall_fulltext', 'group_status', 'list_failovers')
    LOOP EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO robotgroups_robot', f); END LOOP;
END $$;
