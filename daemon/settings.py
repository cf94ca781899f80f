"""The settings of a process: flags, then environment, then credentials, then `hark.toml`, then defaults."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs, urlsplit

from pydantic import AfterValidator, BeforeValidator, ByteSize, Field, PrivateAttr, SecretStr
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from hark.daemon.data_dir import SHORTEST_KEY
from hark.daemon.hosts import check_database_url
from hark.workflows.durations import Duration

PREFIX = "HARK_"
Network = IPv4Network | IPv6Network


def _split(value: Any) -> Any:
    """Let a list be written `a, b` as well, which is all that an environment variable can hold."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _network(value: Any) -> Any:
    return ip_network(value, strict=False) if isinstance(value, str) else value


def _database(value: str) -> str:
    check_database_url(value)
    wanted = parse_qs(urlsplit(value).query).get("target_session_attrs", ["any"])[-1]
    if wanted not in ("any", "primary", "read-write"):
        raise ValueError(
            f"Hark writes: target_session_attrs={wanted} is no use to it; write read-write, or leave it out"
        )
    return value


def _web(value: str) -> str:
    if urlsplit(value).scheme not in ("http", "https") or not urlsplit(value).netloc:
        raise ValueError("write http://host:port or https://host")
    return value.rstrip("/")


def _archive(value: str) -> str:
    if "://" not in value:
        return str(Path(value).expanduser().absolute())
    if urlsplit(value).scheme != "s3" or not urlsplit(value).netloc:
        raise ValueError("write a directory, or s3://bucket/prefix")
    return value.rstrip("/")


def _long_keys(value: SecretStr) -> SecretStr:
    if any(len(key.strip()) < SHORTEST_KEY for key in value.get_secret_value().split(",")):
        raise ValueError(f"each key needs {SHORTEST_KEY} characters or more, such as `openssl rand -base64 33` gives")
    return value


def _a_day(value: timedelta) -> timedelta:
    if value < timedelta(days=1):
        raise ValueError("write a day (1d) or more")
    return value


Networks = Annotated[tuple[Annotated[Network, BeforeValidator(_network)], ...], NoDecode, BeforeValidator(_split)]
Word = BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value)
Days = Annotated[Duration, AfterValidator(_a_day)]
Folder = Annotated[Path, AfterValidator(Path.expanduser)]


def default_data_dir() -> Path:
    """Return systemd's state directory (`/var/lib/hark`), else `$XDG_STATE_HOME/hark`."""
    if given := os.environ.get("STATE_DIRECTORY"):
        return Path(given.partition(":")[0])
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "hark"


class Settings(BaseSettings):
    """The effective settings. Make them with `hark.daemon.configuration.load_settings`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True, validate_default=False
    )

    data_dir: Folder = Field(default_factory=default_data_dir, description="where Hark keeps what is its own")
    database_url: Annotated[str, AfterValidator(_database)] | None = Field(
        None, repr=False, description="a PostgreSQL from version 15 on; without it the embedded one under data_dir"
    )
    database_connections: int = Field(10, ge=3, le=500, description="how many connections one instance may open")
    database_pooler: Annotated[Literal["auto", "none", "session", "transaction"], Word] = Field(
        "auto", description="the pooler before the database: none, one that works per session or per transaction"
    )
    listen_url: Annotated[str, AfterValidator(_database)] | None = Field(
        None, repr=False, description="the same database past a pooler that works per transaction, to listen on alone"
    )

    host: str = Field("127.0.0.1", description="the address to serve HTTP on")
    port: int = Field(8470, ge=0, le=65535, description="the port to serve HTTP on; 0 takes a free one")
    url: Annotated[str, AfterValidator(_web)] | None = Field(None, description="where others reach this daemon")
    api_key: SecretStr | None = Field(None, description="the key that the command line sends")
    link_key: SecretStr | None = Field(
        None,
        min_length=32,
        description="what links of approvals are made from, alike on all instances; else a file in data_dir",
    )
    secret_key: Annotated[SecretStr, AfterValidator(_long_keys)] | None = Field(
        None,
        description="what secrets of executions are sealed with, alike on all instances; else a file in data_dir. "
        "`new,old`: the first seals, all of them open",
    )
    trusted_proxies: Networks = Field((), description="networks whose X-Forwarded-* headers are believed")
    max_body_bytes: ByteSize = Field(
        ByteSize(1024**2), ge=1024, description="the largest request body, such as 1048576 or 1MiB"
    )
    max_requests: int = Field(1000, ge=1, description="requests in flight before more are refused with 503")
    max_connections: int = Field(
        20_000, ge=10, description="open connections before those that ask for nothing are closed for new ones"
    )
    header_timeout: Duration = Field(
        timedelta(seconds=15), description="how long a client may take to send its headers"
    )
    body_timeout: Duration = Field(timedelta(seconds=30), description="how long a client may take to send its body")

    workflows: Folder | None = Field(None, description="a directory of workflow files, applied at start")
    setup: Folder | None = Field(None, description="a file of repeatable SQL, run at start before the workflows")
    max_running: int = Field(1000, ge=1, le=100_000, description="executions in flight in one instance")
    drain_timeout: Duration = Field(timedelta(seconds=30), description="how long a stop waits for steps that run")
    retention: Days = Field(timedelta(days=90), description="how long executions stay after their end")
    failed_retention: Days = Field(timedelta(days=180), description="the same for those that failed or timed out")
    unmatched_retention: Duration = Field(timedelta(days=7), description="how long events that started nothing stay")
    decision_retention: Duration = Field(
        timedelta(days=3), description="how long it is on record why events did not start workflows"
    )
    kept_turns: int = Field(
        500, ge=1, le=100_000, description="how many turns of a loop stay on record; earlier ones are folded away"
    )

    archive: Annotated[str, AfterValidator(_archive)] | None = Field(
        None, description="where executions go before they are dropped: a directory, or s3://bucket/prefix"
    )

    http_allow_networks: Networks = Field((), description="private networks that actions may call, such as 10.0.0.0/8")
    smtp_host: str | None = Field(None, description="the mail server of send_email")
    smtp_port: int | None = Field(None, ge=1, le=65535, description="its port; 465 with tls, else 587")
    smtp_username: str | None = Field(None, description="who signs in there")
    smtp_password: SecretStr | None = Field(None, description="with what")
    mail_from: str | None = Field(None, description="the sender where a step names none")
    smtp_tls: Annotated[Literal["starttls", "tls", "none"], Word] = Field("starttls", description="how it is encrypted")
    mail_dir: Folder | None = Field(None, description="a directory that e-mails are written to instead of being sent")

    log_level: Annotated[Literal["debug", "info", "warning", "error"], Word] = Field("info", description="the least")
    log_format: Annotated[Literal["auto", "console", "json"], Word] = Field(
        "auto", description="auto is console on a terminal, else json"
    )

    _origins: Mapping[str, str] = PrivateAttr(default_factory=dict)

    @property
    def origins(self) -> Mapping[str, str]:
        """Where each setting that is not a default came from."""
        return self._origins

    @property
    def base_url(self) -> str:
        """Where this daemon is reached: `url`, or what follows from host and port."""
        return self.url or f"http://{self.host}:{self.port}"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take only what is handed in: the loader reads the layers itself, to know where each value comes from."""
        return (init_settings,)
