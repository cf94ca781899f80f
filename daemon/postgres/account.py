"""Under which account the embedded server runs: PostgreSQL refuses to run as root."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hark.workflows.errors import ConfigurationError

_FIRST_PRIVATE_GROUP = 58470


@dataclass(frozen=True, slots=True)
class Account:
    """Who runs the server (`uid`, `gid`) and who owns the locks and the password around it (`keeper`)."""

    uid: int
    gid: int
    keeper: int

    @property
    def is_ours(self) -> bool:
        """Whether the server runs as the very user that this process is."""
        return self.uid == os.geteuid()

    def subprocess_options(self) -> dict[str, Any]:
        """Return what `subprocess` needs to run a program under this account."""
        return {} if self.is_ours else {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, path: Path, mode: int) -> None:
        """Give a file or directory to the server."""
        if not self.is_ours:
            os.chown(path, self.uid, self.gid)
        path.chmod(mode)

    def keep(self, path: Path) -> None:
        """Give a file or directory to the keeper; a link is never followed, it may be a trap for root."""
        if os.geteuid() == 0:
            os.chown(path, self.keeper, self.gid, follow_symlinks=False)

    def can_pass(self, path: Path) -> bool:
        """Tell whether the server can reach `path`: every directory above it must let this account through."""
        return self.is_ours or all(self._may_enter(parent.stat()) for parent in path.absolute().parents)

    def _may_enter(self, status: os.stat_result) -> bool:
        if status.st_uid == self.uid:
            return bool(status.st_mode & stat.S_IXUSR)
        if status.st_gid == self.gid:
            return bool(status.st_mode & stat.S_IXGRP)
        return bool(status.st_mode & stat.S_IXOTH)


def account_for(data_dir: Path, home: Path) -> Account:
    """Choose the account of a server that lives in `home` and belongs to `data_dir`.

    For an ordinary user, that user. For root, the owner of the data directory, or, when that is root too, `nobody` in a
    group of its own: the directories around the data are open to that group only, so that other programs of `nobody`
    do not reach it. Raises ConfigurationError.
    """
    uid = os.geteuid()
    if uid != 0:
        return Account(uid, os.getegid(), uid)
    owner = data_dir.stat()
    if owner.st_uid != 0:
        return Account(owner.st_uid, owner.st_gid, owner.st_uid)
    return Account(_nobody(), _existing_group(home) or _free_group(), 0)


def _nobody() -> int:
    try:
        return pwd.getpwnam("nobody").pw_uid
    except KeyError:
        raise ConfigurationError(
            "PostgreSQL does not run as root and there is no account `nobody`: "
            "run Hark as an ordinary user, give the data directory to one, or set HARK_DATABASE_URL",
        ) from None


def _existing_group(home: Path) -> int:
    try:
        return home.stat().st_gid
    except FileNotFoundError:
        return 0


def _free_group() -> int:
    taken = {group.gr_gid for group in grp.getgrall()} | {user.pw_gid for user in pwd.getpwall()}
    return next(gid for gid in range(_FIRST_PRIVATE_GROUP, _FIRST_PRIVATE_GROUP + 1000) if gid not in taken)
