//! What hangs on relations, types and functions, and what is known of it by its existence.

/// Kind, catalogs, name, definition and source of objects that hang on others, and of those of which existence is all
/// that is compared.
pub(super) const DEPENDENTS: [(&str, &[&str], &str, &str, &str); 26] = [
    (
        "constraint",
        &["pg_constraint"],
        "format('%s.%I', coalesce(r.name, t.name), k.conname)",
        "concat_ws('; ', pg_get_constraintdef(k.oid), k.convalidated, k.conislocal)",
        "pg_constraint k LEFT JOIN rel r ON r.oid = k.conrelid LEFT JOIN typ t ON t.oid = k.contypid WHERE k.contype <> 't' AND (k.contype <> 'n' OR k.conislocal) AND NOT EXISTS (SELECT FROM automatic u WHERE u.oid = k.oid) AND coalesce(r.name, t.name) IS NOT NULL",
    ),
    (
        "index",
        &["pg_index"],
        "r.name",
        "concat_ws('; ', pg_get_indexdef(r.oid), i.indisvalid, i.indisready, i.indisclustered, i.indisreplident, \
         (SELECT h.inhparent::regclass FROM pg_inherits h WHERE h.inhrelid = r.oid), (SELECT s.spcname FROM pg_tablespace s WHERE s.oid = r.reltablespace))",
        "rel r JOIN pg_index i ON i.indexrelid = r.oid",
    ),
    (
        "trigger",
        &["pg_trigger"],
        "format('%s.%I', r.name, t.tgname)",
        "concat_ws('; ', pg_get_triggerdef(t.oid), t.tgenabled)",
        "pg_trigger t JOIN rel r ON r.oid = t.tgrelid WHERE NOT t.tgisinternal",
    ),
    (
        "rule",
        &["pg_rewrite"],
        "format('%s.%I', r.name, w.rulename)",
        "concat_ws('; ', pg_get_ruledef(w.oid), w.ev_enabled)",
        "pg_rewrite w JOIN rel r ON r.oid = w.ev_class WHERE w.rulename <> '_RETURN'",
    ),
    (
        "policy",
        &["pg_policy"],
        "format('%s.%I', r.name, p.polname)",
        "concat_ws('; ', p.polcmd, p.polpermissive, (SELECT string_agg(CASE o WHEN 0 THEN 'public' ELSE o::regrole::text END, ',' ORDER BY o) FROM unnest(p.polroles) o), \
         pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))",
        "pg_policy p JOIN rel r ON r.oid = p.polrelid",
    ),
    (
        "comment",
        &["pg_description"],
        "pg_describe_object(x.classoid, x.objoid, x.objsubid)",
        "x.description",
        "pg_description x WHERE (x.objoid >= 16384 OR x.classoid = 'pg_namespace'::regclass AND x.objoid IN (SELECT oid FROM ns)) \
         AND NOT EXISTS (SELECT FROM member m WHERE m.classid = x.classoid AND m.objid = x.objoid) AND x.classoid <> 'pg_extension'::regclassOF THE SCHEMA",
    ),
    (
        "statistics",
        &["pg_statistic_ext"],
        "format('%I.%I', n.nspname, s.stxname)",
        "concat_ws('; ', pg_get_statisticsobjdef(s.oid), nullif(s.stxstattarget, -1), pg_get_userbyid(s.stxowner))",
        "pg_statistic_ext s JOIN ns n ON n.oid = s.stxnamespace",
    ),
    (
        "publication",
        &["pg_publication"],
        "p.pubname::text",
        "concat_ws('; ', pg_get_userbyid(p.pubowner), p.puballtables, p.pubinsert, p.pubupdate, p.pubdelete, p.pubtruncate, p.pubviaroot, \
         (SELECT string_agg(concat_ws(' ', t.prrelid::regclass, t.prattrs::text, pg_get_expr(t.prqual, t.prrelid)), ',' ORDER BY 1) FROM pg_publication_rel t WHERE t.prpubid = p.oid), \
         (SELECT string_agg(t.pnnspid::regnamespace::text, ',' ORDER BY 1) FROM pg_publication_namespace t WHERE t.pnpubid = p.oid))",
        "pg_publication p",
    ),
    (
        "event trigger",
        &["pg_event_trigger"],
        "e.evtname::text",
        "concat_ws('; ', e.evtevent, e.evtenabled, e.evttags::text, e.evtfoid::regprocedure, pg_get_userbyid(e.evtowner))",
        "pg_event_trigger e",
    ),
    (
        "default privileges",
        &["pg_default_acl"],
        "concat_ws(' ', d.defaclrole::regrole, d.defaclobjtype, (SELECT nspname FROM pg_namespace WHERE oid = d.defaclnamespace))",
        "(SELECT string_agg(a::text, ',' ORDER BY a::text) FROM unnest(d.defaclacl) a)",
        "pg_default_acl d",
    ),
    (
        "cast",
        &["pg_cast"],
        "pg_describe_object('pg_cast'::regclass, c.oid, 0)",
        "concat_ws('; ', c.castcontext, c.castmethod, nullif(c.castfunc, 0)::regprocedure)",
        "pg_cast c WHERE c.oid >= 16384 AND NOT EXISTS (SELECT FROM member m WHERE m.objid = c.oid)",
    ),
    (
        "operator",
        &["pg_operator"],
        "pg_describe_object('pg_operator'::regclass, o.oid, 0)",
        "concat_ws('; ', o.oprcode, pg_get_userbyid(o.oprowner), nullif(o.oprcom, 0)::regoperator, nullif(o.oprnegate, 0)::regoperator, o.oprrest, o.oprjoin, o.oprcanhash, o.oprcanmerge)",
        "(SELECT *, 'pg_operator'::regclass AS classoid, oid AS objoid FROM pg_operator) o, LATERAL (SELECT o.classoid, o.objoid) x WHERE o.oid >= 16384 AND NOT EXISTS (SELECT FROM member m WHERE m.objid = o.oid)OF THE SCHEMA",
    ),
    (
        "foreign server",
        &["pg_foreign_server"],
        "s.srvname::text",
        "concat_ws('; ', s.srvtype, s.srvversion, (SELECT fdwname FROM pg_foreign_data_wrapper WHERE oid = s.srvfdw), s.srvoptions::text, pg_get_userbyid(s.srvowner), s.srvacl::text)",
        "pg_foreign_server s",
    ),
    (
        "foreign-data wrapper",
        &["pg_foreign_data_wrapper"],
        "w.fdwname::text",
        "concat_ws('; ', nullif(w.fdwhandler, 0)::regproc, nullif(w.fdwvalidator, 0)::regproc, w.fdwoptions::text, pg_get_userbyid(w.fdwowner), w.fdwacl::text)",
        "pg_foreign_data_wrapper w WHERE NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_foreign_data_wrapper'::regclass AND m.objid = w.oid)",
    ),
    (
        "user mapping",
        &["pg_user_mappings"],
        "concat_ws(' ', u.srvname, u.usename)",
        "coalesce(encode(sha256(convert_to(u.umoptions::text, 'UTF8')), 'hex'), '')",
        "pg_user_mappings u",
    ),
    (
        "collation",
        &["pg_collation"],
        "format('%I.%I', n.nspname, c.collname)",
        "concat_ws('; ', c.collprovider, c.collisdeterministic, c.collcollate, c.collctype, to_jsonb(c)->>'colllocale', to_jsonb(c)->>'colliculocale', to_jsonb(c)->>'collicurules', pg_get_userbyid(c.collowner))",
        "pg_collation c JOIN ns n ON n.oid = c.collnamespace WHERE NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_collation'::regclass AND m.objid = c.oid)",
    ),
    (
        "conversion",
        &["pg_conversion"],
        "format('%I.%I', n.nspname, c.conname)",
        "concat_ws('; ', pg_encoding_to_char(c.conforencoding), pg_encoding_to_char(c.contoencoding), c.conproc, c.condefault, pg_get_userbyid(c.conowner))",
        "pg_conversion c JOIN ns n ON n.oid = c.connamespace",
    ),
    (
        "operator family",
        &["pg_opfamily"],
        "format('%I.%I %s', n.nspname, f.opfname, f.opfmethod)",
        "concat_ws('; ', pg_get_userbyid(f.opfowner), (SELECT string_agg(concat_ws(' ', o.amopstrategy, o.amopopr::regoperator, o.amoppurpose), ',' ORDER BY o.amopstrategy, o.amopopr) FROM pg_amop o WHERE o.amopfamily = f.oid), \
         (SELECT string_agg(concat_ws(' ', q.amprocnum, q.amproc::regprocedure, q.amproclefttype::regtype), ',' ORDER BY q.amprocnum, q.amproc) FROM pg_amproc q WHERE q.amprocfamily = f.oid))",
        "pg_opfamily f JOIN ns n ON n.oid = f.opfnamespace WHERE NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_opfamily'::regclass AND m.objid = f.oid)",
    ),
    (
        "operator class",
        &["pg_opclass"],
        "format('%I.%I %s', n.nspname, c.opcname, c.opcmethod)",
        "concat_ws('; ', pg_get_userbyid(c.opcowner), (SELECT opfname FROM pg_opfamily WHERE oid = c.opcfamily), c.opcintype::regtype, c.opcdefault, nullif(c.opckeytype, 0)::regtype)",
        "pg_opclass c JOIN ns n ON n.oid = c.opcnamespace WHERE NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_opclass'::regclass AND m.objid = c.oid)",
    ),
    (
        "text search dictionary",
        &["pg_ts_dict"],
        "format('%I.%I', n.nspname, d.dictname)",
        "concat_ws('; ', pg_get_userbyid(d.dictowner), (SELECT tmplname FROM pg_ts_template WHERE oid = d.dicttemplate), d.dictinitoption)",
        "pg_ts_dict d JOIN ns n ON n.oid = d.dictnamespace WHERE NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_ts_dict'::regclass AND m.objid = d.oid)",
    ),
    (
        "text search configuration",
        &["pg_ts_config"],
        "format('%I.%I', n.nspname, c.cfgname)",
        "concat_ws('; ', pg_get_userbyid(c.cfgowner), (SELECT prsname FROM pg_ts_parser WHERE oid = c.cfgparser), (SELECT string_agg(concat_ws(' ', m.maptokentype, m.mapseqno, m.mapdict::regdictionary), ',' \
         ORDER BY m.maptokentype, m.mapseqno) FROM pg_ts_config_map m WHERE m.mapcfg = c.oid))",
        "pg_ts_config c JOIN ns n ON n.oid = c.cfgnamespace WHERE NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_ts_config'::regclass AND m.objid = c.oid)",
    ),
    (
        "text search template or parser",
        &["pg_ts_template", "pg_ts_parser"],
        "name",
        "definition",
        "(SELECT format('%I.%I', n.nspname, t.tmplname) AS name, concat_ws(' ', t.tmplinit, t.tmpllexize) AS definition, t.oid FROM pg_ts_template t JOIN ns n ON n.oid = t.tmplnamespace \
         UNION ALL SELECT format('%I.%I', n.nspname, p.prsname), concat_ws(' ', p.prsstart, p.prstoken, p.prsend, p.prsheadline, p.prslextype), p.oid FROM pg_ts_parser p JOIN ns n ON n.oid = p.prsnamespace) t \
         WHERE NOT EXISTS (SELECT FROM member m WHERE m.classid IN ('pg_ts_template'::regclass, 'pg_ts_parser'::regclass) AND m.objid = t.oid)",
    ),
    (
        "language",
        &[],
        "l.lanname::text",
        "concat_ws('; ', pg_get_userbyid(l.lanowner), l.lanpltrusted, nullif(l.lanplcallfoid, 0)::regproc, nullif(l.laninline, 0)::regproc, nullif(l.lanvalidator, 0)::regproc, l.lanacl::text)",
        "pg_language l WHERE l.oid >= 16384 OR l.lanacl IS NOT NULL",
    ),
    (
        "transform or access method",
        &["pg_transform", "pg_am"],
        "name",
        "definition",
        "(SELECT concat_ws(' ', t.trftype::regtype, l.lanname) AS name, concat_ws(' ', nullif(t.trffromsql, 0)::regprocedure, nullif(t.trftosql, 0)::regprocedure) AS definition, t.oid \
         FROM pg_transform t JOIN pg_language l ON l.oid = t.trflang UNION ALL SELECT a.amname, concat_ws(' ', a.amtype, a.amhandler), a.oid FROM pg_am a WHERE a.oid >= 16384) t \
         WHERE NOT EXISTS (SELECT FROM member m WHERE m.classid IN ('pg_transform'::regclass, 'pg_am'::regclass) AND m.objid = t.oid)",
    ),
    (
        "security label",
        &["pg_seclabel"],
        "concat_ws(' ', x.provider, pg_describe_object(x.classoid, x.objoid, x.objsubid))",
        "x.label",
        "pg_seclabel x WHERE x.objoid >= 16384OF THE SCHEMA",
    ),
    (
        "extension dependency",
        &["pg_depend"],
        "concat_ws(' ', pg_describe_object(d.classid, d.objid, d.objsubid), (SELECT extname FROM pg_extension WHERE oid = d.refobjid))",
        "''",
        "pg_depend d WHERE d.deptype = 'x'",
    ),
];
