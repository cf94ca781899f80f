"""`python -m hark`: the same as the command `hark`."""

from __future__ import annotations

from hark.daemon.cli import main

if __name__ == "__main__":
    main()
