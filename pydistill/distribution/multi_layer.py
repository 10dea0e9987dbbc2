"""Distribution matching at several layers of a network.

[0] K. Wang et al.: CAFE, Learning to Condense Dataset by Aligning Features. CVPR 2022, arXiv:2203.01531.
[1] A. Sajedi et al.: DataDAM, Efficient Dataset Distillation with Attention Matching. ICCV 2023,
    arXiv:2310.00093.
[2] Y. Ganin et al.: Domain-Adversarial Training of Neural Networks. JMLR 2016, arXiv:1505.07818.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from pydistill.distribution.critic import CriticMatching
from pydistill.distribution.discrepancies import (
    ChannelVariance,
    Discrepancy,
    Discrimination,
    DomainAdversary,
    MeanEmbedding,
    SpatialAttention,
    Term,
)
from pydistill.distribution.matching import QUICK, DistributionMatching
from pydistill.engine.method import option, register
from pydistill.nets.features import Layer


@register
@dataclass(frozen=True, kw_only=True)
class LayerStatisticsMatching(DistributionMatching):
    """Match class means at every layer, and let synthetic class centres classify real images ([0]).

    [0] trains the network on the synthetic images meanwhile; ``networks="pool:..."`` does that.
    """

    name: ClassVar[str] = "layer_statistics"
    citation: ClassVar[str] = (
        "Wang et al., CAFE: Learning to Condense Dataset by Aligning Features, arXiv:2203.01531"
    )
    summary: ClassVar[str] = "means (and variances) at every layer, with CAFE's discrimination loss"
    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "quick": {**QUICK, "temperature": 100.0},
        "paper": {"iterations": 2_000, "learning_rate": 0.1, "networks": "pool:size=1,longest=200"},
    }

    layers: str = option("blocks", "layers to match, for example blocks or block1:0.5,embedding")
    variances: float = option(0.0, "factor of the channel variances' part; 0: means alone", low=0)
    discrimination: float = option(1.0, "factor of the discrimination loss; 0: none", low=0)
    temperature: float = option(1.0, "divides the discrimination loss's logits", above=0)

    def terms(self, layers: Sequence[Layer], names: Sequence[str]) -> tuple[Term, ...]:
        found = []
        for layer in layers:
            found.append(Term(f"means {layer.name}", layer, MeanEmbedding()))
            if self.variances:
                weighed = replace(layer, weight=layer.weight * self.variances)
                found.append(Term(f"variances {layer.name}", weighed, ChannelVariance()))
        if self.discrimination:
            last = Layer(names[-1], len(names) - 1, weight=self.discrimination)
            found.append(Term("discrimination", last, Discrimination(self.temperature)))
        return tuple(found)


@register
@dataclass(frozen=True, kw_only=True)
class AttentionMatching(DistributionMatching):
    """Match spatial attention maps at the blocks, and mean embeddings at the last one ([1], equation 4)."""

    name: ClassVar[str] = "attention"
    citation: ClassVar[str] = (
        "Sajedi et al., DataDAM: Efficient Dataset Distillation with Attention Matching, arXiv:2310.00093"
    )
    summary: ClassVar[str] = "spatial attention maps at every block, mean embedding at the last"
    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "quick": QUICK,
        "paper": {"iterations": 20_000, "learning_rate": 1.0},
    }

    layers: str = option("blocks", "layers whose attention is matched, the last of the network left out")
    power: float = option(4.0, "exponent of the attention map", above=0)
    embedding: float = option(0.01, "factor of the mean embedding's part at the last block", low=0)

    def terms(self, layers: Sequence[Layer], names: Sequence[str]) -> tuple[Term, ...]:
        last = len(names) - 1
        found = [
            Term(f"attention {layer.name}", layer, SpatialAttention(self.power))
            for layer in layers
            if layer.block != last or len(names) == 1
        ]
        if self.embedding or not found:
            found.append(
                Term("embedding", Layer(names[last], last, weight=self.embedding or 1.0), MeanEmbedding())
            )
        return tuple(found)


@register
@dataclass(frozen=True, kw_only=True)
class DomainAdversarialMatching(CriticMatching):
    """A domain discriminator at each of several layers, behind a gradient reversal layer ([2])."""

    name: ClassVar[str] = "domain_adversarial"
    citation: ClassVar[str] = (
        "Ganin et al., Domain-Adversarial Training of Neural Networks, arXiv:1505.07818"
    )
    summary: ClassVar[str] = "domain discriminators behind gradient reversal, at several layers"
    layers: str = option("blocks.pooled,embedding", "layers with a discriminator each")

    def terms(self, layers: Sequence[Layer], names: Sequence[str]) -> tuple[Term, ...]:
        discrepancy: Discrepancy = DomainAdversary(
            **self.critic,
        )
        return tuple(Term(f"domain {layer.name}", layer, discrepancy) for layer in layers)
