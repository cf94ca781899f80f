"""What a person sees in the terminal once the daemon is up."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from hark._version import __version__


def show_welcome(url: str, key_file: Path, hints: Sequence[tuple[str, str]]) -> None:
    """Show where the daemon is reached and what to try; nothing when nobody looks at a terminal.

    `hints` are workflow slugs with the command that each one's author wrote under `metadata.try`.
    """
    console = Console(stderr=True)
    if not sys.stderr.isatty():
        return
    facts = Table.grid(padding=(0, 2))
    facts.add_row("listening at", Text(url, style="bold cyan"))
    facts.add_row("admin key in", str(key_file))
    facts.add_row("watch it work", Text("hark logs -f", style="green"))
    console.print(Panel(facts, title=f"Hark {__version__}", title_align="left", border_style="cyan", expand=False))
    if hints:
        console.print("Try it, in another terminal:")
        for slug, command in hints:
            console.print(Text(f"  # {slug}", style="dim"))
            console.print(Text(f"  {command}", style="green"), soft_wrap=True)
