-- The offset of time zone $1 from UTC at noon of each of the next 400 days, in seconds.
SELECT d.moment, extract(epoch FROM (d.moment AT TIME ZONE $1::text) - (d.moment AT TIME ZONE 'UTC'))::integer AS offset_s
FROM generate_series(date_trunc('day', now(), 'UTC') + interval '12 hours', now() + interval '400 days', interval '1 day')
    AS d (moment)
