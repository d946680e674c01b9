# The image of operator, relay and CLI: `docker build .`, or `make image` where there is no registry.
#
# BASE needs no more than Node >= 26.4 at /usr/local/bin/node, with the libraries of the system that it needs; no shell.
# For a build that can be repeated give it by digest: --build-arg BASE=node:26-slim@sha256:...
ARG BASE=docker.io/library/node:26-slim
ARG BUILDER=${BASE}

FROM ${BUILDER} AS build
ARG SOURCE_DATE_EPOCH=0
WORKDIR /src
COPY . .
RUN npm ci --ignore-scripts --loglevel=error --no-progress && node image/assemble.ts /image

FROM ${BASE}
ARG VERSION=0.0.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Chasqui" \
      org.opencontainers.image.description="Managed mail servers by manifest: operator and relay" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /image/ /
# As in bin/chasqui, which says why.
ENV MALLOC_ARENA_MAX=2
ENV PATH=/usr/local/bin:/usr/bin:/bin
WORKDIR /
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/node", "--max-semi-space-size=8", "--heap-growing-percent=200", "/opt/chasqui/chasqui.js"]
