"""
The errors the service answers with.

Texts marked *documented* are AWS's own:
https://docs.aws.amazon.com/neptune/latest/userguide/machine-learning-api-exceptions.html and
https://docs.aws.amazon.com/neptune/latest/userguide/errors-engine-codes.html. Nobody has published the
others, so they are *assumed*: don't match on them.
"""

from __future__ import annotations

from airflow_provider_neptune_ml import kinds

# documented
NO_ROLE = (
    "Required credentials are missing. "
    "Please add IAM role to the cluster or pass as a parameter to this request."
)
BAD_INSTANCE_TYPE = "Invalid ML instance type."
BAD_ID_LENGTH = f"Invalid ID provided. ID can be 1-{kinds.ID_MAX_LENGTH} alphanumeric characters."
BAD_ID_LETTERS = "Invalid ID provided. Must contain only letters, digits, or hyphens."
UNKNOWN_ID = "Invalid ID provided. Please check whether a resource with the given ID exists."
DUPLICATE_ID = "Another resource with same ID already exists. Please use a new ID."
ALREADY_ENDED = "Failed to stop the job because it has already completed or failed."
BAD_S3_URL = "Invalid S3 URL or incorrect S3 permissions. Please check your S3 configuration."
TRAINING_NOT_COMPLETED = "Provided ModelTraining job has not completed."
SAGEMAKER_NOT_COMPLETED = "Provided SageMaker AI Training job has not completed."
PROCESSING_NOT_COMPLETED = "Provided MLDataProcessing job is not completed."
NO_TRAINING = "Provided MLModelTraining job doesn't exist."
NO_TRANSFORM = "Provided ModelTransformJob doesn't exist."
NO_SAGEMAKER = "Unable to find SageMaker AI resource. Please check your input."
UNSIGNED = "Missing Authentication Token"  # from a real reply

# assumed
NO_QUERY = "Missing required parameter: gremlin"
BAD_QUERY = "Query parsing has failed at line 1, character position at 0."
TRANSFORM_NOT_COMPLETED = "Provided ModelTransformJob has not completed."
BAD_BODY = "Request body is not a JSON object."
BODY_TOO_LARGE = "Request body is too large."
BAD_MAX_ITEMS = "maxItems must be an integer between 1 and 1024."
ROLE_NOT_LISTED = (
    "The IAM role is not in the neptune_ml_iam_role parameter of the DB cluster parameter group."
)
ONE_MODEL = "Exactly one of mlModelTrainingJobId and mlModelTransformJobId must be given."
TRANSFORM_INPUT = "Either dataProcessingJobId and mlModelTrainingJobId, or trainingJobName, must be given."
UPDATE_NEEDS_ID = "update needs the id of an existing endpoint."
NO_SUCH_PATH = "No such resource path. The simulator has /ml, /gremlin and /v1/neptune-export."
BAD_METHOD = "The HTTP method is not supported by this endpoint."
INTERNAL = "An unexpected error occurred in the simulator; its log says more."


class ServiceError(Exception):
    """
    An answer of the service that isn't the wanted one.

    :param code: the exception's name, as botocore's model spells it.
    :param message: the ``detailedMessage``.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def bad_request(message: str) -> ServiceError:
    """Return the error for a request that makes no sense as things stand."""
    return ServiceError("BadRequestException", message)


def invalid_parameter(message: str) -> ServiceError:
    """Return the error for a member with a wrong value."""
    return ServiceError("InvalidParameterException", message)


def missing_parameter(message: str) -> ServiceError:
    """Return the error for a member that isn't there."""
    return ServiceError("MissingParameterException", message)


def access_denied(message: str) -> ServiceError:
    """Return the error for a caller who may not."""
    return ServiceError("AccessDeniedException", message)


def not_found(shape: str) -> ServiceError:
    """Return the error for an unknown id, in the shape of the setting ``not_found``."""
    if shape == "404":
        return ServiceError("MLResourceNotFoundException", UNKNOWN_ID)
    return invalid_parameter(UNKNOWN_ID)
