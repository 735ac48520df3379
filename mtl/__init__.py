"""One sentence encoder, many tasks, one pass.

import mtl
model = mtl.load("checkpoints/default")
model.encode(["a sentence"]), model.analyze(["a sentence"])[0]["topic"].label
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mtl.inference.predictor import Predictor, from_encoder, load

__version__ = "0.1.0"
__all__ = ["Predictor", "from_encoder", "load"]


def __getattr__(name: str) -> object:
    """Loads the predictor, and with it torch, at first use."""
    if name in __all__:
        from mtl.inference import predictor

        return getattr(predictor, name)
    raise AttributeError(f"module 'mtl' has no attribute {name!r}")
