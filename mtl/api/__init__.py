"""REST beside the page: the same service, for programs."""
