"""The command line without a daemon: checks, schedules, first files, and how things are printed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from hark._version import __version__
from hark.client import ApiError
from hark.daemon.api.models.problems import ProblemDocument, ProblemItem
from hark.daemon.cli import output
from hark.daemon.cli.connection import find_target, refused
from hark.daemon.cli.handing_over import secrets_of
from hark.daemon.cli.main import app
from hark.daemon.configuration import load_settings
from hark.daemon.runtime_file import RuntimeFile, read_running

GOOD = "id: good\nname: Good\nsteps:\n  - {id: a, set: {x: 1}}\n"


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Stand in an empty directory; the consoles belong to the streams of each run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HARK_DATA_DIR", str(tmp_path / "data"))
    for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    yield tmp_path
    output.console.cache_clear()
    output.complaints.cache_clear()


def hark(*args: str, input: str | None = None) -> Result:
    """Run a command; exceptions that it should have caught come out."""
    output.console.cache_clear()
    output.complaints.cache_clear()
    result = CliRunner().invoke(app, args, input=input)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_the_version_is_told_in_two_ways() -> None:
    assert hark("--version").stdout == hark("version").stdout == f"hark {__version__}\n"
    assert json.loads(hark("version", "--json").stdout)["version"] == __version__


def test_starting_is_quick_because_nothing_heavy_is_loaded() -> None:
    """`hark --version` must not pay for servers, drivers and expression engines."""
    import subprocess

    code = "import sys, hark.daemon.cli.main; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"aiohttp", "asyncpg", "pydantic", "structlog", "cryptography", "cel_expr_python"} & set(loaded)


def test_a_first_workflow_is_written_valid_and_never_overwritten(elsewhere: Path) -> None:
    assert hark("init", "here").exit_code == 0
    file = elsewhere / "here" / "workflows" / "greeting.yaml"
    file.write_text(file.read_text() + "# mine\n")
    again = hark("init", "here")
    assert "kept     here/workflows/greeting.yaml" in again.stdout
    assert file.read_text().endswith("# mine\n")
    checked = hark("validate", "here/workflows")
    assert (checked.exit_code, checked.stdout) == (0, "1 workflow in 1 file: good\n")
    assert load_settings(config=elsewhere / "here" / "hark.toml").workflows == elsewhere / "here" / "workflows"


def test_a_mistake_is_shown_with_its_line_and_a_caret(elsewhere: Path) -> None:
    Path("bad.yaml").write_text("id: bad\nname: Bad\nsteps:\n  - {id: a, action: send_emial}\n")
    Path("good.yaml").write_text(GOOD)
    result = hark("validate", ".")
    assert (result.exit_code, result.stdout) == (1, "")
    lines = result.stderr.splitlines()
    assert lines[0].startswith("bad.yaml:4:21: error: unknown action")
    assert "did you mean send_email?" in lines[0]
    assert lines[1] == "    4 |   - {id: a, action: send_emial}"
    assert lines[2].index("^") == lines[1].index("send_emial")
    assert lines[-1] == "1 problem in 2 files"


def test_validate_reads_stdin_and_answers_in_json() -> None:
    good = json.loads(hark("validate", "-", "--json", input=GOOD).stdout)
    assert good == {"valid": True, "items": [{"workflow": "good", "file": "<stdin>"}], "problems": []}
    bad = hark("validate", "-", "--json", input="id: BAD\n")
    problems = json.loads(bad.stdout)
    assert (bad.exit_code, problems["valid"]) == (1, False)
    assert {"file", "line", "column", "path", "message", "hint", "severity"} <= problems["problems"][0].keys()


@pytest.mark.parametrize(
    "args",
    [
        ("validate", "nowhere.yaml"),
        ("validate",),
        ("nonsense",),
        ("list", "--nonsense"),
        ("start", "w", "--input", "{bad"),
        ("start", "w", "--input", "[1]"),
        ("start", "w", "--mode", "odd"),
        ("emit", "A", "--data", "@nowhere.json"),
        ("export", "w", "--format", "xml"),
        ("watch", "a.b.c.d"),
        ("schedules", "--expression", "* * * * *", "--after", "yesterday"),
    ],
)
def test_misuse_ends_with_status_2(args: tuple[str, ...]) -> None:
    assert hark(*args).exit_code == 2


def test_without_a_daemon_the_advice_is_to_start_one(unused_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARK_PORT", str(unused_port))
    result = hark("list")
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"no answer from http://127.0.0.1:{unused_port}: Connection refused" in result.stderr
    assert "hark run" in result.stderr


@pytest.fixture
def unused_port() -> int:
    """Find a port that nothing listens on."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_schedules_of_an_expression_are_exact() -> None:
    args = ("schedules", "--expression", "30 2 * * *", "--timezone", "Europe/Berlin", "--after", "2026-03-28T12:00:00Z")
    items = json.loads(hark(*args, "--next", "2", "--json").stdout)["items"]
    assert items == [
        {
            "utc": "2026-03-29T01:00:00Z",
            "local": "2026-03-29T03:00:00+02:00",
            "note": "02:30 is skipped, it does not exist that day; runs at 03:00",
        },
        {"utc": "2026-03-30T00:30:00Z", "local": "2026-03-30T02:30:00+02:00", "note": ""},
    ]
    found = hark("schedules", "--expression", "0 9 * * *", "--calendar", "DE-BY", "--after", "2026-01-01", "--json")
    assert [item["utc"][:10] for item in json.loads(found.stdout)["items"]][:3] == [
        "2026-01-02",
        "2026-01-05",
        "2026-01-07",
    ]
    assert "nth.0: days are counted" in hark("schedules", "--expression", "@daily", "--calendar", '{"nth": 0}').stderr
    wrong = hark("schedules", "--expression", "61 * * * *")
    assert (wrong.exit_code, "minute" in wrong.stderr) == (1, True)


def test_the_catalogue_is_listed_and_explained() -> None:
    items = json.loads(hark("actions", "--json").stdout)["items"]
    assert {"log_event", "http_request", "send_email", "update_database"} <= {item["type"] for item in items}
    wanted = {"type", "name", "description", "category", "config_schema", "output_schema", "example", "permissions"}
    assert all(wanted | {"effect"} <= item.keys() for item in items)
    shown = hark("actions", "SEND_EMAIL").stdout
    assert "subject" in shown
    assert "action: send_email" in shown
    assert "did you mean" in hark("actions", "send_emial").stderr
    kinds = json.loads(hark("triggers", "--json").stdout)["items"]
    assert {"row", "cron", "webhook", "event", "manual", "notify"} <= {kind["kind"] for kind in kinds}
    assert "type: cron" in hark("triggers", "schedule").stdout


def test_settings_tell_their_origin_and_mask_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARK_DATABASE_URL", "postgresql://me:geheim@db/hark")
    shown = json.loads(hark("settings", "--json").stdout)
    assert shown["database_url"]["origin"] == "environment HARK_DATABASE_URL"
    assert "geheim" not in shown["database_url"]["value"]
    assert "geheim" not in hark("settings").stdout
    bare = json.loads(hark("settings", "--json", "--show-secrets").stdout)
    assert bare["database_url"]["value"] == "postgresql://me:geheim@db/hark"


def test_the_admin_key_goes_to_this_machine_only(elsewhere: Path) -> None:
    data = elsewhere / "data"
    data.mkdir()
    (data / "admin.key").write_text("hark_key\n")
    RuntimeFile(data).write(url="http://127.0.0.1:4711")
    settings = load_settings()
    assert (find_target(None, settings).url, find_target(None, settings).key) == ("http://127.0.0.1:4711", "hark_key")
    assert find_target("http://localhost:1/", settings).key == "hark_key"
    assert find_target("https://hark.example.org", settings).key is None
    assert find_target("http://127.example.org", settings).key is None


def test_the_given_url_and_key_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARK_URL", "https://hark.example.org")
    monkeypatch.setenv("HARK_API_KEY", "hark_given")
    target = find_target(None, load_settings())
    assert (target.url, target.key) == ("https://hark.example.org", "hark_given")
    assert find_target("http://other:1", load_settings()).url == "http://other:1"


def test_the_runtime_file_belongs_to_the_process_that_wrote_it(elsewhere: Path) -> None:
    file = RuntimeFile(elsewhere)
    assert read_running(elsewhere) is None
    file.write(url="http://127.0.0.1:1")
    running = read_running(elsewhere)
    assert running is not None
    assert running.lives
    (elsewhere / "daemon.json").write_text('{"url": "http://127.0.0.1:2", "pid": 1}')
    file.remove()
    assert read_running(elsewhere) is not None
    (elsewhere / "daemon.json").write_text("nonsense")
    assert read_running(elsewhere) is None


@pytest.mark.parametrize(
    "milliseconds,text,coarse",
    [
        (0.24, "0.24 ms", "0.24 ms"),
        (57.2, "57.2 ms", "57.2 ms"),
        (999, "999 ms", "999 ms"),
        (3400, "3.4 s", "3 s"),
        (125_000, "2 min 5 s", "2 min"),
        (7_200_000, "2 h", "2 h"),
        (93_600_000, "1 d 2 h", "1 d"),
    ],
)
def test_durations_are_written_for_people(milliseconds: float, text: str, coarse: str) -> None:
    assert output.duration(milliseconds) == text
    assert output.duration(milliseconds, coarse=True) == coarse


def test_piped_tables_are_aligned_whole_and_free_of_colour(capsys: pytest.CaptureFixture[str]) -> None:
    output.console.cache_clear()
    long = "x" * 300
    output.table(["name", ">count", "status"], [["a", "5", output.state("failed")], [long, "1000", None]])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["NAME", "COUNT", "STATUS"]
    assert lines[1] == f"a{' ' * 299}      5  failed"
    assert lines[2] == f"{long}   1000  -"
    assert output.ago(datetime(2026, 1, 31, 9, tzinfo=UTC)) == "2026-01-31T09:00:00.000Z"
    assert output.compact({"a": "é" * 200}) == json.dumps({"a": "é" * 200}, ensure_ascii=False)


def test_on_a_terminal_times_are_relative_and_long_values_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "is_terminal", lambda: True)
    now = datetime.now(UTC)
    assert output.ago(now - timedelta(minutes=3, seconds=1)) == "3 min ago"
    assert output.ago(now + timedelta(hours=2, seconds=1)) == "in 2 h"
    assert output.short_id("01a1f98a-e371-7ae7-bb98-4c96735a8f16") == "735a8f16"
    assert len(output.compact("y" * 500, 80)) == 80


def test_a_secret_without_a_value_is_asked_for_and_others_come_from_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("first\nsecond\n")
    monkeypatch.setattr("typer.prompt", lambda text, **how: f"typed for {text}" if how["hide_input"] else "shown")
    given = secrets_of([f"a=@{tmp_path}/token", "b=x=y", "c"])
    assert given == {"a": "first\nsecond", "b": "x=y", "c": "typed for secret c"}
    assert secrets_of(None) is None
    with pytest.raises(typer.BadParameter, match="the name is missing") as refused:
        secrets_of(["=t0p-secret"])
    assert "t0p" not in str(refused.value)


def test_each_problem_of_a_refusal_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    """The first is also what the whole refusal is summed up in."""
    first = ProblemItem(message="not a number", path="limit")
    placed = ProblemItem(message="no such step", file="a.yaml", line=3, hint="did you mean b?")
    document = ProblemDocument(type="", title="", status=422, detail="parameters: limit: not a number")
    for problems, lines in (
        ([first], ["error: parameters: limit: not a number"]),
        ([first, placed], ["error: parameters: limit: not a number", "  a.yaml:3: no such step (did you mean b?)"]),
    ):
        refused(ApiError(document.model_copy(update={"problems": problems})))
        assert capsys.readouterr().err.splitlines() == lines
    refused(ApiError(document.model_copy(update={"detail": "no such step", "problems": [placed]})))
    assert capsys.readouterr().err == "error: a.yaml:3: no such step (did you mean b?)\n"
