"""Which entries pass the filters of a question."""

import json

import numpy as np
import numpy.typing as npt

from moodstream.serving.search.entries import Entries
from moodstream.serving.search.questions import NUMBERS, Filters

Mask = npt.NDArray[np.bool_]


def passing(entries: Entries, filters: Filters) -> Mask:
    """[n] what passes all of them; what is quick to ask comes first."""
    mask = np.ones(len(entries), np.bool_)
    for name, value in filters.words.items():
        codes, names = entries.words[name]
        mask &= codes == names.index(value) if value in names else False
    for bounds, sign in ((filters.least, 1), (filters.most, -1)):
        for name, bound in bounds.items():
            numbers = entries.arrays["numbers"][NUMBERS.index(name)]
            mask &= (numbers >= np.float32(bound)) if sign > 0 else (numbers <= np.float32(bound))
    for tag, value in filters.tags.items():
        mask = _holding(
            entries,
            "tags",
            f"{json.dumps(tag, ensure_ascii=False)}:{json.dumps(value, ensure_ascii=False)}",
            mask,
        )
    for word in filters.q.casefold().split():
        mask = _holding(entries, "text", word, mask)
    return mask


def _holding(entries: Entries, column: str, pattern: str, mask: Mask) -> Mask:
    """Of the entries that pass so far, those with a text in a column."""
    texts = entries.searchable[column]
    rows = np.flatnonzero(mask)
    if len(rows) < len(mask) / 4:
        found = np.zeros(len(mask), np.bool_)
        found[rows] = texts.gather(rows).str.contains(pattern, literal=True).to_numpy()
        return found
    holding: Mask = mask & texts.str.contains(pattern, literal=True).to_numpy()
    return holding
