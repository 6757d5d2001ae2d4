-- NOT NULL constraints under the name that the server itself gives them, which no dump prints: they follow their
-- column, and say no more than that it refuses nulls. Of a long table and column as much is taken of each as fits.
SELECT k.oid FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.conkey[1],
  LATERAL (SELECT substring(k.conname::text FROM '_not_null([0-9]*)$') AS nth) s,
  LATERAL (SELECT octet_length(c.relname::text) AS t, octet_length(a.attname::text) AS n, 53 - length(s.nth) AS room) m
WHERE k.contype = 'n' AND k.convalidated AND NOT k.connoinherit AND k.conname::text =
  left(c.relname::text, CASE WHEN t + n <= room THEN t WHEN n <= room / 2 THEN room - n WHEN t <= (room + 1) / 2 THEN t ELSE (room + 1) / 2 END) || '_'
  || left(a.attname::text, CASE WHEN t + n <= room OR n <= room / 2 THEN n WHEN t <= (room + 1) / 2 THEN room - t ELSE room / 2 END) || '_not_null' || nth
UNION ALL SELECT k.oid FROM pg_constraint k JOIN pg_type t ON t.oid = k.contypid WHERE k.contype = 'n' AND k.conname::text = t.typname || '_not_null'
