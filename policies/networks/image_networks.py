"""The image networks there are, as one type."""

from __future__ import annotations

from metarl.policies.networks.conv4 import Conv4
from metarl.policies.networks.resnet12 import ResNet12

ImageNetwork = Conv4 | ResNet12
