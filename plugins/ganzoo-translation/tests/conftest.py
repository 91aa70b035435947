"""Makes the plain transcriptions importable, beside what the tests of plugins share."""

from __future__ import annotations

import sys
from pathlib import Path

from plugin_fixtures import _no_fsync, _one_thread, _own_cache  # noqa: F401

sys.path.insert(0, str(Path(__file__).parent))
