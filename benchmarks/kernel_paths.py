"""Every path of the NT-Xent kernel that this device has, on every width and form, against float64.

    compute-sanitizer --tool=racecheck python -m benchmarks.kernel_paths

The trial of `pretrain.ntxent.kernel.check`, in this process, where a tool can watch it. Exit code 1: one disagrees.
"""

import sys

import torch

from pretrain.ntxent.kernel import check
from pretrain.ntxent.kernel.binding import PATHS, Binding
from pretrain.ntxent.kernel.library import find


def main() -> int:
    """A line a path."""
    device = torch.device("cuda")
    library = find(device)
    binding, wrong = Binding(library), []
    for path in range(binding.path() + 1):
        problems = (check.disagreement(binding, path, case, device) for case in check.cases())
        wrong.append(next(filter(None, problems), ""))
        print(f"{PATHS[path]}: {wrong[-1] or 'agrees with float64'}", flush=True)
    if not wrong:
        print(f"{library} has no path for this device")
    return 0 if wrong and not any(wrong) else 1


if __name__ == "__main__":
    sys.exit(main())
