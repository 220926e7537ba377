"""Extra links: from a task in the UI to the consoles of what is behind its job."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.providers.amazon.aws.links.base_aws import BASE_AWS_CONSOLE_LINK, BaseAwsLink

from airflow_provider_neptune_ml import compat
from airflow_provider_neptune_ml.kinds import ResourceKind
from airflow_provider_neptune_ml.text import https_link

if TYPE_CHECKING:
    from airflow_provider_neptune_ml.compat import BaseOperator

Part = Mapping[str, Any]

_ARN = re.compile(r"arn:([a-z-]+):sagemaker:([a-z0-9-]+):[^:]*:([a-z-]+)/(.+)", re.DOTALL)
_S3_LOCATION = re.compile(r"s3://([A-Za-z0-9._-]+)(?:/(.*))?", re.DOTALL)
# A backslash in front of it would be a slash to a browser, so that the host would be another.
_CONSOLE = re.compile(
    r"https://([a-z0-9-]+\.)*console\.(aws\.amazon\.com|amazonaws\.cn|amazonaws-us-gov\.com)/[!-~]*",
    re.IGNORECASE,
)
_LONGEST = 2000
# The pages of the SageMaker console, by the type in the ARN.
_PAGES = {
    "processing-job": "processing-jobs",
    "hyper-parameter-tuning-job": "hyper-tuning-jobs",
    "training-job": "jobs",
    "transform-job": "transform-jobs",
    "endpoint": "endpoints",
}


class NeptuneMLLink(BaseAwsLink):
    """
    Base of the links.

    The XCom has the URL itself, under the key where Airflow 3's UI looks for it: it is pushed while the task
    runs, wherever that is. An Airflow 2 reads the same one.
    """

    def __init_subclass__(cls) -> None:
        """Set the key, as Airflow 3 spells it."""
        super().__init_subclass__()
        cls.key = f"{compat.LINK_PREFIX}{cls.__name__}"

    def url_of(self, kind: ResourceKind, reply: Mapping[str, Any]) -> str:
        """
        Return the URL; empty where the reply does not show what it needs.

        :param kind: the kind of resource.
        :param reply: a description, or the reply of a start.
        """
        url = self._url_of(kind, reply)
        return url if len(url) <= _LONGEST else ""

    def _url_of(self, kind: ResourceKind, reply: Mapping[str, Any]) -> str:
        raise NotImplementedError

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """
        Return the URL: Airflow 3 asks in the task's process as that ends, Airflow 2 in the webserver.

        :param operator: the task.
        :param ti_key: names its task instance.
        """
        # What this process has seen is the newest, and spares a request.
        known: Mapping[str, str] | None = getattr(operator, "known_links", None)
        if known is not None:
            return known.get(self.key, "")
        try:
            return str(compat.get_link_xcom(ti_key, self.key) or "")
        except Exception:  # whatever Airflow's database or API raises; a link is never worth a failure
            return ""


class CloudWatchLogLink(NeptuneMLLink):
    """The log of the stage that failed, else of the one at work, else of the last."""

    name = "CloudWatch log"
    format_str = BASE_AWS_CONSOLE_LINK + (
        "/cloudwatch/home?region={region_name}"
        "#logStream:group={log_group};prefix={job_name};streamFilter=typeLogStreamPrefix"
    )

    def _url_of(self, kind: ResourceKind, reply: Mapping[str, Any]) -> str:
        current = kind.current_stage(_with_parts(kind, reply))
        if current is None:
            return ""
        stage, part = current
        if url := part.get("cloudwatchLogUrl"):
            return https_link(url) if _CONSOLE.fullmatch(str(url)) else ""
        # The log group of an endpoint has its name in it.
        resource = _resource_of(part) if kind.is_job else {}
        return self.format_link(**resource, log_group=quote(stage.log_group)) if resource else ""


class S3OutputLink(NeptuneMLLink):
    """What the job has written to S3."""

    name = "S3 output"
    format_str = BASE_AWS_CONSOLE_LINK + "/s3/buckets/{bucket}?{region}prefix={prefix}"

    def _url_of(self, kind: ResourceKind, reply: Mapping[str, Any]) -> str:
        stage, part = kind.output_stage(reply) or (None, {})
        location = _S3_LOCATION.fullmatch(str(part.get("outputLocation")))
        # What is no SageMaker resource has no ARN.
        resource = _resource_of(part) if stage and stage.link else {"aws_domain": _domain_of_log(part)}
        if not (location and resource):
            return ""
        bucket, prefix = location.groups()
        region = f"region={resource['region_name']}&" if "region_name" in resource else ""
        # Without the slash, the console shows what lies beside it as well.
        prefix = f"{prefix.rstrip('/')}/" if prefix else ""
        return self.format_link(**resource, bucket=bucket, region=region, prefix=_encoded(prefix))


class SageMakerLink(NeptuneMLLink):
    """Base of the links to the SageMaker resources: the kind's row says which stage each stands for."""

    format_str = BASE_AWS_CONSOLE_LINK + "/sagemaker/home?region={region_name}#/{page}/{job_name}"

    def _url_of(self, kind: ResourceKind, reply: Mapping[str, Any]) -> str:
        parts = (part for stage, part in kind.stages_in(_with_parts(kind, reply)) if stage.link == self.name)
        resource = _resource_of(next(parts, {}))
        return self.format_link(**resource) if resource else ""


class SageMakerProcessingJobLink(SageMakerLink):
    """The processing job in the SageMaker console."""

    name = "SageMaker processing job"


class SageMakerTuningJobLink(SageMakerLink):
    """The hyperparameter tuning job in the SageMaker console."""

    name = "SageMaker tuning job"


class SageMakerTransformJobLink(SageMakerLink):
    """The job of the model transform in the SageMaker console."""

    name = "SageMaker transform job"


class SageMakerEndpointLink(SageMakerLink):
    """The endpoint in the SageMaker console."""

    name = "SageMaker endpoint"


LINKS: tuple[type[NeptuneMLLink], ...] = (
    CloudWatchLogLink,
    S3OutputLink,
    SageMakerProcessingJobLink,
    SageMakerTuningJobLink,
    SageMakerTransformJobLink,
    SageMakerEndpointLink,
)


@cache
def links_of(kind: ResourceKind) -> tuple[NeptuneMLLink, ...]:
    """Return the links that the tasks of a kind have."""
    stages = {stage.link for stage in kind.stages}
    return tuple(link() for link in LINKS if not issubclass(link, SageMakerLink) or link.name in stages)


def urls_of(kind: ResourceKind, reply: Mapping[str, Any]) -> dict[str, str]:
    """Return the URLs that a reply shows, by the keys of their XComs."""
    urls = {link.key: link.url_of(kind, reply) for link in links_of(kind)}
    return {key: url for key, url in urls.items() if url}


def _with_parts(kind: ResourceKind, reply: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a reply as a description: that of a start has nothing but the ARN of one of the stages."""
    if any(kind.stages_in(reply)):
        return reply
    resource_type = _type_in(reply)
    stage = next((stage for stage in kind.stages if stage.resource == resource_type), None)
    return {stage.member: {"arn": reply["arn"]}} if stage else {}


def _type_in(part: Part) -> str:
    arn = _ARN.fullmatch(str(part.get("arn") or ""))
    return arn[3] if arn else ""


def _resource_of(part: Part) -> dict[str, str]:
    """Return what an ARN says of its SageMaker resource, fit for a URL; empty where there is none."""
    arn = _ARN.fullmatch(str(part.get("arn") or ""))
    if not arn:
        return {}
    partition, region, resource_type, name = arn.groups()
    domain, page = BaseAwsLink.get_aws_domain(partition), _PAGES.get(resource_type)
    if not (domain and page):
        return {}
    # An ARN has the name of an endpoint in lower case.
    job_name = _encoded(str(part.get("name") or name))
    return {"aws_domain": domain, "region_name": region, "page": page, "job_name": job_name}


def _domain_of_log(part: Part) -> str:
    """Return the domain of the console that the link to a log leads to; without one, that of ``aws``."""
    console = _CONSOLE.fullmatch(str(part.get("cloudwatchLogUrl") or ""))
    return console[2].lower() if console else "aws.amazon.com"


def _encoded(value: str) -> str:
    return quote(value, safe="", errors="replace")
