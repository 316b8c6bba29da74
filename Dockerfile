# One image for the API and the worker; the command decides which it is.
#
#   docker build -t masktune .                                CPU (PyTorch's CPU wheels, no CUDA libraries)
#   docker build --build-arg TORCH_INDEX= -t masktune:gpu .   CUDA (the wheels of the package registry)

FROM python:3.11-slim AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
RUN python -m venv /opt/masktune
ENV PATH=/opt/masktune/bin:$PATH
WORKDIR /src

# The dependencies alone, so that a change of the code does not install PyTorch again.
COPY pyproject.toml ./
RUN python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; print(*p['dependencies'], *p['optional-dependencies']['s3'], sep='\n')" > /tmp/requirements.txt \
 && if [ -n "$TORCH_INDEX" ]; then pip install --index-url "$TORCH_INDEX" torch torchvision; fi \
 && pip install --requirement /tmp/requirements.txt

COPY . .
RUN pip install --no-deps .


FROM python:3.11-slim
LABEL org.opencontainers.image.title=masktune org.opencontainers.image.licenses=Apache-2.0
RUN groupadd --gid 10001 masktune \
 && useradd --uid 10001 --gid masktune --home-dir /data --no-create-home --shell /usr/sbin/nologin masktune \
 && install --directory --owner masktune --group masktune /data
COPY --from=build /opt/masktune /opt/masktune
ENV PATH=/opt/masktune/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    MASKTUNE_DATA_DIR=/data MASKTUNE_HOST=0.0.0.0 MASKTUNE_PORT=8000 \
    HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib TORCH_HOME=/data/cache/torch HF_HOME=/data/cache/huggingface
USER masktune
WORKDIR /data
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
CMD ["masktune", "api"]
