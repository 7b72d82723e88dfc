#!/usr/bin/env bash
# The live pipeline, tried out: a real broker, a two-channel call, music and MIDI replayed as if they happened
# now, rows as they come, and the summaries from the lake in the end.
#
#     infra/live_demo.sh BIN LAKE [SPEED]
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$1 lake=$2 speed=${3:-1}
work=$(mktemp -d)
started=()
finish() {
    for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT

say() { printf '\n==> %s\n' "$*"; }

say "Starting a broker"
"$bin/python" -m infra.kafka.broker >"$work/address" 2>"$work/broker.log" &
started+=($!)
until [ -s "$work/address" ]; do
    kill -0 "${started[0]}" 2>/dev/null || { cat "$work/broker.log" >&2; exit 1; }
    sleep 0.2
done
at=(--bootstrap "$(cat "$work/address")")

say "moodstream verify --create"
"$bin/moodstream" verify "${at[@]}" --in packets --new-partitions 2 --create

say "moodstream live, moodstream land and moodstream tail in the background; moodstream replay at speed $speed"
"$bin/moodstream" live "${at[@]}" --in packets 2>"$work/live.log" &
started+=($!)
"$bin/moodstream" land "${at[@]}" --to "$lake" --every-s 2 >"$work/land.log" 2>&1 &
started+=($!)
"$bin/moodstream" tail "${at[@]}" --final > >(grep --line-buffered -v ' 0\.00 \[') &  # so that $! is tail, not grep
started+=($!)
sleep 5
"$bin/moodstream" replay demo/calls --roles agent,customer "${at[@]}" --topic packets --speed "$speed" &
replays=($!)
"$bin/moodstream" replay demo/songs "${at[@]}" --topic packets --speed "$speed" &
replays+=($!)
wait "${replays[@]}"

wanted=$(find demo/calls demo/songs -type f ! -name '*.mid' | wc -l)
landed() { "$bin/moodstream" query "$lake" --format csv "SELECT count(*) FROM media" | tail -1; }
until [ "$(landed)" -ge "$wanted" ]; do sleep 1; done

say "What is in the lake now"
"$bin/moodstream" query "$lake" "SELECT media_id, channel, modality, emotion, quadrant, profile, round(valence_mean, 2) AS valence, round(arousal_mean, 2) AS arousal, talk_ms FROM summary ORDER BY ALL"
