-- These settings ($1) as this session has them, and who set them.
SELECT s.name, s.setting, s.source FROM pg_settings AS s WHERE s.name = ANY ($1::text[]) ORDER BY s.name
