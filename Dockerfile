# One image for the API, the worker and the dashboard; the command decides which it is.
#
#   docker build -t masktune .                                CPU (PyTorch's CPU wheels, no CUDA libraries)
#   docker build --build-arg TORCH_INDEX= -t masktune:gpu .   CUDA (the wheels of the package registry)
#
# Two builds of one commit hold the same files, bytes and times: versions come from deploy/constraints.txt,
# times from SOURCE_DATE_EPOCH. The base is what its tag means that day; to fix that too, name its digest:
#   docker build --build-arg PYTHON_IMAGE=python:3.11-slim@sha256:… .

ARG PYTHON_IMAGE=python:3.11-slim

FROM ${PYTHON_IMAGE} AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG SOURCE_DATE_EPOCH=1735689600
# pip works on the environment from outside: neither it nor what it would compile ends up in there.
ENV PIP_PYTHON=/opt/masktune/bin/python PIP_NO_COMPILE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONDONTWRITEBYTECODE=1
RUN python -m venv --without-pip /opt/masktune
WORKDIR /src

# Compiled once here, since nothing can be written where it runs; by content and not by time, and in one
# process with one seed, so that the bytes are the same each time. Some packages hold files for other Pythons.
ENV COMPILE="/opt/masktune/bin/python -m compileall -q --invalidation-mode unchecked-hash" PYTHONHASHSEED=0

# The dependencies alone, so that a change of the code does not install PyTorch again. PyTorch's index has but
# some versions of what torch depends on: that comes with the rest, from the registry. Ours does not: what the service
# pins is built below, and its dependencies stand in its own file.
COPY pyproject.toml deploy/constraints.txt ./
COPY packaging packaging
RUN python -c "import tomllib; p, c = (tomllib.load(open(f, 'rb'))['project'] for f in ('pyproject.toml', 'packaging/masktune/pyproject.toml')); e = p['optional-dependencies']; print(*(d for d in p['dependencies'] if not d.startswith('masktune==')), *c['dependencies'], *e['s3'], *e['otel'], sep='\n')" > /tmp/requirements.txt \
 && if [ -n "$TORCH_INDEX" ]; then pip install --no-deps --constraint constraints.txt --index-url "$TORCH_INDEX" torch torchvision; fi \
 && pip install --constraint constraints.txt --requirement /tmp/requirements.txt \
 && { $COMPILE /opt/masktune/lib > /dev/null || true; }

COPY . .
RUN pip install --no-deps ./packaging/masktune . \
 && for package in app worker models core masktune launcher web presets; do $COMPILE /opt/masktune/lib/python3*/site-packages/$package || exit 1; done \
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
