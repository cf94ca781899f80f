"""The data of an embedded server: made, checked, and cleared of what a crash left."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from hark.daemon.data_dir import sync_directory
from hark.daemon.postgres.binaries import MAJOR, environment, run_program
from hark.daemon.postgres.home import PORT, Home
from hark.workflows.errors import ConfigurationError

_SETTINGS = {
    # A small machine that is always on, with one client: Hark.
    "max_connections": "100",
    "shared_buffers": "128MB",
    "password_encryption": "scram-sha-256",
    "random_page_cost": "1.1",
    "jit": "off",
    # The user is called like Hark's schema: by default, tables that people make through its URL would land in there.
    "search_path": "public",
    # Fewer full page images, at the price of a recovery that may take some seconds longer.
    "checkpoint_timeout": "15min",
    "wal_compression": "pglz",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Seven files of one day each, written over after a week.
    "logging_collector": "on",
    "log_directory": "log",
    "log_filename": "postgresql-%a.log",
    "log_rotation_age": "1d",
    "log_rotation_size": "0",
    "log_truncate_on_rotation": "on",
}


def initialise(home: Home, binaries: Path) -> None:
    """Make the cluster with the database `hark`, unless it is there.

    It is made aside and renamed when it is whole, so a crash in between leaves nothing but a directory to throw away.
    """
    _refuse_other_major(home.data)
    for remains in home.path.glob("init-*"):
        shutil.rmtree(remains, ignore_errors=True)
    if home.data.exists():
        return
    scratch = Path(tempfile.mkdtemp(prefix="init-", dir=home.path))
    try:
        home.account.own(scratch, 0o700)
        _make_cluster(home, binaries, scratch)
        (scratch / "data").rename(home.data)
        sync_directory(home.path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _make_cluster(home: Home, binaries: Path, scratch: Path) -> None:
    password_file = scratch / "password"
    password_file.touch(mode=0o600)
    password_file.write_text(home.password(), encoding="utf-8")
    home.account.own(password_file, 0o600)
    settings = [argument for name, value in _SETTINGS.items() for argument in ("-c", f"{name}={value}")]
    data = scratch / "data"
    # The built-in locale sorts the same on every machine and after every upgrade of the C library.
    run_program(
        home.account,
        *(binaries / "initdb", "-D", data, "-U", "hark", "-A", "scram-sha-256", f"--pwfile={password_file}"),
        *("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
        *settings,
    )
    single_user = (binaries / "postgres", "--single", "-D", data, "-c", "logging_collector=off", "postgres")
    run_program(home.account, *single_user, text="CREATE DATABASE hark\n")


def _refuse_other_major(data: Path) -> None:
    if not data.exists():
        return
    found = (data / "PG_VERSION").read_text(encoding="ascii").strip()
    if found != str(MAJOR):
        raise ConfigurationError(
            f"{data} was made by PostgreSQL {found}, and this Hark brings {MAJOR}: "
            "dump the database with the Hark that made it, and restore the dump into a new data directory",
        )


def spawn(home: Home, binaries: Path, server_lock: int, options: Mapping[str, str]) -> None:
    """Start the server in a session of its own and return at once. Call it with `server_lock` taken."""
    _clear_pid_file(home.data / "postmaster.pid")
    settings = {
        "unix_socket_directories": f'"{home.make_run_dir()}"',
        "unix_socket_permissions": "0700",
        "listen_addresses": "",
        "port": str(PORT),
        **options,
    }
    arguments = [argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")]
    with home.start_log.open("wb") as log:
        # The shell ends at once: the server is nobody's child, and outlives the process that started it.
        subprocess.run(  # noqa: S603 - the package's own programs
            ["/bin/sh", "-c", '"$@" &', "sh", binaries / "postgres", "-D", home.data, *arguments],
            check=True,
            cwd="/",
            env=environment(),
            pass_fds=[server_lock],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            **home.account.subprocess_options(),
        )


def _clear_pid_file(path: Path) -> None:
    """Remove the pid file that a dead server left.

    PostgreSQL believes it as long as *any* process of the same user has that pid, which after a restart of a container
    is likely. The server lock is ours, so no server that Hark started lives; one that was started by hand is known by
    its working directory, which is always the data directory.
    """
    pid = server_pid(path)
    if pid and _works_in(pid, path.parent):
        raise ConfigurationError(f"a server that Hark did not start (pid {pid}) runs on {path.parent}; stop it first")
    path.unlink(missing_ok=True)


def _works_in(pid: int, directory: Path) -> bool:
    try:
        return Path(f"/proc/{pid}/cwd").samefile(directory)
    except OSError:
        return False


def server_pid(path: Path) -> int:
    """Read the server's pid out of `postmaster.pid`; 0 when it is not there or not whole."""
    try:
        first = path.read_text(encoding="ascii", errors="replace").partition("\n")[0]
    except FileNotFoundError:
        return 0
    return int(first) if first.isdigit() else 0


def last_words(home: Home) -> str:
    """Return the end of what the server said last, for an error message."""
    logs = [home.start_log, *(home.data / "log").glob("*.log")]
    found = [log for log in logs if log.exists() and log.stat().st_size]
    if not found:
        return ""
    latest = max(found, key=lambda log: log.stat().st_mtime)
    with latest.open("rb") as file:
        file.seek(-min(2000, os.fstat(file.fileno()).st_size), os.SEEK_END)
        return "\n".join(file.read().decode(errors="replace").splitlines()[-8:])
