# The workbench on CPU. Another base or package index: --build-arg BASE=... --build-arg PIP_EXTRA_INDEX_URL=...
ARG BASE=python:3.11-slim

FROM ${BASE} AS build
ARG PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
COPY requirements.txt /tmp/requirements.txt
# torch first and alone, so that the CPU build is chosen
RUN pip install --no-cache-dir "$(grep '^torch' /tmp/requirements.txt)" \
    && pip install --no-cache-dir -r /tmp/requirements.txt

FROM ${BASE}
RUN useradd --create-home --uid 1000 app
COPY --from=build /opt/venv /opt/venv
WORKDIR /app
COPY --chown=app:app app.py ./
COPY --chown=app:app mtl mtl
COPY --chown=app:app assets/samples assets/samples
COPY --chown=app:app checkpoints checkpoints
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HF_HUB_OFFLINE=1 \
    GRADIO_ANALYTICS_ENABLED=False \
    GRADIO_SERVER_NAME=0.0.0.0 \
    GRADIO_SERVER_PORT=7860 \
    GRADIO_NUM_PORTS=1 \
    NUMBA_CACHE_DIR=/opt/numba \
    NUMBA_CPU_NAME=generic \
    NUMBA_CPU_FEATURES=""
RUN install --directory --owner=app --group=app /opt/numba
USER 1000
# numba compiles UMAP here, for any CPU of this kind, so that a container's first map does not wait for it
RUN python -c "import numpy; from mtl.inference import projection; projection.umap(numpy.random.rand(500, 384))" \
    && chmod -R a+rwX /opt/numba
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:7860/config', timeout=4)"]
CMD ["python", "app.py"]
