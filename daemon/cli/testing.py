"""`hark test`: the tests in workflow files, run here, without a daemon."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from hark.daemon.cli.connection import Json
from hark.daemon.cli.output import compact, complain, fail, print_json, say
from hark.daemon.cli.sources import problem_items, read_files, show_problems
from hark.workflows.counting import counted

if TYPE_CHECKING:
    from hark.daemon.engine.cases import Outcome
    from hark.workflows.loading import Loaded


@dataclass(frozen=True, slots=True)
class _Ran:
    """One test, where it stands, and what came of it."""

    file: str
    line: int | None
    outcome: Outcome

    def document(self) -> dict[str, Any]:
        """Return it as --json tells it."""
        one = self.outcome
        return {
            "workflow": one.workflow, "name": one.name, "file": self.file, "line": self.line, "passed": one.passed,
            "took_ms": round(one.took_s * 1000, 3),
            "mismatches": [
                {"path": wrong.path, "expected": wrong.expected, "seen": wrong.seen, "message": wrong.message}
                for wrong in one.mismatches
            ],
        }  # fmt: skip


def test(
    paths: Annotated[
        list[str] | None, typer.Argument(help="Files, directories, or - for stdin; `workflows`, else `.`, if absent.")
    ] = None,
    only: Annotated[list[str] | None, typer.Option("--only", "-k", help="Tests with this in their names.")] = None,
    junit: Annotated[Path | None, typer.Option(help="Write a report for CI to this file, as JUnit does.")] = None,
    as_json: Json = False,
) -> None:
    """Run the tests in workflow files; nothing outside is touched. Exit status 1: one failed; 2: none could be run."""
    texts = read_files(paths or ["workflows" if Path("workflows").is_dir() else "."])
    loaded = _load(texts)
    ran = asyncio.run(_run(loaded, only or ()))
    if not ran:
        fail(f"there are no tests in {', '.join(list(texts)[:3])}{' …' if len(texts) > 3 else ''}{_named(only)}")
        raise typer.Exit(2)
    failed = sum(not one.outcome.passed for one in ran)
    if as_json:
        print_json({"passed": not failed, "items": [one.document() for one in ran]})
    else:
        _show(ran)
    if junit is not None:
        _write_junit(junit, ran)
    if failed:
        raise typer.Exit(1)


def _named(only: Sequence[str] | None) -> str:
    return f" with {' or '.join(only)} in their names" if only else ""


def _load(texts: dict[str, str]) -> list[Loaded]:
    from hark.daemon.cli.local import local_catalogue
    from hark.workflows.errors import DefinitionError
    from hark.workflows.loading import load_files

    try:
        return load_files(texts.items(), local_catalogue())
    except DefinitionError as error:
        show_problems(problem_items(error.problems), texts)
        raise typer.Exit(2) from None


async def _run(loaded: Sequence[Loaded], only: Sequence[str]) -> list[_Ran]:
    import structlog

    from hark.daemon.cli.local import local_catalogue
    from hark.daemon.engine.cases import cases_of, run_case

    # What a test brings about stands in its report.
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    catalogue, now = local_catalogue(), datetime.now(UTC)
    ran = []
    for one in loaded:
        for index, case in cases_of(one.workflow, only):
            place = one.place(("tests", index))
            outcome = await run_case(one.workflow, case, catalogue, now)
            ran.append(_Ran(one.document.file, place.line if place else None, outcome))
    return ran


def _show(ran: Sequence[_Ran]) -> None:
    for one in ran:
        outcome = one.outcome
        mark = Text("ok    ", "green") if outcome.passed else Text("FAILED", "bold red")
        place = f"  {one.file}:{one.line}" if not outcome.passed else ""
        say(Text.assemble(mark, f" {outcome.workflow}: {outcome.name}", (place, "dim")))
        for wrong in outcome.mismatches:
            say(f"         {_spoken(wrong)}")
    failed = sum(not one.outcome.passed for one in ran)
    took = sum(one.outcome.took_s for one in ran)
    said = f"{len(ran) - failed} of {counted(len(ran), 'test')} passed, in {took:.2f} s"
    (complain if failed else say)(said)


def _spoken(wrong: Any) -> str:
    """Say what is wrong in a line."""
    if not wrong.path:
        return str(wrong.message)
    more = f" ({wrong.message})" if wrong.message else ""
    if ".that[" in wrong.path:
        seen = ", ".join(f"{path} is {_json(value)}" for path, value in wrong.seen.items())
        return f"{wrong.path}: {wrong.expected} does not hold: {seen}{more}"
    return f"{wrong.path}: expected {_json(wrong.expected)}, seen {_json(wrong.seen)}{more}"


def _json(value: Any) -> str:
    """Write a value so that a text can be told from a number."""
    import json

    return compact(json.dumps(value, ensure_ascii=False, default=str), 300)


def _write_junit(path: Path, ran: Sequence[_Ran]) -> None:
    """Write the form of report that CI servers read."""
    from xml.etree import ElementTree as ET

    failed = sum(not one.outcome.passed for one in ran)
    root = ET.Element("testsuite", name="hark", tests=str(len(ran)), failures=str(failed))
    for one in ran:
        outcome = one.outcome
        case = ET.SubElement(
            root, "testcase", classname=outcome.workflow, name=outcome.name, file=one.file, time=f"{outcome.took_s:.3f}"
        )
        if one.line is not None:
            case.set("line", str(one.line))
        if not outcome.passed:
            said = [_printable(_spoken(wrong)) for wrong in outcome.mismatches]
            ET.SubElement(case, "failure", message=said[0]).text = "\n".join(said)
    try:
        ET.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)
    except OSError as error:
        raise fail(f"{path}: {error.strerror}") from None


def _printable(text: str) -> str:
    """Leave out what XML cannot hold."""
    return "".join(letter for letter in text if letter >= " " or letter in "\t\n")
