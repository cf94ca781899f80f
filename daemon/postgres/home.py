"""Where an embedded server lives: its directory, its locks, its password, its socket."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from hark.daemon.data_dir import make_data_dir, write_private
from hark.daemon.postgres.account import Account, account_for
from hark.workflows.errors import ConfigurationError

ELSEWHERE = Path("/var/lib/hark-postgres")
"""For root only: homes and binaries that the server's account could not reach where they belong. Root's, 0711."""

PORT = 5432
_SOCKET = f".s.PGSQL.{PORT}"
# The kernel's limit is 108 bytes with the closing NUL on Linux, 104 elsewhere.
_LONGEST_SOCKET_PATH = 103


@dataclass(frozen=True, slots=True)
class Home:
    """The directory `postgres` of a data directory. It holds `data`, `run` (the socket), locks, and the password.

    Three locks (`flock`, so the kernel frees them whatever way a process ends):
    `start.lock` is held, exclusively, by the process that brings the server up; `users.lock` is held, shared, by every
    process that uses the server, and exclusively by the one that stops it; `server.lock` is held by the server's own
    processes, which inherit it: as long as it cannot be taken, the server lives, whatever a pid file says.
    """

    path: Path
    account: Account

    @property
    def data(self) -> Path:
        return self.path / "data"

    @property
    def start_log(self) -> Path:
        return self.path / "start.log"

    @property
    def run(self) -> Path:
        """The directory of the socket; a link when the path would be too long for a socket."""
        return self.path / "run"

    def open_lock(self, name: str) -> int:
        """Open a lock file; the caller closes it."""
        path = self.path / name
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self.account.keep(path)
        return descriptor

    def password(self) -> str:
        """Return the password of the server, made at first use."""
        path = self.path / "password"
        if not path.exists():
            if self.data.exists():
                raise ConfigurationError(f"{path} is gone; restore it from a backup together with {self.data}")
            write_private(path, secrets.token_urlsafe(32))
            self.account.keep(path)
        return path.read_text(encoding="utf-8").strip()

    def url(self) -> str:
        """Return the URL of the database, for any client of PostgreSQL."""
        socket_dir = quote(str(self.run.resolve()), safe="/")
        return f"postgresql://hark:{self.password()}@/hark?host={socket_dir}&port={PORT}"

    def make_run_dir(self) -> Path:
        """Return a fresh private directory for the socket. Call it only while no server lives."""
        if self.run.is_symlink() or self.run.exists():
            shutil.rmtree(self.run.resolve(), ignore_errors=True)
            self.run.unlink() if self.run.is_symlink() else None
        if _fits(self.run):
            self.run.mkdir(mode=0o700)
        else:
            self.run.symlink_to(_short_directory())
        self.account.own(self.run.resolve(), 0o700)
        return self.run.resolve()


def open_home(data_dir: Path) -> Home:
    """Find or make the home of the server of a data directory.

    For root the server runs under another account, which may not be let through to the data directory (one below
    `/root`, or a private temporary one). No directory is opened up for it: then the home is made under
    `/var/lib/hark-postgres`, and `postgres` in the data directory is a link to it. Raises ConfigurationError.
    """
    data_dir = make_data_dir(data_dir)
    place = data_dir / "postgres"
    if place.is_symlink() and not place.exists():
        raise ConfigurationError(f"{place} leads to {place.readlink()}, which is gone; restore it, or remove the link")
    try:
        return _make_home(data_dir, place)
    except OSError as error:
        raise ConfigurationError(
            f"{error.filename or place}: {error.strerror}; is this data directory yours?"
        ) from error


def existing_url(data_dir: Path) -> str | None:
    """Return the URL of a server that was made before, running or not, and None when there is none to be seen."""
    place = data_dir / "postgres"
    try:
        if (place / "data").is_dir():
            return Home(place.resolve(), account_for(data_dir, place)).url()
    except PermissionError:
        pass
    return None


def _make_home(data_dir: Path, place: Path) -> Home:
    account = account_for(data_dir, place)
    if not place.exists():
        if account.can_pass(place):
            _make_directory(account, place)
        else:
            _make_elsewhere(account, data_dir, place)
    return Home(place.resolve(), account)


def _make_directory(account: Account, path: Path) -> None:
    """Make a home aside and move it into place: whoever sees it, sees it with its owner and mode."""
    scratch = Path(tempfile.mkdtemp(prefix=".postgres-", dir=path.parent))
    account.keep(scratch)
    scratch.chmod(0o700 if account.keeper == account.uid else 0o710)
    try:
        scratch.rename(path)
    except OSError:  # another process was quicker, and has begun to fill it
        scratch.rmdir()


def _make_elsewhere(account: Account, data_dir: Path, place: Path) -> None:
    home = make_elsewhere() / secrets.token_hex(8)
    _make_directory(account, home)
    (home / "belongs-to").write_text(f"{data_dir}\n", encoding="utf-8")
    try:
        place.symlink_to(home)
    except FileExistsError:  # another process was quicker
        shutil.rmtree(home)


def make_elsewhere() -> Path:
    """Return the place for what the server's account cannot reach otherwise."""
    ELSEWHERE.mkdir(mode=0o711, parents=True, exist_ok=True)
    return ELSEWHERE


def _fits(directory: Path) -> bool:
    return len(os.fsencode(directory / _SOCKET)) <= _LONGEST_SOCKET_PATH


def _short_directory() -> Path:
    """Make a directory for the socket whose path is short: only its owner may enter, whatever is above it."""
    for parent in (tempfile.gettempdir(), "/tmp", "/var/tmp"):  # noqa: S108 - mkdtemp makes it 0700 and unguessable
        if _fits(Path(parent) / "hark-12345678"):
            with contextlib.suppress(OSError):
                return Path(tempfile.mkdtemp(prefix="hark-", dir=parent))
    raise ConfigurationError("data_dir: its path is too long for a socket, and so are the temporary ones")


def try_lock(descriptor: int, operation: int) -> bool:
    """Take a lock if it is free; `operation` is LOCK_SH or LOCK_EX."""
    try:
        fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
