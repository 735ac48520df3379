"""Tensors in, tensors out: encoder, pooling, heads and the checkpoint folder. Knows no task and no text."""
