"""Dropout against what its definition says, and against torch's."""

import pytest
import torch

from crystalcodec.models.dropout import Dropout

N = 1_000_003  # no multiple of four


@pytest.mark.parametrize("chance", [0.1, 0.3, 0.75])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_so_many_are_dropped_and_the_others_make_up_for_it(chance, dtype):
    torch.manual_seed(0)
    made = Dropout(chance)(torch.ones(N, dtype=dtype))
    kept = made != 0
    # Five standard deviations of a binomial distribution.
    off = 5 * (chance * (1 - chance) / N) ** 0.5
    assert kept.float().mean().item() == pytest.approx(1 - chance, abs=off)
    values = made[kept].float()
    assert (values == values[0]).all()
    assert values[0].item() == pytest.approx(
        1 / (1 - chance), rel=1e-4 if dtype.itemsize > 2 else 4e-3
    )


def test_neighbours_are_dropped_independently():
    """Also those that come of the same 64 bits."""
    torch.manual_seed(1)
    dropped = (Dropout(0.3)(torch.ones(4 * 250_000)) == 0).float().view(-1, 4)
    assert torch.corrcoef(dropped.T).fill_diagonal_(0).abs().max() < 0.01
    assert torch.corrcoef(torch.stack([dropped[:-1, 3], dropped[1:, 0]]))[0, 1].abs() < 0.01


def test_the_gradient_goes_where_the_values_went():
    values = torch.rand(7, 5, dtype=torch.float64).add(1).requires_grad_()
    made = Dropout(0.5)(values)
    made.sum().backward()
    assert torch.allclose(values.grad * values.detach(), made.detach())
    assert 0 < (made == 0).sum() < made.numel()


def test_the_same_seed_drops_the_same():
    layer, values = Dropout(0.4), torch.ones(100)
    made = [torch.random.manual_seed(seed) and layer(values) for seed in (3, 3, 4)]
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


def test_nothing_is_dropped_where_it_does_not_train():
    values = torch.rand(50)
    assert torch.equal(Dropout(0.4).eval()(values), values)
    assert torch.equal(Dropout(0.0)(values), values)
    assert torch.equal(Dropout(1.0)(values), torch.zeros(50))


@pytest.mark.parametrize("chance", [-0.1, 1.1])
def test_chances_that_are_none(chance):
    with pytest.raises(ValueError, match="between 0 and 1"):
        Dropout(chance)
