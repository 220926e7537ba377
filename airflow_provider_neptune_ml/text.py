"""What others say (the service, the network, botocore, Airflow's backends), fit for a log or an error."""

from __future__ import annotations

import re

MAX_LENGTH = 1000
# Longer texts are cut before anything else is done to them: a reply may have megabytes.
LONGEST_READ = 4 * MAX_LENGTH
_ANSI = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]")
# user:password@ of a URL, also where the password has a slash, or a quote; not of one with an @ in its path
URL_CREDENTIALS = re.compile(r"//(?:(?![^\s/@?#:]*(?::\d+)?[/?#])[^\s\"'<>]*|[^\s/]+)@")
URL_MASK = "//***@"
_SECRETS = (
    (URL_CREDENTIALS, URL_MASK),
    # the same without a scheme; not an ARN, alone or as a value, which may end in a person's address
    (re.compile(r"(?:^|(?<=[\s\"'(\[{<,]))(?!(?:[\w-]+[:=])?arn:)[^\s\"'/@:]+:(?!//)[^\s\"'<>]*@"), "***@"),
    # http.client's error has the whole header, which may be a session token
    (re.compile(r"(Invalid header (?:name|value)).*"), r"\1"),
    (re.compile(r"\bb'[^']*'|\bb\"[^\"]*\""), "b'***'"),
    (
        re.compile(
            r"(?i)((?:x-amz-security-token|(?:proxy-)?authorization|aws_?session_?token|session_?token"
            r"|(?:aws_?)?secret_?access_?key|password|passwd)[\"']?\s*[:=]\s*[\"']?(?:basic |bearer )?)"
            r"[^\s\"',;&]+"
        ),
        r"\1***",
    ),
)


def one_line(text: object) -> str:
    """
    Return one line of printable text, without credentials, of at most 1,000 characters.

    A line break would forge a line of the log, and an escape sequence or a bidirectional mark its look.
    """
    words = " ".join(_ANSI.sub("", str(text)[:LONGEST_READ]).split())
    line = "".join(character for character in words if character.isprintable())
    for pattern, replacement in _SECRETS:
        line = pattern.sub(replacement, line)
    return line if len(line) <= MAX_LENGTH else f"{line[: MAX_LENGTH - 3]}..."


def storable(text: str) -> str:
    """Return a text without what no database takes."""
    return text.replace("\0", "").encode(errors="replace").decode()


def https_link(url: object) -> str:
    """Return a link that can be shown; empty for what is no https URL on one line."""
    is_link = isinstance(url, str) and url.startswith("https://") and one_line(url) == url and " " not in url
    return str(url) if is_link else ""
