"""Checks of arguments before anything is sent: each error names the argument, the value and the rule."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from airflow_provider_neptune_ml.kinds import ID_RULE, is_valid_id

_ID_WORDS = f"{ID_RULE}, and not 'None', which a template makes of a missing value"


def to_flag(value: object) -> bool | None:
    """Return a flag, which may be a text of a template or a form; None: it is none."""
    return {"true": True, "false": False}.get(str(value).casefold())


def is_set(flag: object) -> bool:
    """Tell whether a flag is on."""
    return to_flag(flag) is True


def is_templated(value: object) -> bool:
    """Tell whether a value is only known at run time: a template, or the output of another task."""
    if isinstance(value, str):
        return "{{" in value or "{%" in value
    return hasattr(value, "resolve")


def validate(arguments: Mapping[str, Any]) -> None:
    """
    Check arguments by what their names promise; those that are None or not yet known are passed over.

    :raises ValueError: names the first argument that breaks its rule, its value and the rule.
    """
    for name, value in arguments.items():
        if value is None or is_templated(value):
            continue
        for suffix, (is_right, rule) in _RULES.items():
            if name.endswith(suffix) and not is_right(value):
                raise ValueError(f"{name}={_shown(value)} must be {rule}")


def validate_alternatives(arguments: Mapping[str, Any], alternatives: Sequence[Sequence[str]]) -> None:
    """
    Check that exactly one of several sets of arguments is given, wholly.

    :raises ValueError: names what is given and the sets to choose from.
    """
    given = {name for names in alternatives for name in names if arguments[name] is not None}
    if not alternatives or given in [set(names) for names in alternatives]:
        return
    values = ", ".join(f"{name}={arguments[name]!r}" for name in sorted(given))
    choices = " or ".join(" with ".join(names) for names in alternatives)
    half = next((set(names) - given for names in alternatives if given < set(names)), None)
    if not given:
        raise ValueError(f"{choices} must be given")
    if half:
        raise ValueError(f"{values} given without {' and '.join(sorted(half))}")
    raise ValueError(f"{values} given: must be {choices}, not both")


def validate_additional_parameters(additional: object, names: Iterable[str]) -> None:
    """
    Check that request members are not given in two ways.

    :raises ValueError: names the first that has an argument of its own.
    """
    own = {name.replace("_", ""): name for name in names}
    for member in additional if isinstance(additional, Mapping) else ():
        if name := own.get(str(member).casefold()):
            raise ValueError(
                f"additional_parameters has {member!r}, which has an argument of its own: {name}"
            )


def validate_seconds(name: str, value: object, *, zero: bool = True) -> float:
    """Return a time given as a number or a timedelta in seconds."""
    seconds = value.total_seconds() if hasattr(value, "total_seconds") else value
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds < float("inf"):
        raise ValueError(f"{name}={value!r} must be a number of seconds, 0 or more, or a timedelta")
    if not (zero or seconds):
        raise ValueError(f"{name}={value!r} must be more than 0 seconds")
    return float(seconds)


def is_id(value: object) -> bool:
    """Tell whether a value names a resource: "None" is what a template makes of nothing."""
    return is_valid_id(value) and value != "None"


def validate_id(name: str, value: object) -> None:
    """
    Check an id that has to be known by now.

    :raises ValueError: names the argument, the value and the rule.
    """
    if not is_id(value):
        raise ValueError(f"{name}={value!r} must be {_ID_WORDS}")


def _is_count(value: object) -> bool:
    if isinstance(value, str):
        return value.isdecimal()
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_flag(value: object) -> bool:
    return to_flag(value) is not None


def _is_positive(value: object) -> bool:
    return _is_count(value) and int(str(value)) > 0


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _starts(prefix: str) -> Callable[[object], bool]:
    return lambda value: isinstance(value, str) and value.startswith(prefix) and len(value) > len(prefix)


def _is_texts(value: object) -> bool:
    return isinstance(value, (list, tuple)) and all(_is_text(item) or is_templated(item) for item in value)


def _shown(value: object) -> str:
    """Return a value for a message; of a dict the keys alone, as a proxy's password may be in it."""
    return (
        "{" + ", ".join(f"{key!r}: ..." for key in value) + "}" if isinstance(value, Mapping) else repr(value)
    )


def _is_plain_dict(value: object) -> bool:
    def known_later(item: object) -> None:
        if not is_templated(item):
            raise TypeError

    try:
        json.dumps(value, default=known_later)
    except (TypeError, ValueError):
        return False
    return isinstance(value, Mapping)


def _custom_parameters(*scripts: str) -> tuple[Callable[[object], bool], str]:
    source = "sourceS3DirectoryPath"

    def is_right(value: object) -> bool:
        if not isinstance(value, Mapping) or not value.keys() <= {source, *scripts}:
            return False
        return is_templated(value.get(source)) or _starts("s3://")(value.get(source))

    return is_right, f"a dict with {source} (s3://...), and maybe {' and '.join(scripts)}"


_COUNT = (_is_count, "a whole number, 0 or more")
_NUMBER = (_is_positive, "a whole number, 1 or more")
_FLAG = (_is_flag, "True or False")
_RULES: dict[str, tuple[Callable[[object], bool], str]] = {
    "job_id": (is_id, _ID_WORDS),
    "endpoint_id": (is_id, _ID_WORDS),
    "_s3_location": (_starts("s3://"), "an S3 location: s3://bucket/prefix"),
    "_role_arn": (_starts("arn:"), "the ARN of an IAM role: arn:aws:iam::<account>:role/<name>"),
    "instance_type": (_starts("ml."), "a SageMaker instance type, such as ml.g5.2xlarge"),
    "instance_count": _NUMBER,
    "custom_model_training_parameters": _custom_parameters(
        "trainingEntryPointScript", "transformEntryPointScript"
    ),
    "custom_model_transform_parameters": _custom_parameters("transformEntryPointScript"),
    "_in_gb": _COUNT,
    "_in_seconds": _COUNT,
    "_training_jobs": _NUMBER,
    "_name": (_is_text, "a name"),
    "model_type": (_is_text, "a model type, such as heterogeneous or kge"),
    "_kms_key": (_is_text, "the id or ARN of a KMS key"),
    "subnets": (_is_texts, "a list of subnet ids"),
    "security_group_ids": (_is_texts, "a list of security group ids"),
    "enable_managed_spot_training": _FLAG,
    "update": _FLAG,
    "additional_parameters": (_is_plain_dict, "a dict of request members"),
    "botocore_config": (_is_plain_dict, "a dict of plain values, the arguments of botocore.config.Config"),
}
