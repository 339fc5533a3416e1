"""stub"""

from torch import nn


class QuantisedLinear(nn.Module): ...


CONFIG: dict = {}


def prepare(*a): ...
