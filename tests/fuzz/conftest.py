"""How long is searched: in CI for a bound, with `make fuzz` for as long as it says."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "neptune-ml",
    max_examples=int(os.environ.get("NEPTUNE_ML_FUZZ_EXAMPLES", "40")),
    # The same in each run of CI: what fails there is not a matter of luck.
    derandomize="NEPTUNE_ML_FUZZ_EXAMPLES" not in os.environ,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
settings.load_profile("neptune-ml")
