"""What others say, in a line of the log."""

from __future__ import annotations

import pytest

from airflow_provider_neptune_ml.text import https_link, one_line

CONSOLE = (
    "https://us-east-1.console.aws.amazon.com:443/cloudwatch/home?region=us-east-1"
    "#logEventViewer:group=/aws/sagemaker/TrainingJobs;stream=a:b@c"
)
NOT_AUTHORIZED = (
    "User: arn:aws:sts::123456789012:assumed-role/Admin/jane@corp.example is not authorized to perform:"
    " neptune-db:GetMLModelTrainingJobStatus on resource: arn:aws:neptune-db:us-east-1:123456789012:c/*"
)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("a\nERROR b\r\n\tc\x85d\u2028e", "a ERROR b c d e"),
        ("\x1b[31mred\x1b[0m \x9b1mbold", "red bold"),
        ("ab\x00c \u202edcba\u202c \u200bx \ud800y", "abc dcba x y"),
        ("Zeit\u00fcberschreitung \u2713", "Zeit\u00fcberschreitung \u2713"),
        (5, "5"),
        ("proxy http://u:p/w@d@proxy:3128 failed", "proxy http://***@proxy:3128 failed"),
        ("proxy http://u:p'w@d@proxy:3128 failed", "proxy http://***@proxy:3128 failed"),
        ("Failed to parse: u:PW@host", "Failed to parse: ***@host"),
        ("http://socks5://u:PW@host", "http://***@host"),
        ("Invalid header value b'token\\n'", "Invalid header value"),
        ("Proxy-Authorization: Basic dTpwdw==", "Proxy-Authorization: Basic ***"),
        ("no key b'secret' here", "no key b'***' here"),
        (
            "host:c x-amz-security-token:IQoJb3Jp host;x-amz-date",
            "host:c x-amz-security-token:*** host;x-amz-date",
        ),
        ('{"SessionToken": "abc", "a": 1}', '{"SessionToken": "***", "a": 1}'),
        (
            "can't connect to postgresql://airflow:pa55@db:5432/x",
            "can't connect to postgresql://***@db:5432/x",
        ),
        (CONSOLE, CONSOLE),
        (NOT_AUTHORIZED, NOT_AUTHORIZED),
        (
            "principal=arn:aws:iam::1:user/jane@corp.example",
            "principal=arn:aws:iam::1:user/jane@corp.example",
        ),
        (
            "Could not connect to https://c:8182/ml/x and a@b.example",
            "Could not connect to https://c:8182/ml/x and a@b.example",
        ),
    ],
)
def test_one_line(said: object, shown: str) -> None:
    """One printable line remains, without credentials, and with all else."""
    assert one_line(said) == shown


def test_is_cut() -> None:
    """Whatever its length, 1,000 characters are shown; no half of a password stands at the end."""
    assert one_line("x" * 1000) == "x" * 1000
    assert one_line("x" * 10_000_000) == "x" * 997 + "..."
    assert "secret" not in one_line("y" * 980 + " http://user:secret" + "z" * 500 + "@host")


@pytest.mark.parametrize(
    "url",
    [
        "http://x",
        "javascript:alert(1)",
        "https://x/\nERROR",
        "https://x/\x1b[31m",
        "https://x y",
        "",
        None,
        5,
        ["https://x"],
    ],
)
def test_no_link(url: object) -> None:
    """What is no https URL on one line is not shown as a link."""
    assert https_link(url) == ""


def test_link() -> None:
    """CloudWatch's own links are shown as they are."""
    assert https_link(CONSOLE) == CONSOLE
