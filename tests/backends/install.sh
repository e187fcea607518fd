#!/usr/bin/env bash
# Puts what this suite needs of Debian on the machine: Prometheus with promtool, Alertmanager, and Chromium.
# What is on PATH already stays as it is. Root installs the packages; anybody else, or whoever sets BACKENDS_CACHE, has
# them unpacked into that folder (~/.cache/ailib-backends by default), where the suite looks for them. That does not
# do for Alertmanager: Debian's has its templates in /usr/share and looks nowhere else.
set -euo pipefail

cache=${BACKENDS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ailib-backends}
missing=()

need() { # package program
  if ! PATH=$PATH:$cache/usr/bin command -v "$2" >/dev/null; then missing+=("$1"); fi
}

need prometheus prometheus
need prometheus promtool
need prometheus-alertmanager prometheus-alertmanager
need chromium chromium

if [ ${#missing[@]} -eq 0 ]; then
  echo "prometheus, promtool, prometheus-alertmanager and chromium are there."
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
  # What they need and the machine lacks comes with them: a simulation tells.
  needed=$(apt-get install --simulate --no-install-recommends "${missing[@]}" | awk '$1 == "Inst" { print $2 }')
  mapfile -t needed < <(printf '%s\n' "${missing[@]}" $needed | sort --unique)
  (cd "$tmp" && apt-get download -qq "${needed[@]}")
  for package in "$tmp"/*.deb; do dpkg -x "$package" "$cache"; done
  # Prometheus' pages look for their scripts beside themselves, the machine's own as well.
  mkdir -p "$cache/usr/share/javascript"
  for scripts in /usr/share/javascript/*; do
    if [ -e "$scripts" ] && [ ! -e "$cache$scripts" ]; then ln -s "$scripts" "$cache$scripts"; fi
  done
  echo "Unpacked into $cache: run the suite with BACKENDS_CACHE=$cache."
  if [ ! -e /usr/share/prometheus/alertmanager/default.tmpl ]; then
    echo "Root has to install prometheus-alertmanager." >&2
    exit 1
  fi
fi
