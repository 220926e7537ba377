"""
What arguments may be: restored to what they were after templating, and checked before anything is sent.

Each error names the argument, the value and the rule.
"""

from __future__ import annotations

import ast
import contextlib
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import date
from numbers import Number
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from airflow_provider_neptune_ml.kinds import ID_RULE, is_valid_id
from airflow_provider_neptune_ml.text import LONGEST_READ, URL_CREDENTIALS, URL_MASK

_ID_WORDS = f"{ID_RULE}, and not 'None', which a template makes of a missing value"
# About 30 years: what is longer overflows a date, or a sleep.
MAX_SECONDS = 1e9
# The service's numbers are of 32 bits.
_MAX_COUNT = 2**31 - 1
# As many as one reply of CloudWatch Logs holds.
_MAX_LOG_LINES = 10_000
_MAX_SHOWN = 200
_MASK = "***"


def to_flag(value: object) -> bool | None:
    """Return a flag, which may be a text of a template or a form; None: it is none."""
    return {"true": True, "false": False}.get(str(value).strip().casefold())


def is_set(flag: object) -> bool:
    """Tell whether a flag is on."""
    return to_flag(flag) is True


def is_templated(value: object) -> bool:
    """Tell whether a value is only known at run time: a template, or the output of another task."""
    if isinstance(value, str):
        return "{{" in value or "{%" in value
    return hasattr(value, "resolve") and not isinstance(value, os.PathLike)


def is_blank(value: object) -> bool:
    """Tell whether a value is what a template makes of nothing."""
    return isinstance(value, str) and value.strip() in ("", "None")


def normalized(name: str, value: Any, *, optional: bool = True) -> Any:
    """
    Return an argument as what its name promises, as far as it can be: a template makes a text of a number,
    a flag or a list, and Airflow's native rendering a number of a text. What is not known yet stays.

    :param name: its name.
    :param value: its value.
    :param optional: whether an empty text, and "None", count as not given.
    """
    rule = _rule_of(name)
    if value is None or rule is None or is_templated(value):
        return value
    if is_blank(value) and optional and rule.optional:
        return None
    return rule.restore(value)


def validate(arguments: Mapping[str, Any], *, rendered: bool = False) -> None:
    """
    Check arguments by what their names promise; those that are None or not yet known are passed over.

    :param arguments: the arguments, by their names.
    :param rendered: whether the templates are rendered, so that none may be left.
    :raises ValueError: names the first argument that breaks its rule, its value and the rule.
    """
    for name, value in arguments.items():
        rule = _rule_of(name)
        if rule is None or (value is None and rule.optional):
            continue
        if rendered and _holds_template(value):
            fault = "free of {{ and {% once it is rendered: Airflow renders a value once"
        else:
            fault = rule.fault(value)
        if fault:
            raise ValueError(f"{name}={_shown(value, rule)} must be {fault}")


def validate_alternatives(
    arguments: Mapping[str, Any], alternatives: Sequence[Sequence[str]], *, rendered: bool = False
) -> None:
    """
    Check that exactly one of several sets of arguments is given, wholly.

    :param arguments: the arguments, by their names.
    :param alternatives: the sets of names.
    :param rendered: whether the templates are rendered; one that is not may turn out to be not given.
    :raises ValueError: names what is given and the sets to choose from.
    """
    given = {name for names in alternatives for name in names if arguments[name] is not None}
    certain = {name for name in given if rendered or not is_templated(arguments[name])}
    if not alternatives or any(certain <= set(names) <= given for names in alternatives):
        return
    values = ", ".join(f"{name}={cut(arguments[name])}" for name in sorted(given))
    choices = " or ".join(" with ".join(names) for names in alternatives)
    half = next((set(names) - given for names in alternatives if given < set(names)), None)
    if not given:
        raise ValueError(f"{choices} must be given")
    if half:
        raise ValueError(f"{values} given without {' and '.join(sorted(half))}")
    raise ValueError(f"{values} given: must be {choices}, not both")


def member_of(argument: str) -> str:
    """Return the member of a request, in snake_case, that an argument gives: ``params`` are Airflow's own."""
    return argument.removeprefix("export_")


def validate_additional_parameters(additional: object, names: Iterable[str]) -> None:
    """
    Check that request members are not given in two ways.

    :raises ValueError: names the first that has an argument of its own.
    """
    own = {member_of(name).replace("_", ""): name for name in names}
    for member in additional if isinstance(additional, Mapping) else ():
        if name := own.get(str(member).casefold()):
            raise ValueError(
                f"additional_parameters has {member!r}, which has an argument of its own: {name}"
            )


def validate_seconds(name: str, value: object, *, zero: bool = True) -> float:
    """Return a time given as a number or a timedelta in seconds."""
    seconds: Any = value.total_seconds() if hasattr(value, "total_seconds") else value
    if not _is_number(seconds) or not 0 <= seconds <= MAX_SECONDS:
        raise ValueError(
            f"{name}={cut(value)} must be a number of seconds, 0 or more, or a timedelta,"
            f" and at most {MAX_SECONDS:.0f} seconds"
        )
    if not (zero or seconds):
        raise ValueError(f"{name}={seconds!r} must be more than 0 seconds")
    return float(seconds)


def validate_flag(name: str, value: object) -> bool:
    """Return a flag that has to be known by now: true or false in any spelling."""
    flag = to_flag(value)
    if flag is None:
        raise ValueError(f"{name}={cut(value)} must be {_FLAG_WORDS}")
    return flag


def validated(name: str, value: object) -> Any:
    """
    Return an argument that has to be known by now, as what its name promises.

    :raises ValueError: names the argument, the value and the rule.
    """
    restored = normalized(name, value, optional=False)
    if restored is None or is_templated(restored):
        raise ValueError(f"{name}={cut(value)} must be {_RULES[name].words}")
    validate({name: restored})
    return restored


def is_id(value: object) -> bool:
    """Tell whether a value names a resource: "None" is what a template makes of nothing."""
    return is_valid_id(value) and value != "None"


def validate_id(name: str, value: object) -> None:
    """
    Check an id that has to be known by now.

    :raises ValueError: names the argument, the value and the rule.
    """
    if not is_id(value):
        raise ValueError(f"{name}={cut(value)} must be {_ID_WORDS}")


def _is_number(value: Any) -> bool:
    # Not of Decimal, which JSON does not take; NaN is no number.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value


def _is_count(value: Any, least: int = 0) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= _MAX_COUNT


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value.isprintable() and not is_blank(value)


def _is_path_or_flag(value: object) -> bool:
    return isinstance(value, bool) or _is_text(value)


def _starts(prefix: str) -> Callable[[object], bool]:
    return lambda value: _is_text(value) and str(value).startswith(prefix) and value != prefix


def _is_url(value: object) -> bool:
    if not _is_text(value) or " " in str(value):
        return False
    try:
        parts = urlsplit(str(value))
        is_usable = parts.scheme in ("https", "http") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return is_usable and not (parts.query or parts.fragment or "@" in parts.netloc)


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(is_templated(item) or _is_text(item) for item in value)


def _is_plain_dict(value: object) -> bool:
    return isinstance(value, Mapping) and _as_json(value) is not None


def _as_json(value: object) -> str | None:
    """Return plain values as JSON, without what is known later; None: something else is in it."""

    def known_later(item: object) -> None:
        if not is_templated(item):
            raise TypeError

    try:
        return json.dumps(value, default=known_later, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return None


def _holds_template(value: object) -> bool:
    return is_templated(value) or any(mark in (_as_json(value) or "") for mark in ("{{", "{%"))


def cut(value: object) -> str:
    """Return a value for a message: of bounded length, and without a user's credentials in a URL."""
    try:
        text = URL_CREDENTIALS.sub(URL_MASK, repr(value)[:LONGEST_READ])
    except (ValueError, RecursionError):  # a number of thousands of digits
        return f"<{type(value).__name__}>"
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def _shown(value: object, rule: _Rule) -> str:
    """Return a value for a message; of what may hold a proxy's password the keys, or the type, alone."""
    if isinstance(value, Mapping):
        keys = ", ".join(f"{cut(key)}: ..." for key in value)
        return f"{{{keys if len(keys) <= _MAX_SHOWN else keys[:_MAX_SHOWN] + '...'}}}"
    return f"<{type(value).__name__}>" if rule.may_hold_secrets else cut(value)


# What a template made of an argument, made undone


def _text(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**_MAX_SHOWN:
        return str(value)
    return _named_by_text(value)


def _named_by_text(value: Any) -> Any:
    """Return the text that a template makes of what is no number, as it does without native rendering."""
    if isinstance(value, (date, UUID)):
        return str(value)
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _number(value: Any) -> Any:
    """Return a number given as text; of more digits than a number has that anybody takes, it stays text."""
    if isinstance(value, str) and len(value) <= _MAX_SHOWN:
        for read in (int, float):
            try:
                return read(value)
            except ValueError:
                continue
    return value


def _flag(value: Any) -> Any:
    flag = to_flag(value) if isinstance(value, str) else None
    return value if flag is None else flag


def _flag_or_text(value: Any) -> Any:
    flag = _flag(value)
    return flag if isinstance(flag, bool) else _text(value)


def _literal(value: Any) -> Any:
    """Return a list or dict that a template has turned into text, as JSON or as Python writes it."""
    if isinstance(value, str):
        for read in (json.loads, ast.literal_eval):
            try:
                return read(value.strip())
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                continue
    return value


def _texts(value: Any) -> Any:
    found = _literal(value)
    # All that a mapped task returned is a sequence of Airflow's own.
    if isinstance(found, (Sequence, Set)) and not isinstance(found, (str, bytes)):
        return [_text(item) for item in found]
    return value


def _members(value: Any) -> Any:
    """Return a dict without the members that are not given."""
    found = _literal(value)
    if not isinstance(found, Mapping):
        return value
    return {key: item for key, item in found.items() if item is not None and not is_blank(item)}


def _request_members(value: Any) -> Any:
    found = _members(value)
    with contextlib.suppress(RecursionError):
        return _as_plain(found) if isinstance(found, Mapping) else found
    return value


def _as_plain(value: Any) -> Any:
    """Return values in the types that JSON has, as far as there is one way to it."""
    if is_templated(value) or isinstance(value, (str, bytes)):
        return value
    if isinstance(value, Mapping):
        return {key: _as_plain(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [_as_plain(item) for item in value]
    return _named_by_text(value)


def _request_members_fault(value: Any) -> str:
    if is_templated(value) or _is_plain_dict(value):
        return ""
    with contextlib.suppress(RecursionError):
        if isinstance(value, Mapping) and (foreign := _foreign_to_json(value)):
            return f"{_MEMBERS_WORDS}: {foreign}, which JSON does not have"
    return _MEMBERS_WORDS


def _foreign_to_json(value: Any, path: str = "") -> str:
    """Return the path of the first part that JSON does not have; of what may be secret its type alone."""
    if isinstance(value, (Mapping, list)):
        parts: Iterable[tuple[Any, Any]] = value.items() if isinstance(value, Mapping) else enumerate(value)
        return next(filter(None, (_foreign_to_json(part, f"{path}[{cut(key)}]") for key, part in parts)), "")
    if is_templated(value) or _as_json(value) is not None:
        return ""
    shown = cut(value) if isinstance(value, Number) else f"a {type(value).__name__}"
    return f"{path[:_MAX_SHOWN]} is {shown}"


def _text_members(value: Any) -> Any:
    found = _members(value)
    return {key: _text(item) for key, item in found.items()} if isinstance(found, Mapping) else found


def _bounds(value: Any) -> Any:
    """Return bounds as numbers; one that is not given stays, as it must not open a gate."""
    found = _literal(value)
    return {key: _number(item) for key, item in found.items()} if isinstance(found, Mapping) else value


def _bounds_fault(bounds: Any) -> str:
    """Return what bounds on metrics must be and are not."""
    words = "a dict of finite numbers by metric, such as {'test.accuracy': 0.8}"
    if is_templated(bounds):
        return ""
    if not isinstance(bounds, Mapping):
        return words
    for path, bound in bounds.items():
        if not isinstance(path, str) or not re.fullmatch(r"(eval|test)\..+", path):
            return f"{words}: metric {cut(path)} must begin with eval. or test."
        if not is_templated(bound) and not (_is_number(bound) and math.isfinite(bound)):
            return f"{words}: the bound of {cut(path)} is {cut(bound)}"
    return ""


# The arguments of botocore.config.Config


def _options(value: Any) -> Any:
    """Restore the options of botocore, without the secrets that a task's arguments must not hold."""
    found = _restored_options(value)
    if isinstance(found, Mapping):
        return {
            key: _MASK if key == "proxies" else _without_credentials(option) for key, option in found.items()
        }
    return _MASK if isinstance(found, str) else found


def _without_credentials(option: Any) -> Any:
    if isinstance(option, Mapping):
        return {key: _without_credentials(item) for key, item in option.items()}
    return URL_CREDENTIALS.sub(URL_MASK, option) if isinstance(option, str) else option


def _restored_options(value: Any, path: str = "") -> Any:
    found = _members(value)
    if not isinstance(found, Mapping):
        return found
    restored = {}
    for key, option in found.items():
        rule = _OPTIONS.get(f"{path}{key}", _OTHER_OPTION)
        restored[key] = option if is_templated(option) else rule.restore(option)
    return restored


def _option_fault(options: Any) -> str:
    """Return what options of botocore must be and are not."""
    if not _is_plain_dict(options):
        return "a dict of plain values, the arguments of botocore.config.Config"
    fault = _first_option_fault(options)
    return f"a dict of plain values, with {fault}" if fault else ""


def _first_option_fault(options: Mapping[Any, Any], path: str = "") -> str:
    for key, option in options.items():
        where = f"{path}{key}"
        rule = _OPTIONS.get(where, _OTHER_OPTION)
        if fault := rule.fault(option):
            return f"{where[:_MAX_SHOWN]} as {fault}"
        if isinstance(option, Mapping) and (fault := _first_option_fault(option, f"{where}.")):
            return fault
    return ""


def _task_option_fault(options: Any) -> str:
    if URL_CREDENTIALS.search(_as_json(options) or ""):
        return f"without a user and password in a URL: {_FOR_SECRETS}"
    if isinstance(options, Mapping) and "proxies" in options:
        return f"without proxies, in which a password may be: {_FOR_SECRETS}"
    return "" if is_templated(options) else _option_fault(options)


def botocore_options(name: str, value: object) -> dict[str, Any]:
    """
    Return the options of botocore that something else than a task's argument has, where proxies may be.

    :param name: what the message calls them.
    :param value: the options.
    :raises ValueError: names the option and the rule, and no value.
    """
    options = _restored_options(value)
    if fault := _option_fault(options):
        raise ValueError(f"{name} must be {fault}")
    return dict(options)


# The table


@dataclass(frozen=True)
class _Rule:
    """
    What an argument may be.

    :param words: the rule.
    :param is_right: tells whether a value keeps it.
    :param restore: returns what a value was before a template made something else of it; never raises.
    :param optional: whether it may be None.
    :param may_hold_secrets: whether its value may be in no message.
    :param find_fault: returns the part of the rule that a value, or a template, breaks (default: all of it).
    """

    words: str
    is_right: Callable[[Any], bool]
    restore: Callable[[Any], Any] = _text
    optional: bool = True
    may_hold_secrets: bool = False
    find_fault: Callable[[Any], str] | None = None

    def fault(self, value: Any) -> str:
        """Return the rule if a value breaks it, else an empty text."""
        if self.find_fault:
            return self.find_fault(value)
        if is_templated(value) or self.is_right(value):
            return ""
        if self.restore is _text and isinstance(value, float):
            return f"{self.words}; of a number that is not whole, the text is not known: give it as text"
        return self.words


def _custom_parameters(*scripts: str) -> _Rule:
    source = "sourceS3DirectoryPath"

    def is_right(value: object) -> bool:
        if not isinstance(value, Mapping) or not value.keys() <= {source, *scripts}:
            return False
        texts = all(is_templated(item) or _is_text(item) for item in value.values())
        return texts and (is_templated(value.get(source)) or _starts("s3://")(value.get(source)))

    return _Rule(
        f"a dict with {source} (s3://...), and maybe {' and '.join(scripts)}", is_right, _text_members
    )


_MEMBERS_WORDS = "a dict of request members, of plain values"
_FLAG_WORDS = "True or False, or true or false as text"
_FOR_SECRETS = "put that into config_kwargs in the extra of the connection"
_COUNT = _Rule(f"a whole number, 0 or more and at most {_MAX_COUNT}", _is_count, _number)
_NUMBER = _Rule(
    f"a whole number, 1 or more and at most {_MAX_COUNT}", lambda value: _is_count(value, 1), _number
)
_FLAG = _Rule(_FLAG_WORDS, lambda value: isinstance(value, bool), _flag)
_SECONDS = _Rule(
    "a number of seconds, more than 0",
    lambda value: _is_number(value) and 0 < value <= MAX_SECONDS,
    _number,
)
_TEXT = _Rule("a text of one line", _is_text)
_OTHER_OPTION = _Rule(
    "a text of one line", lambda value: not isinstance(value, str) or value.isprintable(), lambda value: value
)
_DICT = _Rule("a dict", lambda value: isinstance(value, Mapping), _members)
_JSON = _Rule("a dict of plain values, as JSON has them", _is_plain_dict, _literal)
_ID = _Rule(_ID_WORDS, is_id)
# By the end of the name; the first that fits.
_RULES: dict[str, _Rule] = {
    "job_id": _ID,
    "endpoint_id": _ID,
    "neptune_ml_conn_id": _Rule("the id of a connection", _is_text, optional=False),
    "aws_conn_id": _Rule("the id of a connection", _is_text),
    "region_name": _Rule(
        "an AWS region, such as us-east-1",
        lambda value: _is_text(value) and re.fullmatch(r"[a-z0-9-]{1,63}", value) is not None,
    ),
    "verify": _Rule("True, False, or the path of a CA bundle", _is_path_or_flag, _flag_or_text),
    "export_api_url": _Rule(
        "the full invoke URI of the export service, https://... without user, query and fragment", _is_url
    ),
    "output_s3_path": _Rule("an S3 location: s3://bucket/prefix", _starts("s3://")),
    "command": _Rule("a command of the export service, such as export-pg or export-rdf", _is_text),
    "job_size": _Rule(
        "one of small, medium, large, xlarge", lambda value: value in ("small", "medium", "large", "xlarge")
    ),
    "export_params": _JSON,
    "additional_params": _JSON,
    "expected_bucket_owner": _Rule(
        "the id of an AWS account, 12 digits", lambda value: re.fullmatch(r"\d{12}", str(value)) is not None
    ),
    "_s3_location": _Rule("an S3 location: s3://bucket/prefix", _starts("s3://")),
    "_role_arn": _Rule("the ARN of an IAM role: arn:aws:iam::<account>:role/<name>", _starts("arn:")),
    "instance_type": _Rule("a SageMaker instance type, such as ml.g5.2xlarge", _starts("ml.")),
    "instance_count": _NUMBER,
    "custom_model_training_parameters": _custom_parameters(
        "trainingEntryPointScript", "transformEntryPointScript"
    ),
    "custom_model_transform_parameters": _custom_parameters("transformEntryPointScript"),
    "_in_gb": _COUNT,
    "_in_seconds": _COUNT,
    "_training_jobs": _NUMBER,
    "_name": _Rule("a name", _is_text),
    "model_type": _Rule("a model type, such as heterogeneous or kge", _is_text),
    "_kms_key": _Rule("the id or ARN of a KMS key", _is_text),
    "subnets": _Rule("a list of subnet ids", _is_texts, _texts),
    "security_group_ids": _Rule("a list of security group ids", _is_texts, _texts),
    "target_statuses": _Rule("a list of one or more terminal statuses", _is_texts, _texts),
    "enable_managed_spot_training": _FLAG,
    "update": _FLAG,
    "print_log": _FLAG,
    "failure_log_lines": _Rule(
        f"a whole number of lines, 0 or more and at most {_MAX_LOG_LINES}",
        lambda value: _is_count(value) and value <= _MAX_LOG_LINES,
        _number,
    ),
    "query": _Rule(
        "a query, a text that is not empty",
        lambda value: isinstance(value, str) and not is_blank(value),
        optional=False,
    ),
    "additional_parameters": _Rule(
        "", _is_plain_dict, _request_members, may_hold_secrets=True, find_fault=_request_members_fault
    ),
    "minimum": _Rule("", lambda value: isinstance(value, Mapping), _bounds, find_fault=_bounds_fault),
    "maximum": _Rule("", lambda value: isinstance(value, Mapping), _bounds, find_fault=_bounds_fault),
    "botocore_config": _Rule(
        "", _is_plain_dict, _options, may_hold_secrets=True, find_fault=_task_option_fault
    ),
}
# By the path in the dict. What is not here is botocore's own to check, when the hook is built.
_OPTIONS: dict[str, _Rule] = {
    "connect_timeout": _SECONDS,
    "read_timeout": _SECONDS,
    "max_pool_connections": _NUMBER,
    "proxies": _DICT,
    "proxies_config": _DICT,
    "s3": _DICT,
    "client_context_params": _DICT,
    "retries": _Rule(
        "a dict",
        lambda value: isinstance(value, Mapping),
        lambda value: _restored_options(value, "retries."),
    ),
    "retries.mode": _Rule(
        "one of legacy, standard, adaptive", lambda value: value in ("legacy", "standard", "adaptive")
    ),
    "retries.max_attempts": _COUNT,
    "retries.total_max_attempts": _NUMBER,
    **dict.fromkeys(("region_name", "signature_version"), _TEXT),
    **dict.fromkeys(("user_agent", "user_agent_extra", "user_agent_appid"), _TEXT),
    **dict.fromkeys(("parameter_validation", "tcp_keepalive", "use_dualstack_endpoint"), _FLAG),
    **dict.fromkeys(("use_fips_endpoint", "inject_host_prefix", "disable_request_compression"), _FLAG),
}


def _rule_of(name: str) -> _Rule | None:
    return next((rule for suffix, rule in _RULES.items() if name.endswith(suffix)), None)
