"""The Gradio page. Handlers read inputs, call one verb of the service and render; no tensors here."""
