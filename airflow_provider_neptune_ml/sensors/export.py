"""The sensor of the Neptune-Export service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_provider_neptune_ml.base import TemplatedText
from airflow_provider_neptune_ml.export import NeptuneMLExportTask
from airflow_provider_neptune_ml.sensors.neptune_ml import NeptuneMLSensor


class NeptuneMLExportJobSensor(NeptuneMLExportTask, NeptuneMLSensor):
    """
    Wait until a job of the Neptune-Export service has succeeded.

    .. seealso::
        - https://docs.aws.amazon.com/neptune/latest/userguide/export-service-run-export.html

    :param job_id: The id of the job, ``jobId`` in the reply of its start. (templated)
    :return: The last description: ``status``, ``outputS3Uri`` and ``logs`` as the service gave them, and the
        same as ``exportJob`` in the form of a stage of Neptune ML.
    :raises ValueError: when an argument breaks its rule; nothing is sent.
    :raises AirflowFailException: when the job failed; not retried.
    :raises AirflowSensorTimeout: when ``timeout`` has passed; not retried.
    :raises AirflowTaskTimeout: when ``execution_timeout`` has passed; retried.
    :raises NeptuneMLError: when the service refuses, or was out of reach for too long.
    """

    template_fields: Sequence[str] = (*NeptuneMLSensor.template_fields, "export_api_url", "job_id")

    def __init__(self, *, job_id: TemplatedText, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job_id = job_id
        self.validate_arguments()
