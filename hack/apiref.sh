#!/usr/bin/env bash
# Writes docs/api.md from the types. It is run in the root of the repository.
set -euo pipefail
go tool -modfile=hack/pins/apiref/go.mod crd-ref-docs --log-level=ERROR --source-path=api/v1alpha1 --config=hack/pins/apiref/config.yaml \
  --renderer=markdown --output-path=docs/api.md
# The generator escapes braces within code, where Markdown shows the backslash; its headings are for more than one package; and of the rules in
# CEL it prints those of a list's items alone, as Go prints a struct.
sed -i -e 's/\\\([{}]\)/\1/g' -e 's/^# API Reference$/# The API/' -e '/^## Packages$/,/^$/d' -e 's/items:XValidation: {[^}]*} <br \/>//g' -e 's/[ \t]*$//' docs/api.md
