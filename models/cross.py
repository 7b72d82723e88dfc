"""Leave one corpus out: train on all the others, measure on the one that nobody has heard.

Folds within a corpus say how a model does on new speakers in the same room, language and manner; this says
how it does elsewhere. Who speaks in the corpus that is left out is left out of the others too (the singers of
RAVDESS song are its speakers). The shared head answers: a corpus that was left out has none of its own.

Measures of each corpus that was left out:
* CCC of a dimension where it is rated;
* AUC of a dimension: how often the higher of two examples is found, one clearly above the middle and one
  clearly below it by the rating, or by the place of the emotion word where there is no rating;
* UAR over the labels that it shares with the corpora that were trained on, among these labels alone.
"""

import numpy as np
import polars as pl

from moodstream.models.calibration import softmax
from moodstream.models.checkpoints import Checkpoints
from moodstream.models.corpora import DataError
from moodstream.models.examples import Progress
from moodstream.models.harness import Course
from moodstream.models.metrics import auroc, bootstrap, ccc, uar
from moodstream.models.study import Measures, Study

CLEARLY = 0.2  # above or below the middle


def leave_one_out(study: Study, seed: int, kept: Checkpoints, progress: Progress) -> pl.DataFrame:
    """Predictions on each corpus by a network that learned from the others.

    Returns:
        Columns as in training, without those of own heads; `logits` is replaced by `scores` over the labels
        that are shared (empty where none is).

    Raises:
        DataError: fewer than two corpora.
    """
    corpus = np.array([item.corpus for item in study.items])
    group = np.array([item.group for item in study.items])
    label = np.array([item.label for item in study.items])
    names = list(dict.fromkeys(corpus.tolist()))
    if len(names) < 2:
        raise DataError(f"there is one corpus alone, {names[0]}: none can be left out")
    course = Course(progress, len(names))
    tables = []
    for name in names:
        mine = corpus == name
        rows = np.flatnonzero(~mine & ~np.isin(group, group[mine]))
        network = kept.fitted(rows, seed, course.stage(f"without {name}"))
        table = study.predict(network, np.flatnonzero(mine))
        course.finish()
        shared = sorted((set(label[mine]) & set(label[rows])) - {-1})
        logits = np.array(table["logits"].to_list())
        masked = np.full_like(logits, -1e4)
        masked[:, shared] = logits[:, shared]
        scores = softmax(masked).round(5).tolist() if shared else [[]] * table.height
        kind = pl.List(pl.Float64)
        dropped = [c for c in table.columns if c.startswith(("own_", "logits", "window_hits"))]
        tables.append(table.drop(dropped).with_columns(pl.Series("scores", scores, kind), seed=pl.lit(seed)))
    return pl.concat(tables)


def measure_left_out(table: pl.DataFrame, dimensions: list[str]) -> Measures:
    """The measures above, by corpus, with intervals over groups."""
    measures: Measures = {}
    for (corpus,), rows in sorted(table.group_by("corpus", maintain_order=True)):
        groups = rows["group"].to_numpy()
        rated = bool(rows["rated"].all())
        for name in dimensions:
            truth, said = rows[f"true_{name}"].to_numpy(), rows[name].to_numpy()
            if rated and np.isfinite(truth).all():
                measures[f"{corpus} CCC {name}"] = bootstrap(ccc, groups, truth, said)
            clear = np.abs(np.nan_to_num(truth)) > CLEARLY
            if len(set(truth[clear] > 0)) == 2 and len(set(groups[clear])) > 1:
                high = truth[clear] > 0
                measures[f"{corpus} AUC {name}"] = bootstrap(auroc, groups[clear], high, said[clear])
        labelled = rows.filter((pl.col("label") >= 0) & (pl.col("scores").list.len() > 0))
        if not labelled.height:
            continue
        scores, label = np.array(labelled["scores"].to_list()), labelled["label"].to_numpy()
        shared = np.flatnonzero(scores.max(0) > 0)
        mine = np.isin(label, shared)
        if len(shared) > 1 and len(set(label[mine])) > 1:
            found = bootstrap(uar, labelled["group"].to_numpy()[mine], label[mine], scores[mine].argmax(1))
            measures[f"{corpus} UAR of {len(shared)} shared labels"] = found
    return measures
