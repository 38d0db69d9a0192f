"""The kernel on a device: every path against float64 on the same rounded rows, its bits, its memory, its streams."""

import pytest
import torch
from torch.nn.functional import normalize

from pretrain.ntxent import ntxent_loss, tiles
from pretrain.ntxent.closed_form import ntxent_closed_form
from pretrain.ntxent.distributed import Ranks
from pretrain.ntxent.kernel import check, library, ops
from pretrain.ntxent.kernel.binding import PATHS, problem_of

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
CUDA = torch.device("cuda", 0)


@pytest.fixture(scope="module")
def kernel():
    """The library and its best path. A device on which there is none fails, it does not skip."""
    assert library.unavailable(CUDA, torch.float32, 256) is None
    return library.kernel_on(CUDA)


@pytest.fixture(params=range(len(PATHS)), ids=PATHS)
def path(request, kernel):
    """Every path that the device has by its capability, also one that failed its trial."""
    with torch.cuda.device(CUDA):
        if request.param > kernel[0].path():
            pytest.skip("the device has no such path")
    return request.param


def views(n, d, noise, seed=0, dtype=torch.float32):
    """Two views of n molecules; little noise is late in training."""
    generator = torch.Generator().manual_seed(seed)
    first = normalize(torch.randn(n, d, generator=generator), dim=1)
    second = first + noise * normalize(torch.randn(n, d, generator=generator), dim=1)
    return first.to(CUDA, dtype), second.to(CUDA, dtype)


def loss_and_gradients(function, *inputs):
    leaves = [tensor.clone().requires_grad_() for tensor in inputs]
    loss = function(*leaves)
    return loss.detach(), *torch.autograd.grad(loss, leaves)


def exact(first, second, temperature, ids=None, form="simclr"):
    """In float64, of the unit rows that the kernel has, rounded to bfloat16."""

    def loss(*leaves):
        return ntxent_closed_form(
            *leaves, ids, Ranks(), clip=form == "clip", products=tiles, rounding=torch.bfloat16
        )

    return loss_and_gradients(loss, first.double(), second.double(), temperature.double())


def error(ours, right):
    """Of the norm."""
    return ((ours.double() - right).norm() / right.norm()).item()


def test_small_cases_of_every_kind(kernel, path):
    """Those of the trial at start, and all of them."""
    assert [
        found for case in check.cases() if (found := check.disagreement(kernel[0], path, case, CUDA))
    ] == []


@pytest.mark.parametrize("seed", range(40))
def test_random_shapes(kernel, path, seed):
    """Widths, ranks, odd sizes, forms, ids and temperatures, drawn at random."""
    draw = torch.Generator().manual_seed(seed)
    n = int(torch.randint(1, (5, 90, 700, 2500)[seed % 4], (), generator=draw))
    d, ranks = 64 << int(torch.randint(4, (), generator=draw)), 1 + seed // 4 % 3
    clip, t = seed % 3 == 0, (1.0, 10.0, 59.0, 100.0)[seed // 2 % 4]
    m, rank = n if clip else 2 * n, int(torch.randint(ranks, (), generator=draw))
    columns = normalize(torch.randn(m * ranks, d, generator=draw), dim=1).bfloat16()
    ids = torch.randint(m * ranks, (m * ranks,), generator=draw) if seed % 2 else None
    rows, own_ids = (None if x is None else x[rank * m : (rank + 1) * m].clone() for x in (columns, ids))
    if ranks == 1:
        rows, own_ids = columns, ids
    weights = (torch.rand(size, generator=draw) / len(columns) for size in (m, len(columns)))
    pair = 0 if clip else n
    case = check.Case(rows, columns, torch.tensor(t), own_ids, ids, rank * m, pair, *weights)
    assert check.disagreement(kernel[0], path, case, CUDA) is None


@pytest.mark.parametrize("form", ["simclr", "clip"])
@pytest.mark.parametrize("with_ids", [False, True])
@pytest.mark.parametrize(("tau", "noise"), [(0.5, 1.0), (0.1, 0.5), (0.05, 0.1), (0.02, 0.05), (0.01, 0.05)])
@pytest.mark.parametrize("d", [128, 256])
def test_the_loss_and_its_gradients(kernel, d, tau, noise, with_ids, form):
    """From the first step to late in training: loss 1e-5, gradients 2e-3.

    At the lowest temperature a gradient may hang on one pair, and shows the whole rounding of its weight.
    """
    first, second = views(1500, d, noise)
    temperature = torch.tensor(tau, device=CUDA)
    ids = torch.arange(1500, device=CUDA) // 2 if with_ids else None
    right = exact(first, second, temperature, ids, form)

    def loss(first, second, temperature):
        return ntxent_loss(first, second, temperature=temperature, ids=ids, form=form, implementation="cuda")

    ours = loss_and_gradients(loss, first, second, temperature)
    assert abs(ours[0].item() - right[0].item()) <= 1e-5 * max(1, abs(right[0].item()))
    for name, gradient, exactly in zip(("first", "second", "temperature"), ours[1:], right[1:], strict=True):
        assert error(gradient, exactly) <= (2e-3 if tau > 0.01 else 4e-3), name


def test_no_worse_than_torch_in_the_same_type():
    """At most twice the error of the textbook form in bfloat16, whose logits are rounded too."""
    first, second = views(1000, 256, 0.5)
    temperature = torch.tensor(0.1, device=CUDA)
    right = exact(first, second, temperature)

    def textbook(first, second, temperature):
        unit = normalize(torch.cat([first, second]), dim=1).bfloat16()
        logits = (unit @ unit.T).div(temperature).fill_diagonal_(-torch.inf)
        partner = torch.arange(2000, device=CUDA).roll(1000)
        return torch.nn.functional.cross_entropy(logits.float(), partner)

    def kernel(first, second, temperature):
        return ntxent_loss(first, second, temperature=temperature, implementation="cuda")

    theirs, ours = (loss_and_gradients(form, first, second, temperature) for form in (textbook, kernel))
    for mine, other, exactly in zip(ours, theirs, right, strict=True):
        assert error(mine, exactly) <= 2 * error(other, exactly)


@pytest.mark.parametrize("n", [9_001, 20_000])
def test_equal_bits_every_time(kernel, path, n):
    """Five times, of sums and pull."""
    unit = torch.cat(views(n, 256, 1.0)).bfloat16()
    problem = problem_of(unit, unit, torch.tensor(20.0, device=CUDA), None, None, 0, n)
    weights = torch.rand(2, 2 * n, device=CUDA)
    first = kernel[0].negative_sums(path, problem, False)[0], kernel[0].pull(path, problem, *weights)
    for _ in range(4):
        assert torch.equal(kernel[0].negative_sums(path, problem, False)[0], first[0])
        assert torch.equal(kernel[0].pull(path, problem, *weights), first[1])


def test_memory_grows_with_rows_not_with_their_square(kernel):
    """65,536 views of 256 numbers: at most 0.2 GB beyond the inputs and their gradients."""
    first, second = (view.requires_grad_() for view in views(32_768, 256, 0.5, dtype=torch.bfloat16))
    for _ in range(2):
        first.grad = second.grad = None
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        ntxent_loss(first, second, temperature=0.1, implementation="cuda").backward()
        torch.cuda.synchronize()
        beyond = torch.cuda.max_memory_allocated() - before
    assert beyond <= 0.2 * 1e9, f"{beyond / 1e9:.3f} GB"


def test_it_runs_on_torchs_stream(kernel, path):
    """A slow producer on a stream of its own: who launches elsewhere reads what is not there yet."""
    rows = normalize(torch.randn(6000, 256, device=CUDA), dim=1).bfloat16()
    t = torch.tensor(20.0, device=CUDA)
    right = kernel[0].negative_sums(path, problem_of(rows, rows, t, None, None, 0, 3000), False)[0]
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        late = torch.zeros_like(rows)
        torch.cuda._sleep(50_000_000)
        late.copy_(rows)
        ours = kernel[0].negative_sums(path, problem_of(late, late, t, None, None, 0, 3000), False)[0]
    stream.synchronize()
    assert torch.equal(ours, right)


def test_a_graph_can_hold_it(kernel):
    """Captured once, replayed on other rows: nothing waits for the device or allocates behind torch's back."""
    rows = normalize(torch.randn(3000, 256, device=CUDA), dim=1).bfloat16()
    t, weights = torch.tensor(20.0, device=CUDA), torch.rand(2, 3000, device=CUDA)

    def products():
        given = rows, rows, t, None, None, 0, 1500
        return *ops.negative_sums(*given, False), ops.pull(*given, *weights)

    products()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = products()
    rows.copy_(rows.roll(7, 0))
    graph.replay()
    assert all(torch.equal(*pair) for pair in zip(captured, products(), strict=True))


def test_torch_accepts_the_operators_on_the_device():
    """opcheck, as on a CPU."""
    rows = normalize(torch.randn(30, 64, device=CUDA), dim=1).bfloat16()
    given = rows.requires_grad_(), rows.detach().clone(), torch.tensor(20.0, device=CUDA), None, None, 0, 15
    torch.library.opcheck(ops.negative_sums, (*given, False))
    torch.library.opcheck(ops.pull, (rows.detach(), *given[1:], *torch.rand(2, 30, device=CUDA)))


def test_auto_takes_it(kernel, caplog):
    """Without a word."""
    first, second = views(100, 256, 0.5)
    auto, cuda = (ntxent_loss(first, second, temperature=0.1, implementation=x) for x in ("auto", "cuda"))
    assert torch.equal(auto, cuda)
    assert not caplog.records
