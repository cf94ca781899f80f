"""Definition files: found, read, and shown with a caret where something is wrong."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.text import Text

from hark.daemon.cli.output import STYLES, complain

if TYPE_CHECKING:
    from hark.daemon.api.models.problems import ProblemItem
    from hark.workflows.errors import Problem

SUFFIXES = frozenset({".yaml", ".yml", ".json"})
STDIN = "-"


def read_files(paths: Sequence[str]) -> dict[str, str]:
    """Return texts by file name: of files, of all definitions below directories, of stdin for `-`.

    Raises BadParameter for what is not there or cannot be read.
    """
    texts: dict[str, str] = {}
    for path in paths:
        if path == STDIN:
            texts["<stdin>"] = sys.stdin.read()
        else:
            texts.update((str(file), _read(file)) for file in _files(Path(path)))
    return texts


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES and file.is_file())
    if not found:
        raise typer.BadParameter(f"there is no .yaml, .yml or .json file below {path}")
    return found


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise typer.BadParameter(f"{file}: it is not UTF-8 (byte {error.start})") from None
    except OSError as error:
        raise typer.BadParameter(f"{file}: {error.strerror}") from None


def show_problems(problems: Iterable[ProblemItem], texts: Mapping[str, str]) -> None:
    """Print problems to stderr the way compilers do, each with its line of source."""
    for problem in problems:
        place = ":".join(str(part) for part in (problem.file, problem.line, problem.column) if part)
        message = Text(f"{place}: " if place else "", style="bold")
        message.append(f"{problem.severity}: ", STYLES.get(problem.severity, ""))
        message.append(problem.message, "")
        if problem.hint:
            message.append(f" ({problem.hint})", "cyan")
        complain(message)
        _show_line(problem, texts.get(problem.file, ""))


def _show_line(problem: ProblemItem, text: str) -> None:
    lines = text.splitlines()
    if problem.line is None or not 0 < problem.line <= len(lines):
        return
    line = lines[problem.line - 1]
    column = min(problem.column or 1, len(line) + 1)
    number = f"{problem.line:>5} | "
    # The same white space as above the caret, so that tabs do not move it.
    indent = "".join("\t" if letter == "\t" else " " for letter in line[: column - 1])
    complain(Text.assemble((number, "dim"), line))
    complain(Text.assemble((" " * (len(number) - 2) + "| ", "dim"), indent, ("^", STYLES["error"])))


def problem_items(problems: Iterable[Problem]) -> list[ProblemItem]:
    """Give problems the shape in which the API tells them."""
    from hark.daemon.api.models.problems import ProblemItem
    from hark.workflows.errors import dotted_path

    return [
        ProblemItem(
            message=problem.message,
            file=problem.file,
            line=problem.place.line if problem.place else None,
            column=problem.place.column if problem.place else None,
            path=dotted_path(problem.path),
            hint=problem.hint,
            severity=problem.severity,
        )
        for problem in problems
    ]
