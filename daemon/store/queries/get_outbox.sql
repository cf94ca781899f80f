-- What tells an outbox from all others, whose it is, and how it was made.
SELECT o.identity, 'hark.row_changes'::regclass::oid AS relation, o.home, o.place, o.connection, o.layout, o.functions FROM hark.outbox AS o
