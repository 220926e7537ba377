"""Event handlers of a boto3 client: members that its model lacks, and replies that it would get wrong."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from botocore.parsers import ResponseParserError

if TYPE_CHECKING:
    from botocore.client import BaseClient
    from botocore.model import OperationModel, Shape

# The argument of a call that carries them; in snake_case, as no member of the API is.
ADDITIONAL = "additional_parameters"


def register(client: BaseClient) -> None:
    """Have our handlers called by a client."""
    client.meta.events.register("before-parameter-build.neptunedata", _take_additional_parameters)
    client.meta.events.register("before-call.neptunedata", _add_additional_parameters)
    client.meta.events.register("before-parse.neptunedata", _normalize_reply)


def members_of(model: OperationModel) -> Mapping[str, Shape]:
    """Return the members of an operation's request."""
    return model.input_shape.members if model.input_shape else {}


def unquoted(shape: Shape, value: Any) -> Any:
    """Return a number or flag that a template has turned into text as what it was."""
    if isinstance(value, str) and shape.type_name in ("integer", "boolean"):
        with contextlib.suppress(ValueError):
            return json.loads(value.casefold())
    return value


def _take_additional_parameters(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    """Keep what boto3's model doesn't know from its validation."""
    if ADDITIONAL in params:
        context[ADDITIONAL] = params.pop(ADDITIONAL)


def _add_additional_parameters(
    model: OperationModel, params: dict[str, Any], context: dict[str, Any], **_: Any
) -> None:
    """Put them into the body before it is signed."""
    if additional := context.get(ADDITIONAL):
        if known := sorted(additional.keys() & members_of(model).keys()):
            raise ValueError(
                f"additional_parameters has {', '.join(known)}, which has an argument of its own"
            )
        params["body"] = json.dumps({**json.loads(params["body"] or b"{}"), **additional}).encode()


def _normalize_reply(response_dict: dict[str, Any], **_: Any) -> None:
    """
    Have botocore read what it would get wrong.

    It takes what is no JSON object (a page, a reply that was cut) for an empty reply, or raises on it: on
    bytes that aren't text, on a list. It drops the text of errors that its model lacks.
    """
    try:
        body = json.loads(response_dict["body"].decode())
    except (ValueError, RecursionError):
        body = None
    is_error = response_dict["status_code"] >= 300
    if isinstance(body, dict):
        if is_error and "detailedMessage" in body:
            response_dict["body"] = json.dumps({"message": body["detailedMessage"], **body}).encode()
    elif is_error:
        # The status still says what it means.
        response_dict["body"] = b""
    else:
        raise ResponseParserError("not a JSON object")
