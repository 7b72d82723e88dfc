"""What the corpora's licences say, and what that means for weights that learned from them.

Whether weights inherit the terms of their training data is not settled; here they are treated as if they did,
the strictest corpus deciding. `commercial` answers whether the licence as stated by the source lets the data
be used for money: "yes", "no", or "unknown" where none is stated. Nothing here is legal advice.

Source: the SOURCE.md of each corpus.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

FILE = "LICENCE.txt"
Commercial = Literal["yes", "no", "unknown"]


@dataclass(frozen=True)
class Licence:
    """The licence of a corpus, as its source states it."""

    stated: str
    commercial: Commercial
    share_alike: bool = False  # what is made of it must be passed on under the same terms


OWN = Licence("the user's own", "unknown")
_NC_SA = Licence("CC BY-NC-SA 4.0", "no", share_alike=True)
LICENCES = {
    "ravdess": _NC_SA,
    "ravdess_song": _NC_SA,
    "emodb": Licence(
        "none stated where it was taken from (EMO-DB, offered freely by its authors)", "unknown"
    ),
    "ased": Licence("none stated (citation asked for)", "unknown"),
    "urdu": Licence("research only (recordings of YouTube)", "no"),
    "tava": Licence("AGPL-3.0", "yes", share_alike=True),
    "callcentre": Licence("Apache-2.0 (AWS samples), MIT (Microsoft)", "yes"),
    "ami_mini": Licence("CC BY 4.0 (AMI, from memory), MIT (where it was taken from)", "yes"),
    "4qaed": Licence("none stated (excerpts of commercial recordings)", "unknown"),
    "emotify": Licence("none stated (music of Magnatune, CC BY-NC-SA)", "no", share_alike=True),
    "emomusic": Licence("none stated (songs of the Free Music Archive)", "unknown"),
    "emopia": _NC_SA,
    "vgmidi": Licence("none stated (piano arrangements of commercial game music)", "unknown"),
    "midi_audio_pairs": Licence("CC BY-NC-SA 4.0 (EMOPIA), none stated (VGMIDI)", "no", share_alike=True),
}


def of(corpus: str) -> Licence:
    """The licence of a corpus; what has none here is the user's own."""
    return LICENCES.get(corpus, OWN)


def clean(corpora: Iterable[str]) -> list[str]:
    """Those whose licence allows commercial use."""
    return [name for name in corpora if of(name).commercial == "yes"]


def weights_licence(corpora: Sequence[str]) -> str:
    """One line on weights that learned from these corpora."""
    known = [of(name) for name in corpora]
    if all(one is OWN for one in known):
        return "weights: as the data of your own allows; code: Apache-2.0"
    terms = []
    if any(one.commercial == "no" for one in known):
        terms.append("non-commercial research")
    elif any(one.commercial == "unknown" for one in known):
        terms.append("research, as long as what is unknown is not cleared")
    else:
        terms.append("commercial use is not forbidden")
    if alike := [name for name in corpora if of(name).share_alike]:
        terms.append(f"share-alike for {', '.join(alike)}")
    if unknown := [name for name in corpora if of(name).commercial == "unknown"]:
        terms.append(f"unknown for {', '.join(unknown)}")
    return f"weights: {'; '.join(terms)}; code: Apache-2.0"


def text(name: str, version: str, corpora: Mapping[str, str]) -> str:
    """The licence file that lies beside the weights of a model.

    Args:
        corpora: name of each corpus and its licence as stated.
    """
    lines = [
        f"The weights of {name} {version}",
        "",
        weights_licence(list(corpora)),
        "",
        "The code of moodstream is Apache-2.0; this file is about the weights beside it. They were trained",
        "on the corpora below, none of which is part of moodstream. Whether weights inherit the terms of",
        "what they were trained on is not settled; to be on the safe side, do only what all of these allow.",
        "",
        f"{'corpus':<18}{'commercial use':<16}{'share-alike':<13}licence as stated by its source",
    ]
    for corpus, stated in corpora.items():
        one = of(corpus)
        lines.append(f"{corpus:<18}{one.commercial:<16}{'yes' if one.share_alike else '-':<13}{stated}")
    lines += [
        "",
        "Weights free of these terms: train them on data of your own (`moodstream train`; docs/licences.md).",
    ]
    return "\n".join(lines) + "\n"


def notice(models: Mapping[str, str]) -> str:
    """One line for those who use these models: name and licence of the weights of each."""
    strict = sorted(name for name, licence in models.items() if "non-commercial" in licence)
    if strict:
        return (
            f"licence of the weights: non-commercial research only ({', '.join(strict)}; `moodstream models`)"
        )
    return "the weights have licences of their own: `moodstream models`"
