#!/usr/bin/env bash
# Installs the clients of AWS that make test-clients asks which credential they use, from Debian and npm, and prints
# the folder of Node's packages.
set -euo pipefail
cd "$(dirname "$0")/pins/clients"

for program in /usr/bin/aws /usr/bin/node /usr/bin/npm; do
  [[ -x $program ]] || missing=yes
done
if [[ ${missing:-} ]] || ! /usr/bin/python3 -c 'import boto3' 2> /dev/null; then
  echo "installing awscli, python3-boto3, nodejs and npm with apt-get" >&2
  export DEBIAN_FRONTEND=noninteractive
  packages=(apt-get -y -q --no-install-recommends install awscli python3-boto3 nodejs npm)
  "${packages[@]}" >&2 || { apt-get -q update >&2 && "${packages[@]}" >&2; }
fi

folder="${XDG_CACHE_HOME:-$HOME/.cache}/valetkey/clients-$(sha256sum package-lock.json | cut -c1-16)"
if [[ ! -d $folder ]]; then
  echo "fetching the packages of hack/pins/clients with npm" >&2
  mkdir -p "${folder%/*}"
  unfinished=$(mktemp -d "$folder.XXXXXX")
  cp package.json package-lock.json "$unfinished"
  npm ci --prefix "$unfinished" --no-audit --no-fund >&2
  mv "$unfinished" "$folder"
fi
echo "$folder/node_modules"
