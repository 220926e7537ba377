"""What the tasks of the Neptune-Export service share."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_neptune_ml.base import CONNECTION_FIELDS, NeptuneMLTask, TemplatedText
from airflow_provider_neptune_ml.kinds import EXPORT

if TYPE_CHECKING:
    from airflow_provider_neptune_ml.hooks.export import NeptuneMLExportHook


class NeptuneMLExportTask(NeptuneMLTask):
    """
    Base of the operators and the sensor of the Neptune-Export service.

    :param export_api_url: The full invoke URI of the service, such as
        ``https://<api>.execute-api.<region>.amazonaws.com/v1/neptune-export`` (default: ``export_api_url`` in
        the extra of the connection). (templated)
    """

    kind = EXPORT
    connection_fields: ClassVar[Sequence[str]] = (*CONNECTION_FIELDS, "export_api_url")

    def __init__(self, *, export_api_url: TemplatedText | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.export_api_url = export_api_url

    @cached_property
    def hook(self) -> NeptuneMLExportHook:
        """The hook, imported here: a Dag file should not pay for boto3."""
        from airflow_provider_neptune_ml.hooks.export import NeptuneMLExportHook

        return NeptuneMLExportHook(**self.hook_parameters)
