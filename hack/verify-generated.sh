#!/usr/bin/env bash
# Fails when generated files are not what the types generate. Works on a copy: it changes nothing in the tree.
set -euo pipefail
cd "$(dirname "$0")/.."
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -r api charts config docs go.mod go.sum hack internal Makefile "$copy/"
make --no-print-directory -C "$copy" generate >/dev/null
for part in api charts config docs; do
  if ! diff -r "$part" "$copy/$part"; then
    echo "$part is stale: run 'make generate' and commit what it changes" >&2
    exit 1
  fi
done
