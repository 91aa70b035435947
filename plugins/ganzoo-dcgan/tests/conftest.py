"""Makes the plain transcriptions in `literal/` importable, and keeps torch to one thread: the tensors are small."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
torch.set_num_threads(1)  # the tensors are small: threads would mostly wait for each other
