"""Asset URIs, as Airflow itself takes them."""

from __future__ import annotations

import pytest

from airflow_provider_neptune_ml.compat import AIRFLOW_V_3_0_PLUS
from tests.sdk import Asset

ENDPOINT = "mycluster.cluster-c1a2b3.us-east-1.neptune.amazonaws.com"


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ("neptune-ml://mycluster/modeltraining/nightly-*", "neptune-ml://mycluster/modeltraining/nightly-*"),
        ("neptune-ml://MyCluster/modeltraining/Mine/", "neptune-ml://mycluster/modeltraining/Mine"),
        (f"NEPTUNE-ML://{ENDPOINT}:8182/endpoints/mine", f"neptune-ml://{ENDPOINT}/endpoints/mine"),
        ("neptune-ml://127.0.0.1:8183/modeltransform/*", "neptune-ml://127.0.0.1:8183/modeltransform/*"),
        ("neptune-ml://[::1]:8182/dataprocessing/mine", "neptune-ml://[::1]/dataprocessing/mine"),
    ],
)
def test_normal_form(given: str, normal: str) -> None:
    """An asset has one URI, however it is written."""
    assert Asset(given).uri == normal


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("neptune-ml://mycluster", "does not have the form neptune-ml://<cluster>/<kind>/<id>"),
        ("neptune-ml:///modeltraining/mine", "does not have the form"),
        ("neptune-ml://mycluster/modeltraining", "does not have the form"),
        ("neptune-ml://mycluster/modeltraining/mine/more", "does not have the form"),
        ("neptune-ml://mycluster/modeltraining/mine?a=b", "does not have the form"),
        ("neptune-ml://mycluster:many/modeltraining/mine", "has no valid cluster: Port"),
        ("neptune-ml://mycluster/training/mine", "choose from dataprocessing, modeltraining"),
        ("neptune-ml://mycluster/modeltraining/my_job", "the id 'my_job' must be 1-48 letters"),
    ],
)
# Airflow 2 warns where Airflow 3 refuses.
@pytest.mark.filterwarnings("ignore::UserWarning" if not AIRFLOW_V_3_0_PLUS else "error")
def test_refusals(uri: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A URI that can't be meant is refused, with the part that is not right."""
    monkeypatch.setenv("AIRFLOW__CORE__STRICT_DATASET_URI_VALIDATION", "True")

    with pytest.raises(ValueError, match=reason):
        Asset(uri)


@pytest.mark.filterwarnings("ignore:.*auth info:UserWarning", "ignore:.*password:UserWarning")
def test_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands before an @ is neither kept nor told."""
    monkeypatch.setenv("AIRFLOW__CORE__STRICT_DATASET_URI_VALIDATION", "True")

    assert Asset("neptune-ml://me:secret@mycluster/modeltraining/mine").uri.startswith(
        "neptune-ml://mycluster/"
    )
    with pytest.raises(ValueError, match="choose from") as refused:
        Asset("neptune-ml://secret@mycluster/training/mine")
    assert "secret" not in str(refused.value)
