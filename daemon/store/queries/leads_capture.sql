-- Tells whether instances of the program $1 keep row capture as they would have it: of those that run the newest release does so,
-- and of one release that which started last. While none is entered, whoever asks.
SELECT coalesce((
    SELECT i.program = $1 FROM hark.instances AS i
    WHERE i.state = 'running'
    ORDER BY string_to_array(substring(i.version FROM '^\d+(?:\.\d+)*'), '.')::numeric[] DESC NULLS LAST,
             i.started_at DESC, i.id DESC
    LIMIT 1), true)
