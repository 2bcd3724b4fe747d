-- What `check` looks for in the catalogue: the walls around groups (S1) as the migrations put them up. Rights that somebody granted by hand open them: TRIGGER
-- and TRUNCATE are beyond row-level security.

-- S1 row-security
SELECT NULL::bigint AS group_id, format('table %s has row-level security %s', c.relname,
    CASE WHEN c.relrowsecurity THEN 'forced on its owner, as whom the functions run' ELSE 'off' END) AS detail
FROM pg_class c WHERE c.relnamespace = 'robotgroups'::regnamespace AND c.relkind IN ('r', 'p')
    AND (NOT c.relrowsecurity OR c.relforcerowsecurity)
UNION ALL SELECT NULL, format('view %s shows what its owner sees', c.relname) FROM pg_class c
WHERE c.relnamespace = 'robotgroups'::regnamespace AND c.relkind IN ('v', 'm')
    AND NOT coalesce(c.reloptions, '{}') @> '{security_invoker=true}' ORDER BY 2;

-- S1 policies
SELECT NULL::bigint AS group_id, format('table %s has the policies %s instead of own_rows alone', c.relname,
    coalesce(string_agg(p.polname, ', ' ORDER BY p.polname), '(none)')) AS detail
FROM pg_class c LEFT JOIN pg_policy p ON p.polrelid = c.oid
WHERE c.relnamespace = 'robotgroups'::regnamespace AND c.relkind IN ('r', 'p')
GROUP BY c.relname HAVING count(p.oid) <> CASE c.relname WHEN 'migrations' THEN 0 ELSE 1 END OR bool_or(
    p.polname <> 'own_rows' OR p.polcmd <> 'r' OR NOT p.polpermissive
    OR p.polroles <> ARRAY['robotgroups_robot'::regrole::oid]
    OR pg_get_expr(p.polqual, p.polrelid) !~ 'robotgroups.(my_groups|my_spaces|is_mine)\(') ORDER BY 2;

-- S1 table-rights
SELECT NULL::bigint AS group_id, format('%s has %s on %s', CASE a.grantee WHEN 0 THEN 'everybody' ELSE pg_get_userbyid(a.grantee) END,
    string_agg(DISTINCT a.privilege_type, ', ' ORDER BY a.privilege_type), x.name) AS detail
FROM (SELECT c.relname::text AS name, c.relowner AS owner, c.relacl AS acl FROM pg_class c WHERE c.relnamespace = 'robotgroups'::regnamespace
    UNION ALL SELECT c.relname || '.' || t.attname, c.relowner, t.attacl FROM pg_class c
        JOIN pg_attribute t ON t.attrelid = c.oid WHERE c.relnamespace = 'robotgroups'::regnamespace
    UNION ALL SELECT 'the schema', n.nspowner, ARRAY(SELECT i FROM unnest(n.nspacl) i, aclexplode(ARRAY[i]) e
        WHERE e.privilege_type = 'CREATE' OR e.grantee <> 'robotgroups_robot'::regrole)
        FROM pg_namespace n WHERE n.oid = 'robotgroups'::regnamespace) x
    CROSS JOIN LATERAL aclexplode(x.acl) a
WHERE a.grantee <> x.owner GROUP BY x.name, a.grantee ORDER BY 2;

-- S1 function-rights
WITH listed AS (SELECT unnest('{assert_may_use,background_work,beat,changes_after,claim_jobs,clear_working_memory,declare_failed,enforce_retention,erase,fail_jobs,
        failover,feed_after,file_state,find_group,finish_embeddings,finish_propositions,finish_tags,forget,get_memory,group_state,group_status,hand_over,hang_doorbell,hang_link,heartbeat,into_working_memory,is_mine,
        language_conflict,lex,link_of,list_failovers,loaded_files,memory_history,memory_propositions,my_groups,my_spaces,neighbours,pin,prune,recall,recall_fulltext,recall_rows,register,rehearse_failover,relate,relate_by_tags,
        related,release_jobs,remember,remember_batch,remember_one,renew_jobs,restore,retag,schema_version,snapshot,snapshot_rows,sweep,switchover,sync_file,tags,tags_in_use,take_in,
        transfer_working_memory,unembedded,unembedded_by,unload_file,unrelate,update_memory,withdraw}'::text[]) AS name)
SELECT NULL::bigint AS group_id, format('%s may call %s', CASE a.grantee WHEN 0 THEN 'everybody' ELSE pg_get_userbyid(a.grantee) END, p.oid::regprocedure) AS detail
FROM pg_proc p CROSS JOIN LATERAL aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
WHERE p.pronamespace = 'robotgroups'::regnamespace AND a.grantee <> p.proowner
    AND (a.grantee <> 'robotgroups_robot'::regrole OR NOT EXISTS (SELECT FROM listed l WHERE l.name = p.proname))
UNION ALL SELECT NULL, format('robots may not call %s', l.name) FROM listed l
WHERE NOT EXISTS (SELECT FROM pg_proc p WHERE p.pronamespace = 'robotgroups'::regnamespace AND p.proname = l.name
    AND has_function_privilege('robotgroups_robot', p.oid, 'EXECUTE')) ORDER BY 2;

-- S1 function-settings
SELECT NULL::bigint AS group_id, format('%s %s', p.oid::regprocedure, CASE WHEN NOT p.prosecdef
    THEN 'does not run as its owner' ELSE 'looks elsewhere than in the schema' END) AS detail
FROM pg_proc p WHERE p.pronamespace = 'robotgroups'::regnamespace AND has_function_privilege('robotgroups_robot', p.oid, 'EXECUTE')
    AND (NOT p.prosecdef OR NOT coalesce(p.proconfig, '{}') @> ARRAY['search_path=robotgroups, pg_temp'])
ORDER BY 2;

-- S1 owners
SELECT NULL::bigint AS group_id, format('%s belongs to %s, the schema to %s', x.name, pg_get_userbyid(x.owner),
    pg_get_userbyid(n.nspowner)) AS detail
FROM pg_namespace n JOIN (
    SELECT c.oid::regclass::text AS name, c.relowner AS owner FROM pg_class c
        WHERE c.relnamespace = 'robotgroups'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
    UNION ALL SELECT p.oid::regprocedure::text, p.proowner FROM pg_proc p WHERE p.pronamespace = 'robotgroups'::regnamespace) x
    ON x.owner <> n.nspowner
WHERE n.oid = 'robotgroups'::regnamespace ORDER BY 2;

-- S1 logins
SELECT g.id AS group_id, CASE WHEN r.oid IS NULL THEN format('its login %s does not exist', l.login)
    WHEN m.roles IS DISTINCT FROM '{robotgroups_robot}'::name[]
        THEN format('its login %s is a member of %s', l.login, coalesce(array_to_string(m.roles, ', '), 'no role'))
    ELSE format('its login %s has more rights than to log in', l.login) END AS detail
FROM robotgroups.groups g CROSS JOIN LATERAL (VALUES (g.login), (g.previous_login)) l(login)
    LEFT JOIN pg_roles r ON r.rolname = l.login
    LEFT JOIN LATERAL (SELECT array_agg(DISTINCT x.rolname ORDER BY x.rolname) AS roles FROM pg_auth_members a
        JOIN pg_roles x ON x.oid = a.roleid WHERE a.member = r.oid) m ON true
WHERE l.login IS NOT NULL AND (r.oid IS NULL OR m.roles IS DISTINCT FROM '{robotgroups_robot}'::name[]
    OR r.rolsuper OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication OR r.rolbypassrls) ORDER BY g.id, 2;

-- S1 role-of-robots
SELECT NULL::bigint AS group_id, 'robotgroups_robot can log in, or has rights beyond its functions' AS detail
FROM pg_roles r WHERE r.rolname = 'robotgroups_robot' AND (r.rolcanlogin OR r.rolsuper OR r.rolcreaterole
    OR r.rolcreatedb OR r.rolreplication OR r.rolbypassrls
    OR EXISTS (SELECT FROM pg_auth_members a WHERE a.member = r.oid));
