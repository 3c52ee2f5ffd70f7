"""Every setting, read once from a mapping; all variables at fault are named at once.

A setting `train_threshold` is the variable ``INTENTLOOP_TRAIN_THRESHOLD``.
"""

from __future__ import annotations

import difflib
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from schema.errors import ConfigError

PREFIX: Final = "INTENTLOOP_"
LOCAL_ONLY: Final = frozenset({"INTENTLOOP_CACHE", "INTENTLOOP_TEST_DOCKER"})
"""Variables that the local system and the tests read themselves."""

Port = Annotated[int, Field(ge=1, le=65535)]


class Settings(BaseModel):
    """The settings of all processes. Descriptions are what ``intentloop settings`` and the README show."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), hide_input_in_errors=True)

    kafka: str = Field(default="", description="Kafka bootstrap servers, host:port[,host:port]")
    database_url: SecretStr = Field(default=SecretStr(""), description="SQLAlchemy URL, mysql+pymysql://user:password@host/db")
    topic_prefix: str = Field(default="", pattern=r"^[a-zA-Z0-9._-]{0,40}$", description="put before every topic and group name")
    replication_factor: int = Field(default=1, ge=1, le=9, description="of topics that migrate creates")
    pseudonym_key: SecretStr = Field(
        default=SecretStr(""), description="secret of the HMAC that replaces user_id and session_id, at least 16 characters"
    )
    default_consent: bool = Field(default=False, description="what holds where a question says nothing of consent to training")
    var: Path = Field(default=Path("var"), description="folder for models, logs and the local servers' data")
    models_url: str = Field(default="", description="where artefacts are kept, a URL for fsspec; empty: the folder models in var")
    signing_key: SecretStr = Field(
        default=SecretStr(""), description="private key that published models are signed with; a pair: intentloop signing-keys"
    )
    verify_key: str = Field(default="", description="public key; if set, only models signed by its owner are loaded")
    train_threshold: int = Field(default=100, ge=1, description="labelled, consented, unused questions that start a training")
    intent_floor: int = Field(default=5, ge=0, description="labelled questions that each intent to be trained needs, cumulative")
    auto_activate: bool = Field(default=True, description="activate a version that passed its gate")
    rule_min_confidence: float = Field(
        default=0.8, ge=0, le=1, description="share of labels that must agree with a mined keyword rule"
    )
    rule_min_support: int = Field(default=3, ge=1, description="labelled questions a keyword must stand in to become a rule")
    confidence: float = Field(
        default=0.6, ge=0, le=1, description="below it the model's answer is handed to the keyword rules, then the LLM"
    )
    llm_url: str = Field(default="", description="base URL of an OpenAI-compatible endpoint; empty: no LLM")
    llm_api_key: SecretStr = Field(default=SecretStr(""), description="its key")
    llm_model: str = Field(default="gpt-4o-mini", description="its model")
    llm_timeout: float = Field(default=10.0, gt=0, le=600, description="seconds for one LLM answer, retries and pauses included")
    llm_max_tokens: int = Field(default=500, ge=0, description="tokens of one LLM answer at most; 0: the endpoint's own limit")
    llm_concurrency: int = Field(
        default=8, ge=1, le=1000, description="LLM calls of a replica at once; who waits longer for one is answered locally"
    )
    llm_circuit_failures: int = Field(
        default=5, ge=1, description="LLM calls that fail in a row before it is not asked for a while"
    )
    llm_circuit_seconds: float = Field(default=30.0, gt=0, description="seconds of that while; then one call tries it")
    llm_cache_size: int = Field(default=10_000, ge=0, description="LLM answers that a replica keeps, by normalised question")
    llm_cache_ttl: float = Field(default=86_400.0, gt=0, description="seconds for which a kept LLM answer holds")
    llm_price_in: float = Field(default=0.0, ge=0, description="price of a million tokens that are sent; 0: cost is not counted")
    llm_price_out: float = Field(default=0.0, ge=0, description="price of a million tokens that come back, in the same currency")
    llm_daily_budget: float = Field(
        default=0.0,
        ge=0,
        description="what each replica may spend on the LLM in a day of Asia/Shanghai, counted since its start; 0: any amount",
    )
    llm_daily_calls: int = Field(
        default=0, ge=0, description="requests of each replica to the LLM in such a day, retries too; 0: any number"
    )
    host: str = Field(default="127.0.0.1", description="address that a process listens on")
    api_port: Port = Field(default=8001, description="the ops API and console")
    replica_port: Port = Field(default=8101, description="a replica")
    streams_port: Port = Field(default=8201, description="the streams worker: health, metrics, live counts")
    trainer_port: Port = Field(default=8202, description="the trainer: health, metrics")
    replica_id: str = Field(default="", max_length=64, description="a replica's name; empty: host name and port")
    inference_threads: int = Field(default=2, ge=1, le=64, description="threads of one ONNX Runtime session")
    answer_queue: int = Field(default=256, ge=1, le=100_000, description="questions that may wait for a replica's answer at once")
    answer_timeout: float = Field(
        default=12.0, gt=0, le=600, description="seconds after which an answer comes too late, where the request names none"
    )
    rollout_deadline: float = Field(
        default=60.0, gt=0, description="seconds after an activation by which every live replica should follow it"
    )
    guard_answers: int = Field(default=100, ge=1, description="answers of a candidate before a guardrail may end it")
    guard_error_rate: float = Field(default=0.01, ge=0, le=1, description="share of questions that a candidate may fail on")
    guard_latency: float = Field(default=3.0, ge=1, description="a candidate's p99 may be so many times the serving version's")
    guard_llm_rate: float = Field(
        default=0.1, ge=0, le=1, description="how much larger a candidate's share of unsure answers may be"
    )
    guard_agreement: float = Field(
        default=0.6, ge=0, le=1, description="share of questions on which a candidate must agree with the serving version"
    )
    lease_seconds: float = Field(default=300.0, gt=0, le=86_400, description="how long a labeler holds the questions handed out")
    blind_share: float = Field(
        default=0.1, ge=0, le=1, description="share of questions that are labelled without the model's answer"
    )
    review_share: float = Field(
        default=0.05, ge=0, le=1, description="share of questions that two people answer, neither knowing what was said before"
    )
    train_threads: int = Field(default=2, ge=1, le=256, description="threads of a training")
    stream_batch: int = Field(default=2000, ge=1, le=10_000, description="events per database transaction")
    database_patience: float = Field(
        default=90.0, gt=0, description="seconds a stream waits for the database before the worker ends"
    )
    base_model: str = Field(
        default="",
        description="where a full retraining starts: builtin, or a Hugging Face BERT (directory or hub name); another one than"
        " the serving version's asks for one",
    )
    stall_patience: float = Field(
        default=30.0, gt=0, description="seconds without a commit, with records waiting, after which a streams worker ends"
    )
    session_timeout: float = Field(
        default=10.0, ge=6, description="seconds after which the broker gives a dead worker's partitions away"
    )
    log_level: str = Field(default="info", pattern="^(debug|info|warning|error)$", description="debug, info, warning or error")

    @property
    def models(self) -> str:
        """Where artefacts are kept, as a URL."""
        return self.models_url or (self.var.absolute() / "models").as_uri()

    @property
    def replica_name(self) -> str:
        """A replica's name, unique among replicas that run at the same time."""
        return self.replica_id or f"{socket.gethostname()}-{self.replica_port}"[:64]

    def group(self, name: str) -> str:
        """The consumer group for the loop `name`."""
        return f"{self.topic_prefix}intentloop-{name}"

    def require(self, *names: str) -> None:
        """Fail if one of the settings `names` is empty.

        Raises:
            ConfigError: naming every missing variable.
        """
        missing = [n for n in names if not _text(getattr(self, n))]
        if missing:
            listed = ", ".join(f"{variable(n)} ({self.__class__.model_fields[n].description})" for n in missing)
            raise ConfigError(f"set {listed}")
        if "pseudonym_key" in names and len(_text(self.pseudonym_key)) < 16:
            raise ConfigError(f"{variable('pseudonym_key')} is shorter than 16 characters: make one with `openssl rand -hex 32`")


def _text(value: object) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def variable(name: str) -> str:
    """The environment variable of the setting `name`."""
    return PREFIX + name.upper()


def environment(settings: Settings) -> dict[str, str]:
    """`settings` as the variables that a child process needs to read the same ones."""
    changed = settings.model_dump(exclude_defaults=True)
    return {variable(name): _text(getattr(settings, name)) for name in changed}


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Read the settings from `environ`.

    Raises:
        ConfigError: one line that names every variable at fault, unknown ones too.
    """
    names = {variable(name): name for name in Settings.model_fields}
    given = {k: v for k, v in environ.items() if k.startswith(PREFIX) and k not in LOCAL_ONLY}
    faults = []
    for unknown in sorted(given.keys() - names.keys()):
        close = difflib.get_close_matches(unknown, names, n=1)
        faults.append(f"{unknown} is not a setting" + (f" (did you mean {close[0]}?)" if close else ""))
    try:
        settings = Settings.model_validate({names[k]: v for k, v in given.items() if k in names})
    except ValidationError as error:
        faults += [f"{variable(str(e['loc'][0]))}: {e['msg'].lower()}" for e in error.errors()]
    if faults:
        raise ConfigError("; ".join(faults))
    return settings
