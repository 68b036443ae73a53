import pytest
import torch
from torch import nn

from crosslinknet.models import Staged, build_model, count_macs, count_parameters
from crosslinknet.models.contract import Outputs, probabilities

NARROW = {"widths": [4, 4, 4, 4, 8]}


class Fixed(nn.Module):
    """Logits that do not depend on the image."""

    in_channels = 3

    def __init__(self, *logits: float):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, x):
        self.norm(x)
        return self.logits.reshape(1, -1, 1, 1).expand(len(x), -1, *x.shape[2:])


class Echo(nn.Module):
    """Gives back what came in."""

    def forward(self, x):
        return x


def test_the_second_sees_the_image_and_the_map_once_per_channel():
    x = torch.rand(2, 3, 8, 8)
    seen = Staged(Fixed(0.0), Echo(), 3, "sigmoid", soft=True)(x)
    assert torch.equal(seen[:, :3], x)
    assert torch.equal(seen[:, 3:], torch.full((2, 3, 8, 8), 0.5))


@pytest.mark.parametrize(
    ("classes", "logits", "expected"),
    [
        ("sigmoid", (-1.0, 2.0), torch.sigmoid(torch.tensor(2.0)).item()),  # the larger
        ("softmax", (1.0, 1.0, 1.0), 2 / 3),  # what is not background
        ("one-vs-rest", (0.0, 0.0, 0.0), 2 / 3),
    ],
)
def test_the_map_is_the_probability_of_any_class(classes, logits, expected):
    found = Staged(Fixed(*logits), Echo(), 3, classes, soft=True).found(torch.rand(1, 3, 4, 4))
    assert found.shape == (1, 1, 4, 4)
    assert found.unique().tolist() == pytest.approx([expected])


@pytest.mark.parametrize(
    ("classes", "logits", "mask"),
    [
        ("sigmoid", (-1.0, 0.1), 1.0),
        ("sigmoid", (-1.0, -0.1), 0.0),
        ("softmax", (0.0, 0.1, -3.0), 1.0),  # a class is likelier than the background
        ("softmax", (0.2, 0.1, 0.1), 0.0),  # none is, though together they are
        ("one-vs-rest", (-5.0, -4.0, -6.0), 1.0),
    ],
)
def test_the_mask_handed_on_is_what_the_first_would_write(classes, logits, mask):
    found = Staged(Fixed(*logits), Echo(), 3, classes).found(torch.rand(1, 3, 4, 4))
    assert found.unique().tolist() == [mask]


def test_in_training_the_true_mask_stands_in_for_the_map():
    x = torch.rand(1, 3, 4, 4)
    target = torch.zeros(1, 2, 4, 4)
    target[0, 0, 0, 0] = target[0, 1, 3, 3] = 1
    outputs = Staged(Fixed(9.0), Echo(), 3, "sigmoid").forward_for_loss(x, target)
    assert isinstance(outputs, Outputs)
    prior = outputs.logits[0, 3:]
    assert prior.sum() == 6  # two pixels, of any class, in three channels
    assert prior[:, 0, 0].tolist() == prior[:, 3, 3].tolist() == [1, 1, 1]


def test_what_the_second_gives_to_losses_is_handed_on():
    first, second = Fixed(0.0), build_model("crosslink-net", in_channels=6, **NARROW)
    staged = Staged(first, second, 3, "sigmoid")
    image, target = torch.rand(2, 3, 32, 32), torch.zeros(2, 1, 32, 32)
    maps = staged.forward_for_loss(image, target).maps
    assert [len(block) for block in maps] == [2]


def test_nothing_of_the_first_is_trained():
    first = Fixed(0.5)
    staged = Staged(first, nn.Conv2d(6, 1, 1), 3, "sigmoid").train()
    before = {name: value.clone() for name, value in first.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in staged.parameters() if p.requires_grad], 0.1)
    loss = staged.forward_for_loss(torch.rand(2, 3, 8, 8)).logits.square().mean()
    loss.backward()
    optimizer.step()
    assert first.logits.grad is None
    assert all(torch.equal(first.state_dict()[name], value) for name, value in before.items())
    assert staged.second.training


def spec(**options) -> dict:
    first = {"name": "unet5", "in_channels": 3, "num_classes": 1, **NARROW}
    return {
        "name": "inf-net-stage", "in_channels": 3, "num_classes": 3,
        "first": {"model": first, "classes": "sigmoid"}, **options,
    }  # fmt: skip


def test_the_published_second_stage_stands_behind_any_first():
    """Six channels and three classes: 17,269,251 parameters, as the sheet says."""
    staged = build_model(**spec())
    assert count_parameters(staged.second) == 17_269_251
    assert build_model(**spec())(torch.rand(1, 3, 45, 67)).shape == (1, 3, 45, 67)
    alone = [count_macs(m, (64, 64)) for m in (staged.first, staged.second, staged)]
    assert alone[0] + alone[1] == alone[2]


@pytest.mark.parametrize("value", [-30.0, -120.0, 30.0])
def test_sigmoids_that_are_too_small_or_too_large_for_a_float_keep_their_order(value):
    """Of half precision or far from 0: their shares are those of neighbours, never 0 / 0."""
    for dtype in (torch.float16, torch.float32):
        logits = torch.tensor([value, value + 0.5, value - 0.5], dtype=dtype).reshape(1, 3, 1, 1)
        first, second = probabilities(logits, "one-vs-rest").flatten().tolist()
        assert first > second or (value > 0 and first == second)  # both certain
        assert 0 < second < 1 / 3 + 1e-6


def test_a_second_network_keeps_the_heads_behind_its_backbone():
    with torch.device("meta"):
        staged = build_model(
            "spnet", in_channels=1, first={"model": {"name": "unet5"}, "classes": "sigmoid"}
        )
    assert staged.backbone_heads == ("second.head", "second.auxiliary")


def test_a_first_network_of_ones_own_needs_no_more_than_its_call():
    class Plain(nn.Module):
        def forward(self, x):
            return x[:, :1]

    assert Staged(Plain(), Echo(), 2, "sigmoid")(torch.rand(1, 2, 4, 4)).shape == (1, 4, 4, 4)


def test_two_networks_in_a_row_can_be_exported():
    staged = build_model(
        "unet5", in_channels=1, first={"model": {"name": "unet5", **NARROW}, "classes": "sigmoid"},
        **NARROW,
    ).eval()  # fmt: skip
    x = torch.rand(1, 1, 32, 32)
    exported = torch.export.export(staged, (x,)).module()
    torch.testing.assert_close(exported(x), staged(x))


def test_of_one_against_the_rest_the_largest_sigmoid_is_the_class():
    torch.manual_seed(0)
    logits = 3 * torch.randn(1, 4, 16, 16)
    probs = probabilities(logits, "one-vs-rest")
    assert probs.shape == (1, 3, 16, 16)
    background = 1 - probs.sum(dim=1, keepdim=True)
    assert torch.equal(torch.cat([background, probs], 1).argmax(1), logits.argmax(1))
