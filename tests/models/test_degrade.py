from functools import partial

import av
import numpy as np
import pytest

from moodstream.models.degrade import CONDITIONS, LAWS, Room, add, companded, degraded, through_line
from moodstream.models.examples import Example


def tone(hertz: float, level: float = 0.1, seconds: float = 1.0) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hertz * np.arange(int(16_000 * seconds)) / 16_000)).astype(np.float32)


def examples() -> list[Example]:
    return [Example(str(i), partial(tone, 200 + 10 * i), "a", f"speaker{i}") for i in range(12)]


@pytest.mark.parametrize("law", LAWS)
def test_companding_is_that_of_an_independent_codec(law: str) -> None:
    pcm = np.random.default_rng(0).integers(-32768, 32767, (1, 8000)).astype(np.int16)
    pcm[0, ::2] //= 100  # soft ones too
    name = {"mu": "pcm_mulaw", "A": "pcm_alaw"}[law]
    codec = av.CodecContext.create(name, "w")
    codec.sample_rate, codec.layout, codec.format = 8000, "mono", "s16"
    frame = av.AudioFrame.from_ndarray(pcm, "s16", "mono")
    frame.rate = 8000
    packets = codec.encode(frame)
    decoder = av.CodecContext.create(name, "r")
    decoder.sample_rate, decoder.layout = 8000, "mono"
    coded = np.concatenate([f.to_ndarray()[0] for p in packets for f in decoder.decode(p)]) / 32768
    ours = companded(pcm[0].astype(np.float32) / 32768, law)
    step = np.maximum(np.abs(coded) / 16, 16 / 32768)  # one of the code's steps: borders may be rounded apart
    assert (np.abs(ours - coded) <= step * 1.01).all()
    assert np.mean(ours == coded.astype(np.float32)) > 0.9


def test_a_line_takes_what_lies_above_its_band_and_keeps_the_rest() -> None:
    low, high = through_line(tone(1000)), through_line(tone(6000))
    assert len(low) == 16_000
    assert np.sqrt(np.mean((low - tone(1000))[800:-800] ** 2)) < 0.005
    assert np.abs(high[800:-800]).max() < 0.005
    assert len(through_line(np.zeros(0, np.float32))) == 0


def test_noise_lies_as_far_below_as_was_asked_for() -> None:
    sound, noise = tone(300), tone(1700, 0.9)
    rest = add(sound, noise, 15.0) - sound
    assert 10 * np.log10(np.mean(sound**2) / np.mean(rest**2)) == pytest.approx(15.0, abs=0.01)
    np.testing.assert_array_equal(add(sound, np.zeros(16_000, np.float32), 15.0), sound)


def test_the_speaker_is_not_in_the_babble() -> None:
    room = Room(examples())
    heard = room.babble(16_000, "speaker3", np.random.default_rng(0))
    spectrum = np.abs(np.fft.rfft(heard))
    assert spectrum[230] < 0.01 * spectrum.max()
    with pytest.raises(ValueError, match="nobody but 'speaker3'"):
        Room(examples()[3:4]).babble(100, "speaker3", np.random.default_rng(0))


@pytest.mark.parametrize("name", CONDITIONS)
def test_conditions_are_repeatable_and_change_what_they_say(name: str) -> None:
    clean, (once, *_), (again, *_) = examples()[0], degraded(examples(), name), degraded(examples(), name)
    sound = once.sound()
    np.testing.assert_array_equal(sound, again.sound())
    assert sound.dtype == np.float32
    assert len(sound) == 16_000
    assert once.key != clean.key
    assert (np.abs(sound - clean.sound()).max() > 1e-4) == (name != "clean")


def test_an_unknown_condition_or_law_is_said() -> None:
    with pytest.raises(ValueError, match="'underwater'"):
        degraded(examples(), "underwater")
    with pytest.raises(ValueError, match="'B'"):
        companded(tone(100), "B")
