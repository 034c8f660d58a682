# The operator's image: one static program and nothing else. `make image` builds the program first and then this, without a
# network; the certificate authorities are in the program.
FROM scratch
COPY bin/manager /manager
USER 65532:65532
ENTRYPOINT ["/manager"]
