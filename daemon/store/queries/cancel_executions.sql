-- Cancels some executions ($2) that are open; $3 is their error. How many were cancelled or asked, and how many ended by that.
SELECT c.cancelled, c.ended FROM hark.cancel_executions($1, $2::uuid[], $3::jsonb) AS c
