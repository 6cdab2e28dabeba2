# Calibrant as an image: `docker build .` for CPUs, `docker build --build-arg PROVIDER=cuda .` for NVIDIA's GPUs.
# What follows `docker run IMAGE` are the arguments of the command `calibrant`; without any it is `serve`.
ARG PROVIDER=cpu

FROM python:3.13-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
# mypyc reads the types of what the compiled modules import
COPY requirements/build.txt requirements/image.txt ./
RUN pip install --require-hashes -r build.txt -r image.txt
COPY pyproject.toml hatch_build.py README.md ./
COPY service service
COPY models models
# 0 builds the wheel of the source alone
ENV HATCH_BUILD_HOOK_ENABLE_CUSTOM=1
# anybody may read the models, whatever the umask of the checkout was
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheel . && chmod -R a+rX models

FROM python:3.13-slim-bookworm AS environment
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends binutils tini && rm -rf /var/lib/apt/lists/*
RUN python -m venv --without-pip /opt/calibrant
# beside what is served, not in it
COPY requirements/sbom.txt .
RUN pip install --require-hashes -r sbom.txt

FROM environment AS environment-cpu
COPY requirements/image.txt .
RUN pip --python /opt/calibrant install --require-hashes -r image.txt
WORKDIR /opt/calibrant/lib/python3.13/site-packages
# what serving never reads goes: ONNX Runtime's tools and its second library, for C; tests; symbols for debuggers
RUN rm -r onnxruntime/quantization onnxruntime/tools onnxruntime/transformers onnxruntime/capi/libonnxruntime.so.* \
    && find . -type d -name tests -prune -exec rm -r {} + \
    && strip csimdjson*.so httptools/parser/*.so uvloop/*.so
COPY --from=build /wheel /wheel
RUN pip --python /opt/calibrant install --no-deps --no-index /wheel/*.whl \
    && cyclonedx-py environment --output-reproducible --output-file /opt/calibrant/sbom.json /opt/calibrant/bin/python

FROM environment AS environment-cuda
COPY requirements/cuda.txt .
RUN pip --python /opt/calibrant install --require-hashes -r cuda.txt
COPY --from=build /wheel /wheel
RUN pip --python /opt/calibrant install --no-deps --no-index /wheel/*.whl \
    && cyclonedx-py environment --output-reproducible --output-file /opt/calibrant/sbom.json /opt/calibrant/bin/python

FROM python:3.13-slim-bookworm AS runtime
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Calibrant" \
      org.opencontainers.image.description="Logits in, calibrated probabilities out." \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.base.name="docker.io/library/python:3.13-slim-bookworm"
# in a container loopback is nobody: whoever publishes the port says who reaches it, and may give keys
# /dev/shm is writable in every container: several workers keep their counts there, and the rest may be read-only
ENV PATH=/opt/calibrant/bin:$PATH \
    CALIBRANT_HOST=0.0.0.0 \
    CALIBRANT_INSECURE=true \
    CALIBRANT_PORT=8000 \
    ORT_DISABLE_TELEMETRY=1 \
    TMPDIR=/dev/shm
COPY --from=environment /usr/bin/tini-static /usr/bin/tini
COPY --from=build /build/models /models
# a volume that is mounted there for --journal is its user's
RUN install --directory --owner=65532 --group=65532 --mode=700 /journal
EXPOSE 8000
# bash speaks TCP, and is there twenty times as fast as Python
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --start-interval=1s CMD ["bash", "-c", \
    "exec 3<>/dev/tcp/127.0.0.1/$CALIBRANT_PORT && printf 'GET /readyz HTTP/1.0\\r\\n\\r\\n' >&3 && read -r _ status _ <&3 && [ $status = 200 ]"]
# the kernel drops signals that process 1 does not handle yet: without tini, a stop during the start would be lost
ENTRYPOINT ["tini", "--", "calibrant"]
CMD ["serve"]

# what serving imports is imported once, so that Python's own modules are there as bytecode: the start is half as long
FROM runtime AS cpu
COPY --from=environment-cpu /opt/calibrant /opt/calibrant
RUN ["python", "-c", "import service.cli, service.commands.serve, service.rpc.server, service.telemetry.traces"]
USER 65532:65532

FROM runtime AS cuda
ENV CALIBRANT_PROVIDER=cuda \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=environment-cuda /opt/calibrant /opt/calibrant
RUN ["python", "-c", "import service.cli, service.commands.serve, service.rpc.server, service.telemetry.traces"]
USER 65532:65532

# no service: what `make load` does, for deploy/compose.yaml, with deploy/locust mounted there
FROM python:3.13-slim-bookworm AS load
WORKDIR /locust
COPY requirements/load.txt /
RUN pip install --disable-pip-version-check --no-cache-dir --root-user-action=ignore --require-hashes -r /load.txt
ENTRYPOINT ["locust", "--headless", "--skip-log-setup"]
USER 65532:65532

FROM ${PROVIDER}
