"""A history of any length, made by SQL: workflows of several tenants, and weeks of what they did.

Rows go into partitions that are there, with their indexes, as they would while the daemon runs; but without
triggers and looks at foreign keys. What is measured with it is reading.
"""

from __future__ import annotations

import asyncio

from support.database import connected
from support.partitions import aged_by

WEEKS = 6
WORKFLOWS = 10_000
TENANTS = 4
INSTANCE = "00000000-0000-7000-8000-00000000aaaa"
LANE = "00000000-0000-7000-8000-00000000bbbb"
ERASURE = "00000000-0000-7000-8000-00000000cccc"

_BARE = "SET session_replication_role = replica; SET synchronous_commit = off; SET jit = off; SET work_mem = '64MB'"

# What every row is made from: the n-th execution, its event, its workflow and what became of it. Of the last
# ten thousand four in a hundred are open.
_MADE = """
CREATE UNLOGGED TABLE public.made AS
SELECT n, t.id AS tenant_id, w.id AS workflow_id, w.number,
       (stamp || '7' || substr(md5('v' || n), 1, 3) || '8' || substr(md5('v' || n), 4, 15))::uuid AS event_id,
       (stamp || '7' || substr(md5('x' || n), 1, 3) || '8' || substr(md5('x' || n), 4, 15))::uuid AS id,
       moment,
       CASE WHEN n > $1 - 10000 AND n % 100 = 96 THEN 'pending'
            WHEN n > $1 - 10000 AND n % 100 = 97 THEN 'running'
            WHEN n > $1 - 10000 AND n % 100 >= 98 THEN 'waiting'
            WHEN n % 1000 = 980 THEN 'cancelled'
            WHEN n % 1000 = 981 THEN 'timeout'
            WHEN n % 1000 = 982 THEN 'skipped'
            WHEN n % 100 = 95 THEN 'failed'
            ELSE 'completed' END AS status,
       CASE WHEN n % 100 = 98 THEN now() - interval '1 minute'
            WHEN n % 100 = 99 OR n % 1000 = 196 THEN now() + interval '1 day' END AS due_at,
       n % 1000 = 296 AS queued
FROM (SELECT n, date_trunc('week', now(), 'UTC') - make_interval(weeks => $2) +
                (now() - date_trunc('week', now(), 'UTC') + make_interval(weeks => $2)) * (n::float8 / $1) AS moment
      FROM generate_series(1, $1::integer) AS n) AS m
CROSS JOIN LATERAL (SELECT lpad(to_hex((extract(epoch FROM moment) * 1000)::bigint), 12, '0') AS stamp) AS s
JOIN public.made_workflows AS w ON w.number = (n::bigint * 7919) % $3
JOIN hark.tenants AS t ON t.id = w.tenant_id
ORDER BY n
"""

_WORKFLOWS = f"""
INSERT INTO hark.instances (id, host, pid, version) VALUES ('{INSTANCE}', 'test', 1, '0');
INSERT INTO hark.tenants (id, slug, name)
SELECT hark.new_id(), 'tenant-' || n, 'Tenant' FROM generate_series(2, {TENANTS}) AS n;
CREATE TABLE public.made_workflows AS
SELECT n AS number, hark.new_id() AS id, t.id AS tenant_id
FROM generate_series(0, {WORKFLOWS} - 1) AS n
JOIN (SELECT id, row_number() OVER (ORDER BY id) AS place FROM hark.tenants) AS t
    ON t.place = CASE WHEN n % 10 < 7 THEN 1 ELSE n % 10 - 5 END;
INSERT INTO hark.workflows (tenant_id, id, slug, name, status, active_since, published_version, latest_version)
SELECT tenant_id, id, 'w' || number, 'Workflow', CASE WHEN number % 1000 = 81 THEN 'archived' ELSE 'active' END,
       now(), 1, 1
FROM public.made_workflows;
INSERT INTO hark.workflow_versions (tenant_id, workflow_id, version, content_hash, definition)
SELECT tenant_id, id, 1, encode(sha256(number::text::bytea), 'hex'),
       '{{"id": "w", "steps": [{{"id": "first", "set": {{}}}}]}}'
FROM public.made_workflows;
INSERT INTO hark.workflow_triggers (tenant_id, workflow_id, id, kind, route, config)
SELECT tenant_id, id, 'go', 'event', 'event:E' || number % 1000, '{{}}' FROM public.made_workflows;
INSERT INTO hark.followed_workflows (tenant_id, workflow_id, trigger_id, followed)
SELECT tenant_id, id, 'go', 'w' || number FROM public.made_workflows;
INSERT INTO hark.workflow_activations (tenant_id, workflow_id, since, state, version)
SELECT tenant_id, id, now() - interval '1 year', 'active', 1 FROM public.made_workflows;
INSERT INTO hark.row_changes (watch_id, operation, row_count, transaction_id, occurred_at)
SELECT 1, 'insert', 1, pg_current_xact_id(), now() FROM generate_series(1, 500);
"""

# In the order in which the daemon writes them; each line is one table's, and no line waits for another.
_FILLS = (
    (
        """
        INSERT INTO hark.events (tenant_id, id, kind, type, source, route, data, occurred_at, dedupe_key, matched,
                                 subject_kind, subject_id, caused_by)
        SELECT tenant_id, event_id, 'event', 'E' || number % 1000, 'test', 'event:E' || number % 1000,
               jsonb_build_object('order', n), moment, NULL, true,
               CASE WHEN n % 20 = 0 THEN 'client' END, CASE WHEN n % 20 = 0 THEN (n % 9973)::text END,
               CASE WHEN n % 20 = 10 THEN overlay(id::text PLACING 'ffffffff' FROM 29)::uuid END
        FROM public.made
        """,
        # Every tenth event starts nothing.
        """
        INSERT INTO hark.events (tenant_id, id, kind, type, source, route, data, occurred_at, matched, passed_over)
        SELECT tenant_id, overlay(event_id::text PLACING 'ffffffff' FROM 29)::uuid, 'event', 'NOISE', 'test',
               'event:NOISE', '{}', moment, false, 1 FROM public.made WHERE n % 10 = 0
        """,
        """
        INSERT INTO hark.event_decisions (tenant_id, event_id, workflow_id, trigger_id, reason)
        SELECT tenant_id, event_id, '00000000-0000-7000-8000-0000000000dd', 'go', 'when_false'
        FROM public.made WHERE n % 4 = 0
        """,
        """
        INSERT INTO hark.workflow_logs (tenant_id, execution_id, id, path, level, message)
        SELECT tenant_id, id, event_id, 'first', CASE WHEN n % 100 = 0 THEN 'error' ELSE 'info' END, 'done'
        FROM public.made WHERE n % 2 = 0
        """,
        """
        INSERT INTO hark.workflow_timeline (tenant_id, execution_id, id, type)
        SELECT tenant_id, id, event_id, 'step.retried' FROM public.made WHERE n % 10 = 0
        """,
    ),
    (
        """
        INSERT INTO hark.workflow_executions (
            tenant_id, id, workflow_id, version, event_id, trigger_id, trigger_type, status, instance_id, due_at,
            inputs, error, started_at, completed_at, subject_kind, subject_id, queued, lanes, limits)
        SELECT tenant_id, id, workflow_id, 1, event_id, 'go', 'event', status,
               CASE status WHEN 'running' THEN 'INSTANCE'::uuid END,
               CASE WHEN status IN ('pending', 'waiting') THEN due_at END, jsonb_build_object('order', n),
               CASE status WHEN 'failed' THEN '{"class": "probed", "message": "no"}'::jsonb END, moment,
               CASE WHEN status NOT IN ('pending', 'running', 'waiting') THEN moment + interval '1 s' END,
               CASE WHEN n % 20 = 0 THEN 'client' END, CASE WHEN n % 20 = 0 THEN (n % 9973)::text END,
               status = 'pending' AND queued, CASE WHEN status = 'pending' AND queued THEN ARRAY['LANE'::uuid] END,
               CASE WHEN status = 'pending' AND queued THEN '{"lanes": [{"id": "LANE", "limit": 1}]}'::jsonb END
        FROM public.made
        """.replace("INSTANCE", INSTANCE).replace("LANE", LANE),
        """
        INSERT INTO hark.slots (tenant_id, execution_id, lane_id)
        SELECT tenant_id, id, 'LANE' FROM public.made WHERE status = 'running' AND n % 10000 = 9997
        """.replace("LANE", LANE),
        """
        INSERT INTO hark.lanes (tenant_id, id, key, most, taken, set_by)
        SELECT tenant_id, lane_id, '', 1, count(*), lane_id FROM hark.slots GROUP BY tenant_id, lane_id
        """,
        # What is erased has ended, and is older than what other statements are tried with.
        """
        INSERT INTO hark.erasing (tenant_id, erasure_id, what, id)
        SELECT m.tenant_id, 'ERASURE', w.what, CASE w.what WHEN 'event' THEN m.event_id ELSE m.id END
        FROM (SELECT * FROM public.made WHERE n % 100 = 0 AND tenant_id = '00000000-0000-7000-8000-000000000001'
              ORDER BY n LIMIT 100) AS m,
             (VALUES ('execution'), ('event')) AS w (what)
        """.replace("ERASURE", ERASURE),
        """
        INSERT INTO hark.workflow_context (tenant_id, execution_id, key, value)
        SELECT tenant_id, id, 'seen', '1' FROM public.made WHERE n % 20 = 0
        """,
        """
        INSERT INTO hark.waits (tenant_id, execution_id, path, id, kind, detail, token_digest, answer, answered_at,
                                answered_by)
        SELECT tenant_id, id, 'ask', event_id, 'approval', '{}', sha256(n::text::bytea),
               CASE WHEN status <> 'waiting' THEN '{}'::jsonb END, CASE WHEN status <> 'waiting' THEN moment END,
               CASE WHEN status <> 'waiting' THEN 'somebody' END
        FROM public.made WHERE n % 50 = 0 OR status = 'waiting'
        """,
        """
        INSERT INTO hark.execution_ends (tenant_id, execution_id)
        SELECT tenant_id, id FROM public.made WHERE status = 'completed' ORDER BY n DESC LIMIT 500
        """,
        """
        INSERT INTO hark.execution_events (tenant_id, execution_id, event_id, position)
        SELECT tenant_id, id, event_id, 0 FROM public.made WHERE n % 100 = 1
        """,
    ),
    (
        """
        INSERT INTO hark.workflow_steps (tenant_id, execution_id, path, seq, verb, status, output, started_at,
                                         completed_at)
        SELECT tenant_id, id, s.path, s.seq, 'set', 'completed', '{"a": 1}', moment, moment
        FROM public.made, (VALUES ('first', 0), ('second', 1)) AS s (path, seq)
        """,
        """
        INSERT INTO hark.workflow_steps (tenant_id, execution_id, path, seq, verb, status, started_at)
        SELECT tenant_id, id, 'ask', 2, 'approve', 'waiting', moment FROM public.made WHERE status = 'waiting'
        """,
    ),
)


async def age(url: str) -> None:
    """Give the history tables the partitions that they would have if the schema were some weeks old."""
    async with connected(url) as connection:
        await connection.execute(aged_by(WEEKS - 1))


async def fill(url: str, executions: int) -> None:
    """Store workflows and a number of executions, with all that belongs to them, over the weeks of `age`."""
    async with connected(url) as connection:
        await connection.execute(f"{_BARE}; {_WORKFLOWS}")
        await connection.execute(
            _MADE.replace("$1", str(executions)).replace("$2", str(WEEKS - 1)).replace("$3", str(WORKFLOWS))
        )
    await asyncio.gather(*(_run(url, line) for line in _FILLS))


async def _run(url: str, statements: tuple[str, ...]) -> None:
    async with connected(url) as connection:
        await connection.execute(_BARE)
        for statement in statements:
            await connection.execute(statement)
