# SPDX-License-Identifier: Apache-2.0
"""Values as histograms: HL-Gauss (Imani and White, arXiv 1806.04613; Farebrother et al., arXiv 2403.03950), an option
beside the paper's scalar.

The loss is the cross-entropy against a Gaussian around the target, cut into bins; the value is the histogram's mean.
With the weights of eq. 5 on the samples it stays the tau-expectile: at the optimum the histogram is the weighted mean
of the targets' histograms, so its mean e fulfils sum_i w_i (y_i - e) = 0 with w_i = |tau - 1{y_i < e}|, which defines
the expectile.
"""

from __future__ import annotations

import math

import torch

WIDTH = 0.75  # sigma of the Gaussian in bins (Farebrother et al., sec. 3.1)
MARGIN = 3  # bins beyond each end of [-1, 0], so that a target at an end keeps its Gaussian


class Histogram:
    """`bins` equal bins that cover [-1, 0] and a margin."""

    def __init__(self, bins: int, device: torch.device | str = "cpu"):
        if bins < 4 * MARGIN:
            raise ValueError(f"a histogram of values needs at least {4 * MARGIN} bins, got {bins}")
        width = 1.0 / (bins - 2 * MARGIN)
        self.edges = torch.linspace(-1.0 - MARGIN * width, MARGIN * width, bins + 1, device=device)
        self.centres = (self.edges[:-1] + self.edges[1:]) / 2
        self.sigma = WIDTH * width

    def mean(self, logits: torch.Tensor) -> torch.Tensor:
        """(B, bins) -> (B,) value."""
        return logits.float().softmax(-1) @ self.centres

    def target(self, value: torch.Tensor) -> torch.Tensor:
        """(B,) values in [-1, 0] -> (B, bins) probabilities of a Gaussian around each."""
        cdf = torch.erf((self.edges - value[:, None]) / (math.sqrt(2.0) * self.sigma))
        mass = cdf[:, 1:] - cdf[:, :-1]
        return mass / (cdf[:, -1:] - cdf[:, :1])

    def cross_entropy(self, logits: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """(B,): loss of each sample."""
        return -(self.target(value) * logits.float().log_softmax(-1)).sum(-1)
