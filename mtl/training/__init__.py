"""A recipe and data -> a better model, as a stream of events. Knows no page and no session."""
