#!/usr/bin/env bash
# Train every model again, one after the other, measured with so many seeds: models.sh BIN SEEDS
# Every fit is kept: stopped, the same command goes on where it was.
set -euo pipefail
bin=$1 seeds=${2:-1}
data=${MOODSTREAM_DATA:-../shared/data}
[ -d "$data" ] || { echo "no corpora: set MOODSTREAM_DATA to the folder that holds them (tried $data)" >&2; exit 2; }

run() { printf '\033[1m==> moodstream %s\033[0m\n' "$*"; "$bin/moodstream" "$@"; }

for task in activity speech diarization small music symbolic listener fusion; do
    run train "$task" --data "$data" --seeds "$seeds"
done
for task in speech music; do
    run evaluate "$task" --data "$data" --leave-one-corpus-out
done
run evaluate --stored
