"""Texts -> predictions, fast; vectors -> maps. Knows nothing of training."""
