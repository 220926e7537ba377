"""SigV4 and TLS."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import HTTPClientError
from botocore.httpsession import URLLib3Session

from airflow_provider_neptune_ml.kinds import KINDS, MODEL_TRAINING
from airflow_provider_neptune_ml.simulator import Credential, Fault, Simulator
from airflow_provider_neptune_ml.simulator.auth import EXAMPLE_CREDENTIAL
from tests.certificates import self_signed_certificate
from tests.simulator.steps import call, refusal, start
from tests.simulator.wire import send

if TYPE_CHECKING:
    from pathlib import Path

    from tests.simulator.conftest import ClientMaker

TEMPORARY = Credential("ASIATEMPORARY", "temporary-secret", "the/session+token==")
LIST = MODEL_TRAINING.list_operation


@pytest.fixture(scope="module")
def guarded() -> Any:
    """A simulator that verifies signatures."""
    with Simulator(iam_auth=True, credentials=(EXAMPLE_CREDENTIAL, TEMPORARY), clock="manual") as simulator:
        yield simulator


@pytest.mark.parametrize("credential", [EXAMPLE_CREDENTIAL, TEMPORARY], ids=["long-lived", "temporary"])
def test_signed_requests_are_taken(
    guarded: Simulator, make_client: ClientMaker, credential: Credential
) -> None:
    """Every operation works when signed, with ids and values that need encoding, too."""
    guarded.reset()
    client = make_client(guarded, credential)
    for kind in KINDS.values():
        role = "arn:aws:iam::123456789012:role/a role+with%signs/é"
        assert start(client, guarded, kind, neptuneIamRoleArn=role)["id"] == "job-1"
        assert call(client, kind.get_operation, id="job-1", neptuneIamRoleArn=role)
        assert call(client, kind.list_operation, maxItems=5, neptuneIamRoleArn=role)
        assert call(client, kind.stop_operation, id="job-1", clean=True, neptuneIamRoleArn=role)
        assert refusal(client, kind.get_operation, id="a b/c%2Fd")[0] == 404


def test_unsigned_request(guarded: Simulator, make_client: ClientMaker) -> None:
    """An unsigned request is refused with the text of the real service."""
    assert refusal(make_client(guarded), LIST) == (
        403,
        "AccessDeniedException",
        "Missing Authentication Token",
    )


@pytest.mark.parametrize(
    ("credential", "text"),
    [
        (Credential(EXAMPLE_CREDENTIAL.access_key, "wrong"), "signature we calculated does not match"),
        (Credential("AKIAUNKNOWN", EXAMPLE_CREDENTIAL.secret_key), "security token"),
        (Credential(TEMPORARY.access_key, TEMPORARY.secret_key), "security token"),
        (Credential(TEMPORARY.access_key, TEMPORARY.secret_key, "another"), "security token"),
        (Credential(EXAMPLE_CREDENTIAL.access_key, EXAMPLE_CREDENTIAL.secret_key, "none"), "security token"),
    ],
    ids=["wrong secret", "unknown key", "no token", "wrong token", "token too many"],
)
def test_wrong_keys(guarded: Simulator, make_client: ClientMaker, credential: Credential, text: str) -> None:
    """A wrong secret key, an unknown key, or a wrong session token is refused."""
    status, code, message = refusal(make_client(guarded, credential), LIST)

    assert (status, code) == (403, "AccessDeniedException")
    assert text in message


def test_wrong_region(guarded: Simulator, make_client: ClientMaker) -> None:
    """A signature for another region is refused."""
    client = make_client(guarded, EXAMPLE_CREDENTIAL, region_name="eu-west-1")
    status, code, message = refusal(client, LIST)

    assert (status, code) == (403, "AccessDeniedException")
    assert "valid region, not 'eu-west-1'" in message


@pytest.mark.parametrize("service", ["neptune-graph", "execute-api"])
def test_signature_for_another_service(guarded: Simulator, service: str) -> None:
    """A signature for another service is refused."""
    request = AWSRequest("GET", f"{guarded.url}/ml/modeltraining")
    SigV4Auth(_keys(EXAMPLE_CREDENTIAL), service, guarded.region).add_auth(request)
    status, body = _send(request)

    assert status == 403
    assert b"AccessDeniedException" in body
    assert b"Credential should be scoped to correct service: 'neptune-db'." in body


@pytest.mark.parametrize(
    ("minutes", "text"), [(-6, "Signature expired"), (6, "Signature not yet current"), (-4, None), (4, None)]
)
def test_date_skew(guarded: Simulator, minutes: int, text: str | None) -> None:
    """A date more than five minutes off is refused, a smaller skew is not."""
    there = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=minutes)
    signer = SigV4Auth(_keys(EXAMPLE_CREDENTIAL), "neptune-db", guarded.region)
    status, body = _send(_signed_at(signer, guarded, f"{there:%Y%m%dT%H%M%SZ}"))

    if text is None:
        assert status == 200
    else:
        assert (status, json.loads(body)["code"]) == (403, "AccessDeniedException")
        assert json.loads(body)["detailedMessage"].startswith(text)


@pytest.mark.parametrize(
    "change",
    [
        {"method": "DELETE", "url": "/ml/modeltraining/other"},
        {"url": "/ml/modeltraining?maxItems=2"},
        {"headers": {"Host": "another-cluster:8182"}},
        {"headers": {"X-Amz-Date": "20200101T000000Z"}},
        {"headers": {"X-Amz-Content-SHA256": "0" * 64}},
        {"headers": {"Authorization": "Basic dXNlcjpwYXNz"}},
        {"headers": {"Authorization": "AWS4-HMAC-SHA256 nonsense"}},
        {"headers": {"X-Amz-Date": "yesterday"}},
    ],
)
def test_requests_changed_after_signing(guarded: Simulator, change: dict[str, Any]) -> None:
    """Whatever is signed can't be changed on the way."""
    request = AWSRequest("GET", f"{guarded.url}/ml/modeltraining?maxItems=1")
    SigV4Auth(_keys(EXAMPLE_CREDENTIAL), "neptune-db", guarded.region).add_auth(request)
    request.method = change.get("method", request.method)
    request.url = f"{guarded.url}{change['url']}" if "url" in change else request.url
    for name, value in change.get("headers", {}).items():
        del request.headers[name]
        request.headers[name] = value
    status, body = _send(request)

    assert status == 403
    assert b'"AccessDeniedException"' in body


def test_body_changed_after_signing(guarded: Simulator) -> None:
    """The body is part of the signature."""
    request = AWSRequest("POST", f"{guarded.url}/ml/dataprocessing", data=b"{}")
    SigV4Auth(_keys(EXAMPLE_CREDENTIAL), "neptune-db", guarded.region).add_auth(request)
    request.data = b'{"id": "evil"}'

    assert _send(request)[0] == 403


def test_signing_only_host_and_date_is_enough(guarded: Simulator) -> None:
    """Clients such as awscurl sign two headers only, and may send others."""
    request = AWSRequest("GET", f"{guarded.url}/ml/modeltraining")
    SigV4Auth(_keys(EXAMPLE_CREDENTIAL), "neptune-db", guarded.region).add_auth(request)
    request.headers["Accept-Language"] = "de"

    assert _send(request)[0] == 200


def test_signed_requests_to_an_open_cluster(simulator: Simulator, make_client: ClientMaker) -> None:
    """A cluster without IAM auth takes signed requests as they come."""
    assert call(make_client(simulator, Credential("any", "thing")), LIST) == {"ids": []}


def test_secrets_are_not_shown(guarded: Simulator) -> None:
    """No secret shows in what may be printed."""
    shown = (
        f"{guarded!r} {guarded.credentials!r} {guarded.connection} {guarded.connection_uri} {guarded.journal}"
    )

    assert EXAMPLE_CREDENTIAL.secret_key not in shown
    assert "session+token" not in shown


def test_tls(tmp_path: Path, make_client: ClientMaker) -> None:
    """With a certificate the simulator speaks HTTPS, signed or not, and the connection says so."""
    certificate = self_signed_certificate(tmp_path)
    with Simulator(ssl_certfile=str(certificate), iam_auth=True) as simulator:
        client = make_client(simulator, EXAMPLE_CREDENTIAL, verify=str(certificate))

        assert simulator.url.startswith("https://")
        assert simulator.connection["schema"] == "https"
        assert call(client, LIST) == {"ids": []}
        assert refusal(make_client(simulator, verify=str(certificate)), LIST)[0] == 403
        with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
            urlopen(simulator.url)


@pytest.mark.parametrize("fault", ["reset", "cut"])
def test_connections_break_off_under_tls(tmp_path: Path, make_client: ClientMaker, fault: str) -> None:
    """Breaking off works under TLS as well."""
    certificate = self_signed_certificate(tmp_path)
    with Simulator(ssl_certfile=str(certificate)) as simulator:
        client = make_client(simulator, verify=str(certificate))
        simulator.add_fault(Fault(fault))
        with suppress(HTTPClientError):
            assert call(client, LIST) == {}
        with suppress(HTTPClientError):  # from the pool the client may take the connection that is ending
            call(client, LIST)
        assert call(client, LIST) == {"ids": []}


@pytest.mark.parametrize("credential", [EXAMPLE_CREDENTIAL, TEMPORARY], ids=["long-lived", "temporary"])
@pytest.mark.parametrize(
    "query", ["", "?maxItems=5", "?neptuneIamRoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fa%20b"]
)
def test_presigned_requests_are_taken(guarded: Simulator, credential: Credential, query: str) -> None:
    """A query that botocore signed is taken, with a session token too."""
    assert _send(_presigned(guarded, f"/ml/modeltraining{query}", credential))[0] == 200


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (("maxItems=5", "maxItems=6"), "signature we calculated does not match"),
        (("modeltraining", "endpoints"), "signature we calculated does not match"),
        (("X-Amz-Signature=", "X-Amz-Signature=0"), "signature we calculated does not match"),
        (("X-Amz-Expires=60", "X-Amz-Expires=61"), "signature we calculated does not match"),
        (("X-Amz-Expires=60", "X-Amz-Expires=604801"), "X-Amz-Expires must be from 1 to 604800"),
        (("X-Amz-Expires=60", "X-Amz-Expires=0"), "X-Amz-Expires must be from 1 to 604800"),
        (("X-Amz-Expires=60&", ""), "AWS query-string parameters must include"),
        (
            ("X-Amz-Expires=60", "X-Amz-Expires=60&X-Amz-Expires=60"),
            "AWS query-string parameters must include",
        ),
        (("HMAC", "hmac"), "AWS query-string parameters must include"),
        (("aws4_request", "aws4"), "requires 'Credential' parameter"),
        (("neptune-db", "execute-api"), "correct service: 'neptune-db'"),
        (("us-east-1", "us-west-2"), "valid region, not 'us-west-2'"),
        (("SignedHeaders=host", "SignedHeaders=date"), "'date' is named as a SignedHeader"),
    ],
)
def test_presigned_requests_that_are_wrong(guarded: Simulator, change: tuple[str, str], text: str) -> None:
    """Nothing in a presigned query can be changed or left out."""
    request = _presigned(guarded, "/ml/modeltraining?maxItems=5", EXAMPLE_CREDENTIAL)
    assert change[0] in request.url
    request.url = request.url.replace(*change)
    status, body = _send(request)

    assert (status, json.loads(body)["code"]) == (403, "AccessDeniedException")
    assert text in json.loads(body)["detailedMessage"]


@pytest.mark.parametrize(
    ("minutes", "seconds", "text"),
    [(-10, 3600, None), (-10, 60, "Signature expired"), (6, 3600, "Signature not yet current")],
)
def test_presigned_requests_expire(guarded: Simulator, minutes: int, seconds: int, text: str | None) -> None:
    """A presigned query holds for the seconds that it says, from its date on."""
    there = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=minutes)
    signer = SigV4QueryAuth(_keys(EXAMPLE_CREDENTIAL), "neptune-db", guarded.region, expires=seconds)
    status, body = _send(_signed_at(signer, guarded, f"{there:%Y%m%dT%H%M%SZ}"))

    assert status == (403 if text else 200)
    assert (text or "ids").encode() in body


def test_presigned_and_signed(guarded: Simulator) -> None:
    """A request with two signatures is refused, though both are right."""
    request = _presigned(guarded, "/ml/modeltraining", EXAMPLE_CREDENTIAL)
    SigV4Auth(_keys(EXAMPLE_CREDENTIAL), "neptune-db", guarded.region).add_auth(request)
    status, body = _send(request)

    assert status == 403
    assert b"Only one signature is allowed" in body


def _with_parts(value: str, *order: int) -> str:
    algorithm, _, rest = value.partition(" ")
    parts = rest.split(", ")
    return f"{algorithm} {','.join(parts[index] for index in order)}"


Edit = Callable[[list[tuple[str, str]]], list[tuple[str, str]]]


def _edit_authorization(change: Callable[[str], str]) -> Edit:
    return lambda headers: [
        (name, change(value) if name == "Authorization" else value) for name, value in headers
    ]


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        (lambda headers: headers, None),
        (_edit_authorization(lambda value: _with_parts(value, 2, 1, 0)), None),
        (_edit_authorization(lambda value: _with_parts(value, 1, 0, 2)), None),
        (lambda headers: [*headers, ("Accept", "a"), ("Accept", "b")], None),
        (lambda headers: [*headers, ("X-Amz-Meta", "new")], "'X-Amz-Meta' must be a 'SignedHeader'"),
        (lambda headers: [*headers, ("X-Signed", "again")], "signature we calculated does not match"),
        (
            lambda headers: [one for one in headers if one[0] != "X-Signed"],
            "'x-signed' is named as a SignedH",
        ),
        (lambda headers: [*headers, ("X-Amz-Date", headers[0][1])], "'x-amz-date' must not be repeated"),
        (lambda headers: [*headers, ("X-Amz-Security-Token", "x")], "security token"),
        (lambda headers: [*headers, *(h for h in headers if h[0] == "Authorization")], "Only one signature"),
        (
            lambda headers: [
                (name, value.replace("Z", "z") if name == "X-Amz-Date" else value) for name, value in headers
            ],
            "Date must be in ISO-8601 'basic format'.",
        ),
        (_edit_authorization(lambda value: _with_parts(value, 0, 1)), "requires 'Credential' parameter"),
        (
            _edit_authorization(lambda value: _with_parts(value, 0, 1, 2, 2)),
            "requires 'Credential' parameter",
        ),
        (_edit_authorization(lambda value: _with_parts(value, 0, 1, 1)), "requires 'Credential' parameter"),
        (_edit_authorization(lambda value: value.replace("host;", "")), "'Host' must be a 'SignedHeader'"),
        (_edit_authorization(lambda value: value.replace(";x-amz-date", "")), "'X-Amz-Date' must be a"),
        (_edit_authorization(lambda value: value.replace("Signature=", "Signature=é")), "does not match"),
    ],
)
def test_authorization_headers(guarded: Simulator, edit: Edit, text: str | None) -> None:
    """Parts come in any order; a header that must be signed is, is there, and is there as often as signed."""
    status, answer = send(guarded, "GET", "/ml/modeltraining", edit(_headers(guarded, "/ml/modeltraining")))

    if text is None:
        assert status == 200
    else:
        assert (status, answer["code"]) == (403, "AccessDeniedException")
        assert text in answer["detailedMessage"]


def test_repeated_header_that_is_signed(guarded: Simulator) -> None:
    """A header that is signed with two values, joined by a comma, may come twice."""
    headers = _headers(guarded, "/ml/modeltraining", {"X-Signed": "one,two"})
    twice = [one for one in headers if one[0] != "X-Signed"] + [("X-Signed", "one"), ("X-Signed", "two")]

    assert send(guarded, "GET", "/ml/modeltraining", twice)[0] == 200
    assert send(guarded, "GET", "/ml/modeltraining", [*twice[:-2], *reversed(twice[-2:])])[0] == 403


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ("arn%3Aaws%2Fa%20b", 200),
        ("arn%3aaws%2fa%20b", 200),  # lower-case hexadecimal digits
        ("arn:aws/a%20b", 200),
        ("arn%3Aaws%2F%61%20b", 200),
        ("arn%3Aaws%2Fa%20c", 403),
    ],
)
def test_query_is_signed_by_what_it_means(guarded: Simulator, sent: str, expected: int) -> None:
    """A query may be sent in another encoding than the one that is signed, but mean nothing else."""
    headers = _headers(guarded, "/ml/modeltraining?neptuneIamRoleArn=arn%3Aaws%2Fa%20b")

    assert send(guarded, "GET", f"/ml/modeltraining?neptuneIamRoleArn={sent}", headers)[0] == expected


@pytest.mark.parametrize(
    ("change", "expected"), [(None, 200), ("Thu, 01 Jan 2026 00:00:00 GMT", 403), ("x", 403)]
)
def test_date_header_instead_of_amz_date(guarded: Simulator, change: str | None, expected: int) -> None:
    """A Date header is signed instead of X-Amz-Date where there is one, as by botocore."""
    headers = _headers(guarded, "/ml/modeltraining", {"Date": "now"})
    assert "x-amz-date" not in {name.lower() for name, _ in headers}
    headers = [(name, change or value if name == "Date" else value) for name, value in headers]

    assert send(guarded, "GET", "/ml/modeltraining", headers)[0] == expected


def test_empty_token_is_none(make_client: ClientMaker) -> None:
    """A credential whose token is an empty text is one without a token."""
    with Simulator(iam_auth=True, credentials=[Credential("AKIAMINE", "secret", "")]) as simulator:
        assert call(make_client(simulator, Credential("AKIAMINE", "secret")), LIST) == {"ids": []}


def _headers(simulator: Simulator, target: str, more: dict[str, str] | None = None) -> list[tuple[str, str]]:
    """The headers of a request that botocore signed, with one that only this test has."""
    request = AWSRequest("GET", f"{simulator.url}{target}", headers={"X-Signed": "once", **(more or {})})
    SigV4Auth(_keys(EXAMPLE_CREDENTIAL), "neptune-db", simulator.region).add_auth(request)
    return sorted(request.headers.items(), key=lambda header: header[0] != "X-Amz-Date")


def _presigned(simulator: Simulator, target: str, credential: Credential) -> Any:
    request = AWSRequest("GET", f"{simulator.url}{target}")
    SigV4QueryAuth(_keys(credential), "neptune-db", simulator.region, expires=60).add_auth(request)
    return request


def _signed_at(signer: Any, simulator: Simulator, timestamp: str) -> AWSRequest:
    """Do what add_auth() does, but for the date."""
    request = AWSRequest("GET", f"{simulator.url}/ml/modeltraining")
    request.context["timestamp"] = timestamp
    signer._modify_request_before_signing(request)
    text_to_sign = signer.string_to_sign(request, signer.canonical_request(request))
    signer._inject_signature_to_request(request, signer.signature(text_to_sign, request))
    return request


def _keys(credential: Credential) -> Credentials:
    return Credentials(credential.access_key, credential.secret_key, credential.session_token)


def _send(request: AWSRequest) -> tuple[int, bytes]:
    session = URLLib3Session()
    try:
        response = session.send(request.prepare())
        return response.status_code, response.content
    finally:
        session.close()
