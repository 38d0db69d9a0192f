"""What tensor cores do to NT-Xent's gradient, emulated on a CPU: why the positive stays out of the product.

    OMP_NUM_THREADS=1 python -m benchmarks.ntxent.numerics --write

A kernel multiplies rounded rows by rounded weights and adds in float32. Emulated are the operands' rounding and
float32 sums, not a kernel's order of summation. n molecules in 64 families, two views each; three stages of training
by how alike a molecule's views are. P_ip is the mean probability that (4) gives the positive.

    inside      (2)-(4) in float32, weights P_ij + P_ji in bfloat16, the positive among them; the loss is lse - s_ip
    outside     (2')-(4'), weights of the negatives in bfloat16, the positive's in float32; the loss is softplus
    rows        what rounding the rows alone costs, in exact arithmetic after it

Errors of `inside` and `outside` are against float64 on the same rounded rows, those of `rows` against float64 on the
rows before rounding; gradients are those of (6), |found - true| / |true|.
"""

import argparse
import platform
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize, softplus

from benchmarks.circumstances import circumstances
from benchmarks.ntxent.exact import exact, exact_of_rows

RESULTS = Path(__file__).parents[1] / "results" / "ntxent-numerics.md"
STAGES = {"early": 3.0, "middle": 0.75, "late": 0.25}
"""Noise between the two views, in standard deviations of a view."""
TEMPERATURES = (0.5, 0.1, 0.05, 0.02, 0.01)
FP8_SCALE = 64
"""Unit rows times this use the range of float8_e4m3fn, and meet no subnormal numbers."""


class Kernel(NamedTuple):
    """What an emulated kernel finds."""

    loss: Tensor
    gradient: Tensor
    """dL/du (2n, d)."""


def views(n: int, d: int, noise: float) -> tuple[Tensor, Tensor]:
    """Unit rows (n, d) of both views, float64; members of a family are hard negatives of each other."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    families = normal(64, d)[torch.randint(0, 64, (n,), generator=generator)]
    first = families + 0.7 * normal(n, d)
    second = first + noise * first.std() * normal(n, d)
    return normalize(first, dim=1), normalize(second, dim=1)


def kernel(unit: Tensor, tau: float, *, inside: bool) -> Kernel:
    """Rows (2n, d) that are rounded already, held in float32."""
    m, t = len(unit), 1 / tau
    shift = max(0.0, t - 60)
    here = torch.arange(m)
    partner = here.roll(m // 2)
    exponentials = torch.exp(t * (unit @ unit.T) - shift).fill_diagonal_(0)
    positive = t * (unit * unit[partner]).sum(1)
    if not inside:
        exponentials[here, partner] = 0
    sums = exponentials.sum(1)
    margin = sums.log() + shift - positive  # x of (2'); lse - s_ip when the positive is inside
    total = sums if inside else sums + torch.exp(positive - shift)
    weights = exponentials * (1 / total[:, None] + 1 / total)
    push = torch.full_like(margin, 2.0) if inside else margin.sigmoid() + margin.sigmoid()[partner]
    gradient = t / m * (weights.bfloat16().float() @ unit - push[:, None] * unit[partner])
    return Kernel((margin if inside else softplus(margin)).mean(), gradient)


def projected(gradient: Tensor, unit: Tensor) -> Tensor:
    """(6), of rows whose length is 1."""
    return gradient - unit * (unit * gradient).sum(1, keepdim=True)


def relative(found: Tensor, true: Tensor) -> float:
    """|found - true| / |true|."""
    return ((found.double() - true).norm() / true.norm()).item()


def row(stage: str, tau: float, first: Tensor, second: Tensor) -> str:
    """One line of the table."""
    exact_rows = torch.cat([first, second])
    temperature = torch.tensor(tau, dtype=torch.float64)
    loss, gradients = exact(first, second, temperature, torch.float64)
    true = torch.cat(gradients[:2])
    rounded_loss, rounded_gradients = exact(first, second, temperature, torch.bfloat16)
    rounded_true = torch.cat(rounded_gradients[:2])
    unit = exact_rows.bfloat16().float()
    found = [kernel(unit, tau, inside=inside) for inside in (True, False)]
    eighths = (exact_rows * FP8_SCALE).to(torch.float8_e4m3fn).double() / FP8_SCALE
    _, eighth_gradients, _ = exact_of_rows(eighths, temperature)
    cells = [
        stage,
        f"{tau:g}",
        f"{positive_probability(exact_rows, tau):.3f}",
        f"{loss.item():.3g}",
        *(f"{relative(one.loss, rounded_loss):.1e}" for one in found),
        *(f"{relative(projected(one.gradient, unit), rounded_true):.2%}" for one in found),
        f"{relative(rounded_true, true):.2%}",
        f"{relative(projected(eighth_gradients, eighths), true):.1%}",
    ]
    return f"| {' | '.join(cells)} |"


def positive_probability(unit: Tensor, tau: float) -> float:
    """The mean P_ip of (4)."""
    similarity = (unit @ unit.T / tau).fill_diagonal_(-torch.inf)
    return similarity.softmax(1).diagonal(len(unit) // 2).mean().item()


def main() -> None:
    """Emulate, print, and write if asked to."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ntxent.numerics",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--n", type=int, default=1024, help="molecules; 2n rows")
    parser.add_argument("--d", type=int, default=256, help="width")
    parser.add_argument("--write", action="store_true", help=f"append the result to {RESULTS.name}")
    args = parser.parse_args()
    torch.set_num_threads(1)
    about = f"torch {torch.__version__}, Python {platform.python_version()}; n = {args.n:,}, d = {args.d}"
    lines = [
        circumstances("ntxent.numerics", "1 thread", about),
        "",
        "| stage | tau | P_ip | loss | loss error, inside | outside | gradient error, inside | outside "
        "| rows in bfloat16 | rows in float8 |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for stage, noise in STAGES.items():
        pair = views(args.n, args.d, noise)
        cosine = (pair[0] * pair[1]).sum(1).mean().item()
        lines += [row(f"{stage}, cosine {cosine:.2f}", tau, *pair) for tau in TEMPERATURES]
    report = "\n".join(lines) + "\n"
    print(report)
    if args.write:
        title = "" if RESULTS.exists() else "# What rounding does to NT-Xent's gradient, emulated\n"
        with RESULTS.open("a") as results:
            results.write(f"{title}\n{report}")


if __name__ == "__main__":
    main()
