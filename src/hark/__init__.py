"""Hark: a trigger-listening workflow daemon on PostgreSQL."""

from __future__ import annotations

from hark._version import __version__

__all__ = ["__version__"]
