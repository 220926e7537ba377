"""
The peer: a sensor and a trigger for Neptune ML, as a competent engineer builds them on Amazon's own bases.

Every choice is the one that the Amazon provider's own services make, or its nearest legal variant:

- The trigger is an ``AwsBaseWaiterTrigger``, the sensor an ``AwsBaseSensor`` that defers to it, as in
  ``sensors/comprehend.py`` and forty others. A client per trigger and polls that are logged one by one come
  with these bases.
- The endpoint of the cluster is ``service_config.neptunedata.endpoint_url`` of the AWS connection: the
  documented place for it.
- The waiter model is a JSON file of its own. Amazon's hook looks for it in Amazon's folder only, so the hook
  overrides ``waiter_path``. It knows the terminal statuses; any other word goes on waiting.
- The deferred sensor resumes in ``execute_complete``, which fails on an error event. Amazon's own often
  resume in ``poke``, which costs a call more and takes a timed-out trigger for a success.
- Attempts: as many as seven days hold, the default timeout of a sensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
from airflow.providers.amazon.aws.sensors.base_aws import AwsBaseSensor
from airflow.providers.amazon.aws.triggers.base import AwsBaseWaiterTrigger
from airflow.providers.amazon.aws.utils.mixins import aws_template_fields

from airflow_provider_neptune_ml.compat import AirflowException

if TYPE_CHECKING:
    from airflow.sdk import Context

_SEVEN_DAYS = 7 * 24 * 3600


class PeerHook(AwsBaseHook):
    """Interact with the data API of a Neptune cluster."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["client_type"] = "neptunedata"
        super().__init__(*args, **kwargs)

    @property
    def waiter_path(self) -> Path:
        """Where the waiters are: not in Amazon's folder."""
        return Path(__file__).with_name("peer_waiters.json")


class PeerTrigger(AwsBaseWaiterTrigger):
    """
    Wait for a model training job.

    :param job_id: The id of the job.
    :param waiter_delay: Time in seconds between two polls.
    :param waiter_max_attempts: How many polls at most.
    """

    aws_hook_class = PeerHook

    def __init__(
        self,
        *,
        job_id: str,
        waiter_delay: int = 60,
        waiter_max_attempts: int = _SEVEN_DAYS // 60,
        aws_conn_id: str | None = "aws_default",
        region_name: str | None = None,
        verify: bool | str | None = None,
        botocore_config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            serialized_fields={"job_id": job_id},
            waiter_name="model_training_complete",
            waiter_args={"id": job_id},
            failure_message=f"Model training job {job_id} failed",
            status_message=f"Status of model training job {job_id}",
            status_queries=["status"],
            return_key="job_id",
            return_value=job_id,
            waiter_delay=waiter_delay,
            waiter_max_attempts=waiter_max_attempts,
            aws_conn_id=aws_conn_id,
            region_name=region_name,
            verify=verify,
            botocore_config=botocore_config,
        )


class PeerSensor(AwsBaseSensor[PeerHook]):
    """
    Wait until a model training job has completed.

    :param job_id: The id of the job. (templated)
    :param deferrable: Whether to wait in the triggerer (default: True).
    """

    aws_hook_class = PeerHook
    template_fields: Sequence[str] = aws_template_fields("job_id")

    def __init__(self, *, job_id: str, deferrable: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job_id = job_id
        self.deferrable = deferrable

    def execute(self, context: Context) -> Any:
        """Defer, or poke."""
        if not self.deferrable:
            return super().execute(context)
        return self.defer(
            trigger=PeerTrigger(
                job_id=self.job_id,
                waiter_delay=int(self.poke_interval),
                waiter_max_attempts=int(self.timeout // self.poke_interval),
                aws_conn_id=self.aws_conn_id,
                region_name=self.region_name,
                verify=self.verify,
                botocore_config=self.botocore_config,
            ),
            method_name="execute_complete",
        )

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> str:  # noqa: ARG002
        """Take the trigger's event."""
        if not event or event["status"] != "success":
            raise AirflowException(f"Model training job {self.job_id} did not complete: {event}")
        return self.job_id

    def poke(self, context: Context) -> bool:  # noqa: ARG002
        """Ask once."""
        client: Any = self.hook.conn
        status = client.get_ml_model_training_job(id=self.job_id)["status"]
        if status in ("Failed", "Stopped"):
            raise AirflowException(f"Model training job {self.job_id}: {status}")
        return bool(status == "Completed")
