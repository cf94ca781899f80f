"""What the report says besides figures: how to rerun it, and what differs between those who take part."""

from __future__ import annotations

from benchmarks.environments import N8N_VERSION, NODE_WHEEL, PYTHON_PEERS

_PACKAGES = "\n".join(f"- {', '.join(packages)}" for packages in PYTHON_PEERS.values())

RERUN = f"""## How to rerun

    make bench                                        # everything, at most 15 minutes, and once the time to install
    make bench BENCH="--quick"                        # a look at whether all works; writes .hark/bench/quick.md
    make bench BENCH="--only throughput latency"      # some parts; the report takes the rest from the last time
    make bench BENCH="--only soak"                    # memory over a million executions; takes minutes, if asked for
    make bench BENCH="--report"                       # only write this page again

Parts: `throughput`, `latency`, `webhooks`, `instances`, `active`, `capture`, `stored`, `soak`. Each part keeps its
figures as JSON under `.hark/bench/results`; this page and its plot are written from them. A quiet machine matters more
than anything else: compare ratios of one run, never figures of two.

The benchmark starts an embedded PostgreSQL of its own and gives each contestant a database on it. It installs the peers
by itself, each into an environment of its own under `.hark/bench` (or `HARK_BENCH_HOME`):

{_PACKAGES}
- n8n {N8N_VERSION}, with npm; where there is no Node.js ≥ 24, {NODE_WHEEL} serves

What cannot be installed is left out, and named above. Servers listen on loopback only, every process is ended when its
part is over, also after an error or Ctrl-C, and its words are in `.hark/bench/logs`.
"""

WHAT_DIFFERS = """All on the same server, one database each, over the same socket; whoever is not in turn is stopped.
Everybody warms up before, and the order turns round from run to run.

- Hark's *drain* counts from the commit that shows the stored executions; *events in, executions done* also takes the
  events in, stores and matches them. The peers' drain counts from the start of their worker, or from the commit, with
  the jobs stored before; enqueuing is not counted.
- The bare server that inserts takes one connection of a pool, of as many as a daemon may open, for each request, and
  answers after the commit. Hark's events there start nothing: what is measured is how they are taken in.
- A row is followed from its INSERT by another connection to the first step; the bare row to who listens, with the
  NOTIFY in the same statement. Hark's capture sends one too while it is quiet.
- The floor writes the rows of Hark's executions, with their events, in as many transactions, and runs nothing.
- pgqueuer and procrastinate have no workflows: three jobs, of which each enqueues the next. pgqueuer records ends of
  jobs in batches, so that a step may start before the record of the one before is committed, and it deletes the job.
- Completion is noted after the commit in Hark, and in the last step's own code in the peers: theirs is on record later.
- n8n puts an execution on record at its end; Hark before it answers. In n8n's latency the answer comes after the last
  node, in Hark's after the commit of event and execution.
"""
