"""Amazon's hooks for other services, with the AWS settings of a Neptune ML hook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.amazon.aws.hooks.base_aws import AwsGenericHook

if TYPE_CHECKING:
    from airflow.providers.amazon.aws.utils.connection_wrapper import AwsConnectionWrapper
    from boto3.session import Session

    from airflow_provider_neptune_ml.hooks.neptune_ml import NeptuneMLHook


class SiblingHook(AwsGenericHook[Any]):
    """
    Base of them: credentials, region, TLS and client settings, and what was read of botocore's data.

    Also where the cluster's requests are not signed: AWS's are.

    :param hook: the Neptune ML hook.
    """

    def __init__(self, hook: NeptuneMLHook) -> None:
        super().__init__(aws_conn_id=hook.aws_conn_id)
        # Looked up here: on Airflow 3.0, only the thread that executes the task may ask Airflow for it.
        is_known = hook.cluster.iam_auth
        self.conn_config: AwsConnectionWrapper = (
            hook.conn_config if is_known else hook.aws_settings(signed=True)
        )
        self._share = hook.share_data

    def get_session(self, region_name: str | None = None, deferrable: bool = False) -> Session:
        """Build a session that shares what the hook has read of botocore's data."""
        return self._share(super().get_session(region_name=region_name, deferrable=deferrable))
