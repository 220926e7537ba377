"""Operators for Amazon Neptune ML."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from airflow_provider_neptune_ml.base import (
    TemplatedDict,
    TemplatedFlag,
    TemplatedList,
    TemplatedNumber,
    TemplatedText,
)
from airflow_provider_neptune_ml.kinds import DATA_PROCESSING, ENDPOINTS, MODEL_TRAINING, MODEL_TRANSFORM
from airflow_provider_neptune_ml.operators.base import NeptuneMLStartOperator, NeptuneMLStopOperator
from airflow_provider_neptune_ml.operators.metrics import NeptuneMLMetricsOperator


class NeptuneMLStartDataProcessingJobOperator(NeptuneMLStartOperator):
    """
    Start a Neptune ML data processing job, and wait until it has completed.

    Processing costs money as long as it runs: the job is cancelled when the task is killed or times out
    (``cancel_on_kill``, ``cancel_on_timeout``), and a retry adopts a job that is still running (``durable``).

    .. seealso::
        - https://docs.aws.amazon.com/neptune/latest/userguide/machine-learning-api-dataprocessing.html
        - https://docs.aws.amazon.com/neptune/latest/data-api/API_StartMLDataProcessingJob.html

    :param input_data_s3_location: Where in S3 the exported graph is: ``s3://bucket/prefix``. (templated)
    :param processed_data_s3_location: Where in S3 the processed data go. (templated)
    :param job_id: The id of the job: 1-48 letters, digits or hyphens, used once (default: made of the Dag,
        run, task, map index and try). (templated)
    :param previous_data_processing_job_id: The id of a completed data processing job of an earlier version
        of the graph, for incremental processing; an empty text, as a template gives in a first run: none
        (default: none). (templated)
    :param sagemaker_iam_role_arn: The ARN of the role that SageMaker runs with (default: the connection's,
        else that of the cluster's parameter group). (templated)
    :param neptune_iam_role_arn: The ARN of the role that Neptune uses for SageMaker and S3 (default: the
        connection's, else that of the cluster's parameter group). (templated)
    :param processing_instance_type: The instance type that processes (default: the smallest ml.r5 whose
        memory is ten times the size of the data). (templated)
    :param processing_instance_volume_size_in_gb: Its disk in GB; 0: by the size of the data (default: 0).
        (templated)
    :param processing_time_out_in_seconds: Time in seconds after which SageMaker stops the job (default:
        Neptune's, 86400). (templated)
    :param model_type: ``heterogeneous`` or ``kge`` (default: chosen by Neptune for the data). (templated)
    :param config_file_name: The file that describes how to load the graph (default: Neptune's,
        ``training-data-configuration.json``). (templated)
    :param subnets: The subnets of the Neptune VPC to run in (default: none). (templated)
    :param security_group_ids: The VPC security groups (default: none). (templated)
    :param volume_encryption_kms_key: The KMS key for the disks of the instances (default: none). (templated)
    :param s3_output_encryption_kms_key: The KMS key for the output in S3 (default: none). (templated)
    :raises ValueError: when an argument breaks its rule; nothing is sent.
    :raises NeptuneMLFailedError: when the job ended as Failed or Stopped.
    :raises NeptuneMLTimeoutError: when ``timeout`` or ``execution_timeout`` has passed.
    :raises NeptuneMLError: when the service refuses, or was out of reach for too long.
    """

    kind = DATA_PROCESSING
    request_parameters: ClassVar[Sequence[str]] = (
        "input_data_s3_location",
        "processed_data_s3_location",
        "previous_data_processing_job_id",
        "sagemaker_iam_role_arn",
        "neptune_iam_role_arn",
        "processing_instance_type",
        "processing_instance_volume_size_in_gb",
        "processing_time_out_in_seconds",
        "model_type",
        "config_file_name",
        "subnets",
        "security_group_ids",
        "volume_encryption_kms_key",
        "s3_output_encryption_kms_key",
    )
    template_fields: Sequence[str] = (*NeptuneMLStartOperator.template_fields, "job_id", *request_parameters)

    def __init__(
        self,
        *,
        input_data_s3_location: TemplatedText,
        processed_data_s3_location: TemplatedText,
        job_id: TemplatedText | None = None,
        previous_data_processing_job_id: TemplatedText | None = None,
        sagemaker_iam_role_arn: TemplatedText | None = None,
        neptune_iam_role_arn: TemplatedText | None = None,
        processing_instance_type: TemplatedText | None = None,
        processing_instance_volume_size_in_gb: TemplatedNumber | None = None,
        processing_time_out_in_seconds: TemplatedNumber | None = None,
        model_type: TemplatedText | None = None,
        config_file_name: TemplatedText | None = None,
        subnets: TemplatedList | None = None,
        security_group_ids: TemplatedList | None = None,
        volume_encryption_kms_key: TemplatedText | None = None,
        s3_output_encryption_kms_key: TemplatedText | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.input_data_s3_location = input_data_s3_location
        self.processed_data_s3_location = processed_data_s3_location
        self.job_id = job_id
        self.previous_data_processing_job_id = previous_data_processing_job_id
        self.sagemaker_iam_role_arn = sagemaker_iam_role_arn
        self.neptune_iam_role_arn = neptune_iam_role_arn
        self.processing_instance_type = processing_instance_type
        self.processing_instance_volume_size_in_gb = processing_instance_volume_size_in_gb
        self.processing_time_out_in_seconds = processing_time_out_in_seconds
        self.model_type = model_type
        self.config_file_name = config_file_name
        self.subnets = subnets
        self.security_group_ids = security_group_ids
        self.volume_encryption_kms_key = volume_encryption_kms_key
        self.s3_output_encryption_kms_key = s3_output_encryption_kms_key
        self.validate_arguments()


class NeptuneMLStartModelTrainingJobOperator(NeptuneMLStartOperator):
    """
    Start a Neptune ML model training job, and wait until it has completed.

    Training costs money as long as it runs: the job is cancelled when the task is killed or times out
    (``cancel_on_kill``, ``cancel_on_timeout``), and a retry adopts a job that is still running (``durable``).

    .. seealso::
        - https://docs.aws.amazon.com/neptune/latest/userguide/machine-learning-api-modeltraining.html
        - https://docs.aws.amazon.com/neptune/latest/data-api/API_StartMLModelTrainingJob.html

    :param data_processing_job_id: The id of the completed data processing job whose output is trained on.
        (templated)
    :param train_model_s3_location: Where in S3 the model artifacts go: ``s3://bucket/prefix``. (templated)
    :param job_id: The id of the job: 1-48 letters, digits or hyphens, used once (default: made of the Dag,
        run, task, map index and try). (templated)
    :param previous_model_training_job_id: The id of a completed training job to start the hyperparameter
        search from; an empty text, as a template gives in a first run: none (default: none). (templated)
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
    :raises NeptuneMLTimeoutError: when ``timeout`` or ``execution_timeout`` has passed.
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
        data_processing_job_id: TemplatedText,
        train_model_s3_location: TemplatedText,
        job_id: TemplatedText | None = None,
        previous_model_training_job_id: TemplatedText | None = None,
        sagemaker_iam_role_arn: TemplatedText | None = None,
        neptune_iam_role_arn: TemplatedText | None = None,
        base_processing_instance_type: TemplatedText | None = None,
        training_instance_type: TemplatedText | None = None,
        training_instance_volume_size_in_gb: TemplatedNumber | None = None,
        training_time_out_in_seconds: TemplatedNumber | None = None,
        max_hpo_number_of_training_jobs: TemplatedNumber | None = None,
        max_hpo_parallel_training_jobs: TemplatedNumber | None = None,
        subnets: TemplatedList | None = None,
        security_group_ids: TemplatedList | None = None,
        volume_encryption_kms_key: TemplatedText | None = None,
        s3_output_encryption_kms_key: TemplatedText | None = None,
        enable_managed_spot_training: TemplatedFlag | None = None,
        custom_model_training_parameters: TemplatedDict | None = None,
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


class NeptuneMLStartModelTransformJobOperator(NeptuneMLStartOperator):
    """
    Start a Neptune ML model transform job, and wait until it has completed.

    It computes model artifacts again for new data, without training. Either ``data_processing_job_id`` with
    ``ml_model_training_job_id``, or ``training_job_name``. It costs money as long as it runs: the job is
    cancelled when the task is killed or times out (``cancel_on_kill``, ``cancel_on_timeout``), and a retry
    adopts a job that is still running (``durable``).

    .. seealso::
        - https://docs.aws.amazon.com/neptune/latest/userguide/machine-learning-api-modeltransform.html
        - https://docs.aws.amazon.com/neptune/latest/data-api/API_StartMLModelTransformJob.html

    :param model_transform_output_s3_location: Where in S3 the model artifacts go: ``s3://bucket/prefix``.
        (templated)
    :param job_id: The id of the job: 1-48 letters, digits or hyphens, used once (default: made of the Dag,
        run, task, map index and try). (templated)
    :param data_processing_job_id: The id of the completed data processing job of the new data (default:
        none). (templated)
    :param ml_model_training_job_id: The id of the completed training job (default: none). (templated)
    :param training_job_name: The name of a completed SageMaker training job (default: none). (templated)
    :param sagemaker_iam_role_arn: The ARN of the role that SageMaker runs with (default: the connection's,
        else that of the cluster's parameter group). (templated)
    :param neptune_iam_role_arn: The ARN of the role that Neptune uses for SageMaker and S3 (default: the
        connection's, else that of the cluster's parameter group). (templated)
    :param custom_model_transform_parameters: For a model of your own: a dict with ``sourceS3DirectoryPath``
        and ``transformEntryPointScript`` (default: none). (templated)
    :param base_processing_instance_type: The instance type that prepares the data (default: chosen by Neptune
        for the size of the data). (templated)
    :param base_processing_instance_volume_size_in_gb: Its disk in GB; 0: by the size of the data (default:
        0). (templated)
    :param subnets: The subnets of the Neptune VPC to run in (default: none). (templated)
    :param security_group_ids: The VPC security groups (default: none). (templated)
    :param volume_encryption_kms_key: The KMS key for the disks of the instances (default: none). (templated)
    :param s3_output_encryption_kms_key: The KMS key for the output in S3 (default: none). (templated)
    :raises ValueError: when an argument breaks its rule; nothing is sent.
    :raises NeptuneMLFailedError: when the job ended as Failed or Stopped.
    :raises NeptuneMLTimeoutError: when ``timeout`` or ``execution_timeout`` has passed.
    :raises NeptuneMLError: when the service refuses, or was out of reach for too long.
    """

    kind = MODEL_TRANSFORM
    request_parameters: ClassVar[Sequence[str]] = (
        "model_transform_output_s3_location",
        "data_processing_job_id",
        "ml_model_training_job_id",
        "training_job_name",
        "sagemaker_iam_role_arn",
        "neptune_iam_role_arn",
        "custom_model_transform_parameters",
        "base_processing_instance_type",
        "base_processing_instance_volume_size_in_gb",
        "subnets",
        "security_group_ids",
        "volume_encryption_kms_key",
        "s3_output_encryption_kms_key",
    )
    alternatives: ClassVar[Sequence[Sequence[str]]] = (
        ("data_processing_job_id", "ml_model_training_job_id"),
        ("training_job_name",),
    )
    template_fields: Sequence[str] = (*NeptuneMLStartOperator.template_fields, "job_id", *request_parameters)

    def __init__(
        self,
        *,
        model_transform_output_s3_location: TemplatedText,
        job_id: TemplatedText | None = None,
        data_processing_job_id: TemplatedText | None = None,
        ml_model_training_job_id: TemplatedText | None = None,
        training_job_name: TemplatedText | None = None,
        sagemaker_iam_role_arn: TemplatedText | None = None,
        neptune_iam_role_arn: TemplatedText | None = None,
        custom_model_transform_parameters: TemplatedDict | None = None,
        base_processing_instance_type: TemplatedText | None = None,
        base_processing_instance_volume_size_in_gb: TemplatedNumber | None = None,
        subnets: TemplatedList | None = None,
        security_group_ids: TemplatedList | None = None,
        volume_encryption_kms_key: TemplatedText | None = None,
        s3_output_encryption_kms_key: TemplatedText | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model_transform_output_s3_location = model_transform_output_s3_location
        self.job_id = job_id
        self.data_processing_job_id = data_processing_job_id
        self.ml_model_training_job_id = ml_model_training_job_id
        self.training_job_name = training_job_name
        self.sagemaker_iam_role_arn = sagemaker_iam_role_arn
        self.neptune_iam_role_arn = neptune_iam_role_arn
        self.custom_model_transform_parameters = custom_model_transform_parameters
        self.base_processing_instance_type = base_processing_instance_type
        self.base_processing_instance_volume_size_in_gb = base_processing_instance_volume_size_in_gb
        self.subnets = subnets
        self.security_group_ids = security_group_ids
        self.volume_encryption_kms_key = volume_encryption_kms_key
        self.s3_output_encryption_kms_key = s3_output_encryption_kms_key
        self.validate_arguments()


class NeptuneMLModelMetricsOperator(NeptuneMLMetricsOperator):
    """
    Check the metrics of a trained model, which the training left in S3, and return them.

    A metric is addressed by its file, ``eval`` or ``test``, and its name there, with dots between nested
    names: ``test.accuracy``, ``eval.macro avg.f1-score``. A bound that is missed fails the task without a
    retry, or skips it with ``soft_fail``; NaN misses every bound. A metric with a bound that isn't there
    fails the task without a retry, also with ``soft_fail``. Without bounds, the metrics are only returned.
    They are read with the credentials of ``aws_conn_id``, also when ``iam_auth`` is false; these need
    ``s3:GetObject``.

    .. seealso::
        - https://docs.aws.amazon.com/neptune/latest/userguide/machine-learning-model-artifacts.html
        - https://docs.aws.amazon.com/neptune/latest/data-api/API_GetMLModelTrainingJob.html

    :param job_id: The id of the completed training job. (templated)
    :raises ValueError: when an argument breaks its rule; nothing is sent.
    :raises AirflowFailException: when a metric misses its bound, or isn't there; not retried.
    :raises NeptuneMLError: when there are no metrics, they can't be read, or the service refuses.
    """

    kind = MODEL_TRAINING
    template_fields: Sequence[str] = (*NeptuneMLMetricsOperator.template_fields, "job_id")

    def __init__(self, *, job_id: TemplatedText, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job_id = job_id
        self.validate_arguments()


class NeptuneMLCreateEndpointOperator(NeptuneMLStartOperator):
    """
    Create a Neptune ML inference endpoint, or update one, and wait until it is in service.

    An endpoint costs money until it is deleted. When the task is killed or times out, an endpoint
    that it was creating is deleted (``cancel_on_kill``, ``cancel_on_timeout``), with ``update`` too; one that
    it was updating served before and is left alone. Either ``ml_model_training_job_id`` or
    ``ml_model_transform_job_id``.

    Queries name the endpoint by its name in SageMaker, which is not its id in Neptune: once it is in service,
    that name is in XCom ``endpoint_name``.

    .. seealso::
        - https://docs.aws.amazon.com/neptune/latest/userguide/machine-learning-api-endpoints.html
        - https://docs.aws.amazon.com/neptune/latest/data-api/API_CreateMLEndpoint.html

    :param endpoint_id: The id of the endpoint in Neptune: 1-48 letters, digits or hyphens (default: made of
        the Dag, run, task, map index and try). (templated)
    :param ml_model_training_job_id: The id of the completed training job whose model it serves (default:
        none). (templated)
    :param ml_model_transform_job_id: The id of the completed transform job whose model it serves (default:
        none). (templated)
    :param update: Whether to change the endpoint if there is one with this id; if not, it is created
        (default: False). (templated)
    :param neptune_iam_role_arn: The ARN of the role that Neptune uses for SageMaker and S3 (default: the
        connection's, else that of the cluster's parameter group). (templated)
    :param model_name: The model type: ``rgcn``, or ``kge``, ``transe``, ``distmult``, ``rotate`` (default:
        that of the job). (templated)
    :param instance_type: The instance type that serves (default: Neptune's, ``ml.m5.xlarge``). (templated)
    :param instance_count: How many of them (default: Neptune's, 1). (templated)
    :param volume_encryption_kms_key: The KMS key for the disks of the instances (default: none). (templated)
    :raises ValueError: when an argument breaks its rule; nothing is sent.
    :raises NeptuneMLFailedError: when the endpoint failed.
    :raises NeptuneMLTimeoutError: when ``timeout`` or ``execution_timeout`` has passed.
    :raises NeptuneMLError: when the service refuses, or was out of reach for too long.
    """

    kind = ENDPOINTS
    request_parameters: ClassVar[Sequence[str]] = (
        "ml_model_training_job_id",
        "ml_model_transform_job_id",
        "update",
        "neptune_iam_role_arn",
        "model_name",
        "instance_type",
        "instance_count",
        "volume_encryption_kms_key",
    )
    alternatives: ClassVar[Sequence[Sequence[str]]] = (
        ("ml_model_training_job_id",),
        ("ml_model_transform_job_id",),
    )
    template_fields: Sequence[str] = (
        *NeptuneMLStartOperator.template_fields,
        "endpoint_id",
        *request_parameters,
    )

    def __init__(
        self,
        *,
        endpoint_id: TemplatedText | None = None,
        ml_model_training_job_id: TemplatedText | None = None,
        ml_model_transform_job_id: TemplatedText | None = None,
        update: TemplatedFlag = False,
        neptune_iam_role_arn: TemplatedText | None = None,
        model_name: TemplatedText | None = None,
        instance_type: TemplatedText | None = None,
        instance_count: TemplatedNumber | None = None,
        volume_encryption_kms_key: TemplatedText | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.endpoint_id = endpoint_id
        self.ml_model_training_job_id = ml_model_training_job_id
        self.ml_model_transform_job_id = ml_model_transform_job_id
        self.update = update
        self.neptune_iam_role_arn = neptune_iam_role_arn
        self.model_name = model_name
        self.instance_type = instance_type
        self.instance_count = instance_count
        self.volume_encryption_kms_key = volume_encryption_kms_key
        self.validate_arguments()


class NeptuneMLCancelDataProcessingJobOperator(NeptuneMLStopOperator):
    """
    Cancel a Neptune ML data processing job, and wait until it has ended.

    A job that is already in a terminal status is a success. Made for teardowns
    (``cancel.as_teardown(setups=start)``) and for ``trigger_rule="one_failed"``. When the task is killed
    before the request was acknowledged, it is sent once more.

    .. seealso::
        - https://docs.aws.amazon.com/neptune/latest/userguide/machine-learning-api-dataprocessing.html
        - https://docs.aws.amazon.com/neptune/latest/data-api/API_CancelMLDataProcessingJob.html

    :param job_id: The id of the job. (templated)
    :raises ValueError: when an argument breaks its rule; nothing is sent.
    :raises NeptuneMLNotFoundError: when there is no such job, unless ``ignore_missing``.
    :raises NeptuneMLTimeoutError: when ``timeout`` or ``execution_timeout`` has passed.
    :raises NeptuneMLError: when the service refuses, or was out of reach for too long.
    """

    kind = DATA_PROCESSING
    template_fields: Sequence[str] = (*NeptuneMLStopOperator.template_fields, "job_id")

    def __init__(self, *, job_id: TemplatedText, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job_id = job_id
        self.validate_arguments()


class NeptuneMLCancelModelTrainingJobOperator(NeptuneMLStopOperator):
    """
    Cancel a Neptune ML model training job, and wait until it has ended.

    A job that is already in a terminal status is a success. Made for teardowns
    (``cancel.as_teardown(setups=start)``) and for ``trigger_rule="one_failed"``. When the task is killed
    before the request was acknowledged, it is sent once more.

    .. seealso::
        - https://docs.aws.amazon.com/neptune/latest/userguide/machine-learning-api-modeltraining.html
        - https://docs.aws.amazon.com/neptune/latest/data-api/API_CancelMLModelTrainingJob.html

    :param job_id: The id of the job. (templated)
    :raises ValueError: when an argument breaks its rule; nothing is sent.
    :raises NeptuneMLNotFoundError: when there is no such job, unless ``ignore_missing``.
    :raises NeptuneMLTimeoutError: when ``timeout`` or ``execution_timeout`` has passed.
    :raises NeptuneMLError: when the service refuses, or was out of reach for too long.
    """

    kind = MODEL_TRAINING
    template_fields: Sequence[str] = (*NeptuneMLStopOperator.template_fields, "job_id")

    def __init__(self, *, job_id: TemplatedText, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job_id = job_id
        self.validate_arguments()


class NeptuneMLCancelModelTransformJobOperator(NeptuneMLStopOperator):
    """
    Cancel a Neptune ML model transform job, and wait until it has ended.

    A job that is already in a terminal status is a success. Made for teardowns
    (``cancel.as_teardown(setups=start)``) and for ``trigger_rule="one_failed"``. When the task is killed
    before the request was acknowledged, it is sent once more.

    .. seealso::
        - https://docs.aws.amazon.com/neptune/latest/userguide/machine-learning-api-modeltransform.html
        - https://docs.aws.amazon.com/neptune/latest/data-api/API_CancelMLModelTransformJob.html

    :param job_id: The id of the job. (templated)
    :raises ValueError: when an argument breaks its rule; nothing is sent.
    :raises NeptuneMLNotFoundError: when there is no such job, unless ``ignore_missing``.
    :raises NeptuneMLTimeoutError: when ``timeout`` or ``execution_timeout`` has passed.
    :raises NeptuneMLError: when the service refuses, or was out of reach for too long.
    """

    kind = MODEL_TRANSFORM
    template_fields: Sequence[str] = (*NeptuneMLStopOperator.template_fields, "job_id")

    def __init__(self, *, job_id: TemplatedText, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job_id = job_id
        self.validate_arguments()


class NeptuneMLDeleteEndpointOperator(NeptuneMLStopOperator):
    """
    Delete a Neptune ML inference endpoint, and wait until it is gone.

    Made for teardowns (``delete.as_teardown(setups=create)``) and for ``trigger_rule="one_failed"``. When the
    task is killed before the request was acknowledged, it is sent once more.

    .. seealso::
        - https://docs.aws.amazon.com/neptune/latest/userguide/machine-learning-api-endpoints.html
        - https://docs.aws.amazon.com/neptune/latest/data-api/API_DeleteMLEndpoint.html

    :param endpoint_id: The id of the endpoint in Neptune. (templated)
    :raises ValueError: when an argument breaks its rule; nothing is sent.
    :raises NeptuneMLNotFoundError: when there is no such endpoint, unless ``ignore_missing``.
    :raises NeptuneMLTimeoutError: when ``timeout`` or ``execution_timeout`` has passed.
    :raises NeptuneMLError: when the service refuses, or was out of reach for too long.
    """

    kind = ENDPOINTS
    template_fields: Sequence[str] = (*NeptuneMLStopOperator.template_fields, "endpoint_id")

    def __init__(self, *, endpoint_id: TemplatedText, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.endpoint_id = endpoint_id
        self.validate_arguments()
