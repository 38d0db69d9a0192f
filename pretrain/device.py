"""Which device an option means here."""

import torch

from pretrain.config import Device
from sharding.errors import UserError


def choose_device(device: Device) -> torch.device:
    """auto takes a GPU that is there. Raises `UserError` where one is asked for and there is none."""
    if device == Device.cuda and not torch.cuda.is_available():
        raise UserError("device=cuda, and torch finds no CUDA device here. Use device=cpu or device=auto.")
    if device == Device.auto:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device.value)
