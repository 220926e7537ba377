"""What can be set about a simulated cluster, each setting documented once; the CLI's flags mirror these."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow_provider_neptune_ml import kinds
from airflow_provider_neptune_ml.simulator.auth import EXAMPLE_CREDENTIAL, Credential
from airflow_provider_neptune_ml.simulator.intake import check, hints
from airflow_provider_neptune_ml.simulator.resources import PENDING

ACCOUNT = "123456789012"
CLUSTER = "cluster-SIMULATOR"
# Where the export service is. The path differs between stacks; graph-notebook's client has the last part.
EXPORT_PATH = "/v1/neptune-export"

# Simulated seconds. AWS's notebooks say: data processing 5-10 minutes, training with two tuning jobs about
# 20, creating an endpoint 5-10. How the 20 minutes split over the stages, and the time of a transform, are
# guesses.
DURATIONS: dict[str, dict[str, float]] = {
    kinds.DATA_PROCESSING.name: {"processingJob": 420.0},
    kinds.MODEL_TRAINING.name: {"processingJob": 300.0, "hpoJob": 600.0, "modelTransformJob": 300.0},
    kinds.MODEL_TRANSFORM.name: {"baseProcessingJob": 240.0, "remoteModelTransformJob": 360.0},
    kinds.ENDPOINTS.name: {"endpoint": 420.0},
    # "~5 min", of which it is pending until AWS Batch has a machine.
    kinds.EXPORT.name: {PENDING: 60.0, "exportJob": 240.0},
}
STOP = "stop"
# Of the wrong type these would be found out late.
_CHECKED = (
    "host",
    "port",
    "allowed_hosts",
    "speed",
    "durations",
    "region",
    "appears_after",
    "query_result",
    "journal_size",
    "aws_endpoint_url",
)
STOP_SECONDS = 45.0


@dataclass(kw_only=True, eq=False)
class Settings:
    """
    The settings of a simulated cluster.

    :param host: address to listen on (default: loopback); any other than loopback needs ``allow_remote``.
    :param port: port to listen on (default: 0, a free one).
    :param allow_remote: listen on an address that other machines can reach (default: False).
    :param allowed_hosts: names, besides ``localhost`` and ``host``, by which clients may call it; with
        ``allow_remote`` this machine's name and any address are among them, without it loopback addresses.
    :param ssl_certfile: PEM file with the certificate chain; with it the simulator speaks HTTPS (default:
        HTTP).
    :param ssl_keyfile: PEM file with the private key (default: in ``ssl_certfile``).
    :param clock: ``"real"``, or ``"manual"``: time is stopped until ``advance()`` (default: real).
    :param speed: simulated seconds per real second of a real clock (default: 1.0).
    :param durations: simulated seconds by kind and stage, over the defaults, e.g. ``{"modeltraining":
        {"hpoJob": 60, "stop": 5}}``; ``stop`` is the time that stopping or deleting takes.
    :param region: AWS region in ARNs, URLs and signatures (default: us-east-1).
    :param iam_auth: require SigV4 signatures (default: False; signed requests are then taken unchecked).
    :param credentials: the keys that ``iam_auth`` knows (default: the key pair of AWS's documentation).
    :param not_found: how an unknown id is answered, because AWS's API model says ``"404"``
        (MLResourceNotFoundException) and its guide says ``"400"`` (InvalidParameterException) (default: 404).
    :param lists: whether the lists hold ``"all"`` resources or only ``"active"`` ones, because AWS's pages
        say both (default: all).
    :param default_role: the cluster parameter group has a default IAM role; without one, each request must
        carry ``neptuneIamRoleArn`` (default: True).
    :param allowed_roles: the values of ``neptuneIamRoleArn`` that are accepted (default: any).
    :param appears_after: simulated seconds after its start in which a resource is not found yet (default:
        0.0).
    :param training_job_names: names of finished SageMaker training jobs that ``trainingJobName`` may name,
        besides those of the simulator's own training jobs.
    :param query_result: the values that Gremlin queries are answered, unless scripted otherwise (default: one
        text for a query that names an endpoint in service, nothing for others).
    :param state_file: file that keeps resources and clock over a restart, for one simulator at a time
        (default: none).
    :param journal_size: how many requests the journal keeps, as far as they have 4 MiB together (default:
        1000).
    :param aws_endpoint_url: where CloudWatch Logs and S3 are, such as moto's server: each stage's log lines
        and the metrics of a trained model are written there, with the credentials in the environment or,
        without any, dummy ones (default: none are written).
    :raises ValueError: a setting can't be used, or two of them together.
    :raises OSError: a file of the certificate can't be read.
    """

    host: str = "127.0.0.1"
    port: int = 0
    allow_remote: bool = False
    allowed_hosts: Collection[str] = ()
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None
    clock: str = "real"
    speed: float = 1.0
    durations: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    region: str = "us-east-1"
    iam_auth: bool = False
    credentials: Sequence[Credential] = (EXAMPLE_CREDENTIAL,)
    not_found: str = "404"
    lists: str = "all"
    default_role: bool = True
    allowed_roles: Collection[str] | None = None
    appears_after: float = 0.0
    training_job_names: Collection[str] = ()
    query_result: Sequence[Any] | None = None
    state_file: str | None = None
    journal_size: int = 1000
    aws_endpoint_url: str | None = None

    def __post_init__(self) -> None:
        """Refuse settings that make no sense, before anything listens."""
        check(vars(self), {name: hint for name, hint in hints(Settings).items() if name in _CHECKED})
        _choose("clock", self.clock, ("real", "manual"))
        _choose("not_found", self.not_found, ("404", "400"))
        _choose("lists", self.lists, ("all", "active"))
        if not 0 < self.speed < math.inf:
            raise ValueError(f"speed={self.speed}: must be more than 0; for a stopped clock: clock='manual'")
        if self.appears_after < 0:
            raise ValueError(f"appears_after={self.appears_after}: must not be negative")
        if self.journal_size < 1:
            raise ValueError(f"journal_size={self.journal_size}: must be at least 1")
        if not self.allow_remote and not _is_loopback(self.host):
            raise ValueError(
                f"host={self.host!r}: other machines could reach it; allow_remote=True permits it"
            )
        if not (self.aws_endpoint_url or "http://").startswith(("http://", "https://")):
            raise ValueError(f"aws_endpoint_url={self.aws_endpoint_url!r}: must be an http or https URL")
        if self.ssl_keyfile and not self.ssl_certfile:
            raise ValueError("ssl_keyfile: needs ssl_certfile")
        for path in filter(None, (self.ssl_certfile, self.ssl_keyfile)):
            with open(path, "rb"):  # uvicorn would say that a file is missing, but not which
                pass
        if self.state_file and not Path(self.state_file).parent.is_dir():
            raise ValueError(f"state_file={self.state_file!r}: there is no such folder")
        for kind, stages in self.durations.items():
            for stage, seconds in stages.items():
                self._check_duration(kind, stage, seconds)

    def seconds(self, kind: str, stage: str) -> float:
        """Return how long a stage takes, or stopping (``"stop"``), in simulated seconds."""
        default = STOP_SECONDS if stage == STOP else DURATIONS[kind][stage]
        return self.durations.get(kind, {}).get(stage, default)

    @staticmethod
    def _check_duration(kind: str, stage: str, seconds: float) -> None:
        known = (*DURATIONS.get(kind, ()), STOP)
        if kind not in DURATIONS:
            raise ValueError(f"durations: {kind!r} is none of {', '.join(DURATIONS)}")
        if stage not in known:
            raise ValueError(f"durations: {kind} has no stage {stage!r}, only {', '.join(known)}")
        if seconds < 0:
            raise ValueError(f"durations: {kind}.{stage}={seconds} must not be negative")


def _choose(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name}={value!r}: must be one of {', '.join(choices)}")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
