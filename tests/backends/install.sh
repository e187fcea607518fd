#!/usr/bin/env bash
# Puts the servers of this suite that are Debian's on the machine: Prometheus with promtool, and Alertmanager.
# What is on PATH already stays as it is. Root installs the packages; anybody else, or whoever sets BACKENDS_CACHE, has
# them unpacked into that folder (~/.cache/ailib-backends by default), where the suite looks for them.
set -euo pipefail

cache=${BACKENDS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ailib-backends}
missing=()

need() { # package program
  if ! PATH=$PATH:$cache/usr/bin command -v "$2" >/dev/null; then missing+=("$1"); fi
}

need prometheus prometheus
need prometheus promtool
need prometheus-alertmanager prometheus-alertmanager

if [ ${#missing[@]} -eq 0 ]; then
  echo "prometheus, promtool and prometheus-alertmanager are there."
  exit 0
fi

if [ "$(id -u)" -eq 0 ] && [ -z "${BACKENDS_CACHE:-}" ]; then
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
else
  # The lists must be there: only root can fetch them.
  tmp=$(mktemp -d)
  trap 'rm -rf "$tmp"' EXIT
  mkdir -p "$cache"
  (cd "$tmp" && apt-get download -qq "${missing[@]}")
  for package in "$tmp"/*.deb; do dpkg -x "$package" "$cache"; done
  echo "Unpacked into $cache: run the suite with BACKENDS_CACHE=$cache."
fi
