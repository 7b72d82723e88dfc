#!/usr/bin/env bash
# Build the virtual environment: install.sh PYTHON VENV EXTRAS
#
# Takes uv where it can be had (on the PATH, or by pip from the package index), because unpacking torch with it
# takes seconds instead of minutes; pip otherwise.
set -euo pipefail
python=$1 venv=$2 extras=$3

say() { printf '\033[1m==> %s\033[0m\n' "$*" >&2; }
stop() { printf '\nmoodstream cannot be installed: %s\n' "$*" >&2; exit 1; }

command -v "$python" >/dev/null || stop "there is no '$python'. On Debian: apt-get install python3 python3-venv"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    stop "$("$python" -V) is too old, 3.11 is needed. Another one: make install PYTHON=python3.12"

if [ ! -x "$venv/bin/python" ]; then
    say "Creating $venv with $("$python" -V)"
    if "$python" -c 'import ensurepip' 2>/dev/null; then
        "$python" -m venv "$venv"
    elif command -v uv >/dev/null || "$python" -m pip --version >/dev/null 2>&1; then
        "$python" -m venv --without-pip "$venv"
    else
        stop "this Python comes without venv and pip. On Debian, as root: apt-get install python3-venv"
    fi
fi

if command -v uv >/dev/null; then
    install=(uv pip install --python "$venv/bin/python")
elif [ -x "$venv/bin/pip" ]; then
    "$venv/bin/pip" install --quiet --disable-pip-version-check -c constraints.txt uv 2>/dev/null || true
    if [ -x "$venv/bin/uv" ]; then
        install=("$venv/bin/uv" pip install --python "$venv/bin/python")
    else
        install=("$venv/bin/pip" install --disable-pip-version-check)
    fi
else
    install=("$python" -m pip --python "$venv/bin/python" install --disable-pip-version-check)
fi

say "Installing moodstream[$extras] in the versions of constraints.txt (${install[0]##*/}; torch is the large part)"
"${install[@]}" -c constraints.txt -e ".[$extras]"
say "Ready: $venv/bin/moodstream"
