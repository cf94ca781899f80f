"""The command line."""

from __future__ import annotations


def main() -> None:
    """Run the command that the arguments name; ends the process with its exit status."""
    from hark.daemon.cli.main import run

    run()
