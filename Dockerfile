# One image for the API, the worker and the dashboard; the command decides which it is.
#
#   docker build -t masktune .                                CPU (PyTorch's CPU wheels, no CUDA libraries)
#   docker build --build-arg TORCH_INDEX= -t masktune:gpu .   CUDA (the wheels of the package registry)
#
# Two builds of one commit hold the same files, bytes and times: versions and hashes come from deploy/requirements,
# times from SOURCE_DATE_EPOCH. The base is what its tag means that day; to fix that too, name its digest:
#   docker build --build-arg PYTHON_IMAGE=python:3.11-slim@sha256:… .

ARG PYTHON_IMAGE=python:3.11-slim

FROM ${PYTHON_IMAGE} AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG SOURCE_DATE_EPOCH=1735689600
ENV PIP_NO_COMPILE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /src
COPY deploy/requirements requirements

# What builds lies beside the environment, and stays in this stage: nothing is fetched for a build of its own.
RUN pip install --require-hashes --requirement requirements/build.txt \
 && python -m venv --without-pip /opt/masktune

# Compiled once here, since nothing can be written where it runs; by content and not by time, and in one
# process with one seed, so that the bytes are the same each time. Some packages hold files for other Pythons.
ENV COMPILE="/opt/masktune/bin/python -m compileall -q --invalidation-mode unchecked-hash" PYTHONHASHSEED=0 \
    INSTALL="pip --python /opt/masktune/bin/python install"

# The dependencies alone, so that a change of the code does not install PyTorch again. With CUDA, PyTorch names the
# versions of NVIDIA's libraries itself; without, it gets nothing but what is here already. Wheels first: what comes as
# sources is built by this stage's tools, and its wheel has no hash to be held against.
RUN pip wheel --no-deps --require-hashes --no-build-isolation --wheel-dir /wheels --requirement requirements/service.txt \
 && grep -o '^[^ ]*==[^ ]*' requirements/service.txt | xargs $INSTALL --no-deps --no-index --find-links /wheels \
 && $INSTALL ${TORCH_INDEX:+--no-deps --index-url "$TORCH_INDEX"} --requirement requirements/torch.txt \
 && rm -r /wheels \
 && { $COMPILE /opt/masktune/lib > /dev/null || true; }

COPY . .
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels ./packaging/masktune . \
 && $INSTALL --no-deps --no-index /wheels/*.whl \
 && pip --python /opt/masktune/bin/python check \
 && for package in app worker models core masktune launcher web presets; do $COMPILE /opt/masktune/lib/python3*/site-packages/$package || exit 1; done \
 && mkdir -p /opt/masktune/share/doc/masktune && cd /opt/masktune/share/doc/masktune \
 && cyclonedx-py environment --output-reproducible --output-file sbom.cdx.json /opt/masktune \
 && pip-licenses --python /opt/masktune/bin/python --with-system --with-urls --format markdown --output-file licences.md \
 && find /opt -exec touch --no-dereference --date "@$SOURCE_DATE_EPOCH" {} +


FROM ${PYTHON_IMAGE}
ARG SOURCE_DATE_EPOCH=1735689600
LABEL org.opencontainers.image.title=masktune org.opencontainers.image.licenses=Apache-2.0
RUN echo 'masktune:x:10001:' >> /etc/group \
 && echo 'masktune:x:10001:10001::/data:/usr/sbin/nologin' >> /etc/passwd \
 && install --directory --owner 10001 --group 10001 /data /key \
 && touch --date "@$SOURCE_DATE_EPOCH" /etc/group /etc/passwd /etc /data /key
COPY --from=build /opt /opt
ENV PATH=/opt/masktune/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    MASKTUNE_DATA_DIR=/data MASKTUNE_HOST=0.0.0.0 MASKTUNE_PORT=8000 \
    HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib TORCH_HOME=/data/cache/torch HF_HOME=/data/cache/huggingface
# By number: Kubernetes' runAsNonRoot cannot judge a name.
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8000 8080
STOPSIGNAL SIGTERM
CMD ["masktune", "api"]
