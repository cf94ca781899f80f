"""The examples, as `make run` starts them: each is tried by the command that its author wrote."""

from __future__ import annotations

import asyncio
import shlex
from pathlib import Path
from typing import Any

from support.daemon import Daemon, daemon, until

from hark.workflows.reading import read_source

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
ENDED = """
SELECT e.status FROM hark.workflow_executions AS e JOIN hark.workflows AS w ON w.id = e.workflow_id WHERE w.slug = '{}'
"""


def tries() -> dict[str, str]:
    """Return the commands that the examples name, by workflow."""
    found: dict[str, str] = {}
    for file in EXAMPLES.glob("*.yaml"):
        for document in read_source(file.read_bytes(), file=file.name):
            definition: dict[str, Any] = document.value
            if "try" in definition.get("metadata", {}):
                found[definition["id"]] = definition["metadata"]["try"]
    return found


async def perform(one: Daemon, command: str) -> str:
    """Run a command as it is printed, against this daemon's port."""
    program, *arguments = shlex.split(command.replace(":8470", f":{one.port}"), comments=True)
    if program.endswith("/hark"):
        return await one.hark(*arguments)
    process = await asyncio.create_subprocess_exec(program, "-fsS", *arguments, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode()


async def test_every_example_does_what_it_says() -> None:
    commands = tries()
    assert set(commands) == {"welcome-client", "github-push", "client-report"}
    environment = {
        "HARK_SECRET_GITHUB": "demo",
        "HARK_HTTP_ALLOW_NETWORKS": "127.0.0.0/8",
        "HARK_MAIL_DIR": "mail",
    }
    files = {f"workflows/{file.name}": file.read_text(encoding="utf-8") for file in EXAMPLES.glob("*.yaml")}
    files["setup.sql"] = (EXAMPLES / "setup.sql").read_text(encoding="utf-8")
    async with daemon(
        environment, "--workflows", "{home}/workflows", "--setup", "{home}/setup.sql", files=files
    ) as one:
        for file in (one.data_dir.parent / "workflows").iterdir():
            file.write_text(file.read_text(encoding="utf-8").replace(":8470", f":{one.port}"), encoding="utf-8")
        one.environment["HARK_MAIL_DIR"] = str(one.data_dir.parent / "mail")
        await one.start()
        database = one.database_url
        assert "INSERT 0 1" in await perform(one, commands["welcome-client"])
        assert "event_id" in await perform(one, commands["github-push"])
        for slug in ("welcome-client", "github-push", "deployments"):
            await until(database, ENDED.format(slug), lambda status: status == "completed")
        assert await until(database, "SELECT count(*) FROM clients WHERE welcomed_at IS NOT NULL", lambda n: n == 1)
        assert await until(database, "SELECT count(*) FROM deployments", lambda n: n == 1)
        assert len(list((one.data_dir.parent / "mail").glob("*.eml"))) == 1
        # The next full minute is up to a minute away: that its slot fires is shown by the cron tests.
        assert "client-report" in await one.hark("schedules")
