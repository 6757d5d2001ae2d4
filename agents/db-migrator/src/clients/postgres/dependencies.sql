-- Which object or column depends on which: addresses as in recipes.sql. A view stands for its rule, a column for its default.
SELECT DISTINCT dependent, needed FROM (
  SELECT CASE WHEN w.rulename = '_RETURN' THEN '1259/' || w.ev_class || '/0' WHEN a.oid IS NOT NULL THEN '1259/' || a.adrelid || '/' || a.adnum
      ELSE d.classid::oid || '/' || d.objid || '/' || d.objsubid END AS dependent, d.refclassid::oid || '/' || d.refobjid || '/' || d.refobjsubid AS needed
  FROM pg_depend d LEFT JOIN pg_rewrite w ON d.classid = 'pg_rewrite'::regclass AND w.oid = d.objid LEFT JOIN pg_attrdef a ON d.classid = 'pg_attrdef'::regclass AND a.oid = d.objid
  WHERE d.objid >= 16384 AND d.refobjid >= 16384 AND d.deptype IN ('n', 'a', 'i')) edges WHERE dependent <> needed
