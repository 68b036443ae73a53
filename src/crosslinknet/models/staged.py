"""Two networks in a row: the first looks at the image, the second at the image and what it found.

Source: Fan et al., Inf-Net, TMI 2020, multi-class labelling: the map of a trained network becomes a
second input; while the second is trained, the true mask stands in for that map. Here either may be
any network. Decision D42.
"""

from typing import Self

import torch
from torch import Tensor, nn

from crosslinknet.config import EXCLUSIVE
from crosslinknet.models.contract import Outputs, probabilities


class Staged(nn.Module):
    """A trained network whose weights stay, and one behind it.

    The second gets the image (B, C, H, W) and, in as many further channels, what the first found of
    any class.

    Args:
        first: gives logits of the image.
        second: takes 2 C channels.
        in_channels: C.
        classes: what a map of the first's logits stands for, as ``loss.classes`` of its training.
        soft: hand on the probability, as published; otherwise what the first decides, 0 or 1, as
            the true mask is in training.

    Attributes:
        backbone_heads: of the second, if it has a backbone.
    """

    def __init__(
        self,
        first: nn.Module,
        second: nn.Module,
        in_channels: int,
        classes: str,
        soft: bool = False,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        heads: tuple[str, ...] = getattr(second, "backbone_heads", ())
        if heads:
            self.backbone_heads = tuple(f"second.{name}" for name in heads)
        self.first = first.requires_grad_(False).eval()
        self.second = second
        self.classes = classes
        self.soft = soft

    def train(self, mode: bool = True) -> Self:
        """Switch the second; batch norm of the first keeps the values it was trained to."""
        super().train(mode)
        self.first.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Image (B, C, H, W) to the second's logits (B, num_classes, H, W)."""
        return self.second(self._beside(x, self.found(x)))  # type: ignore[no-any-return]

    def forward_for_loss(self, x: Tensor, target: Tensor | None = None) -> Outputs:
        """What the second gives to the losses, with the true mask in place of the first's map.

        Args:
            x: (B, C, H, W).
            target: (B, K, H, W) in [0, 1]; None: the first's map is taken.
        """
        prior = self.found(x) if target is None else target.amax(dim=1, keepdim=True)
        y = self._beside(x, prior)
        if hasattr(self.second, "forward_for_loss"):
            return self.second.forward_for_loss(y, target)  # type: ignore[no-any-return, operator]
        return Outputs(self.second(y))

    def found(self, x: Tensor) -> Tensor:
        """What the first finds of any class, (B, 1, H, W) in [0, 1]."""
        probs = probabilities(self.first(x), self.classes)
        largest = probs.amax(dim=1, keepdim=True)
        if self.classes not in EXCLUSIVE:
            return largest if self.soft else (largest > 0.5).to(largest)
        any_class = probs.sum(dim=1, keepdim=True)
        return any_class if self.soft else (largest > 1.0 - any_class).to(largest)

    def _beside(self, x: Tensor, prior: Tensor) -> Tensor:
        return torch.cat([x, prior.to(x.dtype).expand_as(x)], dim=1)  # (B, 2 C, H, W)
