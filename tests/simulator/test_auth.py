"""SigV4 and TLS."""

from __future__ import annotations

import datetime
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import HTTPClientError
from botocore.httpsession import URLLib3Session

from airflow_provider_neptune_ml.kinds import KINDS, MODEL_TRAINING
from airflow_provider_neptune_ml.simulator import Credential, Fault, Simulator
from airflow_provider_neptune_ml.simulator.auth import EXAMPLE_CREDENTIAL
from tests.certificates import self_signed_certificate
from tests.simulator.steps import call, refusal, start

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
    request = AWSRequest("GET", f"{guarded.url}/ml/modeltraining")
    request.context["timestamp"] = f"{there:%Y%m%dT%H%M%SZ}"
    signer: Any = SigV4Auth(_keys(EXAMPLE_CREDENTIAL), "neptune-db", guarded.region)
    # What add_auth() does, but for the date.
    signer._modify_request_before_signing(request)
    text_to_sign = signer.string_to_sign(request, signer.canonical_request(request))
    signer._inject_signature_to_request(request, signer.signature(text_to_sign, request))
    status, body = _send(request)

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


def _keys(credential: Credential) -> Credentials:
    return Credentials(credential.access_key, credential.secret_key, credential.session_token)


def _send(request: AWSRequest) -> tuple[int, bytes]:
    session = URLLib3Session()
    try:
        response = session.send(request.prepare())
        return response.status_code, response.content
    finally:
        session.close()
