"""The embedded server: private, shared, and never stopped from starting by what a crash left behind."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
from support.database import connected

from hark.daemon.configuration import describe, load_settings
from hark.daemon.data_dir import make_data_dir
from hark.daemon.postgres import binaries
from hark.daemon.postgres.account import Account, account_for
from hark.daemon.postgres.cluster import server_pid
from hark.daemon.postgres.home import Home, open_home, try_lock
from hark.daemon.postgres.server import EmbeddedPostgres, _answers
from hark.workflows.errors import ConfigurationError

_USER = Path(__file__).parent.parent / "support" / "embedded.py"
_as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server under another account")


@pytest.fixture
def new_dir() -> Iterator[Path]:
    """Name a data directory that does not exist yet, in a directory that everybody may pass."""
    parent = Path(tempfile.mkdtemp(prefix="hark-test-"))
    parent.chmod(0o711)
    yield parent / "state"
    _remove(parent / "state")
    shutil.rmtree(parent)


@pytest.fixture(scope="module")
def made_dir() -> Iterator[Path]:
    """Make a data directory with a cluster once, to be copied: a copy takes a tenth of the time."""
    parent = Path(tempfile.mkdtemp(prefix="hark-made-"))
    parent.chmod(0o711)

    async def make() -> None:
        async with started(parent / "state"):
            pass

    asyncio.run(make())
    yield parent / "state"
    shutil.rmtree(parent)


@pytest.fixture
def data_dir(made_dir: Path, new_dir: Path) -> Path:
    """Copy a data directory that has a cluster, and no server."""
    subprocess.run(["cp", "-a", made_dir, new_dir], check=True)
    return new_dir


def _remove(data_dir: Path) -> None:
    place = data_dir / "postgres"
    for path in (place / "run", place):
        if path.is_symlink():
            shutil.rmtree(path.resolve(), ignore_errors=True)


@contextlib.asynccontextmanager
async def started(data_dir: Path) -> AsyncIterator[str]:
    """Use the embedded server for the length of a block."""
    server = EmbeddedPostgres(data_dir)
    try:
        yield await server.start()
    finally:
        await server.stop()


@contextlib.asynccontextmanager
async def user_process(data_dir: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """Run another process that uses the server; give it and the URL that it printed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, _USER, data_dir),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    try:
        yield process, (await process.stdout.readline()).decode().strip()
    finally:
        if process.returncode is None:
            await process.communicate(b"")  # Python 3.11 closes the input only with one


def lives(home: Home) -> bool:
    """Tell whether a server holds its lock."""
    lock = home.open_lock("server.lock")
    try:
        return not try_lock(lock, fcntl.LOCK_EX)
    finally:
        os.close(lock)


def status_of(pid: int) -> os.stat_result:
    return Path(f"/proc/{pid}").stat()


def wait_for_initialisation(home: Home) -> None:
    """Return while the cluster is being made."""
    while not list(home.path.glob("init-*/data/base")):
        time.sleep(0.01)


def pid_of(home: Home) -> int:
    return server_pid(home.data / "postmaster.pid")


async def test_the_first_start_makes_a_database_that_any_client_can_use(new_dir: Path) -> None:
    async with started(new_dir) as url, connected(url) as connection:
        assert await connection.fetchval("SELECT current_database()") == "hark"
        assert await connection.fetchval("SHOW fsync") == "on"
        assert await connection.fetchval("SHOW listen_addresses") == ""
        assert (await connection.fetchval("SHOW server_version")).startswith("18")
        psql = shutil.which("psql")
        if psql:
            answer = await asyncio.to_thread(subprocess.run, [psql, url, "-Atc", "SELECT 42"], capture_output=True)
            assert answer.stdout.strip() == b"42"


async def test_the_settings_give_the_url_of_a_server_that_was_made(new_dir: Path) -> None:
    settings = load_settings({"data_dir": new_dir})
    assert describe(settings, show_secrets=True)["database_url"] == {"value": None, "origin": "embedded"}
    async with started(new_dir) as url:
        assert describe(settings, show_secrets=True)["database_url"]["value"] == url
        assert "********" in describe(settings)["database_url"]["value"]


async def test_what_was_written_is_there_after_a_restart(data_dir: Path) -> None:
    async with started(data_dir) as url, connected(url) as connection:
        await connection.execute("CREATE TABLE kept AS SELECT 7 AS n")
    assert not lives(open_home(data_dir))
    async with started(data_dir) as url, connected(url) as connection:
        assert await connection.fetchval("SELECT n FROM kept") == 7


async def test_nobody_else_reaches_data_socket_locks_or_password(data_dir: Path) -> None:
    async with started(data_dir):
        home = open_home(data_dir)
        for path in (home.data, home.run):
            assert stat.S_IMODE(path.stat().st_mode) == 0o700
        for name in ("password", "start.lock", "users.lock", "server.lock"):
            assert stat.S_IMODE((home.path / name).stat().st_mode) == 0o600
        assert not home.path.stat().st_mode & stat.S_IRWXO


async def test_without_the_password_nobody_comes_in(data_dir: Path) -> None:
    async with started(data_dir) as url:
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(url, password="guess")


async def test_stop_is_safe_before_start_and_twice(data_dir: Path) -> None:
    server = EmbeddedPostgres(data_dir)
    await server.stop()
    assert await server.start() == await server.start()
    await server.stop()
    await server.stop()
    assert not lives(open_home(data_dir))


async def test_two_users_share_a_server_and_the_last_one_stops_it(data_dir: Path) -> None:
    async with started(data_dir) as url:
        async with user_process(data_dir) as (process, other_url):
            assert other_url == url
            await process.communicate(b"")
        async with connected(url) as connection:
            assert await connection.fetchval("SELECT 1") == 1
    assert not lives(open_home(data_dir))


async def test_processes_that_start_at_once_agree_on_one_server(new_dir: Path) -> None:
    async with user_process(new_dir) as (_, first), user_process(new_dir) as (_, second), started(new_dir) as third:
        assert first == second == third
    assert not lives(open_home(new_dir))


async def test_starting_and_stopping_against_each_other_never_loses_the_server(data_dir: Path) -> None:
    async def use() -> None:
        for _ in range(4):
            async with started(data_dir) as url, connected(url) as connection:
                assert await connection.fetchval("SELECT 1") == 1

    await asyncio.gather(use(), use(), use())
    assert not lives(open_home(data_dir))


async def test_a_killed_user_leaves_the_server_to_the_next(data_dir: Path) -> None:
    async with user_process(data_dir) as (process, url):
        process.kill()
        await process.wait()
    home = open_home(data_dir)
    before = pid_of(home)
    assert lives(home)
    async with started(data_dir) as again:
        assert again == url
        assert pid_of(home) == before
    assert not lives(home)


async def test_a_crash_of_everything_leaves_nothing_that_stops_the_next_start(data_dir: Path) -> None:
    """The pid in the file that was left is now that of a living process of the same user, as after a reboot."""
    async with user_process(data_dir) as (process, url):
        async with connected(url) as connection:
            await connection.execute("CREATE TABLE kept AS SELECT 7 AS n")
        home = open_home(data_dir)
        left = (home.data / "postmaster.pid").read_text()
        process.kill()
        os.kill(pid_of(home), signal.SIGKILL)
    bystander = await asyncio.create_subprocess_exec("sleep", "60", **home.account.subprocess_options())
    try:
        remains = left.replace(left.partition("\n")[0], str(bystander.pid), 1)
        (home.data / "postmaster.pid").write_text(remains)
        (home.run / ".s.PGSQL.5432.lock").write_text(remains)
        async with started(data_dir) as again, connected(again) as connection:
            assert await connection.fetchval("SELECT n FROM kept") == 7
    finally:
        bystander.kill()
        await bystander.wait()


async def test_a_server_that_dies_under_its_users_is_brought_up_by_the_next_one(data_dir: Path) -> None:
    async with started(data_dir):
        home = open_home(data_dir)
        os.kill(pid_of(home), signal.SIGKILL)
        async with started(data_dir) as url, connected(url) as connection:
            assert await connection.fetchval("SELECT 1") == 1
    assert not lives(home)


async def test_a_server_that_accepts_and_hangs_up_does_not_answer(new_dir: Path) -> None:
    """So does one that is killed, until all of its processes have gone."""
    run = new_dir.parent
    async with await asyncio.start_unix_server(lambda _, writer: writer.close(), run / ".s.PGSQL.5432"):
        assert not await _answers(f"postgresql://hark@/hark?host={run}&port=5432")


async def test_a_crash_while_the_cluster_was_made_is_forgotten(new_dir: Path) -> None:
    home = open_home(new_dir)
    (home.path / "init-half" / "data").mkdir(parents=True)
    async with started(new_dir) as url, connected(url) as connection:
        assert await connection.fetchval("SELECT 1") == 1
    assert not (home.path / "init-half").exists()


async def test_a_cancelled_start_leaves_no_server(new_dir: Path) -> None:
    server = EmbeddedPostgres(new_dir)
    task = asyncio.create_task(server.start())
    home = open_home(new_dir)
    await asyncio.to_thread(wait_for_initialisation, home)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await server.stop()
    assert not lives(home)


async def test_waiting_is_reported(new_dir: Path) -> None:
    said: asyncio.Queue[str] = asyncio.Queue()
    home = open_home(new_dir)
    lock = home.open_lock("start.lock")
    fcntl.flock(lock, fcntl.LOCK_EX)
    server = EmbeddedPostgres(new_dir, on_wait=said.put_nowait)
    task = asyncio.create_task(server.start())
    assert "another process" in await said.get()
    os.close(lock)
    await task
    await server.stop()


async def test_a_long_path_gets_a_short_private_socket_directory(new_dir: Path) -> None:
    deep = new_dir / ("d" * 90)
    async with started(deep) as url, connected(url):
        run = open_home(deep).run
        assert run.is_symlink()
        assert stat.S_IMODE(run.resolve().stat().st_mode) == 0o700
    _remove(deep)


async def test_data_of_another_major_version_are_refused(new_dir: Path) -> None:
    home = open_home(new_dir)
    home.data.mkdir()
    (home.data / "PG_VERSION").write_text("16\n")
    with pytest.raises(ConfigurationError, match=r"made by PostgreSQL 16.*dump"):
        await EmbeddedPostgres(new_dir).start()


async def test_a_server_that_cannot_start_says_why(data_dir: Path) -> None:
    with pytest.raises(ConfigurationError, match="no_such_setting"):
        await EmbeddedPostgres(data_dir, options={"no_such_setting": "1"}).start()


@_as_root
async def test_as_root_the_server_runs_as_nobody_in_a_group_of_its_own(new_dir: Path) -> None:
    async with started(new_dir):
        home = open_home(new_dir)
        owner = status_of(pid_of(home))
        assert owner.st_uid == pwd.getpwnam("nobody").pw_uid
        assert owner.st_gid == home.account.gid not in (0, pwd.getpwnam("nobody").pw_gid)
        assert home.path == new_dir / "postgres"


@_as_root
async def test_as_root_a_private_parent_is_not_opened_and_the_server_lives_elsewhere(new_dir: Path) -> None:
    new_dir.parent.chmod(0o700)
    async with started(new_dir) as url, connected(url):
        home = open_home(new_dir)
        assert not home.path.is_relative_to(new_dir)
        assert (home.path / "belongs-to").read_text().strip() == str(new_dir)
    assert stat.S_IMODE(new_dir.parent.stat().st_mode) == 0o700
    async with started(new_dir):
        assert open_home(new_dir).path == home.path


@_as_root
async def test_as_root_a_users_data_directory_stays_that_users(new_dir: Path) -> None:
    user = pwd.getpwnam("nobody")
    new_dir = make_data_dir(new_dir)
    os.chown(new_dir, user.pw_uid, user.pw_gid)
    async with started(new_dir):
        home = open_home(new_dir)
        assert account_for(new_dir, home.path).keeper == user.pw_uid
        found = [home.path, *(path for path in home.path.iterdir() if path.name != "start.log")]
        assert {path.stat().st_uid for path in found} == {user.pw_uid}


@_as_root
async def test_as_root_a_link_in_place_of_a_lock_is_not_followed(new_dir: Path) -> None:
    home = open_home(new_dir)
    target = new_dir / "target"
    target.touch(mode=0o600)
    (home.path / "start.lock").symlink_to(target)
    with pytest.raises(OSError, match=r"start\.lock"):
        await EmbeddedPostgres(new_dir).start()


def _python_for_everybody() -> str | None:
    """Find a Python of this version that other users may run too; the one of a virtual environment may be private."""
    nobody = pwd.getpwnam("nobody")
    check = f"import sys; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})"
    for python in (sys.executable, "/usr/bin/python3"):
        with contextlib.suppress(OSError):
            result = subprocess.run(
                [python, "-c", check], user=nobody.pw_uid, capture_output=True, check=False, cwd="/"
            )
            if result.returncode == 0:
                return python
    return None


@_as_root
def test_as_an_ordinary_user_everything_is_that_users(new_dir: Path) -> None:
    python = _python_for_everybody()
    if python is None:
        pytest.skip("there is no Python here that an ordinary user may run")
    nobody = pwd.getpwnam("nobody")
    new_dir.mkdir(mode=0o700)
    os.chown(new_dir, nobody.pw_uid, nobody.pw_gid)
    result = subprocess.run(
        [python, _USER, new_dir],
        env={"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "PATH": os.defpath},
        user=nobody.pw_uid,
        group=nobody.pw_gid,
        extra_groups=[],
        input=b"",
        capture_output=True,
        check=False,
        cwd="/",
    )
    assert result.stdout.startswith(b"postgresql://hark:"), result.stderr.decode()
    home = new_dir / "postgres"
    assert {path.stat().st_uid for path in (home, *home.iterdir())} == {nobody.pw_uid}
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


@_as_root
def test_as_root_programs_in_a_private_place_are_copied_to_where_the_server_may_run_them(
    new_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    new_dir.mkdir(mode=0o755)
    account = account_for(new_dir, new_dir / "postgres")
    monkeypatch.setattr(Account, "can_pass", lambda *_: False)
    monkeypatch.setattr(binaries, "make_elsewhere", lambda: new_dir)
    found = binaries.find_binaries(account)
    assert found.is_relative_to(new_dir)
    binaries.run_program(account, found / "initdb", "--version")
    assert binaries.find_binaries(account) == found
