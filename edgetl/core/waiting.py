"""How long threads that compute wait for each other before they sleep: must be set before OpenMP is loaded, with torch or scikit-learn.

GNU's OpenMP spins for milliseconds at the end of every operator. If other work has taken the CPU of the thread that is waited for, the
spinning threads delay its return.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping

SPINS = "10000"  # about 0.1 ms: longer than two threads of one operator differ by, far shorter than a turn on a CPU (docs/log.md)
CHOSEN = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def wait_briefly(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set it for this process and those that it starts, unless the user has."""
    if not any(name in environment for name in CHOSEN):
        environment["GOMP_SPINCOUNT"] = SPINS
