"""The daemon as `hark run` starts it, with the benchmark's own action among the built-in ones."""

from __future__ import annotations

import sys

from benchmarks.work import catalogue
from hark.daemon import app
from hark.daemon.configuration import load_settings


def main() -> int:
    """Run until told to stop; settings come from the environment."""
    app.builtin_catalogue = catalogue
    return app.main(load_settings({}))


if __name__ == "__main__":
    sys.exit(main())
