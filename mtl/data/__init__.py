"""Files and rows -> examples -> batches of tokens. Knows tasks only by the protocol in `mtl.tasks.base`."""
