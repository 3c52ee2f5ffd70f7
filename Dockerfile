# One image, every process: docker run intentloop api | streams | trainer | replica | migrate.
# --build-arg EXTRAS= leaves torch out (about 1 GB): enough for all but the trainer.
FROM python:3.11-slim AS build
ARG EXTRAS=train,s3
WORKDIR /src
RUN python -m venv /opt/intentloop && /opt/intentloop/bin/pip install --no-cache-dir uv==0.13.9
COPY requirements.lock pyproject.toml README.md intentloop.py ./
COPY schema schema
COPY inference inference
COPY training training
COPY streams streams
COPY consumers consumers
COPY api api
COPY local local
# The versions of the lock; torch without CUDA, whose build has other hashes than the lock's.
RUN UV_TORCH_BACKEND=cpu /opt/intentloop/bin/uv pip install --python /opt/intentloop/bin/python --no-cache --compile-bytecode \
    --no-verify-hashes -c requirements.lock ".${EXTRAS:+[$EXTRAS]}"

FROM python:3.11-slim
RUN useradd --uid 10001 --create-home intentloop && mkdir /var/lib/intentloop && chown intentloop /var/lib/intentloop
COPY --from=build /opt/intentloop /opt/intentloop
ENV PATH=/opt/intentloop/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    INTENTLOOP_HOST=0.0.0.0 \
    INTENTLOOP_VAR=/var/lib/intentloop
USER intentloop
VOLUME /var/lib/intentloop
ENTRYPOINT ["intentloop"]
CMD ["--help"]
