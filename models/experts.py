"""The network of the speech model: one encoder of frames, and an expert for each way of being recorded.

Every corpus has its own actors, rooms, languages and set of emotion words, so each is judged by *experts* of
its own: one for the sound as it is and one for the same sound by telephone (`Shape.conditions`). An expert
joins two views of a window, averaging what they say in the log domain:

* wide: linear discriminants of the fixed statistics (`pooling`), in closed form; where a channel has been
  heard for a while, of how the statistics differ from those of the channel (speaker normalisation);
* deep: a small head of the corpus on the embeddings that the encoder learned for all corpora together.

A gate, linear discriminants too, says how much a sound is like what each expert learned from; the answer is
the mixture of the experts. Valence, arousal and dominance come from kernel ridge regression on the statistics
of rated clips, kept in the weights as landmarks, averaged with the deep view of the corpora with ratings.

Conventions: as in `network`. Source: mixtures of experts, Jacobs et al. (1991); regularised discriminants,
Friedman (1989).
"""

import torch
from torch import Tensor, nn

from moodstream.models.base import DIMENSIONS
from moodstream.models.network import FrameEncoder, Output, Shape, likeness
from moodstream.models.pooling import N_STATISTICS, moments, statistics

_N = len(DIMENSIONS)
NEVER = -30.0  # logit of a label that an expert does not know


class ExpertNetwork(nn.Module):
    """Encoder, experts and gate. Experts lie condition by condition: c + corpora * condition."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.encoder = FrameEncoder(shape)
        corpora, labels = len(shape.corpora), len(shape.labels)
        experts = corpora * len(shape.conditions)
        self.hidden = nn.Linear(2 * shape.channels, shape.hidden)
        self.dropout = nn.Dropout(shape.dropout)
        self.deep = nn.Linear(shape.hidden, (1 + corpora) * (2 * _N + labels))
        for name, value in (
            ("center", torch.zeros(N_STATISTICS)),
            ("scale", torch.ones(N_STATISTICS)),
            ("gain", torch.zeros(N_STATISTICS)),
            ("wide", torch.zeros(experts, N_STATISTICS + 1, labels)),
            ("relative", torch.zeros(experts, N_STATISTICS + 1, labels)),
            ("gate", torch.zeros(N_STATISTICS + 1, experts)),
            ("allowed", torch.ones(corpora, labels)),  # the labels that a corpus has
            ("landmarks", torch.zeros(shape.landmarks, N_STATISTICS)),
            ("pull", torch.zeros(shape.landmarks + 1, _N)),  # of each landmark; the last row is the bias
            ("wide_share", torch.tensor([0.5])),
            ("temperature", torch.ones(1)),
            ("std_scale", torch.ones(_N)),
            ("known", torch.ones(_N)),
        ):
            self.register_buffer(name, value)
        self.center: Tensor
        self.scale: Tensor
        self.gain: Tensor  # where a louder recording lies from a softer one, of length 1
        self.wide: Tensor
        self.relative: Tensor  # as `wide`, of statistics less those of the channel
        self.gate: Tensor
        self.allowed: Tensor
        self.landmarks: Tensor
        self.pull: Tensor
        self.wide_share: Tensor  # of the wide view in the average
        self.temperature: Tensor  # calibration: logits are divided by it
        self.std_scale: Tensor  # calibration: deviations are multiplied by it
        self.known: Tensor  # [3] 1 where the task has this dimension

    def standardize(self, fixed: Tensor) -> Tensor:
        """Standardised statistics of summed cells [..., N_SUMS], whatever the gain of the recording.

        They are bounded lest the unheard-of explode.
        """
        z = (statistics(fixed) - self.center) * self.scale
        return (z - (z @ self.gain)[..., None] * self.gain).clamp(-4, 4)

    def apart(self, fixed: Tensor, channel: Tensor) -> Tensor:
        """How statistics differ from those of the channel, both of summed cells [..., N_SUMS].

        A gain cancels out, and how loud this is for this speaker stays.
        """
        return ((statistics(fixed) - statistics(channel)) * self.scale).clamp(-4, 4)

    def embed(self, learned: Tensor) -> Tensor:
        """The hidden layer [b, hidden] of windows by their learned sums [b, gates + 2 c]."""
        shape = self.shape
        gates, first, second = torch.split(learned, [shape.gates, shape.channels, shape.channels], -1)
        weight = gates.repeat_interleave(shape.channels // shape.gates, -1).clamp(min=1e-9)
        joined = self.dropout(torch.cat(moments(weight, first, second), -1))
        out: Tensor = self.dropout(nn.functional.silu(self.hidden(joined)))
        return out

    def views(self, h: Tensor) -> Output:
        """What the deep heads say, [b, 1 + corpora, …]: the shared one, then those of the corpora."""
        said = self.deep(h).unflatten(-1, (1 + len(self.shape.corpora), -1))
        own = said[:, :1] + said[:, 1:]
        said = torch.cat((said[:, :1], own), 1)
        return Output(said[..., :_N], said[..., _N : 2 * _N].clamp(-4, 1), said[..., 2 * _N :])

    def forward(
        self, frames: Tensor, valid: Tensor, fixed: Tensor, corpus: Tensor | None = None
    ) -> list[Output]:
        """One output a member of the batch, pooled over all its cells (see `MoodNetwork.forward`)."""
        return self.heads(self.encoder(frames, valid).sum(1), fixed, corpus)

    def heads(
        self,
        learned: Tensor,
        fixed: Tensor,
        corpus: Tensor | None = None,
        channel: tuple[Tensor, Tensor] | None = None,
    ) -> list[Output]:
        """Outputs of windows from the sums of their cells, learned [b, gates + 2 c] and fixed [b, N_SUMS].

        Args:
            corpus: [b] index of the corpus; then what its own experts say is given after the mixture.
            channel: sums [b, N_SUMS] of all that was heard of this speaker, and how far to trust them, [b]
                in 0..1; None for no speaker normalisation.
        """
        z = self.standardize(fixed)
        deep = self.views(self.embed(learned))
        mean = torch.lerp(deep.mean[:, 0], self.kernel(z), self.wide_share).clamp(-1, 1)
        log_std = deep.log_std[:, 0] + self.std_scale.log()
        wide = _affine(z, self.wide)
        if channel is not None:
            relative = _affine(self.apart(fixed, channel[0]), self.relative)
            wide = torch.lerp(wide, relative, channel[1][:, None, None])
        experts = self.experts(wide, deep.logits[:, 1:])
        like = z @ self.gate[:-1] + self.gate[-1]
        outputs = [Output(mean, log_std, self.mixture(experts, like))]
        if corpus is not None:
            corpora = len(self.shape.corpora)
            other = torch.arange(like.shape[1])[None] % corpora != corpus[:, None]
            outputs.append(Output(mean, log_std, self.mixture(experts, like.masked_fill(other, -1e4))))
        return outputs

    def experts(self, wide: Tensor, deep: Tensor) -> Tensor:
        """Probabilities [b, experts, labels] by both views, [b, experts, labels] and [b, corpora, labels]."""
        allowed = self.allowed.repeat(len(self.shape.conditions), 1) > 0
        wide, deep = (
            torch.log_softmax(part.masked_fill(~allowed, NEVER), -1)
            for part in (wide, deep.repeat(1, len(self.shape.conditions), 1))
        )
        joined = torch.lerp(deep, wide, self.wide_share)
        return torch.softmax(joined.masked_fill(~allowed, NEVER), -1)

    def mixture(self, experts: Tensor, like: Tensor) -> Tensor:
        """Calibrated logits [b, labels], by probabilities [b, experts, labels] and gate [b, experts]."""
        judging = self.allowed.any(1).repeat(len(self.shape.conditions))  # a corpus may have no labels
        share = torch.softmax(like.masked_fill(~judging, -1e4), -1)
        return (share[..., None] * experts).sum(1).clamp(min=1e-9).log() / self.temperature

    def kernel(self, z: Tensor) -> Tensor:
        """Dimensions [b, 3] by likeness to the landmarks: kernel ridge regression."""
        return likeness(z, self.landmarks) @ self.pull[:-1] + self.pull[-1]


def _affine(z: Tensor, weight: Tensor) -> Tensor:
    """[b, n] by [experts, n + 1, labels], the last row being the bias -> [b, experts, labels]."""
    return torch.einsum("bn,enk->bek", z, weight[:, :-1]) + weight[:, -1]
