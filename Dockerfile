# Two images from one file:
#   docker build --target coordinator -t polyrhythm-coordinator .     without torch
#   docker build --target agent       -t polyrhythm-agent .           with torch
#
# TORCH_FLAGS are pip's when it installs torch. pip's own index brings a build with CUDA, which also runs on a CPU; for
# a small image without CUDA, or for another CUDA version, name PyTorch's index of that build:
#   docker build --target agent --build-arg TORCH_FLAGS="--index-url URL" -t polyrhythm-agent .
#
# Agents keep models of the hub and converted checkpoints in /var/cache/polyrhythm: give it a volume, which agents of one
# host may share. Both health checks ask as the daemon was told, by its options or its environment, and
# may wait long for a core where the workers use them all.
ARG BASE_IMAGE=debian:bookworm-slim

FROM ${BASE_IMAGE} AS python
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
ENV PATH=/opt/polyrhythm/bin:$PATH \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1

FROM python AS runtime
RUN useradd --no-create-home --uid 10001 --home-dir /tmp --shell /usr/sbin/nologin polyrhythm
COPY docker/health.py /opt/polyrhythm-health/health.py
# Where pictures go that are given no folder; also on a read-only container, with a tmpfs there.
WORKDIR /tmp

FROM python AS wheel
RUN python3 -m venv /opt/polyrhythm
WORKDIR /source
COPY pyproject.toml hatch_build.py constraints.txt README.md LICENSE ./
COPY protos protos
COPY coordinator coordinator
COPY gpu_agent gpu_agent
COPY client client
COPY models/demo-unet models/demo-unet
RUN pip wheel --no-deps --wheel-dir /wheels .

FROM wheel AS coordinator-environment
RUN pip install -c constraints.txt "$(ls /wheels/*.whl)[coordinator,client]"

FROM runtime AS coordinator
COPY --from=coordinator-environment /opt/polyrhythm /opt/polyrhythm
USER polyrhythm
EXPOSE 50051
HEALTHCHECK --interval=15s --timeout=30s --start-period=30s CMD ["python3", "/opt/polyrhythm-health/health.py"]
ENTRYPOINT ["polyrhythm-coordinator"]

FROM python AS agent-environment
ARG TORCH_FLAGS=""
RUN python3 -m venv /opt/polyrhythm
WORKDIR /source
# torch alone first: a layer that changes only with its version.
COPY constraints.txt ./
RUN pip install ${TORCH_FLAGS} "$(sed -n '/^torch==/p' constraints.txt)"
COPY --from=wheel /wheels /wheels
RUN pip install -c constraints.txt "$(ls /wheels/*.whl)[agent,client]"

FROM runtime AS agent
COPY --from=agent-environment /opt/polyrhythm /opt/polyrhythm
RUN install -d -o polyrhythm -g polyrhythm /var/cache/polyrhythm
USER polyrhythm
ENV POLYRHYTHM_CACHE=/var/cache/polyrhythm \
    HF_HOME=/var/cache/polyrhythm/hub \
    CUDA_DEVICE_ORDER=PCI_BUS_ID \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
# A first start may fetch or convert a model; the first check that succeeds ends the period.
HEALTHCHECK --interval=15s --timeout=30s --start-period=30m CMD ["python3", "/opt/polyrhythm-health/health.py"]
ENTRYPOINT ["polyrhythm-agent"]
