"""The benchmark: measures part by part, keeps each part's figures, and writes the report of all that there are.

`make bench` runs all of it; `python -m benchmarks.run --only PART…` some parts, and the report takes the others'
figures from the last time. `--quick` measures less, to see that everything works.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import signal
import sys
import time
from collections.abc import Coroutine, Sequence
from typing import Any

import uvloop

from benchmarks.bench import FULL, QUICK, Bench, Scale
from benchmarks.environments import HOME, PYTHON_PEERS, NotInstalledError, n8n, python_of
from benchmarks.machine import describe
from benchmarks.report import write_report
from benchmarks.results import Part
from benchmarks.server import own_server
from hark.daemon.logging import configure_logging

PARTS = ("throughput", "latency", "webhooks", "instances", "active", "capture", "stored")
"""In this order: the last one takes longest, and is what is left out when the time is over."""
ON_DEMAND = ("soak",)
NEEDED_S = 20.0
SOAK_LIMIT_S = 1200.0
RESULTS = HOME / "results"


async def run(scale: Scale, parts: Sequence[str]) -> int:
    """Measure the parts; returns how many failed."""
    HOME.mkdir(parents=True, exist_ok=True)
    missing = await _prepare(parts)
    failed = 0
    async with own_server() as server:
        limit_s = scale.limit_s + (SOAK_LIMIT_S if "soak" in parts else 0)
        bench = Bench(server, scale, time.monotonic() + limit_s, missing)
        (await describe(server, scale.name)).save(RESULTS / scale.name)
        for name in parts:
            if bench.left_s < NEEDED_S:
                print(f"{name}: left out, the time is over", flush=True)
                failed += 1
                continue
            failed += not await _measure(bench, name)
    return failed


async def _prepare(parts: Sequence[str]) -> dict[str, str]:
    """Install the peers before the time runs; what cannot be had is told, and left out."""
    missing: dict[str, str] = {}
    if {"throughput", "latency"} & set(parts):
        for name in PYTHON_PEERS:
            try:
                await python_of(name)
            except NotInstalledError as error:
                missing[name] = str(error)
    if "webhooks" in parts:
        try:
            await n8n()
        except NotInstalledError as error:
            missing["n8n"] = str(error)
    for name, why in missing.items():
        print(f"{name} is left out: {why}", flush=True)
    return missing


async def _measure(bench: Bench, name: str) -> bool:
    print(f"{name} ({bench.left_s:.0f} s left)", flush=True)
    began = time.monotonic()
    try:
        async with asyncio.timeout(bench.left_s):
            part: Part = await importlib.import_module(f"benchmarks.parts.{name}").measure(bench)
    except TimeoutError:
        print(f"{name}: not done in time, left out", flush=True)
        return False
    except Exception as error:  # noqa: BLE001 - the edge of a part: the others are measured all the same
        print(f"{name}: {type(error).__name__}: {error}", flush=True)
        return False
    took = time.monotonic() - began
    part.model_copy(update={"took_s": took, "missing": dict(bench.missing)}).save(RESULTS / bench.scale.name)
    print(f"{name}: done in {took:.0f} s", flush=True)
    return True


def main() -> None:
    """Read the arguments, measure, and write the report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS + ON_DEMAND, metavar="PART", help="some parts")
    parser.add_argument("--quick", action="store_true", help="measure less; the report goes to .hark/bench/quick.md")
    parser.add_argument("--report", action="store_true", help="measure nothing, only write the report")
    arguments = parser.parse_args()
    scale = QUICK if arguments.quick else FULL
    configure_logging("warning")
    failed = 0
    if not arguments.report:
        parts = [name for name in PARTS + ON_DEMAND if name in (arguments.only or PARTS)]
        try:
            failed = uvloop.run(_interruptible(run(scale, parts)))
        except asyncio.CancelledError:
            print("broken off; everything that was started has been ended", flush=True)
            sys.exit(130)
    print(f"the report is in {write_report(RESULTS / scale.name)}", flush=True)
    sys.exit(1 if failed else 0)


async def _interruptible(work: Coroutine[Any, Any, int]) -> int:
    """Let Ctrl-C and SIGTERM cancel the work, so that it takes down what it has started."""
    task = asyncio.ensure_future(work)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await task


if __name__ == "__main__":
    main()
