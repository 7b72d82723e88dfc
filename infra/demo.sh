#!/usr/bin/env bash
# The two-minute tour that `make demo` gives: demo.sh BIN LAKE
set -euo pipefail
bin=$1 lake=$2

say() { printf '\n\033[1m==> %s\033[0m\n' "$*"; }
run() { printf '\033[2m$ moodstream %s\033[0m\n' "$*"; "$bin/moodstream" "$@"; }

say "Analysing the media in demo/ (a song as recording and MIDI, a call, speech, a video) into $lake"
run analyze demo --out "$lake"

say "What the lake says, one line a media"
run query "$lake" "SELECT media_id, modality, emotion, round(valence_mean, 2) AS valence,
    round(arousal_mean, 2) AS arousal, profile FROM summary ORDER BY media_id, modality"

media=$("$bin/moodstream" query "$lake" --format csv \
    "SELECT media_id FROM media ORDER BY kind = 'video' DESC, duration_ms DESC LIMIT 1" | tail -n 1)
say "The curves and episodes of $media"
run show "$lake" "$media"
run show "$lake" "$media" --html demo-report.html

say "Done. Open demo-report.html in a browser; more to try:"
printf '    %s/moodstream query %s --rising\n    %s/moodstream show %s MEDIA\n    %s/moodstream --help\n' \
    "$bin" "$lake" "$bin" "$lake" "$bin"
