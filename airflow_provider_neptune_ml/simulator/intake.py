"""What comes in, checked before it changes anything: bodies, JSON, and the arguments of the Python side."""

from __future__ import annotations

import functools
import inspect
import json
import math
import operator
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from dataclasses import is_dataclass
from types import UnionType
from typing import Any, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
P = ParamSpec("P")
R = TypeVar("R")

MOST_BODY_BYTES = 1 << 20
MOST_LEVELS = 32


class BodyTooLarge(ValueError):
    """A request body has more than :data:`MOST_BODY_BYTES`."""


async def read_body(receive: Receive) -> bytes:
    """Return the body of an HTTP request; raise BodyTooLarge as soon as it is."""
    body, more = bytearray(), True
    while more:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > MOST_BODY_BYTES:
            raise BodyTooLarge(f"the body has more than {MOST_BODY_BYTES} bytes")
        more = message.get("more_body", False)
    return bytes(body)


def read_json(text: str | bytes, parse_constant: Callable[[str], Any] | None = None) -> Any:
    """
    Return what a JSON text says; raise ValueError for what isn't JSON, or could not be written again.

    That are half a surrogate pair, more than :data:`MOST_LEVELS` levels, and numbers that are not finite.

    :param parse_constant: reads ``NaN`` and ``Infinity``, which JSON doesn't have (default: refuse them).
    """
    try:
        value = json.loads(text, parse_constant=parse_constant)
    except RecursionError:
        raise ValueError("nested too deeply (recursion)") from None
    _check_data(value, MOST_LEVELS, only_finite=parse_constant is None)
    return value


def _check_data(value: Any, levels: int, *, only_finite: bool) -> None:
    if isinstance(value, float) and only_finite and not math.isfinite(value):
        raise ValueError(f"{value} is no number of JSON's")
    if isinstance(value, str):
        value.encode()
    if isinstance(value, (dict, list)):
        if not levels:
            raise ValueError(f"nested too deeply: at most {MOST_LEVELS} levels")
        for part in (*value, *value.values()) if isinstance(value, dict) else value:
            _check_data(part, levels - 1, only_finite=only_finite)


def fits(value: Any, hint: Any) -> bool:
    """
    Tell whether a value is of an annotated type, also by what no annotation says.

    NaN is no number, because it compares with nothing; a text is one that can be encoded; True is no number.
    """
    origin, parts = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin is UnionType:
        return any(fits(value, part) for part in parts)
    if origin is tuple:
        return isinstance(value, (list, tuple)) and len(value) == len(parts) and all(map(fits, value, parts))
    if isinstance(origin, type):
        return _fits_collection(value, origin, parts)
    if is_dataclass(hint) and isinstance(hint, type):
        known = hints(hint)
        same = isinstance(value, dict) and value.keys() == known.keys()
        return same and all(fits(value[name], known[name]) for name in known)
    if hint in (int, float):
        return _fits_number(value, hint)
    return isinstance(value, hint) and (hint is not str or _is_text(value))


def _fits_collection(value: Any, origin: type, parts: tuple[Any, ...]) -> bool:
    if isinstance(value, str) or not issubclass(type(value), origin):
        return False
    if isinstance(value, Mapping):
        return all(fits(name, parts[0]) and fits(item, parts[-1]) for name, item in value.items())
    return issubclass(origin, Collection) and all(fits(item, parts[0]) for item in value)


def _fits_number(value: Any, hint: type) -> bool:
    if isinstance(value, bool) or not issubclass(type(value), (int, hint)):
        return False
    try:
        return not math.isnan(float(value)) or hint is int
    except OverflowError:  # an int that is no float
        return hint is int


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


@functools.cache
def hints(cls: type) -> Mapping[str, Any]:
    """Return the types of a class's fields by name."""
    return get_type_hints(cls)


def check(values: Mapping[str, Any], types: Mapping[str, Any]) -> None:
    """Raise ValueError, with name, value and type, for the first of the values that is not of its type."""
    for name, hint in types.items():
        if name in values and not fits(values[name], hint):
            wanted = hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint)
            raise ValueError(f"{name}={values[name]!r:.100}: must be a valid {wanted}")


def _as_written(hint: Any) -> Any:
    # Python 3.10 makes an Optional of a parameter whose default is None.
    return functools.reduce(operator.or_, get_args(hint)) if get_origin(hint) is Union else hint


def checked(method: Callable[P, R]) -> Callable[P, R]:
    """Check a method's arguments by their annotations at each call, because they come over HTTP as well."""
    signature = inspect.signature(method)
    types = {name: _as_written(hint) for name, hint in get_type_hints(method).items() if name != "return"}

    @functools.wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        check(signature.bind(*args, **kwargs).arguments, types)
        return method(*args, **kwargs)

    return call
