"""Loading: from a source text of any form to a checked workflow, or to everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from hark.workflows.catalogue import Catalogue
from hark.workflows.definition import Workflow
from hark.workflows.errors import DefinitionError, Place, Problem
from hark.workflows.forms.rewrite import Imported, Note
from hark.workflows.forms.trace import Origins
from hark.workflows.normalise import normalise
from hark.workflows.reading import Format, read_source
from hark.workflows.source import Document, Path
from hark.workflows.validation.definition import check_definition
from hark.workflows.validation.findings import Findings, in_order, to_problems


@dataclass(frozen=True, slots=True)
class Loaded:
    """A workflow that was accepted."""

    workflow: Workflow
    raw: dict[str, Any]
    """The definition in the native form, else as it was written; `plain.to_plain(workflow)` spells it one way."""
    warnings: tuple[Problem, ...]
    imported: Imported
    document: Document
    origins: Origins = field(repr=False)

    def place(self, path: Path, *, key: bool = False) -> Place | None:
        """Return where in the source a path of `raw` came from."""
        return self.document.place(self.origins.source(path), key=key)

    def problem(self, path: Path, message: str, hint: str = "") -> Problem:
        """Make a problem about a path of `raw`: for what only the database can tell."""
        return Problem(message, self.origins.source(path), hint, self.place(path), self.document.file)


def load(document: Document, catalogue: Catalogue) -> Loaded:
    """Normalise and check one document. Raises DefinitionError with all problems, in the order of the source."""
    normalised = normalise(document.value, catalogue)
    findings = Findings()
    workflow = check_definition(normalised.value, catalogue, findings)
    problems = in_order(
        [
            *document.warnings,
            *(_note(note, document) for note in normalised.notes),
            *to_problems(findings.found, document, normalised.origins),
        ],
    )
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors or workflow is None:
        raise DefinitionError(errors)
    return Loaded(workflow, normalised.value, tuple(problems), normalised.imported, document, normalised.origins)


def load_all(text: str | bytes, catalogue: Catalogue, *, file: str = "", format: Format | None = None) -> list[Loaded]:
    """Read a text and load all of its documents. Raises DefinitionError with the problems of all of them."""
    return gather(read_source(text, file=file, format=format), catalogue)


def load_value(value: Any, catalogue: Catalogue) -> Loaded:
    """Load a definition that was parsed already, such as a request's body: problems have paths and no places."""
    return load(Document(value), catalogue)


def load_files(files: Iterable[tuple[str, str]], catalogue: Catalogue) -> list[Loaded]:
    """Load all documents of files, given by name and text. Raises DefinitionError with the problems of all of them."""
    documents: list[Document] = []
    problems: list[Problem] = []
    loaded: list[Loaded] = []
    for name, text in files:
        try:
            documents += read_source(text, file=name)
        except DefinitionError as error:
            problems += error.problems
    try:
        loaded = gather(documents, catalogue)
    except DefinitionError as error:
        problems += error.problems
    if problems:
        raise DefinitionError(problems)
    return loaded


def gather(documents: Iterable[Document], catalogue: Catalogue) -> list[Loaded]:
    """Load documents, of one or several files; two workflows of one id are refused. Raises DefinitionError."""
    loaded: list[Loaded] = []
    problems: list[Problem] = []
    first: dict[str, Loaded] = {}
    for document in documents:
        try:
            found = load(document, catalogue)
        except DefinitionError as error:
            problems.extend(error.problems)
            continue
        other = first.setdefault(found.workflow.id, found)
        if other is not found:
            problems.append(found.problem(("id",), f"two workflows have the id '{found.workflow.id}'", _where(other)))
        loaded.append(found)
    if problems:
        raise DefinitionError(problems)
    return loaded


def _where(loaded: Loaded) -> str:
    place = loaded.place(("id",))
    line = f"line {place.line}" if place else "above"
    return f"the other one: {loaded.document.file or 'this text'}, {line}"


def _note(note: Note, document: Document) -> Problem:
    severity = "error" if note.error else "warning"
    return Problem(note.message, note.path, note.hint, document.place(note.path), document.file, severity)
