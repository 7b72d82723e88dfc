#!/usr/bin/env bash
# Train every model again, one after the other: models.sh BIN
set -euo pipefail
bin=$1
data=${MOODSTREAM_DATA:-../shared/data}
[ -d "$data" ] || { echo "no corpora: set MOODSTREAM_DATA to the folder that holds them (tried $data)" >&2; exit 2; }
for task in activity speech small music symbolic; do
    printf '\033[1m==> moodstream train %s --data %s\033[0m\n' "$task" "$data"
    "$bin/moodstream" train "$task" --data "$data"
done
