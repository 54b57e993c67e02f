# SPDX-License-Identifier: Apache-2.0
# Export, training and evaluation on a GPU. Build from the repository root:
#   docker build -f docker/learn.Dockerfile -t rove-learn .
# PyPI's torch for Linux on x86-64 brings its CUDA libraries along; the host gives the driver (NVIDIA Container Toolkit).
FROM python:3.12-slim-bookworm

SHELL ["/bin/bash", "-o", "pipefail", "-c"]

ARG UID=1000
RUN useradd --create-home --uid "$UID" --shell /bin/bash rove \
    && install --directory --owner rove --group rove /opt/rove /opt/rove/runs

WORKDIR /opt/rove
COPY --chown=rove:rove . .

# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends git make \
    && grep -vE '^#|^chromium$' requirements/debian.txt | xargs apt-get install -y --no-install-recommends \
    && rm -rf /var/lib/apt/lists/*

USER rove

RUN make setup

ENV PATH=/opt/rove/.venv/bin:$PATH PYTHONUNBUFFERED=1 \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
CMD ["rove", "run", "rove_learning", "train", "--help"]
