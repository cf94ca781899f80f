"""Check the fault suite itself: break one promise at a time in a copy of Hark, and see the suite go red.

    python tests/faults/mutate.py            all mutations
    python tests/faults/mutate.py fencing    one of them

Nothing in Hark knows of this. The package is copied with its statements and its schema, the copy is changed, and
the tests that are named run on it. Prints a table; the exit status is 1 when a mutation was survived.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TAKE_OVER = "test_take_over.py::test_work_of_lost_instances_is_taken_over_and_they_write_nothing_any_more"
KILLED = "test_named_points.py::test_a_daemon_killed_at_a_commit_loses_nothing_and_repeats_nothing"
HELD = "test_named_points.py::test_a_daemon_killed_while_somebody_has_its_request_in_hand"
CUT = "test_cut_connections.py::test_a_commit_whose_request_or_answer_is_lost_counts_once"
FINDING = re.compile(r"^E +(?!.*\d+ findings:$)(?:AssertionError: )?(.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Mutation:
    """A promise that is broken: which text of which file becomes which, and the tests that have to notice."""

    name: str
    breaks: str
    changes: Sequence[tuple[str, str, str]]
    tests: Sequence[str]

    def apply(self, package: Path) -> None:
        """Change the copy; a text that is not there exactly once is an error, or a mutation would test nothing."""
        for name, text, becomes in self.changes:
            file = package / name
            content = file.read_text(encoding="utf-8")
            if content.count(text) != 1:
                raise SystemExit(f"{self.name}: {name} has {content.count(text)} times, not once:\n{text}")
            file.write_text(content.replace(text, becomes), encoding="utf-8")


KEY = "    PRIMARY KEY (tenant_id, id),\n    CONSTRAINT open_has_no_end CHECK"
LICENCE = "SELECT i.id FROM hark.instances AS i WHERE i.id = $1 FOR KEY SHARE"
FULL = "UPDATE lanes AS l SET taken = l.taken WHERE l.tenant_id = tenant"
INGEST = "daemon/store/queries/ingest_events.sql"
MUTATIONS = [
    Mutation(
        "fencing",
        "a flush is written without a licence",
        [
            (
                "daemon/store/queries/record_progress.sql",
                (
                    "SELECT i.id, hark.lock_lanes_of($3::hark.progress_change[]) FROM hark.instances AS i"
                    " WHERE i.id = $1 FOR KEY SHARE"
                ),
                "SELECT $1::uuid AS id, hark.lock_lanes_of($3::hark.progress_change[])",
            )
        ],
        [TAKE_OVER],
    ),
    Mutation(
        "fencing-sql",
        "an SQL step is committed without a licence, and over a record that is there",
        [
            ("daemon/store/queries/record_step.sql", LICENCE, "SELECT $1::uuid AS id"),
            ("daemon/engine/records.py", 'if not row["steps"]:', "if False:"),
        ],
        [TAKE_OVER],
    ),
    Mutation(
        "dedupe",
        "an event whose key was there before is taken again",
        [(INGEST, "WHERE k.expires_at < now()", "WHERE true")],
        [f"{KILLED}[ingest-after]"],
    ),
    Mutation(
        "random-ids",
        "the id of an execution does not follow from workflow, event and ordinal",
        [
            (
                "workflows/ids.py",
                "return ExecutionId(derived_id(event, workflow, ordinal))",
                "return ExecutionId(derived_id(event, workflow, ordinal, os.urandom(8)))",
            )
        ],
        [
            "test_cut_connections.py::test_a_sender_without_a_key_is_not_told_more_than_is_true[after-chain-ingest_events]"
        ],
    ),
    Mutation(
        "unique-key",
        "the key of executions is dropped, and what would have met it is stored",
        [
            ("schema.sql", KEY, KEY.partition("\n")[2]),
            (INGEST, "ON CONFLICT (tenant_id, id) DO NOTHING\n    RETURNING id, status", "RETURNING id, status"),
            ("daemon/store/queries/start_parts.sql", "ON CONFLICT (tenant_id, id) DO NOTHING", ""),
        ],
        [
            "test_cut_connections.py::test_a_sender_without_a_key_is_not_told_more_than_is_true[after-chain-ingest_events]"
        ],
    ),
    Mutation(
        "two-transactions",
        "the effect of an SQL step is committed before its record",
        [
            (
                "daemon/engine/services.py",
                "        await self._connection.execute(_PLANNER)\n",
                (
                    '        await self._connection.execute("COMMIT; BEGIN")\n'
                    "        await self._connection.execute(_PLANNER)\n"
                ),
            )
        ],
        [f"{KILLED}[record_of_an_SQL_step-before]", f"{KILLED}[COMMIT_of_an_SQL_step-before]"],
    ),
    Mutation(
        "fresh-keys",
        "each attempt has an Idempotency-Key of its own",
        [("daemon/engine/run.py", 'derived_id(self.id, "step", path)', 'derived_id(self.id, "step", path, id(self))')],
        [f"{HELD}[chain-b]"],
    ),
    Mutation(
        "early-answer",
        "events are acknowledged although nothing was stored",
        [
            (
                INGEST,
                (
                    "WHERE u.gate IS NULL OR u.gate IN (SELECT event_id FROM keys)\n"
                    "    ON CONFLICT (tenant_id, id) DO NOTHING\n), parents"
                ),
                "WHERE false\n    ON CONFLICT (tenant_id, id) DO NOTHING\n), parents",
            )
        ],
        [f"{KILLED}[ingest-before]"],
    ),
    Mutation(
        "leaking-slots",
        "an execution that ends keeps its slot",
        [("schema.sql", "UPDATE lanes AS l SET taken = l.taken - 1 WHERE l.tenant_id = tenant", FULL)],
        # Not after a kill: a daemon that starts looks for lanes that count wrongly, and mends them.
        [f"{CUT}[record_with_end_in_a_lane-before]"],
    ),
    Mutation(
        "no-reclaim",
        "nobody takes over what a dead instance had",
        [
            (
                "daemon/store/queries/reclaim_executions.sql",
                "FROM owners AS o WHERE NOT EXISTS",
                "FROM owners AS o WHERE false AND NOT EXISTS",
            )
        ],
        [f"{HELD}[chain-b]"],
    ),
]


def copied(home: Path) -> Path:
    """Copy the package, with the folders that its links lead to; returns where it is."""
    package = home / "src" / "hark"
    shutil.copytree(ROOT / "src" / "hark", package, ignore=shutil.ignore_patterns("__pycache__"))
    return package


def findings(mutation: Mutation) -> list[str]:
    """Run the tests on a mutated copy; returns what they found, nothing when they were content."""
    home = Path(tempfile.mkdtemp(prefix="hark-mutation-"))
    try:
        mutation.apply(copied(home))
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short"]
        result = subprocess.run(
            [*command, *(f"tests/faults/{test}" for test in mutation.tests)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(home / "src"), "HARK_FAULTS": "long", "HARK_FAULTS_DRAIN_S": "20"},
            capture_output=True,
            check=False,
            text=True,
            timeout=600,
        )
    finally:
        shutil.rmtree(home, ignore_errors=True)
    if result.returncode not in (0, 1):
        raise SystemExit(f"{mutation.name}: the tests did not run:\n{result.stdout[-3000:]}{result.stderr[-3000:]}")
    return FINDING.findall(result.stdout) if result.returncode else []


def main(names: Sequence[str]) -> int:
    """Try the mutations of these names, or all."""
    survived = 0
    for mutation in MUTATIONS:
        if names and mutation.name not in names:
            continue
        found = findings(mutation)
        survived += not found
        words = found[0][:160] if found else "NOTHING: the suite did not notice"
        print(f"| {mutation.name} | {mutation.breaks} | {words} |", flush=True)  # noqa: T201
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
