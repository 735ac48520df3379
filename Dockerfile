# The workbench and its API, on CPU: docker build -t mtl . && docker run -p 7860:7860 mtl
# On GPU: --build-arg PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cu128, and docker run --gpus all.
# Another base or package index: --build-arg BASE=... --build-arg PIP_EXTRA_INDEX_URL=...
ARG BASE=python:3.11-slim

FROM ${BASE} AS build
ARG PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
COPY requirements.txt /tmp/requirements.txt
# torch first and alone, so that the index above chooses its build
RUN pip install --no-cache-dir "$(grep '^torch' /tmp/requirements.txt)" \
    && grep -v '^pytest' /tmp/requirements.txt > /tmp/running.txt \
    && pip install --no-cache-dir -r /tmp/running.txt
# What nothing here needs while it runs: headers, tests of other projects, compilers' helpers, the installer
RUN ln -s "$(echo /opt/venv/lib/python3*/site-packages)" /opt/venv/packages
WORKDIR /opt/venv/packages
RUN rm -rf torch/include torch/test torch/bin/protoc* torch/share pyarrow/include pyarrow/src pip setuptools \
    && find . -type d -name tests -path './[psn]*' -prune -exec rm -rf {} + \
    && find . -name '*.a' -delete

FROM ${BASE}
RUN useradd --create-home --uid 1000 app
COPY --from=build /opt/venv /opt/venv
WORKDIR /app
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HF_HUB_OFFLINE=1 \
    HF_HOME=/tmp/huggingface \
    MTL_LOG_FORMAT=json \
    GRADIO_ANALYTICS_ENABLED=False \
    GRADIO_TEMP_DIR=/tmp/gradio \
    GRADIO_SERVER_NAME=0.0.0.0 \
    GRADIO_SERVER_PORT=7860 \
    GRADIO_NUM_PORTS=1 \
    NUMBA_CACHE_DIR=/opt/numba \
    NUMBA_CPU_NAME=generic \
    NUMBA_CPU_FEATURES=""
RUN install --directory --owner=app --group=app /opt/numba
COPY app.py ./
COPY mtl mtl
COPY assets/samples assets/samples
COPY assets/results assets/results
COPY checkpoints checkpoints
# numba compiles UMAP here, for any CPU of this kind, so that a container's first map does not wait for it
USER 1000
RUN python -c "import numpy; from mtl.inference import projection as p; v = numpy.random.default_rng(0).random((500, 384), 'f4'); p.umap(v); p.umap(v, n_dims=3)"
USER 0
# Python compiles ours here, since it cannot at run time; everything else was compiled by pip
RUN python -m compileall -q app.py mtl && chmod -R a+rX,go-w /opt/numba /app
USER 1000
# The only place that is written to: all else may be read-only
VOLUME ["/tmp"]
EXPOSE 7860
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=90s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:7860/api/healthz', timeout=4)"]
CMD ["python", "app.py"]
