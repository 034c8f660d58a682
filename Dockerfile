# The operator's image: one static program and nothing else. `make image` builds the program first and then this, for every
# architecture; the certificate authorities are in the program.
FROM scratch
COPY --chmod=0755 bin/manager /manager
USER 65532:65532
ENTRYPOINT ["/manager"]
LABEL org.opencontainers.image.title="Valetkey" \
      org.opencontainers.image.description="The operator that hands Jobs of AI agents short-lived, narrow credentials" \
      org.opencontainers.image.source="https://github.com/valetkey/valetkey" \
      org.opencontainers.image.licenses="Apache-2.0"
