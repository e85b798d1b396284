"""The report as JSON, HTML, CSV and figures. No torch."""

import os
import tempfile
from pathlib import Path

# matplotlib keeps its list of fonts below the home folder unless told otherwise before its first import. A folder that
# stays between runs saves seconds; one that another user made is not writable and matplotlib then takes a fresh one.
if "MPLCONFIGDIR" not in os.environ:
    _fonts = Path(tempfile.gettempdir()) / f"edgetl-matplotlib-{os.getuid() if hasattr(os, 'getuid') else 'fonts'}"
    _fonts.mkdir(mode=0o700, exist_ok=True)
    os.environ["MPLCONFIGDIR"] = str(_fonts)
