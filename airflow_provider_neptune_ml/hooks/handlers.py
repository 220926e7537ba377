"""Event handlers of a boto3 client: members that its model lacks, and replies that it would get wrong."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.parsers import ResponseParserError

from airflow_provider_neptune_ml.kinds import ALL_KINDS, GREMLIN
from airflow_provider_neptune_ml.text import one_line, storable

if TYPE_CHECKING:
    from botocore.client import BaseClient
    from botocore.model import OperationModel, Shape

_OPERATIONS = frozenset(
    operation
    for kind in ALL_KINDS.values()
    for operation in (kind.start_operation, kind.get_operation, kind.list_operation, kind.stop_operation)
) | {GREMLIN.operation}
# The argument of a call that carries them; in snake_case, as no member of the API is.
ADDITIONAL = "additional_parameters"


# Put a body of JSON into the form that the model says: of which operation, with what HTTP status, and which.
Reshape = Callable[[str, int, Any], Any]


def register(client: BaseClient, reshape: Reshape) -> None:
    """
    Have our handlers called by a client.

    :param client: the client.
    :param reshape: puts a reply into the form of the client's model.
    """
    service = client.meta.service_model.service_id.hyphenize()
    client.meta.events.register(f"before-parameter-build.{service}", _take_additional_parameters)
    client.meta.events.register(f"before-call.{service}", _add_additional_parameters)
    client.meta.events.register(f"before-parse.{service}", partial(_normalize_reply, reshape=reshape))


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


def _normalize_reply(
    operation_model: OperationModel,
    response_dict: dict[str, Any],
    customized_response_dict: dict[str, Any],
    *,
    reshape: Reshape,
    **_: Any,
) -> None:
    """
    Give botocore's parser nothing that it would get wrong.

    It takes what is no JSON object (a page, a reply that was cut) for an empty reply, and raises on members
    of another type than its model says. It drops the text of errors that its model lacks.
    """
    is_good = response_dict["status_code"] < 300
    # The client's other operations may answer with something else.
    if is_good and operation_model.name not in _OPERATIONS:
        return
    try:
        body = json.loads(response_dict["body"].decode())
    except (ValueError, RecursionError):
        body = None
    body = reshape(operation_model.name, response_dict["status_code"], body)
    if is_good:
        body = _conformed(operation_model.output_shape, body)
        if body is None:
            raise ResponseParserError("not a JSON object")
    else:
        # What is no JSON object has a status all the same, which says what it means.
        body = _normalized_error(body) if isinstance(body, dict) else {}
        customized_response_dict.update(body)
    response_dict["body"] = json.dumps(body).encode() if body else b""


def _conformed(shape: Any, value: Any) -> Any:
    """Return a value of a reply without what has another type than the model says; None: all of it."""
    kind = shape.type_name
    if getattr(shape, "is_document_type", False):
        return value  # JSON of any form
    if kind == "structure" and isinstance(value, dict):
        parts = {name: _conformed(member, value.get(name)) for name, member in shape.members.items()}
        if isinstance(parts.get("status"), str):
            # A word, which stands in many a message.
            parts["status"] = one_line(parts["status"])
        return {name: part for name, part in parts.items() if part is not None}
    if kind == "list" and isinstance(value, list):
        return [part for part in (_conformed(shape.member, item) for item in value) if part is not None]
    if kind == "string" and isinstance(value, str):
        return storable(value)
    if kind in ("integer", "long") and isinstance(value, int) and not isinstance(value, bool):
        return value if abs(value) < 2**63 else None
    return None


def _normalized_error(body: Mapping[str, Any]) -> dict[str, str]:
    """Return the members of an error that are texts, by Neptune's names for them."""
    code, detail, message, request_id = (
        next((body[name] for name in names if isinstance(body.get(name), str)), "")
        for names in (
            ("code", "Code", "__type"),
            ("detailedMessage",),
            ("message", "Message"),
            ("requestId",),
        )
    )
    members = {
        "code": one_line(code),
        "detailedMessage": one_line(detail),
        "message": one_line(detail or message),
        "requestId": one_line(request_id),
    }
    return {name: text for name, text in members.items() if text}
