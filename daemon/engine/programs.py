"""Programs by version: compiled at first use, kept while they are used."""

from __future__ import annotations

from uuid import UUID

import orjson

from hark.daemon.engine.program import Compiler, Program
from hark.daemon.store.database import Database
from hark.workflows.catalogue import Catalogue
from hark.workflows.definition import Workflow
from hark.workflows.kept import Kept

_KEPT = 6_000_000
"""Characters of the definitions whose programs are kept; a program takes some five bytes for each."""

Key = tuple[UUID, UUID, int]


class Programs:
    """The most recently used programs. Versions are immutable, so nothing here grows stale."""

    def __init__(self, database: Database, catalogue: Catalogue) -> None:
        self._database = database
        self._compiler = Compiler(catalogue)
        self._programs: Kept[Key, Program] = Kept(_KEPT)

    def ready(self, tenant_id: UUID, workflow_id: UUID, version: int) -> Program | None:
        """Return a program that is in memory."""
        return self._programs.get((tenant_id, workflow_id, version))

    async def get(self, tenant_id: UUID, workflow_id: UUID, version: int) -> Program:
        """Return a program, loading and compiling it when need be. Raises LookupError when the version is gone."""
        program = self.ready(tenant_id, workflow_id, version)
        if program is not None:
            return program
        row = await self._database.fetchrow("load_definition", tenant_id, workflow_id, version)
        if row is None:
            raise LookupError(f"version {version} of workflow {workflow_id} does not exist any more")
        workflow = Workflow.model_validate(orjson.loads(row["definition"]))
        program = self._compiler.compile(workflow, tenant_id=tenant_id, workflow_id=workflow_id, version=version)
        self._programs.put((tenant_id, workflow_id, version), program, len(row["definition"]))
        return program
