-- How every object of the schema is made, unmade and renamed. One row an object or a property that is not the default.
-- Columns: kind, name, parent, id, own name, schema, state (what is compared; the making statements when null), making
-- statements, unmaking statements, statements that turn the present object into this one, head of a renaming statement,
-- head of a statement that moves it to another schema. <;> stands between statements, <|> between alternatives.
WITH ns AS (
  SELECT oid, nspname, quote_ident(nspname) AS name, nspowner, nspacl FROM pg_namespace
  WHERE nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'db_migrator') AND nspname !~ '^(pg_(toast_)?temp_|db_migrator_tenant_)'),
member AS (SELECT classid, objid FROM pg_depend WHERE deptype = 'e'),
automatic AS (TABLE AUTOMATIC),
rel AS (
  SELECT c.*, quote_ident(c.relname) AS own, n.name AS ns, format('%I.%I', n.nspname, c.relname) AS name, '1259/' || c.oid || '/0' AS id,
    CASE c.relkind WHEN 'r' THEN 'TABLE' WHEN 'p' THEN 'TABLE' WHEN 'f' THEN 'FOREIGN TABLE' WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
      WHEN 'S' THEN 'SEQUENCE' WHEN 'c' THEN 'TYPE' ELSE 'INDEX' END AS word,
    (SELECT array_agg(o ORDER BY o) FROM (SELECT unnest(c.reloptions) UNION ALL
      SELECT 'toast.' || unnest(t.reloptions) FROM pg_class t WHERE t.oid = c.reltoastrelid) x (o)) AS options,
    EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'i' AND c.relkind = 'S') AS internal
  FROM pg_class c JOIN ns n ON n.oid = c.relnamespace
  WHERE NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_class'::regclass AND m.objid = c.oid)),
option AS (
  SELECT oid, string_agg(format('%s=%L', split_part(o, '=', 1), substr(o, strpos(o, '=') + 1)), ', ' ORDER BY o) AS pairs,
    string_agg(split_part(o, '=', 1), ', ' ORDER BY o) AS names FROM rel, unnest(rel.options) o GROUP BY oid),
seq AS (
  SELECT s.seqrelid, format('AS %s INCREMENT BY %s MINVALUE %s MAXVALUE %s START WITH %s CACHE %s %s', format_type(s.seqtypid, NULL), s.seqincrement, s.seqmin, s.seqmax,
      s.seqstart, s.seqcache, CASE WHEN s.seqcycle THEN 'CYCLE' ELSE 'NO CYCLE' END) AS typed,
    format('INCREMENT BY %s MINVALUE %s MAXVALUE %s START WITH %s CACHE %s %s', s.seqincrement, s.seqmin, s.seqmax, s.seqstart, s.seqcache,
      CASE WHEN s.seqcycle THEN 'CYCLE' ELSE 'NO CYCLE' END) AS plain,
    format('SET INCREMENT BY %s SET MINVALUE %s SET MAXVALUE %s SET START WITH %s SET CACHE %s SET %s', s.seqincrement, s.seqmin, s.seqmax, s.seqstart, s.seqcache,
      CASE WHEN s.seqcycle THEN 'CYCLE' ELSE 'NO CYCLE' END) AS setting
  FROM pg_sequence s),
col AS (
  SELECT r.oid AS relid, r.relkind, r.name AS rel, r.word, a.attnum, quote_ident(a.attname) AS own, format('%s.%I', r.name, a.attname) AS name,
    '1259/' || r.oid || '/' || a.attnum AS id, format_type(a.atttypid, a.atttypmod) AS type, a.attidentity, a.attgenerated, a.attnotnull, a.attislocal,
    CASE WHEN a.attcollation <> t.typcollation THEN ' COLLATE ' || a.attcollation::regcollation ELSE '' END AS coll,
    pg_get_expr(d.adbin, d.adrelid) AS expr, a.attstorage, t.typstorage, a.attcompression, a.attoptions, coalesce(a.attstattarget::int, -1) AS target, a.attacl,
    k.conname, coalesce(' CONSTRAINT ' || quote_ident(k.conname) || ' ' || pg_get_constraintdef(k.oid), CASE WHEN a.attnotnull THEN ' NOT NULL' END, '') AS strict,
    CASE WHEN t.typcategory = 'N' THEN '0' WHEN t.typcategory = 'S' THEN quote_literal('') WHEN t.typcategory = 'B' THEN 'false'
      WHEN t.typcategory = 'A' THEN quote_literal('{}') WHEN t.typcategory = 'T' THEN quote_literal('0') WHEN t.typname IN ('date', 'timestamp', 'timestamptz') THEN quote_literal('epoch')
      WHEN t.typname IN ('time', 'timetz') THEN quote_literal('00:00') WHEN t.typname IN ('json', 'jsonb') THEN quote_literal('null') WHEN t.typname = 'bytea' THEN quote_literal('')
      WHEN t.typname = 'uuid' THEN quote_literal('00000000-0000-0000-0000-000000000000')
      WHEN t.typtype = 'e' THEN (SELECT quote_literal(enumlabel) FROM pg_enum e WHERE e.enumtypid = t.oid ORDER BY enumsortorder LIMIT 1) END AS filler,
    (SELECT format('(SEQUENCE NAME %s %s)', q.name, s.plain) FROM pg_depend x JOIN rel q ON q.oid = x.objid JOIN seq s ON s.seqrelid = q.oid
     WHERE x.classid = 'pg_class'::regclass AND x.refclassid = 'pg_class'::regclass AND x.refobjid = r.oid AND x.refobjsubid = a.attnum AND x.deptype = 'i' LIMIT 1) AS sequence,
    (SELECT s.setting FROM pg_depend x JOIN seq s ON s.seqrelid = x.objid
     WHERE x.classid = 'pg_class'::regclass AND x.refclassid = 'pg_class'::regclass AND x.refobjid = r.oid AND x.refobjsubid = a.attnum AND x.deptype = 'i' LIMIT 1) AS setting
  FROM rel r JOIN pg_attribute a ON a.attrelid = r.oid JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    LEFT JOIN LATERAL (SELECT k.oid, k.conname FROM pg_constraint k WHERE k.conrelid = r.oid AND k.contype = 'n' AND k.conkey = ARRAY[a.attnum]
      AND NOT EXISTS (SELECT FROM automatic u WHERE u.oid = k.oid)) k ON true
  WHERE r.relkind IN ('r', 'p', 'f', 'c', 'v', 'm') AND a.attnum > 0 AND NOT a.attisdropped),
coldef AS (
  SELECT col.*, CASE attgenerated WHEN 's' THEN format(' GENERATED ALWAYS AS (%s) STORED', expr) WHEN 'v' THEN format(' GENERATED ALWAYS AS (%s) VIRTUAL', expr)
      ELSE coalesce(' DEFAULT ' || expr, '') END AS val,
    CASE attidentity WHEN 'a' THEN ' GENERATED ALWAYS AS IDENTITY ' || sequence WHEN 'd' THEN ' GENERATED BY DEFAULT AS IDENTITY ' || sequence ELSE '' END AS identity,
    CASE WHEN conname IS NULL THEN strict ELSE ' CONSTRAINT ' || quote_ident(conname) || ' NOT NULL' END AS required
  FROM col),
columnlist AS (
  SELECT relid, string_agg(own || ' ' || type || coll || CASE WHEN relkind = 'c' THEN '' ELSE val || identity || required END, ', ' ORDER BY attnum) AS list
  FROM coldef WHERE attislocal OR relkind = 'c' GROUP BY relid),
typ AS (
  SELECT t.*, quote_ident(t.typname) AS own, n.name AS ns, format('%I.%I', n.nspname, t.typname) AS name, '1247/' || t.oid || '/0' AS id
  FROM pg_type t JOIN ns n ON n.oid = t.typnamespace
  WHERE t.typtype IN ('d', 'e', 'r') AND NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_type'::regclass AND m.objid = t.oid)),
labels AS (SELECT enumtypid, string_agg(quote_literal(enumlabel), ', ' ORDER BY enumsortorder) AS list FROM pg_enum GROUP BY enumtypid),
fun AS (
  SELECT p.*, quote_ident(p.proname) AS own, n.name AS ns, format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)) AS name, '1255/' || p.oid || '/0' AS id,
    CASE p.prokind WHEN 'a' THEN 'AGGREGATE' WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END AS word
  FROM pg_proc p JOIN ns n ON n.oid = p.pronamespace
  WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype IN ('e', 'i'))),
family AS (
  SELECT f.oid, f.opfowner, n.name AS ns, quote_ident(f.opfname) AS own, format('%s.%I USING %I', n.name, f.opfname, a.amname) AS name, '2753/' || f.oid || '/0' AS id
  FROM pg_opfamily f JOIN ns n ON n.oid = f.opfnamespace JOIN pg_am a ON a.oid = f.opfmethod WHERE NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_opfamily'::regclass AND m.objid = f.oid)),
class AS (
  SELECT c.*, n.name AS ns, a.amname, quote_ident(c.opcname) AS own, format('%s.%I', n.name, c.opcname) AS plain, format('%s.%I USING %I', n.name, c.opcname, a.amname) AS name, '2616/' || c.oid || '/0' AS id,
    (SELECT format('%I.%I', fn.nspname, f.opfname) FROM pg_opfamily f JOIN pg_namespace fn ON fn.oid = f.opfnamespace WHERE f.oid = c.opcfamily) AS family
  FROM pg_opclass c JOIN ns n ON n.oid = c.opcnamespace JOIN pg_am a ON a.oid = c.opcmethod WHERE NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_opclass'::regclass AND m.objid = c.oid)),
named AS (
  SELECT d.*, i.type, CASE WHEN i.type LIKE '% column' THEN 'COLUMN ' || i.identity WHEN i.type = 'composite type' THEN 'TYPE ' || i.identity
      WHEN i.type = 'domain constraint' THEN 'CONSTRAINT ' || replace(i.identity, ' on ', ' ON DOMAIN ') WHEN i.type LIKE '% constraint' THEN 'CONSTRAINT ' || i.identity
      WHEN i.type = 'statistics object' THEN 'STATISTICS ' || i.identity ELSE upper(i.type) || ' ' || i.identity END AS phrase
  FROM (SELECT classoid, objoid, objsubid, NULL::text AS provider, description AS text FROM pg_description
        UNION ALL SELECT classoid, objoid, objsubid, provider, label FROM pg_seclabel) d, pg_identify_object(d.classoid, d.objoid, d.objsubid) i
  WHERE NOT EXISTS (SELECT FROM member m WHERE m.classid = d.classoid AND m.objid = d.objoid)
    AND (d.objoid >= 16384 OR d.classoid = 'pg_namespace'::regclass AND d.objoid IN (SELECT oid FROM ns)) AND coalesce(i.schema, '') <> 'db_migrator'),
owned AS (
  SELECT id, name, CASE WHEN word = 'INDEX' THEN NULL ELSE word END AS word, relowner AS owner FROM rel WHERE relkind IN ('r', 'p', 'f', 'v', 'm', 'S', 'c') AND NOT internal
  UNION ALL SELECT id, name, 'TYPE', typowner FROM typ
  UNION ALL SELECT id, name, word, proowner FROM fun
  UNION ALL SELECT '2615/' || oid || '/0', name, 'SCHEMA', nspowner FROM ns
  UNION ALL SELECT id, name, 'OPERATOR FAMILY', opfowner FROM family UNION ALL SELECT id, name, 'OPERATOR CLASS', opcowner FROM class
  UNION ALL SELECT '2612/' || oid || '/0', quote_ident(lanname), 'LANGUAGE', lanowner FROM pg_language WHERE oid >= 16384
  UNION ALL SELECT '2607/' || c.oid || '/0', format('%s.%I', n.name, c.conname), 'CONVERSION', c.conowner FROM pg_conversion c JOIN ns n ON n.oid = c.connamespace),
grantable AS (
  SELECT id, name, CASE relkind WHEN 'S' THEN 'SEQUENCE ' ELSE 'TABLE ' END || name AS phrase, NULL AS own, relacl AS acl, CASE relkind WHEN 'S' THEN 's' ELSE 'r' END AS kind, relowner AS owner
    FROM rel WHERE relkind IN ('r', 'p', 'f', 'v', 'm', 'S') AND relacl IS NOT NULL AND NOT internal
  UNION ALL SELECT c.id, c.name, 'TABLE ' || c.rel, c.own, c.attacl, 'c', r.relowner FROM col c JOIN rel r ON r.oid = c.relid WHERE c.attacl IS NOT NULL
  UNION ALL SELECT id, name, 'TYPE ' || name, NULL, typacl, 'T', typowner FROM typ WHERE typacl IS NOT NULL
  UNION ALL SELECT id, name, CASE word WHEN 'AGGREGATE' THEN 'FUNCTION' ELSE word END || ' ' || name, NULL, proacl, 'f', proowner FROM fun WHERE proacl IS NOT NULL
  UNION ALL SELECT '2615/' || oid || '/0', name, 'SCHEMA ' || name, NULL, nspacl, 'n', nspowner FROM ns WHERE nspacl IS NOT NULL
  UNION ALL SELECT '2612/' || oid || '/0', quote_ident(lanname), 'LANGUAGE ' || quote_ident(lanname), NULL, lanacl, 'l', lanowner FROM pg_language WHERE lanacl IS NOT NULL AND oid >= 16384
  UNION ALL SELECT '1417/' || oid || '/0', quote_ident(srvname), 'FOREIGN SERVER ' || quote_ident(srvname), NULL, srvacl, 'S', srvowner FROM pg_foreign_server WHERE srvacl IS NOT NULL),
privilege AS (
  SELECT g.id, g.name, g.phrase, g.own, x.base, CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(x.grantee)) END AS grantee,
    string_agg(x.privilege_type || coalesce(' (' || g.own || ')', ''), ', ' ORDER BY x.privilege_type) FILTER (WHERE NOT x.is_grantable) AS plain,
    string_agg(x.privilege_type || coalesce(' (' || g.own || ')', ''), ', ' ORDER BY x.privilege_type) FILTER (WHERE x.is_grantable) AS grantable
  FROM grantable g, LATERAL (SELECT false AS base, a.* FROM aclexplode(g.acl) a UNION ALL SELECT true, a.* FROM aclexplode(acldefault(g.kind::"char", g.owner)) a) x
  GROUP BY 1, 2, 3, 4, 5, 6),
grants AS (
  SELECT coalesce(n.id, b.id) AS id, coalesce(n.name, b.name) AS name, coalesce(n.grantee, b.grantee) AS grantee,
    format('REVOKE ALL%s ON %s FROM %s', coalesce(' (' || coalesce(n.own, b.own) || ')', ''), coalesce(n.phrase, b.phrase), coalesce(n.grantee, b.grantee)) AS none,
    concat_ws('<;>', format('GRANT %s ON %s TO %s', n.plain, n.phrase, n.grantee) || left('', length(n.plain)), format('GRANT %s ON %s TO %s WITH GRANT OPTION', n.grantable, n.phrase, n.grantee) || left('', length(n.grantable))) AS now,
    concat_ws('<;>', format('GRANT %s ON %s TO %s', b.plain, b.phrase, b.grantee) || left('', length(b.plain)), format('GRANT %s ON %s TO %s WITH GRANT OPTION', b.grantable, b.phrase, b.grantee) || left('', length(b.grantable))) AS base,
    b.id IS NOT NULL AS standard
  FROM (SELECT * FROM privilege WHERE NOT base) n FULL JOIN (SELECT * FROM privilege WHERE base) b ON b.id = n.id AND b.grantee = n.grantee
  WHERE (n.plain, n.grantable) IS DISTINCT FROM (b.plain, b.grantable)),
preset AS (
  SELECT d.oid, format('ALTER DEFAULT PRIVILEGES FOR ROLE %I%s', pg_get_userbyid(d.defaclrole), coalesce(' IN SCHEMA ' || n.name, '')) AS head,
    CASE d.defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' WHEN 'f' THEN 'FUNCTIONS' WHEN 'T' THEN 'TYPES' WHEN 'n' THEN 'SCHEMAS' ELSE 'LARGE OBJECTS' END AS things,
    x.base, CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(x.grantee)) END AS grantee,
    string_agg(x.privilege_type, ', ' ORDER BY x.privilege_type) FILTER (WHERE NOT x.is_grantable) AS plain,
    string_agg(x.privilege_type, ', ' ORDER BY x.privilege_type) FILTER (WHERE x.is_grantable) AS grantable
  FROM pg_default_acl d LEFT JOIN ns n ON n.oid = d.defaclnamespace, LATERAL (SELECT false AS base, a.* FROM aclexplode(d.defaclacl) a
    UNION ALL SELECT true, a.* FROM aclexplode(acldefault(CASE d.defaclobjtype WHEN 'S' THEN 's' ELSE d.defaclobjtype END, d.defaclrole)) a WHERE d.defaclnamespace = 0) x
  GROUP BY 1, 2, 3, 4, 5),
presets AS (
  SELECT coalesce(n.head, b.head) AS head, coalesce(n.things, b.things) AS things, coalesce(n.grantee, b.grantee) AS grantee,
    concat_ws('<;>', format('%s GRANT %s ON %s TO %s', n.head, n.plain, n.things, n.grantee) || left('', length(n.plain)), format('%s GRANT %s ON %s TO %s WITH GRANT OPTION', n.head, n.grantable, n.things, n.grantee) || left('', length(n.grantable))) AS now,
    concat_ws('<;>', format('%s GRANT %s ON %s TO %s', b.head, b.plain, b.things, b.grantee) || left('', length(b.plain)), format('%s GRANT %s ON %s TO %s WITH GRANT OPTION', b.head, b.grantable, b.things, b.grantee) || left('', length(b.grantable))) AS base,
    b.oid IS NOT NULL AS standard
  FROM (SELECT * FROM preset WHERE NOT base) n FULL JOIN (SELECT * FROM preset WHERE base) b ON b.oid = n.oid AND b.grantee = n.grantee
  WHERE (n.plain, n.grantable) IS DISTINCT FROM (b.plain, b.grantable))

SELECT 'schema', name, NULL::text, '2615/' || oid || '/0', name, NULL::text, '', 'CREATE SCHEMA ' || name, 'DROP SCHEMA ' || name, NULL::text, format('ALTER SCHEMA %s RENAME TO ', name), NULL::text FROM ns
UNION ALL SELECT 'extension', quote_ident(e.extname), NULL, NULL, '', NULL, e.extversion || ' ' || n.nspname, format('CREATE EXTENSION %I WITH SCHEMA %I VERSION %L', e.extname, n.nspname, e.extversion),
  format('DROP EXTENSION %I', e.extname), format('ALTER EXTENSION %I UPDATE TO %L', e.extname, e.extversion), NULL, NULL FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
-- Tables, columns and their properties.
UNION ALL SELECT CASE r.relkind WHEN 'c' THEN 'composite type' WHEN 'f' THEN 'foreign table' ELSE 'table' END, r.name, NULL, r.id, r.own, r.ns, '',
  CASE WHEN r.relispartition THEN (SELECT format('CREATE %sTABLE %s PARTITION OF %s %s', CASE r.relpersistence WHEN 'u' THEN 'UNLOGGED ' ELSE '' END, r.name, p.name, pg_get_expr(r.relpartbound, r.oid)) FROM pg_inherits i JOIN rel p ON p.oid = i.inhparent WHERE i.inhrelid = r.oid)
  ELSE format(CASE r.relkind WHEN 'c' THEN 'CREATE TYPE %2$s AS (%3$s)' WHEN 'f' THEN 'CREATE FOREIGN TABLE %2$s (%3$s)' ELSE 'CREATE %1$sTABLE %2$s (%3$s)' END,
    CASE r.relpersistence WHEN 'u' THEN 'UNLOGGED ' ELSE '' END, r.name,
    coalesce(l.list, ''))
    || coalesce((SELECT ' INHERITS (' || string_agg(p.name, ', ' ORDER BY i.inhseqno) || ')' FROM pg_inherits i JOIN rel p ON p.oid = i.inhparent WHERE i.inhrelid = r.oid), '') END
  || CASE WHEN r.relkind = 'p' THEN ' PARTITION BY ' || pg_get_partkeydef(r.oid) ELSE '' END || coalesce(' WITH (' || o.pairs || ')', '')
  || coalesce((SELECT format(' SERVER %I', s.srvname) || coalesce(' OPTIONS (' || (SELECT string_agg(format('%I %L', option_name, option_value), ', ') FROM pg_options_to_table(f.ftoptions)) || ')', '')
      FROM pg_foreign_table f JOIN pg_foreign_server s ON s.oid = f.ftserver WHERE f.ftrelid = r.oid), ''),
  format('DROP %s %s', r.word, r.name), NULL, format('ALTER %s %s RENAME TO ', r.word, r.name), format('ALTER %s %s SET SCHEMA ', r.word, r.name)
  FROM rel r LEFT JOIN option o USING (oid) LEFT JOIN columnlist l ON l.relid = r.oid WHERE r.relkind IN ('r', 'p', 'f', 'c')
UNION ALL SELECT 'unlogged', name, name, id, '', NULL, '', format('ALTER TABLE %s SET UNLOGGED', name), format('ALTER TABLE %s SET LOGGED', name), NULL, NULL, NULL FROM rel WHERE relpersistence = 'u' AND relkind = 'r'
UNION ALL SELECT 'options', r.name, r.name, r.id, '', NULL, NULL, format('ALTER %s %s SET (%s)', r.word, r.name, o.pairs), format('ALTER %s %s RESET (%s)', r.word, r.name, o.names), NULL, NULL, NULL
  FROM rel r JOIN option o USING (oid)
UNION ALL SELECT 'row security', name, name, id, '', NULL, '', format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', name), format('ALTER TABLE %s DISABLE ROW LEVEL SECURITY', name), NULL, NULL, NULL FROM rel WHERE relrowsecurity
UNION ALL SELECT 'forced row security', name, name, id, '', NULL, '', format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', name), format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY', name), NULL, NULL, NULL FROM rel WHERE relforcerowsecurity
UNION ALL SELECT 'replica identity', r.name, r.name, r.id, '', NULL, NULL, format('ALTER TABLE %s REPLICA IDENTITY %s', r.name, CASE r.relreplident WHEN 'f' THEN 'FULL' WHEN 'n' THEN 'NOTHING' ELSE 'USING INDEX ' ||
  (SELECT quote_ident(c.relname) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = r.oid AND i.indisreplident) END), format('ALTER TABLE %s REPLICA IDENTITY DEFAULT', r.name), NULL, NULL, NULL
  FROM rel r WHERE r.relreplident <> 'd' AND r.relkind IN ('r', 'p', 'm')
UNION ALL SELECT 'partition', r.name, r.name, r.id || '/' || p.oid, '', NULL, NULL, format('ALTER TABLE %s ATTACH PARTITION %s %s', p.name, r.name, pg_get_expr(r.relpartbound, r.oid)), format('ALTER TABLE %s DETACH PARTITION %s', p.name, r.name), NULL, NULL, NULL
  FROM rel r JOIN pg_inherits i ON i.inhrelid = r.oid JOIN rel p ON p.oid = i.inhparent WHERE r.relispartition AND r.relkind IN ('r', 'p', 'f')
UNION ALL SELECT 'inheritance', r.name, r.name, r.id || '/' || p.oid, '', NULL, NULL, format('ALTER TABLE %s INHERIT %s', r.name, p.name), format('ALTER TABLE %s NO INHERIT %s', r.name, p.name), NULL, NULL, NULL
  FROM rel r JOIN pg_inherits i ON i.inhrelid = r.oid JOIN rel p ON p.oid = i.inhparent WHERE NOT r.relispartition AND r.relkind = 'r'
UNION ALL SELECT CASE WHEN attgenerated <> '' THEN 'generated column' WHEN relkind = 'c' THEN 'attribute' ELSE 'column' END, name, rel, id, own, NULL, CASE WHEN attgenerated <> '' THEN type || coll || val ELSE '' END,
  CASE WHEN relkind = 'c' THEN format('ALTER TYPE %s ADD ATTRIBUTE %s %s%s', rel, own, type, coll) ELSE format('ALTER %s %s ADD COLUMN %s %s%s%s%s%s', word, rel, own, type, coll, val, identity, required)
    || CASE WHEN attnotnull AND val = '' AND identity = '' AND filler IS NOT NULL
      THEN format('<|>ALTER %s %s ADD COLUMN %s %s%s DEFAULT %s%s<;>ALTER %s %s ALTER COLUMN %s DROP DEFAULT', word, rel, own, type, coll, filler, required, word, rel, own) ELSE '' END END,
  CASE WHEN relkind = 'c' THEN format('ALTER TYPE %s DROP ATTRIBUTE %s', rel, own) ELSE format('ALTER %s %s DROP COLUMN %s', word, rel, own) END, NULL,
  CASE WHEN relkind = 'c' THEN format('ALTER TYPE %s RENAME ATTRIBUTE %s TO ', rel, own) ELSE format('ALTER %s %s RENAME COLUMN %s TO ', word, rel, own) END, NULL FROM coldef WHERE relkind IN ('r', 'p', 'f', 'c')
UNION ALL SELECT 'view column', name, rel, id, own, NULL, '', NULL, NULL, NULL, format('ALTER %s %s RENAME COLUMN %s TO ', word, rel, own), NULL FROM col WHERE relkind IN ('v', 'm')
UNION ALL SELECT 'type', name, name, id, '', NULL, type || coll, NULL, NULL,
  CASE WHEN relkind = 'c' THEN format('ALTER TYPE %s ALTER ATTRIBUTE %s TYPE %s%s', rel, own, type, coll)
  ELSE format('ALTER %1$s %2$s ALTER COLUMN %3$s TYPE %4$s%5$s USING %3$s::%4$s<|>ALTER %1$s %2$s ALTER COLUMN %3$s TYPE %4$s%5$s USING %3$s::text::%4$s<|>'
    || 'ALTER %1$s %2$s ALTER COLUMN %3$s DROP DEFAULT<;>ALTER %1$s %2$s ALTER COLUMN %3$s TYPE %4$s%5$s USING %3$s::%4$s<|>'
    || 'ALTER %1$s %2$s ALTER COLUMN %3$s DROP DEFAULT<;>ALTER %1$s %2$s ALTER COLUMN %3$s TYPE %4$s%5$s USING %3$s::text::%4$s', word, rel, own, type, coll) END, NULL, NULL
  FROM col WHERE relkind IN ('r', 'p', 'f', 'c') AND attgenerated = ''
UNION ALL SELECT 'default', name, name, id, '', NULL, expr, format('ALTER %s %s ALTER COLUMN %s SET DEFAULT %s', word, rel, own, expr), format('ALTER %s %s ALTER COLUMN %s DROP DEFAULT', word, rel, own),
  format('ALTER %s %s ALTER COLUMN %s SET DEFAULT %s', word, rel, own, expr), NULL, NULL FROM col WHERE expr IS NOT NULL AND attgenerated = ''
UNION ALL SELECT 'not null', name, name, id, coalesce(quote_ident(conname), ''), NULL, strict, CASE WHEN conname IS NULL THEN format('ALTER %s %s ALTER COLUMN %s SET NOT NULL', word, rel, own) ELSE format('ALTER %s %s ADD%s', word, rel, strict) END,
  format('ALTER %s %s ALTER COLUMN %s DROP NOT NULL', word, rel, own), NULL, 'ALTER TABLE ' || rel || ' RENAME CONSTRAINT ' || quote_ident(conname) || ' TO ', NULL FROM col WHERE strict <> '' AND relkind IN ('r', 'p', 'f')
UNION ALL SELECT 'identity', c.name, c.name, c.id, '', NULL, c.attidentity::text || c.sequence, format('ALTER TABLE %s ALTER COLUMN %s ADD%s<;>SELECT setval(pg_get_serial_sequence(%L, %L), coalesce((SELECT max(%s) FROM %s), 0) + 1, false)',
    c.rel, c.own, c.identity, c.rel, (SELECT attname FROM pg_attribute WHERE attrelid = c.relid AND attnum = c.attnum), c.own, c.rel),
  format('ALTER TABLE %s ALTER COLUMN %s DROP IDENTITY', c.rel, c.own), format('ALTER TABLE %s ALTER COLUMN %s SET GENERATED %s %s', c.rel, c.own, CASE c.attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END, c.setting), NULL, NULL
  FROM coldef c WHERE c.attidentity <> ''
UNION ALL SELECT 'storage', name, name, id, '', NULL, NULL, format('ALTER %s %s ALTER COLUMN %s SET STORAGE %s', word, rel, own, CASE attstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END),
  format('ALTER %s %s ALTER COLUMN %s SET STORAGE %s', word, rel, own, CASE typstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END), NULL, NULL, NULL FROM col WHERE attstorage <> typstorage AND relkind IN ('r', 'p', 'm')
UNION ALL SELECT 'compression', name, name, id, '', NULL, NULL, format('ALTER %s %s ALTER COLUMN %s SET COMPRESSION %s', word, rel, own, CASE attcompression WHEN 'p' THEN 'pglz' ELSE 'lz4' END),
  format('ALTER %s %s ALTER COLUMN %s SET COMPRESSION default', word, rel, own), NULL, NULL, NULL FROM col WHERE attcompression <> ''
UNION ALL SELECT 'statistics target', name, name, id, '', NULL, NULL, format('ALTER %s %s ALTER COLUMN %s SET STATISTICS %s', word, rel, own, target), format('ALTER %s %s ALTER COLUMN %s SET STATISTICS -1', word, rel, own), NULL, NULL, NULL FROM col WHERE target >= 0
UNION ALL SELECT 'column options', c.name, c.name, c.id, '', NULL, NULL, format('ALTER %s %s ALTER COLUMN %s SET (%s)', c.word, c.rel, c.own, array_to_string(c.attoptions, ', ')),
  format('ALTER %s %s ALTER COLUMN %s RESET (%s)', c.word, c.rel, c.own, (SELECT string_agg(split_part(o, '=', 1), ', ') FROM unnest(c.attoptions) o)), NULL, NULL, NULL FROM col c WHERE c.attoptions IS NOT NULL
-- Sequences, views and types.
UNION ALL SELECT 'sequence', r.name, NULL, r.id, r.own, r.ns, s.typed, format('CREATE %sSEQUENCE %s %s', CASE r.relpersistence WHEN 'u' THEN 'UNLOGGED ' ELSE '' END, r.name, s.typed), 'DROP SEQUENCE ' || r.name, format('ALTER SEQUENCE %s %s', r.name, s.typed),
  format('ALTER SEQUENCE %s RENAME TO ', r.name), format('ALTER SEQUENCE %s SET SCHEMA ', r.name) FROM rel r JOIN seq s ON s.seqrelid = r.oid WHERE NOT r.internal
UNION ALL SELECT 'sequence owner', r.name, r.name, r.id, '', NULL, NULL, format('ALTER SEQUENCE %s OWNED BY %s<;>SELECT setval(%L, coalesce((SELECT max(%s) FROM %s), 0) + 1, false)', r.name, c.name, r.name, c.own, c.rel)
  , format('ALTER SEQUENCE %s OWNED BY NONE', r.name), NULL, NULL, NULL
  FROM rel r JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = r.oid AND d.deptype = 'a' AND d.refclassid = 'pg_class'::regclass JOIN col c ON c.relid = d.refobjid AND c.attnum = d.refobjsubid WHERE r.relkind = 'S'
UNION ALL SELECT lower(r.word), r.name, NULL, r.id, r.own, r.ns, pg_get_viewdef(r.oid), format('CREATE %s %s%s AS %s', r.word, r.name, coalesce(' WITH (' || o.pairs || ')', ''), rtrim(pg_get_viewdef(r.oid), '; '))
    || CASE WHEN r.relkind = 'v' THEN '' WHEN r.relispopulated THEN ' WITH DATA' ELSE ' WITH NO DATA' END, format('DROP %s %s', r.word, r.name),
  CASE r.relkind WHEN 'v' THEN format('CREATE OR REPLACE VIEW %s%s AS %s', r.name, coalesce(' WITH (' || o.pairs || ')', ''), rtrim(pg_get_viewdef(r.oid), '; ')) END,
  format('ALTER %s %s RENAME TO ', r.word, r.name), format('ALTER %s %s SET SCHEMA ', r.word, r.name) FROM rel r LEFT JOIN option o USING (oid) WHERE r.relkind IN ('v', 'm')
UNION ALL SELECT 'enum', t.name, NULL, t.id, t.own, t.ns, l.list, format('CREATE TYPE %s AS ENUM (%s)', t.name, coalesce(l.list, '')), 'DROP TYPE ' || t.name,
  format('DROP TYPE %1$s<;>CREATE TYPE %1$s AS ENUM (%2$s)<|>ALTER TYPE %1$s RENAME TO %3$s<;>CREATE TYPE %1$s AS ENUM (%2$s)', t.name, coalesce(l.list, ''), quote_ident('inverse_old_' || t.oid)),
  format('ALTER TYPE %s RENAME TO ', t.name), format('ALTER TYPE %s SET SCHEMA ', t.name) FROM typ t LEFT JOIN labels l ON l.enumtypid = t.oid WHERE t.typtype = 'e'
UNION ALL SELECT 'enum label', t.name || '.' || e.enumlabel, t.name, '3501/' || e.oid || '/0', quote_literal(e.enumlabel), NULL, '', NULL, NULL, NULL, format('ALTER TYPE %s RENAME VALUE %L TO ', t.name, e.enumlabel), NULL FROM typ t JOIN pg_enum e ON e.enumtypid = t.oid
UNION ALL SELECT 'domain', t.name, NULL, t.id, t.own, t.ns, format_type(t.typbasetype, t.typtypmod), format('CREATE DOMAIN %s AS %s%s', t.name, format_type(t.typbasetype, t.typtypmod),
    CASE WHEN t.typcollation <> b.typcollation THEN ' COLLATE ' || t.typcollation::regcollation ELSE '' END), 'DROP DOMAIN ' || t.name, NULL,
  format('ALTER DOMAIN %s RENAME TO ', t.name), format('ALTER DOMAIN %s SET SCHEMA ', t.name) FROM typ t JOIN pg_type b ON b.oid = t.typbasetype WHERE t.typtype = 'd'
UNION ALL SELECT 'domain default', name, name, id, '', NULL, NULL, format('ALTER DOMAIN %s SET DEFAULT %s', name, typdefault), format('ALTER DOMAIN %s DROP DEFAULT', name), format('ALTER DOMAIN %s SET DEFAULT %s', name, typdefault), NULL, NULL FROM typ WHERE typtype = 'd' AND typdefault IS NOT NULL
UNION ALL SELECT 'domain not null', name, name, id, '', NULL, '', format('ALTER DOMAIN %s SET NOT NULL', name), format('ALTER DOMAIN %s DROP NOT NULL', name), NULL, NULL, NULL FROM typ WHERE typtype = 'd' AND typnotnull
UNION ALL SELECT 'domain constraint', format('%s.%I', t.name, k.conname), t.name, '2606/' || k.oid || '/0', quote_ident(k.conname), NULL, pg_get_constraintdef(k.oid), format('ALTER DOMAIN %s ADD CONSTRAINT %I %s', t.name, k.conname, pg_get_constraintdef(k.oid)),
  format('ALTER DOMAIN %s DROP CONSTRAINT %I', t.name, k.conname), NULL, format('ALTER DOMAIN %s RENAME CONSTRAINT %I TO ', t.name, k.conname), NULL FROM pg_constraint k JOIN typ t ON t.oid = k.contypid WHERE k.contype = 'c'
UNION ALL SELECT 'range', t.name, NULL, t.id, t.own, t.ns, NULL, format('CREATE TYPE %s AS RANGE (SUBTYPE = %s%s%s%s, MULTIRANGE_TYPE_NAME = %s)', t.name, format_type(r.rngsubtype, NULL), coalesce(', SUBTYPE_DIFF = ' || nullif(r.rngsubdiff::oid, 0)::regproc, ''),
    coalesce(', CANONICAL = ' || nullif(r.rngcanonical::oid, 0)::regproc, ''), coalesce(', COLLATION = ' || nullif(r.rngcollation, 0)::regcollation, ''), (SELECT format('%I.%I', n.nspname, m.typname) FROM pg_type m JOIN pg_namespace n ON n.oid = m.typnamespace WHERE m.oid = r.rngmultitypid)),
  'DROP TYPE ' || t.name, NULL, format('ALTER TYPE %s RENAME TO ', t.name), format('ALTER TYPE %s SET SCHEMA ', t.name) FROM typ t JOIN pg_range r ON r.rngtypid = t.oid
-- Functions, operators and casts.
UNION ALL SELECT lower(word), name, NULL, id, own, ns, NULL, pg_get_functiondef(oid), format('DROP %s %s', word, name), pg_get_functiondef(oid), format('ALTER %s %s RENAME TO ', word, name), format('ALTER %s %s SET SCHEMA ', word, name) FROM fun WHERE prokind <> 'a'
UNION ALL SELECT 'aggregate', f.name, NULL, f.id, f.own, f.ns, NULL, format('CREATE AGGREGATE %s (SFUNC = %s, STYPE = %s%s%s%s%s%s, PARALLEL = %s)', f.name, a.aggtransfn, format_type(a.aggtranstype, NULL), coalesce(', FINALFUNC = ' || nullif(a.aggfinalfn::oid, 0)::regproc, ''),
    coalesce(', COMBINEFUNC = ' || nullif(a.aggcombinefn::oid, 0)::regproc, ''), coalesce(', INITCOND = ' || quote_literal(a.agginitval), ''), CASE WHEN a.aggfinalextra THEN ', FINALFUNC_EXTRA' ELSE '' END, CASE WHEN a.aggkind = 'h' THEN ', HYPOTHETICAL' ELSE '' END,
    CASE f.proparallel WHEN 's' THEN 'SAFE' WHEN 'r' THEN 'RESTRICTED' ELSE 'UNSAFE' END), 'DROP AGGREGATE ' || f.name, NULL, format('ALTER AGGREGATE %s RENAME TO ', f.name), format('ALTER AGGREGATE %s SET SCHEMA ', f.name) FROM fun f JOIN pg_aggregate a ON a.aggfnoid = f.oid
UNION ALL SELECT 'cast', i.identity, NULL, '2605/' || c.oid || '/0', '', NULL, NULL, format('CREATE CAST %s %s%s', i.identity, CASE c.castmethod WHEN 'f' THEN 'WITH FUNCTION ' || c.castfunc::regprocedure WHEN 'i' THEN 'WITH INOUT' ELSE 'WITHOUT FUNCTION' END,
    CASE c.castcontext WHEN 'i' THEN ' AS IMPLICIT' WHEN 'a' THEN ' AS ASSIGNMENT' ELSE '' END), 'DROP CAST ' || i.identity, NULL, NULL, NULL FROM pg_cast c, pg_identify_object('pg_cast'::regclass, c.oid, 0) i WHERE c.oid >= 16384 AND NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_cast'::regclass AND m.objid = c.oid)
UNION ALL SELECT 'operator', i.identity, NULL, '2617/' || o.oid || '/0', '', NULL, NULL, format('CREATE OPERATOR %s.%s (FUNCTION = %s%s, RIGHTARG = %s%s%s%s%s%s)', n.name, o.oprname, o.oprcode, coalesce(', LEFTARG = ' || format_type(nullif(o.oprleft, 0), NULL), ''), format_type(o.oprright, NULL),
    coalesce((SELECT format(', COMMUTATOR = OPERATOR(%I.%s)', cn.nspname, c.oprname) FROM pg_operator c JOIN pg_namespace cn ON cn.oid = c.oprnamespace WHERE c.oid = o.oprcom), ''), coalesce((SELECT format(', NEGATOR = OPERATOR(%I.%s)', cn.nspname, c.oprname) FROM pg_operator c JOIN pg_namespace cn ON cn.oid = c.oprnamespace WHERE c.oid = o.oprnegate), ''),
    coalesce(', RESTRICT = ' || nullif(o.oprrest::oid, 0)::regproc, '') || coalesce(', JOIN = ' || nullif(o.oprjoin::oid, 0)::regproc, ''), CASE WHEN o.oprcanhash THEN ', HASHES' ELSE '' END, CASE WHEN o.oprcanmerge THEN ', MERGES' ELSE '' END),
  'DROP OPERATOR ' || i.identity, NULL, NULL, NULL FROM pg_operator o JOIN ns n ON n.oid = o.oprnamespace, pg_identify_object('pg_operator'::regclass, o.oid, 0) i WHERE o.oprcode <> 0 AND NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_operator'::regclass AND m.objid = o.oid)
UNION ALL SELECT 'collation', format('%s.%I', n.name, c.collname), NULL, '3456/' || c.oid || '/0', quote_ident(c.collname), n.name, NULL, format('CREATE COLLATION %s.%I (PROVIDER = %s, %s%s)', n.name, c.collname, CASE c.collprovider WHEN 'i' THEN 'icu' WHEN 'b' THEN 'builtin' ELSE 'libc' END,
    coalesce('LOCALE = ' || quote_literal(coalesce(to_jsonb(c)->>'colllocale', to_jsonb(c)->>'colliculocale')), format('LC_COLLATE = %L, LC_CTYPE = %L', c.collcollate, c.collctype)), CASE WHEN c.collisdeterministic THEN '' ELSE ', DETERMINISTIC = false' END),
  format('DROP COLLATION %s.%I', n.name, c.collname), NULL, format('ALTER COLLATION %s.%I RENAME TO ', n.name, c.collname), format('ALTER COLLATION %s.%I SET SCHEMA ', n.name, c.collname) FROM pg_collation c JOIN ns n ON n.oid = c.collnamespace WHERE NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_collation'::regclass AND m.objid = c.oid)
-- Languages, conversions, and operators that indexes can use.
UNION ALL SELECT 'language', quote_ident(l.lanname), NULL, '2612/' || l.oid || '/0', quote_ident(l.lanname), NULL, NULL, format('CREATE %sLANGUAGE %I HANDLER %s%s%s', CASE WHEN l.lanpltrusted THEN 'TRUSTED ' ELSE '' END, l.lanname, l.lanplcallfoid::regproc,
    coalesce(' INLINE ' || nullif(l.laninline, 0)::regproc, ''), coalesce(' VALIDATOR ' || nullif(l.lanvalidator, 0)::regproc, '')), format('DROP LANGUAGE %I', l.lanname), NULL, format('ALTER LANGUAGE %I RENAME TO ', l.lanname), NULL
  FROM pg_language l WHERE l.oid >= 16384 AND l.lanplcallfoid <> 0 AND NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_language'::regclass AND m.objid = l.oid)
UNION ALL SELECT 'conversion', format('%s.%I', n.name, c.conname), NULL, '2607/' || c.oid || '/0', quote_ident(c.conname), n.name, NULL, format('CREATE %sCONVERSION %s.%I FOR %L TO %L FROM %s', CASE WHEN c.condefault THEN 'DEFAULT ' ELSE '' END, n.name, c.conname,
    pg_encoding_to_char(c.conforencoding), pg_encoding_to_char(c.contoencoding), c.conproc), format('DROP CONVERSION %s.%I', n.name, c.conname), NULL, format('ALTER CONVERSION %s.%I RENAME TO ', n.name, c.conname), format('ALTER CONVERSION %s.%I SET SCHEMA ', n.name, c.conname)
  FROM pg_conversion c JOIN ns n ON n.oid = c.connamespace WHERE NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_conversion'::regclass AND m.objid = c.oid)
UNION ALL SELECT 'operator family', f.name, NULL, f.id, f.own, f.ns, '', 'CREATE OPERATOR FAMILY ' || f.name, 'DROP OPERATOR FAMILY ' || f.name, NULL, format('ALTER OPERATOR FAMILY %s RENAME TO ', f.name), format('ALTER OPERATOR FAMILY %s SET SCHEMA ', f.name) FROM family f
UNION ALL SELECT 'operator of a family', format('%s operator %s (%s, %s)', f.name, o.amopstrategy, format_type(o.amoplefttype, NULL), format_type(o.amoprighttype, NULL)), f.name, '2602/' || o.oid || '/0', '', NULL, NULL, format('ALTER OPERATOR FAMILY %s ADD OPERATOR %s %s%s', f.name, o.amopstrategy, o.amopopr::regoperator,
    (SELECT format(' FOR ORDER BY %I.%I', sn.nspname, s.opfname) FROM pg_opfamily s JOIN pg_namespace sn ON sn.oid = s.opfnamespace WHERE s.oid = o.amopsortfamily)), format('ALTER OPERATOR FAMILY %s DROP OPERATOR %s (%s, %s)', f.name, o.amopstrategy, format_type(o.amoplefttype, NULL), format_type(o.amoprighttype, NULL)), NULL, NULL, NULL
  FROM family f JOIN pg_amop o ON o.amopfamily = f.oid WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_amop'::regclass AND d.objid = o.oid AND d.refclassid = 'pg_opclass'::regclass AND d.deptype = 'i')
UNION ALL SELECT 'function of a family', format('%s function %s (%s, %s)', f.name, q.amprocnum, format_type(q.amproclefttype, NULL), format_type(q.amprocrighttype, NULL)), f.name, '2603/' || q.oid || '/0', '', NULL, NULL, format('ALTER OPERATOR FAMILY %s ADD FUNCTION %s (%s, %s) %s', f.name, q.amprocnum, format_type(q.amproclefttype, NULL), format_type(q.amprocrighttype, NULL),
    q.amproc::regprocedure), format('ALTER OPERATOR FAMILY %s DROP FUNCTION %s (%s, %s)', f.name, q.amprocnum, format_type(q.amproclefttype, NULL), format_type(q.amprocrighttype, NULL)), NULL, NULL, NULL
  FROM family f JOIN pg_amproc q ON q.amprocfamily = f.oid WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_amproc'::regclass AND d.objid = q.oid AND d.refclassid = 'pg_opclass'::regclass AND d.deptype = 'i')
UNION ALL SELECT 'operator class', c.name, NULL, c.id, c.own, c.ns, NULL, format('CREATE OPERATOR CLASS %s %sFOR TYPE %s USING %I FAMILY %s AS %s', c.plain, CASE WHEN c.opcdefault THEN 'DEFAULT ' ELSE '' END, format_type(c.opcintype, NULL), c.amname, c.family, coalesce(nullif(concat_ws(', ',
    (SELECT string_agg(format('OPERATOR %s %s%s', o.amopstrategy, o.amopopr::regoperator, (SELECT format(' FOR ORDER BY %I.%I', sn.nspname, s.opfname) FROM pg_opfamily s JOIN pg_namespace sn ON sn.oid = s.opfnamespace WHERE s.oid = o.amopsortfamily)), ', ' ORDER BY o.amopstrategy, o.oid)
      FROM pg_amop o JOIN pg_depend d ON d.classid = 'pg_amop'::regclass AND d.objid = o.oid AND d.refclassid = 'pg_opclass'::regclass AND d.refobjid = c.oid AND d.deptype = 'i'),
    (SELECT string_agg(format('FUNCTION %s (%s, %s) %s', q.amprocnum, format_type(q.amproclefttype, NULL), format_type(q.amprocrighttype, NULL), q.amproc::regprocedure), ', ' ORDER BY q.amprocnum, q.oid)
      FROM pg_amproc q JOIN pg_depend d ON d.classid = 'pg_amproc'::regclass AND d.objid = q.oid AND d.refclassid = 'pg_opclass'::regclass AND d.refobjid = c.oid AND d.deptype = 'i'),
    'STORAGE ' || format_type(nullif(c.opckeytype, 0), NULL)), ''), 'STORAGE ' || format_type(c.opcintype, NULL))), 'DROP OPERATOR CLASS ' || c.name, NULL, format('ALTER OPERATOR CLASS %s RENAME TO ', c.name), format('ALTER OPERATOR CLASS %s SET SCHEMA ', c.name) FROM class c
-- What hangs on tables.
UNION ALL SELECT CASE k.contype WHEN 'f' THEN 'foreign key' WHEN 'c' THEN 'check' ELSE 'constraint' END, format('%s.%I', r.name, k.conname), r.name, '2606/' || k.oid || '/0', quote_ident(k.conname), NULL, pg_get_constraintdef(k.oid), format('ALTER TABLE %s ADD CONSTRAINT %I %s', r.name, k.conname, pg_get_constraintdef(k.oid)),
  format('ALTER TABLE %s DROP CONSTRAINT %I', r.name, k.conname), NULL, format('ALTER TABLE %s RENAME CONSTRAINT %I TO ', r.name, k.conname), NULL FROM pg_constraint k JOIN rel r ON r.oid = k.conrelid WHERE k.contype IN ('c', 'f', 'p', 'u', 'x') AND k.conparentid = 0 AND k.conislocal
UNION ALL SELECT 'index', r.name, t.name, r.id, r.own, r.ns, pg_get_indexdef(r.oid) || i.indisvalid, replace(pg_get_indexdef(r.oid), format(' ON ONLY %s ', t.name), format(' ON %s ', t.name)), 'DROP INDEX ' || r.name, NULL, format('ALTER INDEX %s RENAME TO ', r.name), NULL
  FROM rel r JOIN pg_index i ON i.indexrelid = r.oid JOIN rel t ON t.oid = i.indrelid WHERE NOT r.relispartition AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = r.oid AND k.contype IN ('p', 'u', 'x'))
UNION ALL SELECT 'clustered', t.name, t.name, t.id, '', NULL, NULL, format('ALTER TABLE %s CLUSTER ON %s', t.name, r.own), format('ALTER TABLE %s SET WITHOUT CLUSTER', t.name), NULL, NULL, NULL FROM rel r JOIN pg_index i ON i.indexrelid = r.oid JOIN rel t ON t.oid = i.indrelid WHERE i.indisclustered
UNION ALL SELECT 'trigger', format('%s.%I', r.name, g.tgname), r.name, '2620/' || g.oid || '/0', quote_ident(g.tgname), NULL, NULL, pg_get_triggerdef(g.oid), format('DROP TRIGGER %I ON %s', g.tgname, r.name), NULL, format('ALTER TRIGGER %I ON %s RENAME TO ', g.tgname, r.name), NULL
  FROM pg_trigger g JOIN rel r ON r.oid = g.tgrelid WHERE NOT g.tgisinternal AND g.tgparentid = 0
UNION ALL SELECT 'trigger state', format('%s.%I', r.name, g.tgname), format('%s.%I', r.name, g.tgname), '2620/' || g.oid || '/0', '', NULL, NULL, format('ALTER TABLE %s %s TRIGGER %I', r.name, CASE g.tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'A' THEN 'ENABLE ALWAYS' ELSE 'ENABLE REPLICA' END, g.tgname),
  format('ALTER TABLE %s ENABLE TRIGGER %I', r.name, g.tgname), NULL, NULL, NULL FROM pg_trigger g JOIN rel r ON r.oid = g.tgrelid WHERE NOT g.tgisinternal AND g.tgenabled <> 'O'
UNION ALL SELECT 'rule', format('%s.%I', r.name, w.rulename), r.name, '2618/' || w.oid || '/0', quote_ident(w.rulename), NULL, NULL, rtrim(pg_get_ruledef(w.oid), ';'), format('DROP RULE %I ON %s', w.rulename, r.name), NULL, format('ALTER RULE %I ON %s RENAME TO ', w.rulename, r.name), NULL
  FROM pg_rewrite w JOIN rel r ON r.oid = w.ev_class WHERE w.rulename <> '_RETURN'
UNION ALL SELECT 'rule state', format('%s.%I', r.name, w.rulename), format('%s.%I', r.name, w.rulename), '2618/' || w.oid || '/0', '', NULL, NULL, format('ALTER TABLE %s %s RULE %I', r.name, CASE w.ev_enabled WHEN 'D' THEN 'DISABLE' WHEN 'A' THEN 'ENABLE ALWAYS' ELSE 'ENABLE REPLICA' END, w.rulename),
  format('ALTER TABLE %s ENABLE RULE %I', r.name, w.rulename), NULL, NULL, NULL FROM pg_rewrite w JOIN rel r ON r.oid = w.ev_class WHERE w.rulename <> '_RETURN' AND w.ev_enabled <> 'O'
UNION ALL SELECT 'policy', format('%s.%I', r.name, p.polname), r.name, '3256/' || p.oid || '/0', quote_ident(p.polname), NULL, NULL, format('CREATE POLICY %I ON %s AS %s FOR %s TO %s%s%s', p.polname, r.name, CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
    CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END, (SELECT string_agg(CASE o WHEN 0 THEN 'PUBLIC' ELSE o::regrole::text END, ', ' ORDER BY o) FROM unnest(p.polroles) o),
    coalesce(' USING (' || pg_get_expr(p.polqual, p.polrelid) || ')', ''), coalesce(' WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')', '')),
  format('DROP POLICY %I ON %s', p.polname, r.name), NULL, format('ALTER POLICY %I ON %s RENAME TO ', p.polname, r.name), NULL FROM pg_policy p JOIN rel r ON r.oid = p.polrelid
UNION ALL SELECT 'statistics', format('%s.%I', n.name, s.stxname), NULL, '3381/' || s.oid || '/0', quote_ident(s.stxname), n.name, pg_get_statisticsobjdef(s.oid), pg_get_statisticsobjdef(s.oid), format('DROP STATISTICS %s.%I', n.name, s.stxname), NULL, format('ALTER STATISTICS %s.%I RENAME TO ', n.name, s.stxname), format('ALTER STATISTICS %s.%I SET SCHEMA ', n.name, s.stxname) FROM pg_statistic_ext s JOIN ns n ON n.oid = s.stxnamespace
UNION ALL SELECT 'target of statistics', format('%s.%I', n.name, s.stxname), format('%s.%I', n.name, s.stxname), '3381/' || s.oid || '/0', '', NULL, NULL, format('ALTER STATISTICS %s.%I SET STATISTICS %s', n.name, s.stxname, s.stxstattarget), format('ALTER STATISTICS %s.%I SET STATISTICS -1', n.name, s.stxname), NULL, NULL, NULL FROM pg_statistic_ext s JOIN ns n ON n.oid = s.stxnamespace WHERE s.stxstattarget >= 0
-- What belongs to the whole database.
UNION ALL SELECT 'publication', quote_ident(p.pubname), NULL, '6104/' || p.oid || '/0', quote_ident(p.pubname), NULL, NULL, format('CREATE PUBLICATION %I%s WITH (publish = %L, publish_via_partition_root = %s)', p.pubname,
    CASE WHEN p.puballtables THEN ' FOR ALL TABLES' ELSE coalesce(' FOR ' || (SELECT string_agg(x, ', ') FROM (SELECT 'TABLE ' || r.name || coalesce(' (' || (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = r.oid AND a.attnum = ANY (q.prattrs)) || ')', '') || coalesce(' WHERE (' || pg_get_expr(q.prqual, q.prrelid) || ')', '') AS x
      FROM pg_publication_rel q JOIN rel r ON r.oid = q.prrelid WHERE q.prpubid = p.oid UNION ALL SELECT 'TABLES IN SCHEMA ' || n.name FROM pg_publication_namespace q JOIN ns n ON n.oid = q.pnnspid WHERE q.pnpubid = p.oid ORDER BY 1) l), '') END,
    concat_ws(', ', CASE WHEN p.pubinsert THEN 'insert' END, CASE WHEN p.pubupdate THEN 'update' END, CASE WHEN p.pubdelete THEN 'delete' END, CASE WHEN p.pubtruncate THEN 'truncate' END), p.pubviaroot), format('DROP PUBLICATION %I', p.pubname), NULL, format('ALTER PUBLICATION %I RENAME TO ', p.pubname), NULL FROM pg_publication p
UNION ALL SELECT 'event trigger', quote_ident(e.evtname), NULL, '3466/' || e.oid || '/0', quote_ident(e.evtname), NULL, NULL, format('CREATE EVENT TRIGGER %I ON %s%s EXECUTE FUNCTION %s', e.evtname, e.evtevent, coalesce(' WHEN TAG IN (' || (SELECT string_agg(quote_literal(g), ', ') FROM unnest(e.evttags) g) || ')', ''), e.evtfoid::regprocedure)
    || CASE e.evtenabled WHEN 'O' THEN '' ELSE format('<;>ALTER EVENT TRIGGER %I %s', e.evtname, CASE e.evtenabled WHEN 'D' THEN 'DISABLE' WHEN 'A' THEN 'ENABLE ALWAYS' ELSE 'ENABLE REPLICA' END) END, format('DROP EVENT TRIGGER %I', e.evtname), NULL, format('ALTER EVENT TRIGGER %I RENAME TO ', e.evtname), NULL FROM pg_event_trigger e
UNION ALL SELECT 'text search dictionary', format('%s.%I', n.name, d.dictname), NULL, '3600/' || d.oid || '/0', quote_ident(d.dictname), n.name, NULL, format('CREATE TEXT SEARCH DICTIONARY %s.%I (TEMPLATE = %I.%I%s)', n.name, d.dictname, tn.nspname, t.tmplname, coalesce(', ' || d.dictinitoption, '')), format('DROP TEXT SEARCH DICTIONARY %s.%I', n.name, d.dictname), NULL,
  format('ALTER TEXT SEARCH DICTIONARY %s.%I RENAME TO ', n.name, d.dictname), NULL FROM pg_ts_dict d JOIN ns n ON n.oid = d.dictnamespace JOIN pg_ts_template t ON t.oid = d.dicttemplate JOIN pg_namespace tn ON tn.oid = t.tmplnamespace
UNION ALL SELECT 'text search configuration', format('%s.%I', n.name, c.cfgname), NULL, '3602/' || c.oid || '/0', quote_ident(c.cfgname), n.name, NULL, format('CREATE TEXT SEARCH CONFIGURATION %s.%I (PARSER = %I.%I)', n.name, c.cfgname, pn.nspname, p.prsname), format('DROP TEXT SEARCH CONFIGURATION %s.%I', n.name, c.cfgname), NULL,
  format('ALTER TEXT SEARCH CONFIGURATION %s.%I RENAME TO ', n.name, c.cfgname), NULL FROM pg_ts_config c JOIN ns n ON n.oid = c.cfgnamespace JOIN pg_ts_parser p ON p.oid = c.cfgparser JOIN pg_namespace pn ON pn.oid = p.prsnamespace
UNION ALL SELECT 'text search mapping', format('%s.%I.%s', n.name, c.cfgname, t.alias), format('%s.%I', n.name, c.cfgname), NULL, '', NULL, NULL, format('ALTER TEXT SEARCH CONFIGURATION %s.%I ADD MAPPING FOR %I WITH %s', n.name, c.cfgname, t.alias, string_agg(m.mapdict::regdictionary::text, ', ' ORDER BY m.mapseqno)),
  format('ALTER TEXT SEARCH CONFIGURATION %s.%I DROP MAPPING FOR %I', n.name, c.cfgname, t.alias), NULL, NULL, NULL FROM pg_ts_config c JOIN ns n ON n.oid = c.cfgnamespace JOIN pg_ts_config_map m ON m.mapcfg = c.oid JOIN LATERAL ts_token_type(c.cfgparser) t ON t.tokid = m.maptokentype GROUP BY n.name, c.cfgname, t.alias
UNION ALL SELECT 'foreign-data wrapper', quote_ident(w.fdwname), NULL, '2328/' || w.oid || '/0', quote_ident(w.fdwname), NULL, NULL, format('CREATE FOREIGN DATA WRAPPER %I%s%s%s', w.fdwname, coalesce(' HANDLER ' || nullif(w.fdwhandler, 0)::regproc, ''), coalesce(' VALIDATOR ' || nullif(w.fdwvalidator, 0)::regproc, ''),
    coalesce(' OPTIONS (' || (SELECT string_agg(format('%I %L', option_name, option_value), ', ') FROM pg_options_to_table(w.fdwoptions)) || ')', '')), format('DROP FOREIGN DATA WRAPPER %I', w.fdwname), NULL, format('ALTER FOREIGN DATA WRAPPER %I RENAME TO ', w.fdwname), NULL FROM pg_foreign_data_wrapper w WHERE NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_foreign_data_wrapper'::regclass AND m.objid = w.oid)
UNION ALL SELECT 'foreign server', quote_ident(s.srvname), NULL, '1417/' || s.oid || '/0', quote_ident(s.srvname), NULL, NULL, format('CREATE SERVER %I%s%s FOREIGN DATA WRAPPER %I%s', s.srvname, coalesce(' TYPE ' || quote_literal(s.srvtype), ''), coalesce(' VERSION ' || quote_literal(s.srvversion), ''), w.fdwname,
    coalesce(' OPTIONS (' || (SELECT string_agg(format('%I %L', option_name, option_value), ', ') FROM pg_options_to_table(s.srvoptions)) || ')', '')), format('DROP SERVER %I', s.srvname), NULL, format('ALTER SERVER %I RENAME TO ', s.srvname), NULL FROM pg_foreign_server s JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw
UNION ALL SELECT 'default privileges', concat_ws(' ', head, things, grantee), NULL, NULL, '', NULL, now, CASE WHEN standard THEN format('%s REVOKE ALL ON %s FROM %s<;>', head, things, grantee) ELSE '' END || now,
  format('%s REVOKE ALL ON %s FROM %s', head, things, grantee) || CASE WHEN standard THEN '<;>' || base ELSE '' END, NULL, NULL, NULL FROM presets
-- Owners, privileges, comments and labels of all of them.
UNION ALL SELECT 'owner', name, name, id, '', NULL, pg_get_userbyid(owner), NULL, NULL, format('ALTER %s %s OWNER TO %I', word, name, pg_get_userbyid(owner)), NULL, NULL FROM owned WHERE word IS NOT NULL
UNION ALL SELECT 'privileges', name || ' ' || grantee, name, id || '/' || grantee, '', NULL, now, CASE WHEN standard THEN none || '<;>' ELSE '' END || now, none || CASE WHEN standard THEN '<;>' || base ELSE '' END, NULL, NULL, NULL FROM grants
UNION ALL SELECT 'comment', phrase, NULL, format('%s/%s/%s', classoid::oid, objoid, objsubid), '', NULL, text, format('COMMENT ON %s IS %L', phrase, text), format('COMMENT ON %s IS NULL', phrase), format('COMMENT ON %s IS %L', phrase, text), NULL, NULL FROM named WHERE provider IS NULL
UNION ALL SELECT 'security label', phrase, NULL, format('%s/%s/%s/%s', classoid::oid, objoid, objsubid, provider), '', NULL, text, format('SECURITY LABEL FOR %I ON %s IS %L', provider, phrase, text), format('SECURITY LABEL FOR %I ON %s IS NULL', provider, phrase), NULL, NULL, NULL FROM named WHERE provider IS NOT NULL
