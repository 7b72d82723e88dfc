#!/usr/bin/env bash
# The tour that `make demo` gives: demo.sh BIN LAKE
set -euo pipefail
bin=$1 lake=$2
export PATH="$bin:$PATH"

say() { printf '\n\033[1m==> %s\033[0m\n' "$*"; }
run() { printf '\033[2m$ %s\033[0m\n' "$*"; "$@"; }

say "Analysing the media in demo/: three songs with their MIDI, a voice, a call of two sides, a video"
run moodstream analyze demo --manifest demo/manifest.csv --out "$lake"

say "What the lake holds"
run moodstream query "$lake" "SELECT media_id, channel, emotion, valence_mean, arousal_mean, profile FROM best_summary"

say "A video: speech, then music"
run moodstream show "$lake" video/words_then_music.mp4

say "A call: emotions on the customer's side, talk and loudness only on the agent's"
run moodstream show "$lake" calls/parcel.flac

say "All of it as a page with player, curves, error bands and episodes"
run moodstream show "$lake" --html demo-report.html

say "Done: open demo-report.html in a browser. More to try:"
cat <<END
    . $bin/activate
    moodstream show $lake
    moodstream query $lake --rising
    moodstream export $lake --format webvtt --out demo-export
    moodstream analyze YOUR-MUSIC --out lake
END
