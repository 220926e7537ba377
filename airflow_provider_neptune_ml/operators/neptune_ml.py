"""Operators for Amazon Neptune ML."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from airflow_provider_neptune_ml.kinds import MODEL_TRAINING
from airflow_provider_neptune_ml.operators.base import NeptuneMLStartOperator, NeptuneMLStopOperator


class NeptuneMLStartModelTrainingJobOperator(NeptuneMLStartOperator):
    """
    Start a Neptune ML model training job, and wait until it has completed.

    Training costs money as long as it runs: when the task is killed, or its time is over, the job is asked to
    stop (``cancel_on_kill``, ``cancel_on_timeout``), and a retry takes over a job that is still running
    (``durable``).

    .. seealso::
        - https://docs.aws.amazon.com/neptune/latest/userguide/machine-learning-api-modeltraining.html
        - https://docs.aws.amazon.com/neptune/latest/data-api/API_StartMLModelTrainingJob.html

    :param data_processing_job_id: The id of the completed data processing job whose output is trained on.
        (templated)
    :param train_model_s3_location: Where in S3 the model artifacts go: ``s3://bucket/prefix``. (templated)
    :param job_id: The id of the job: 1-48 letters, digits or hyphens, used once (default: made of the Dag,
        run, task, map index and try). (templated)
    :param previous_model_training_job_id: The id of a completed training job to start the hyperparameter
        search from (default: none). (templated)
    :param sagemaker_iam_role_arn: The ARN of the role that SageMaker runs with (default: the connection's,
        else that of the cluster's parameter group). (templated)
    :param neptune_iam_role_arn: The ARN of the role that Neptune uses for SageMaker and S3 (default: the
        connection's, else that of the cluster's parameter group). (templated)
    :param base_processing_instance_type: The instance type that prepares and manages the training (default:
        chosen by Neptune for the size of the data). (templated)
    :param training_instance_type: The instance type that trains, such as ``ml.g5.2xlarge`` (default:
        Neptune's, ``ml.p3.2xlarge``). (templated)
    :param training_instance_volume_size_in_gb: Its disk in GB; 0: as the data processing job recommends
        (default: 0). (templated)
    :param training_time_out_in_seconds: Time in seconds after which SageMaker stops the job (default:
        Neptune's, 86400). (templated)
    :param max_hpo_number_of_training_jobs: How many training jobs the hyperparameter search starts in all
        (default: Neptune's, 2; AWS recommends at least 10). (templated)
    :param max_hpo_parallel_training_jobs: How many of them run at once (default: Neptune's, 2). (templated)
    :param subnets: The subnets of the Neptune VPC to run in (default: none). (templated)
    :param security_group_ids: The VPC security groups (default: none). (templated)
    :param volume_encryption_kms_key: The KMS key for the disks of the instances (default: none). (templated)
    :param s3_output_encryption_kms_key: The KMS key for the output in S3 (default: none). (templated)
    :param enable_managed_spot_training: Whether to train on spot instances (default: Neptune's, False).
        (templated)
    :param custom_model_training_parameters: For a model of your own: a dict with ``sourceS3DirectoryPath``,
        ``trainingEntryPointScript`` and ``transformEntryPointScript`` (default: none). (templated)
    :raises ValueError: when an argument breaks its rule; nothing is sent.
    :raises NeptuneMLFailedError: when the job ended as Failed or Stopped.
    :raises NeptuneMLTimeoutError: when the time is over.
    :raises NeptuneMLError: when the service refuses, or was out of reach for too long.
    """

    kind = MODEL_TRAINING
    request_parameters: ClassVar[Sequence[str]] = (
        "data_processing_job_id",
        "train_model_s3_location",
        "previous_model_training_job_id",
        "sagemaker_iam_role_arn",
        "neptune_iam_role_arn",
        "base_processing_instance_type",
        "training_instance_type",
        "training_instance_volume_size_in_gb",
        "training_time_out_in_seconds",
        "max_hpo_number_of_training_jobs",
        "max_hpo_parallel_training_jobs",
        "subnets",
        "security_group_ids",
        "volume_encryption_kms_key",
        "s3_output_encryption_kms_key",
        "enable_managed_spot_training",
        "custom_model_training_parameters",
    )
    template_fields: Sequence[str] = (*NeptuneMLStartOperator.template_fields, "job_id", *request_parameters)

    def __init__(
        self,
        *,
        data_processing_job_id: str,
        train_model_s3_location: str,
        job_id: str | None = None,
        previous_model_training_job_id: str | None = None,
        sagemaker_iam_role_arn: str | None = None,
        neptune_iam_role_arn: str | None = None,
        base_processing_instance_type: str | None = None,
        training_instance_type: str | None = None,
        training_instance_volume_size_in_gb: int | None = None,
        training_time_out_in_seconds: int | None = None,
        max_hpo_number_of_training_jobs: int | None = None,
        max_hpo_parallel_training_jobs: int | None = None,
        subnets: list[str] | None = None,
        security_group_ids: list[str] | None = None,
        volume_encryption_kms_key: str | None = None,
        s3_output_encryption_kms_key: str | None = None,
        enable_managed_spot_training: bool | None = None,
        custom_model_training_parameters: dict[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.data_processing_job_id = data_processing_job_id
        self.train_model_s3_location = train_model_s3_location
        self.job_id = job_id
        self.previous_model_training_job_id = previous_model_training_job_id
        self.sagemaker_iam_role_arn = sagemaker_iam_role_arn
        self.neptune_iam_role_arn = neptune_iam_role_arn
        self.base_processing_instance_type = base_processing_instance_type
        self.training_instance_type = training_instance_type
        self.training_instance_volume_size_in_gb = training_instance_volume_size_in_gb
        self.training_time_out_in_seconds = training_time_out_in_seconds
        self.max_hpo_number_of_training_jobs = max_hpo_number_of_training_jobs
        self.max_hpo_parallel_training_jobs = max_hpo_parallel_training_jobs
        self.subnets = subnets
        self.security_group_ids = security_group_ids
        self.volume_encryption_kms_key = volume_encryption_kms_key
        self.s3_output_encryption_kms_key = s3_output_encryption_kms_key
        self.enable_managed_spot_training = enable_managed_spot_training
        self.custom_model_training_parameters = custom_model_training_parameters
        self.validate_arguments()


class NeptuneMLCancelModelTrainingJobOperator(NeptuneMLStopOperator):
    """
    Cancel a Neptune ML model training job, and wait until it has ended.

    A job that had ended before is a success. Made for teardowns (``cancel.as_teardown(setups=start)``) and
    for ``trigger_rule="one_failed"``. When the task is killed before the request was acknowledged, it is sent
    once more.

    .. seealso::
        - https://docs.aws.amazon.com/neptune/latest/userguide/machine-learning-api-modeltraining.html
        - https://docs.aws.amazon.com/neptune/latest/data-api/API_CancelMLModelTrainingJob.html

    :param job_id: The id of the job. (templated)
    :raises ValueError: when an argument breaks its rule; nothing is sent.
    :raises NeptuneMLNotFoundError: when there is no such job, unless ``ignore_missing``.
    :raises NeptuneMLTimeoutError: when the time is over and the job has not ended.
    :raises NeptuneMLError: when the service refuses, or was out of reach for too long.
    """

    kind = MODEL_TRAINING
    template_fields: Sequence[str] = (*NeptuneMLStopOperator.template_fields, "job_id")

    def __init__(self, *, job_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job_id = job_id
        self.validate_arguments()
