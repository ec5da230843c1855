# Vaylix RESP. Two stages: the wheel is built in the first, and only what runs is in the second.
# Runs as a user without rights, and needs to write nothing but /data: `docker run --read-only` works. docs/docker.md
# /usr/share/doc/vaylix/sbom.cdx.json says which packages are in it, as CycloneDX.
FROM python:3.11-slim-bookworm AS build
WORKDIR /build
COPY pyproject.toml README.md LICENSE ./
COPY vaylix_resp ./vaylix_resp
COPY conf ./conf
COPY man ./man
COPY release ./release
RUN python3 -m venv /opt/vaylix \
    && /opt/vaylix/bin/pip install --no-cache-dir --disable-pip-version-check . \
    && /opt/vaylix/bin/python -m release.sbom /build/sbom.cdx.json \
    && /opt/vaylix/bin/pip uninstall --yes --quiet pip setuptools

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="Vaylix RESP" \
    org.opencontainers.image.description="A key-value server that speaks the Redis protocol and never lies about durability" \
    org.opencontainers.image.version="0.1.0" \
    org.opencontainers.image.licenses="MIT"
RUN groupadd --gid 6379 vaylix \
    && useradd --uid 6379 --gid 6379 --no-create-home --shell /usr/sbin/nologin vaylix \
    && install --directory --owner vaylix --group vaylix --mode 0700 /data /secrets
COPY --from=build /opt/vaylix /opt/vaylix
COPY --from=build /build/sbom.cdx.json /usr/share/doc/vaylix/sbom.cdx.json
ENV PATH=/opt/vaylix/bin:$PATH PYTHONDONTWRITEBYTECODE=1 VAYLIX_DIR=/data VAYLIX_BIND="0.0.0.0 -::"
USER vaylix
WORKDIR /data
VOLUME /data
EXPOSE 6379
STOPSIGNAL SIGTERM
# Each look starts a Python: not too often. Port and password are in the environment, or in the file where docs/docker.md has
# it mounted. A recovery may take as long as it takes.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10m --retries=3 \
    CMD ["sh", "-c", "conf=/etc/vaylix/vaylix.conf; [ -e $conf ] || conf=; exec vaylix healthcheck $conf"]
ENTRYPOINT ["vaylix"]
CMD ["serve"]
