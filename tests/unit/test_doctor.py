"""What the doctor finds on this machine, and what it makes of figures; trouble is made for real where it can be."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import threading
import time
import zoneinfo
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from hark.daemon.doctor.checking import LocalCheck, run_local
from hark.daemon.doctor.clock import issue_date, look_at_tzdata
from hark.daemon.doctor.examination import LOCAL, examine
from hark.daemon.doctor.installation import judge_space, look_at_data_dir, look_at_disk, look_at_variables
from hark.daemon.doctor.listening import judge_listening, look_at_listening
from hark.daemon.doctor.objects import Thing, compare
from hark.daemon.doctor.process import look_at_daemon, look_at_port
from hark.daemon.doctor.report import Finding, document, healthy, ok
from hark.daemon.doctor.schema import judge
from hark.daemon.doctor.server import judge_connections, judge_version
from hark.daemon.settings import Settings
from hark.daemon.store.schema import SchemaState

_GIB = 1024**3


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Name a data directory that is there."""
    place = tmp_path / "state"
    place.mkdir(mode=0o700)
    return Settings(data_dir=place, port=0)


@pytest.fixture
def gone_pid() -> int:
    """Give the number of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


@pytest.fixture
def serve() -> Iterator[Callable[[int, Any], str]]:
    """Serve one answer to every request, and give the URL."""
    servers: list[tuple[HTTPServer, threading.Thread]] = []

    def start(status: int, body: Any) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body if isinstance(body, bytes) else json.dumps(body).encode())

            def log_message(self, *_: Any) -> None:
                """Be quiet."""

        server = HTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


def write_runtime(settings: Settings, url: str, pid: int) -> None:
    (settings.data_dir / "daemon.json").write_text(json.dumps({"url": url, "pid": pid}))


def space(free: int, total: int, files: int = 10**6) -> Any:
    return SimpleNamespace(f_bavail=free, f_frsize=1, f_blocks=total, f_files=10**7, f_favail=files)


# What is found on a machine.


def test_a_variable_that_means_nothing_is_named_with_what_was_meant(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARK_PROT", "8471")
    monkeypatch.setenv("HARK_SECRET_GH", "x")
    (found,) = look_at_variables(settings)
    assert (found.level, found.advice) == ("warning", "did you mean HARK_PORT?")
    assert "HARK_PROT" in found.message


def test_a_connection_that_the_daemon_would_refuse_is_an_error(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was said of it, or that it was a defect of Hark, which should be reported."""
    monkeypatch.setenv("HARK_CONNECTION_CRM", "postgresql://db:port/crm")
    (found,) = look_at_variables(settings)
    assert (found.level, found.message.startswith("HARK_CONNECTION_CRM: ")) == ("error", True)


def test_a_closed_data_directory_raises_no_concern(settings: Settings) -> None:
    (settings.data_dir / "admin.key").touch(mode=0o600)
    assert not list(look_at_data_dir(settings))
    settings.data_dir.chmod(0o711)  # as root: the embedded server's account passes through
    assert not list(look_at_data_dir(settings))


@pytest.mark.parametrize("mode", [0o770, 0o707])
def test_a_data_directory_that_others_may_write_in_is_an_error(settings: Settings, mode: int) -> None:
    settings.data_dir.chmod(mode)
    (found,) = look_at_data_dir(settings)
    assert found.level == "error"
    assert "chmod go-w" in found.advice


@pytest.mark.parametrize("name", ["admin.key", "postgres/password"])
def test_a_private_file_that_others_may_read_is_an_error(settings: Settings, name: str) -> None:
    file = settings.data_dir / name
    file.parent.mkdir(exist_ok=True)
    file.touch()
    file.chmod(0o640)
    (found,) = look_at_data_dir(settings)
    assert (found.level, found.detail["mode"]) == ("error", "0640")
    assert str(file) in found.message


def test_a_file_in_place_of_the_data_directory_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "state").touch(mode=0o600)
    (found,) = look_at_data_dir(Settings(data_dir=tmp_path / "state"))
    assert found.level == "error"


def test_the_disk_of_a_directory_to_be_made_is_that_of_the_one_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def statvfs(place: Path) -> Any:
        asked.append(place)
        return space(1, 100 * _GIB)

    monkeypatch.setattr(os, "statvfs", statvfs)
    (found,) = look_at_disk(Settings(data_dir=tmp_path / "not" / "yet"))
    assert found.level == "error"
    assert asked == [tmp_path]


@pytest.mark.parametrize(
    "free,total,files,level",
    [
        (50 * _GIB, 100 * _GIB, 10**6, None),
        (4 * _GIB, 100 * _GIB, 10**6, "warning"),
        (1 * _GIB, 10 * _GIB, 10**6, "warning"),
        (_GIB // 8, 10 * _GIB, 10**6, "error"),
        (50 * _GIB, 100 * _GIB, 5, "warning"),
    ],
)
def test_room_on_a_disk_is_judged(free: int, total: int, files: int, level: str | None) -> None:
    found = list(judge_space(Path("/"), space(free, total, files)))
    assert [finding.level for finding in found] == ([level] if level else [])


# Time zones.


@pytest.fixture
def zones(tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """Put the system's time zones elsewhere, in a release of the test's choice."""

    def release(name: str) -> None:
        (tmp_path / "tzdata.zi").write_text(f"# version {name}\n")
        zoneinfo.reset_tzpath(to=[str(tmp_path)])

    yield release
    zoneinfo.reset_tzpath()


def test_old_time_zones_are_a_warning(settings: Settings, zones: Callable[[str], None], tmp_path: Path) -> None:
    zones("2021a")
    (found,) = look_at_tzdata(settings)
    assert (found.level, found.detail) == ("warning", {"release": "2021a", "source": str(tmp_path)})


def test_time_zones_of_this_year_are_good(settings: Settings, zones: Callable[[str], None]) -> None:
    zones(f"{datetime.now(UTC).year}a")
    (found,) = look_at_tzdata(settings)
    assert found.level == "ok"


def test_without_zones_of_the_system_those_of_the_package_count(settings: Settings) -> None:
    zoneinfo.reset_tzpath(to=[])
    try:
        (found,) = look_at_tzdata(settings)
    finally:
        zoneinfo.reset_tzpath()
    assert found.detail["source"] == "the Python package tzdata"


def test_zones_that_do_not_say_their_release_are_a_warning(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "Etc").mkdir()
    (tmp_path / "Etc" / "UTC").touch()
    zoneinfo.reset_tzpath(to=[str(tmp_path)])
    try:
        (found,) = look_at_tzdata(settings)
    finally:
        zoneinfo.reset_tzpath()
    assert (found.level, "not known" in found.message) == ("warning", True)


@pytest.mark.parametrize(
    "release,actual",
    [("2024a", date(2024, 2, 1)), ("2024b", date(2024, 9, 4)), ("2025b", date(2025, 3, 22)), ("2026.3", None)],
)
def test_the_issue_date_of_a_release_is_estimated_within_some_months(release: str, actual: date | None) -> None:
    estimate = issue_date(release)
    assert estimate is not None
    assert actual is None or abs(estimate - actual) < timedelta(days=180)


@pytest.mark.parametrize("release", ["", "2024", "unknown"])
def test_no_date_is_made_up(release: str) -> None:
    assert issue_date(release) is None


# The daemon and its port.


def test_no_runtime_file_means_no_daemon(settings: Settings) -> None:
    (found,) = look_at_daemon(settings)
    assert (found.level, "no daemon runs" in found.message) == ("ok", True)


def test_a_daemon_that_was_killed_is_told_by_its_process(settings: Settings, gone_pid: int) -> None:
    write_runtime(settings, "http://127.0.0.1:9", gone_pid)
    (found,) = look_at_daemon(settings)
    assert (found.level, found.detail["pid"]) == ("warning", gone_pid)


def test_a_ready_daemon_is_good(settings: Settings, serve: Callable[[int, Any], str]) -> None:
    write_runtime(settings, serve(200, {"ready": True, "parts": {}}), os.getpid())
    (found,) = look_at_daemon(settings)
    assert (found.level, found.detail["pid"]) == ("ok", os.getpid())


def test_a_daemon_whose_wake_ups_come_through_is_good(settings: Settings, serve: Callable[[int, Any], str]) -> None:
    assert next(look_at_listening(settings)).level == "ok"  # none runs
    figures = CollectorRegistry()
    Gauge("hark_start_time_seconds", "…", registry=figures).set(time.time() - 7200)
    Counter("hark_listening_rebuilt", "…", registry=figures).inc(2)
    polls = Counter("hark_polls_unannounced", "…", ["part"], registry=figures)
    polls.labels("row").inc(100)
    write_runtime(settings, serve(200, generate_latest(figures)), os.getpid())
    (found,) = look_at_listening(settings)
    assert (found.level, found.detail["rebuilt"], found.detail["unannounced"]) == ("ok", 2, 100)
    polls.labels("ends").inc(30)
    write_runtime(settings, serve(200, generate_latest(figures)), os.getpid())
    (found,) = look_at_listening(settings)
    assert (found.level, "130 looks" in found.message) == ("warning", True)


def test_a_connection_that_is_rebuilt_all_the_time_is_told() -> None:
    assert judge_listening(60.0, 6, 0).level == "ok"
    assert judge_listening(60.0, 1, 0).message.endswith("rebuilt 1 time")
    found = judge_listening(60.0, 7, 0)
    assert (found.level, "rebuilt 7 times" in found.message) == ("warning", True)
    assert judge_listening(36_000.0, 60, 600).level == "ok"


@pytest.mark.parametrize("body", [b"<html>", {"ready": True}])
def test_figures_that_are_none_are_no_concern_of_this_check(
    settings: Settings, serve: Callable[[int, Any], str], body: Any
) -> None:
    write_runtime(settings, serve(200, body), os.getpid())
    assert next(look_at_listening(settings)).level == "ok"


def test_a_daemon_that_is_not_ready_says_why(settings: Settings, serve: Callable[[int, Any], str]) -> None:
    parts = {"row": {"ok": False, "detail": "clients is gone"}, "cron": {"ok": True, "detail": ""}}
    write_runtime(settings, serve(503, {"ready": False, "parts": parts}), os.getpid())
    (found,) = look_at_daemon(settings)
    assert found.level == "error"
    assert found.message.endswith("is not ready: row: clients is gone")


def test_a_daemon_that_is_ready_without_another_database_says_so(
    settings: Settings, serve: Callable[[int, Any], str]
) -> None:
    """It was found good, and that a channel was not heard was nowhere to be seen."""
    parts = {"notify@crm": {"ok": False, "detail": "not heard", "needed": False}, "row": {"ok": True, "detail": ""}}
    write_runtime(settings, serve(200, {"ready": True, "parts": parts}), os.getpid())
    (found,) = look_at_daemon(settings)
    assert found.level == "warning"
    assert found.message.endswith(", but not all of it works: notify@crm: not heard")


def test_a_process_that_lives_and_does_not_answer_is_an_error(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    write_runtime(settings, f"http://127.0.0.1:{port}", os.getpid())
    (found,) = look_at_daemon(settings)
    assert (found.level, "no daemon answers" in found.message) == ("error", True)


def test_a_port_that_somebody_else_has_is_an_error(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        there = settings.model_copy(update={"port": port})
        (found,) = look_at_port(there)
        assert found.level == "error"
        assert f"sport = :{port}" in found.advice
        write_runtime(settings, f"http://127.0.0.1:{port}", os.getpid())
        assert not list(look_at_port(there)), "the daemon's own port is no trouble"


def test_a_free_port_and_a_port_to_be_chosen_are_good(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert not list(look_at_port(settings))
    assert not list(look_at_port(settings.model_copy(update={"port": port})))


def test_a_host_that_is_not_this_machine_is_an_error(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    elsewhere = settings.model_copy(update={"host": "192.0.2.1", "port": port})
    (found,) = look_at_port(elsewhere)
    assert (found.level, "HARK_HOST" in found.advice) == ("error", True)


# How checks are run, and what becomes of their findings.


async def test_without_a_database_the_rest_is_named_as_skipped(settings: Settings) -> None:
    findings = await examine(settings, schema=True)
    assert {check.name for check in LOCAL} <= {finding.check for finding in findings}
    database, skipped = findings[-2:]
    assert (database.check, database.level) == ("database", "ok")
    assert (skipped.check, skipped.level) == ("skipped", "ok")
    assert {"schema", "clock", "capture", "cascades"} <= set(skipped.detail["checks"])
    assert not (settings.data_dir / "postgres").exists(), "nothing is started, nothing is made"


async def test_a_check_that_breaks_is_a_finding(settings: Settings) -> None:
    def broken(_settings: Settings) -> Iterator[Finding]:
        yield ok("so far")
        raise RuntimeError("a surprise")

    (found,) = await run_local(LocalCheck("odd", broken), settings)
    assert (found.check, found.level) == ("odd", "error")
    assert "a surprise" in found.message


async def test_a_check_that_takes_too_long_is_a_finding(settings: Settings) -> None:
    done = threading.Event()

    def slow(_settings: Settings) -> Iterator[Finding]:
        done.wait(10)
        yield ok("at last")

    (found,) = await run_local(LocalCheck("slow", slow, limit_s=0.05), settings)
    done.set()
    await asyncio.get_running_loop().shutdown_default_executor()
    assert (found.check, found.level) == ("slow", "warning")


def test_the_document_is_plain_json() -> None:
    findings = [Finding("a", "ok", "good", detail={"n": 1}), Finding("b", "warning", "hm", "do")]
    assert document(findings) == json.loads(json.dumps(document(findings)))
    assert document(findings)["healthy"] is True
    assert not healthy([*findings, Finding("c", "error", "bad")])


# Figures.


@pytest.mark.parametrize("number,level", [(140012, "error"), (150000, "ok"), (180004, "ok")])
def test_versions_before_15_are_refused(number: int, level: str) -> None:
    assert judge_version(number, "x").level == level


@pytest.mark.parametrize(
    "most,used,ours,level", [(100, 40, 10, "ok"), (100, 95, 0, "warning"), (100, 95, 8, "ok"), (5, 0, 0, "error")]
)
def test_connections_are_counted_without_our_own(most: int, used: int, ours: int, level: str) -> None:
    assert judge_connections({"most": most, "used": used, "ours": ours}, needed=10).level == level


@pytest.mark.parametrize(
    "found,needed,advice",
    [(1, 2, "hark migrate"), (3, 2, "upgrade this Hark"), (0, 2, "restore it from a backup")],
)
def test_a_schema_of_another_version_is_an_error_with_the_way_out(found: int, needed: int, advice: str) -> None:
    finding = judge(SchemaState(found, needed))
    assert finding.level == "error"
    assert advice in finding.advice


def test_of_a_table_that_is_missing_its_columns_go_without_saying() -> None:
    expected = {
        Thing("table", None, "events"): "plain",
        Thing("column", "events", "id"): "uuid",
        Thing("column", "tasks", "id"): "uuid",
    }
    found = list(compare({}, expected))
    assert [finding.message for finding in found] == ["column tasks.id is missing", "table events is missing"]
