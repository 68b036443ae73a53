"""Backbones: the classification networks whose features other networks build on.

Each has the tensor names of the public files of weights, so that such a file can be read by
``load_backbone``; the code is ours and needs neither torchvision nor timm.
"""

from crosslinknet.models.backbones.base import Backbone
from crosslinknet.models.backbones.res2net import res2net50
from crosslinknet.models.backbones.resnet import resnet50, resnet50s, resnet101s
from crosslinknet.models.backbones.vgg import vgg16
from crosslinknet.models.backbones.weights import load_backbone

__all__ = [
    "Backbone",
    "load_backbone",
    "res2net50",
    "resnet50",
    "resnet50s",
    "resnet101s",
    "vgg16",
]
