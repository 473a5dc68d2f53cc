# Two images from one repository. `full` does every step of a study, and is where JupyterLab runs; `serve` answers for photos, without torch.
#
#   docker build --target full  -t anklealign:full .
#   docker build --target serve -t anklealign:serve .
#
# Packages come at the versions of constraints.txt, from pip's usual index. Another one: --secret id=pip.conf,src=FILE, which no layer keeps.

ARG BASE=docker.io/library/debian:bookworm-slim

# hadolint global ignore=DL3008
# (Debian's packages are those of the base's release: a pinned one could no longer be had after its next security update.)

# ---- Python, as both images have it
FROM ${BASE} AS python
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 1000 --home-dir /tmp --no-create-home --shell /usr/sbin/nologin ankle
ENV PATH=/opt/venv/bin:$PATH LANG=C.UTF-8 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1

# ---- what follows fills an environment; nothing of these stages but what is copied from them gets into an image
FROM python AS builder
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3-venv \
 && rm -rf /var/lib/apt/lists/* \
 && python3 -m venv --without-pip /opt/venv \
 && python3 -m venv /opt/build
ENV PIP_CONSTRAINT=/build/constraints.txt PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY constraints.txt ./
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf /opt/build/bin/pip install pip setuptools

FROM builder AS wheel
COPY pyproject.toml README.md LICENSE ./
COPY anklealign anklealign
RUN /opt/build/bin/pip wheel --no-index --no-deps --no-build-isolation --wheel-dir /wheel .

FROM builder AS serve-packages
COPY --from=wheel /wheel /wheel
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    /opt/build/bin/pip --python /opt/venv/bin/python install "$(echo /wheel/*.whl)[serve]"

# The CPU's PyTorch has an index of its own. An empty TORCH_INDEX takes the one for Nvidia's GPUs from the usual index: almost 5 GB more.
FROM builder AS torch
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    /opt/build/bin/pip --python /opt/venv/bin/python install --no-deps ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch torchvision

FROM torch AS full-packages
COPY --from=wheel /wheel /wheel
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    /opt/build/bin/pip --python /opt/venv/bin/python install "$(echo /wheel/*.whl)[train,serve]" jupyterlab
COPY nbs /app/nbs
COPY tests/without_export.py ./
RUN python3 without_export.py /app/nbs

# ---- full: `anklealign run` on /data into /app/output; `jupyter lab` on 8888
FROM python AS full
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="anklealign" \
      org.opencontainers.image.description="Rear-foot alignment from a photograph: every step of a study, and JupyterLab. A screening aid, never a diagnosis." \
      org.opencontainers.image.source="https://github.com/anklealign/anklealign" \
      org.opencontainers.image.documentation="https://anklealign.github.io/anklealign/" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/*
COPY --from=full-packages /opt/venv /opt/venv
COPY --from=full-packages /app /app
# Whoever runs it, under any user id, may write where nothing is mounted. JupyterLab asks for its token: a random one that its log shows, or JUPYTER_TOKEN.
RUN install -d -m 1777 /app /app/output \
 && chmod -R a+rwX /app/nbs \
 && mkdir -p /opt/venv/etc/jupyter \
 && echo '{"ServerApp": {"ip": "0.0.0.0", "port": 8888, "port_retries": 0, "open_browser": false, "root_dir": "/app"}, "LabApp": {"default_url": "/lab/tree/nbs/index.ipynb"}}' > /opt/venv/etc/jupyter/jupyter_server_config.json
ENV HOME=/tmp
WORKDIR /app
USER 1000:1000
EXPOSE 8888
# An interrupt ends a training as Ctrl-C does: with nothing half-written. What runs and ends has no health to ask for.
STOPSIGNAL SIGINT
HEALTHCHECK NONE
CMD ["anklealign", "run", "/data"]

# ---- serve: the web page and HTTP on 8000, with the bundle at /bundle or else the demonstration model
FROM python AS serve
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="anklealign serve" \
      org.opencontainers.image.description="Rear-foot alignment from a photograph: the service and its web page. A screening aid, never a diagnosis." \
      org.opencontainers.image.source="https://github.com/anklealign/anklealign" \
      org.opencontainers.image.documentation="https://anklealign.github.io/anklealign/" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=serve-packages /opt/venv /opt/venv
# /dev/shm is memory: a read-only root is enough, and what a library keeps for a moment is on no disk.
ENV HOME=/dev/shm TMPDIR=/dev/shm GRADIO_ANALYTICS_ENABLED=False HF_HUB_OFFLINE=1
WORKDIR /app
USER 1000:1000
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health', timeout=4)"]
CMD ["sh", "-c", "exec anklealign serve --host 0.0.0.0 --port 8000 $(test -e /bundle && echo --model /bundle)"]
