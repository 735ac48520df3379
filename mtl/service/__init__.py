"""The verbs that every front end calls. Knows neither page nor protocol."""
