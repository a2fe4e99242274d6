"""How fast a run is and what memory it takes: what a row of steps.jsonl says of it."""

from __future__ import annotations

import re
import resource
import sys
from dataclasses import dataclass

import numpy as np
import torch

from .footprint import Shape

# FLOP/s of one device in dense bf16, on the makers' data sheets; the first name found in the device's is its own.
PEAKS = {
    "B200": 2250e12,
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "RTX 4090": 165e12,
    "A10": 125e12,
    "L4": 121e12,
}


def known_peak(device: torch.device) -> float | None:
    """FLOP/s of a device by its name; None for a CPU, or one that is not in the list."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for known, peak in PEAKS.items() if re.search(rf"\b{known}\b", name)), None)


@dataclass(frozen=True)
class Speed:
    """What tokens and seconds are turned into."""

    shape: Shape | None
    adapters: bool  # of the weights only adapters are trained
    peak: float | None  # FLOP/s of one device
    devices: int
    device: torch.device

    def row(self, lengths: np.ndarray, seconds: float) -> dict[str, float]:
        """`tokens_per_s`, over all devices and without padding; `mfu` where the peak is known; `peak_memory_bytes`.

        `lengths`: tokens [N] of the sequences of the step. MFU is the arithmetic that the model's forward and backward
        passes need (`Shape.train_flops_per_token`; not what is computed again) over what the devices could do in the
        time at their peak.
        """
        found = {"tokens_per_s": int(lengths.sum()) / seconds, "peak_memory_bytes": peak_memory(self.device)}
        if self.shape is not None and self.peak is not None:
            flops = sum(int(n) * self.shape.train_flops_per_token(int(n), adapters=self.adapters) for n in lengths)
            found["mfu"] = flops / (seconds * self.peak * self.devices)
        return found

    def explain(self) -> str:
        """What `mfu` assumes, for the plan; empty where there is none."""
        if self.shape is None or self.peak is None:
            return ""
        return f"mfu          of {self.peak / 1e12:,.3g} TFLOP/s a device"


def peak_memory(device: torch.device) -> int:
    """The most bytes that tensors took on a GPU since the process began; on a CPU, the most that the process took."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024  # bytes there, KiB elsewhere
