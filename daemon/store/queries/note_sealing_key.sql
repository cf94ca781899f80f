-- Notes the key that seals from now on, if there is none yet or the one there is ($2) is known to whoever asks; returns the
-- one that counts.
INSERT INTO hark.sealing_key AS k (key_id) VALUES ($1)
ON CONFLICT (only_row) DO UPDATE
    SET key_id = CASE WHEN k.key_id = ANY ($2::text[]) THEN excluded.key_id ELSE k.key_id END,
        noted_at = CASE WHEN k.key_id = ANY ($2::text[]) THEN now() ELSE k.noted_at END
RETURNING key_id
