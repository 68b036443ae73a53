"""Crossover-Net: sizes and costs, the dense pass against the source's patches, what is drawn."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from crosslinknet.errors import ShapeError, UsageError
from crosslinknet.losses.crossover import crossover_loss
from crosslinknet.models.contract import mirrored
from crosslinknet.models.crossover_net import VARIANTS, CrossoverNet, bordered, cut
from crosslinknet.models.crossover_pixels import STEPS, depth, draw_pixels, draw_weights

NAMES = ["small", "breast", "breast-small"]
WHOLE = 10**6  # rows per strip: one strip


def on_paper(**options):
    with torch.device("meta"):
        return CrossoverNet(**options)


def lively(model):
    """Eval, with weights that keep the signal: at torch's own start all pixels look the same."""
    torch.manual_seed(0)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.normal_(layer.bias, std=0.1)
    return model.eval()


@pytest.fixture
def narrow(monkeypatch):
    """Builds with an eighth of the channels: the geometry of the real network, in no time."""
    for name in NAMES:
        layers = tuple(layer and (layer[0] // 8, layer[1]) for layer in VARIANTS[name].layers)
        monkeypatch.setitem(VARIANTS, f"narrow-{name}", replace(VARIANTS[name], layers=layers))
    return lambda name="small", **options: lively(CrossoverNet(variant=f"narrow-{name}", **options))


def every_pixel(image):
    """Rows and columns of all pixels, (B, H W) each."""
    grid = torch.meshgrid(*(torch.arange(n) for n in image.shape[2:]), indexing="ij")
    return [index.reshape(1, -1).expand(len(image), -1) for index in grid]


def patch_by_patch(model, image):
    """The logits of all pixels as the source computes them, (B, K, H, W)."""
    logits, _ = model.patch_logits(image, *every_pixel(image))
    return logits.view(len(image), -1, logits.shape[1]).mT.unflatten(2, image.shape[2:])


def blob(height=60, width=80):
    """A target of 20x30 pixels, (1, 1, H, W)."""
    target = torch.zeros(1, 1, height, width)
    target[..., 20:40, 25:55] = 1.0
    return target


# Sizes and costs.


@pytest.mark.parametrize(
    ("name", "parameters", "length"),
    [("small", 364_458, 19), ("breast", 705_098, 35), ("breast-small", 635_338, 34)],
)
def test_parameters_and_taps_are_as_published(name, parameters, length):
    model = on_paper(variant=name)
    assert sum(p.numel() for p in model.parameters()) == parameters
    pixels = torch.zeros(2, 3, dtype=torch.long, device="meta")
    logits, taps = model.patch_logits(torch.empty(2, 1, 8, 8, device="meta"), pixels, pixels)
    assert logits.shape == (6, 1)
    assert [tuple(tap.shape) for tap in taps] == [(6, 64, length)] * 2


def test_a_class_adds_one_output_and_a_channel_one_kernel_per_filter():
    def count(**options):
        return sum(p.numel() for p in on_paper(**options).parameters())

    assert count(num_classes=3) == 364_458 + 2 * 1001
    assert count(in_channels=3) == 364_458 + 2 * 15 * 16


def macs(work):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        work()
    return counter.get_total_flops() // 2


@pytest.mark.parametrize(
    ("name", "expected"),
    [("small", 46_681_552), ("breast", 2_153_426_384), ("breast-small", 1_267_215_824)],
)
def test_a_pixel_costs_what_was_counted(name, expected):
    model, pixel = on_paper(variant=name), torch.zeros(1, 1, dtype=torch.long, device="meta")
    image = torch.empty(1, 1, 256, 256, device="meta")
    assert macs(lambda: model.patch_logits(image, pixel, pixel)) == expected


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        ("small", 256, 52_140_545_440),
        ("small", 512, 199_266_047_392),
        ("breast-small", 256, 143_934_569_888),
        ("breast-small", 512, 448_801_144_224),
        # Without the two rows and columns that its second pooling drops; with them, see below.
        ("breast", 256, 168_091_010_720),
        ("breast", 512, 513_343_063_712),
    ],
)
def test_an_image_costs_what_was_counted(name, size, expected):
    model = on_paper(variant=name, strip=WHOLE)
    assert macs(lambda: model(torch.empty(1, 1, size, size, device="meta"))) == expected


@pytest.mark.parametrize(("size", "expected"), [(256, 170_074_141_920), (512, 516_765_742_304)])
def test_the_breast_variant_would_cost_more_with_rows_that_no_pixel_uses(size, expected):
    model = on_paper(variant="breast", strip=WHOLE)
    model.side.reach = model.patch
    assert macs(lambda: model(torch.empty(1, 1, size, size, device="meta"))) == expected


def test_strips_of_64_rows_cost_a_sixth_more():
    model = on_paper()
    cost = macs(lambda: model(torch.empty(1, 1, 512, 512, device="meta")))
    assert cost / 199_266_047_392 == pytest.approx(1.162, abs=1e-3)


@pytest.mark.parametrize(
    ("name", "reach"), [("small", (100, 20)), ("breast", (338, 66)), ("breast-small", (340, 68))]
)
def test_a_logit_depends_on_its_whole_patch_but_for_what_pooling_drops(narrow, name, reach):
    model = narrow(name)
    for parameter in model.side.parameters():
        parameter.data.abs_()  # so that no ReLU hides a pixel
    # Noise, so that every pixel is the largest of its pool somewhere in the batch.
    patches = torch.rand(24, 1, *model.patch, requires_grad=True)
    model.side(patches, dense=False)[1].sum().backward()
    rows, columns = patches.grad.sum(dim=(0, 1)).nonzero().T
    assert (rows.min(), columns.min()) == (0, 0)
    assert (rows.max() + 1, columns.max() + 1) == model.side.reach == reach


# The dense pass against patches.


def test_dense_equals_patch_by_patch_on_a_thousand_pixels():
    model = lively(CrossoverNet(strip=16))
    image = torch.rand(1, 1, 40, 56)
    rows, columns = (index[0] for index in every_pixel(image))
    rim = (rows % 39 == 0) | (columns % 55 == 0)
    order = torch.cat([rim.nonzero()[:, 0], (~rim).nonzero()[torch.randperm(2240 - 188)][:, 0]])
    chosen = order[:1000].view(1, 4, 250)
    with torch.no_grad():
        dense = model(image)[0, 0]
        for part in chosen.unbind(1):
            logits, _ = model.patch_logits(image, rows[part], columns[part])
            found = dense[rows[part[0]], columns[part[0]]]
            torch.testing.assert_close(found, logits[:, 0], atol=1e-5, rtol=0)
    assert dense.std() > 0.01  # a thousand times what is tolerated


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_dense_equals_patch_by_patch_to_twelve_digits(name):
    for padding in ("reflect", "zero"):
        model = lively(CrossoverNet(variant=name, padding=padding)).double()
        image = torch.rand(1, 1, 2, 3, dtype=torch.float64)
        with torch.no_grad():
            found, expected = model(image), patch_by_patch(model, image)
        torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("padding", ["reflect", "zero"])
@pytest.mark.parametrize("name", NAMES)
def test_narrow_networks_too_in_every_pixel_with_channels_and_classes(narrow, name, padding):
    model = narrow(name, in_channels=2, num_classes=3, padding=padding).double()
    image = torch.rand(1, 2, 2, 4, dtype=torch.float64)
    with torch.no_grad():
        found, expected = model(image), patch_by_patch(model, image)
    assert found.shape == (1, 3, 2, 4)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    assert found.std(dim=(2, 3)).min() > 1e-5


def test_an_image_larger_than_its_patches_too(narrow):
    model = narrow(strip=50).double()
    image = torch.rand(2, 1, 123, 131, dtype=torch.float64)
    rows = torch.tensor([0, 0, 122, 122, 61, 50]).expand(2, -1)
    columns = torch.tensor([0, 130, 0, 130, 65, 3]).expand(2, -1)
    with torch.no_grad():
        logits, _ = model.patch_logits(image, rows, columns)
        found = model(image)[:, 0, rows[0], columns[0]]
    torch.testing.assert_close(found, logits.view(2, 6), atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_the_dense_pass_holds_the_taps_of_all_patches(narrow, name):
    model = narrow(name).double()
    image = torch.rand(1, 1, 6, 9, dtype=torch.float64)
    dilation = 8 if name.startswith("breast") else 4
    with torch.no_grad():
        _, (vertical, horizontal) = model.patch_logits(
            image, torch.tensor([[4]]), torch.tensor([[7]])
        )
        tall, wide = model._bordered(image)
        of_tall, of_wide = (model.side(side, dense=True)[0][0] for side in (tall, wide.mT))
    length = vertical.shape[2]
    down, right = (torch.arange(length) * dilation + start for start in (4, 7))
    torch.testing.assert_close(of_tall[:, down, 7], vertical[0], atol=1e-12, rtol=0)
    torch.testing.assert_close(of_wide[:, right, 4], horizontal[0], atol=1e-12, rtol=0)
    if name == "small":
        assert of_tall.shape[1] == 6 + 72


@pytest.mark.parametrize("strip", [1, 7, 40])
def test_strips_change_neither_logits_nor_gradients(narrow, strip):
    model = narrow(strip=WHOLE).train().double()
    image = torch.rand(2, 1, 33, 17, dtype=torch.float64)
    results = []
    for rows in (WHOLE, strip):
        model.strip = rows
        logits = model(image)
        results.append([logits, *torch.autograd.grad(logits.square().sum(), model.parameters())])
    for whole, stripped in zip(*results, strict=True):
        torch.testing.assert_close(stripped, whole, atol=1e-12, rtol=1e-10)


def test_no_strip_holds_more_rows_than_asked_for(narrow):
    model = narrow(strip=16)
    shapes = []
    model.side.register_forward_hook(lambda _, given, output: shapes.append(output[1].shape[2:]))
    model(torch.rand(1, 1, 40, 24))
    # Of the turned horizontal patches, the rows of the image are the columns.
    assert shapes == [(16, 24), (24, 16), (16, 24), (24, 16), (8, 24), (24, 8)]


def test_transposing_the_image_swaps_the_two_sides(narrow):
    model = narrow().double()
    image = torch.rand(1, 1, 13, 20, dtype=torch.float64)
    seen = []
    model.side.register_forward_hook(lambda _, given, output: seen.append(output[1]))
    with torch.no_grad():
        model(image)
        model(image.mT)
        model.patch_logits(image, torch.tensor([[3]]), torch.tensor([[11]]))
        model.patch_logits(image.mT, torch.tensor([[11]]), torch.tensor([[3]]))
    for vertical, horizontal, turned_vertical, turned_horizontal in (seen[:4], seen[4:]):
        torch.testing.assert_close(turned_vertical, horizontal)
        torch.testing.assert_close(turned_horizontal, vertical)
        assert not torch.allclose(vertical.mean(), horizontal.mean())


def test_swapping_the_halves_of_the_classifier_undoes_a_transpose(narrow):
    model = narrow()
    image = torch.rand(1, 1, 13, 20)
    with torch.no_grad():
        expected = model(image)
        model.classifier.weight.copy_(model.classifier.weight.roll(62, dims=1))  # 500 // 8
        torch.testing.assert_close(model(image.mT).mT, expected)


def test_one_logit_is_the_softmax_of_two_outputs(narrow):
    model = narrow(num_classes=2)
    outputs = []
    model.classifier.register_forward_hook(lambda _, given, output: outputs.append(output))
    logits, _ = model.patch_logits(torch.rand(1, 1, 9, 9), torch.tensor([[4]]), torch.tensor([[2]]))
    (scores,) = outputs  # (1, 3)
    torch.testing.assert_close(logits, scores[:, 1:] - scores[:, :1])
    of_one = logits[:, 0].sigmoid()
    torch.testing.assert_close(of_one, scores[:, :2].softmax(dim=1)[:, 1])


# The border.


@pytest.mark.parametrize("size", [1, 2, 3, 10, 64])
def test_mirroring_goes_on_as_in_numpy(size):
    expected = np.pad(np.arange(size), (170, 169), mode="reflect")
    line = torch.arange(float(size)).view(1, 1, 1, size)
    assert mirrored(line, (0, 0), (170, 169)).flatten().tolist() == expected.tolist()


def test_a_border_that_fits_is_torchs_own_reflection():
    image = torch.rand(2, 3, 60, 40)
    expected = nn.functional.pad(image, (10, 9, 50, 49), mode="reflect")
    assert torch.equal(bordered(image, (100, 20), "reflect"), expected)


def test_a_pixel_is_in_the_middle_of_its_patch():
    image = torch.arange(1.0, 37).view(1, 1, 6, 6)
    rows, columns = torch.tensor([[2, 0]]), torch.tensor([[3, 5]])
    inside, corner = cut(bordered(image, (4, 2), "zero"), rows, columns, (4, 2))[:, 0]
    assert inside.tolist() == image[0, 0, 0:4, 2:4].tolist()
    assert inside[2, 1] == image[0, 0, 2, 3]
    assert corner.tolist() == [[0, 0], [0, 0], [5, 6], [11, 12]]
    mirrored = cut(bordered(image, (4, 2), "reflect"), rows, columns, (4, 2))[1, 0]
    assert mirrored.tolist() == [[17, 18], [11, 12], [5, 6], [11, 12]]


@pytest.mark.parametrize("padding", ["reflect", "zero"])
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (32, 32), (33, 47)])
def test_small_images_work(narrow, size, padding):
    model = narrow(padding=padding, num_classes=2)
    logits = model(torch.rand(1, 1, *size))
    assert logits.shape == (1, 2, *size)
    assert logits.isfinite().all()


# Which pixels are drawn.


def test_depth_is_the_distance_along_rows_and_columns():
    torch.manual_seed(0)
    mask = (torch.rand(2, 3, 20, 31) > 0.1).float()
    expected = [ndimage.distance_transform_cdt(m, "taxicab") for m in mask.flatten(0, 1).numpy()]
    assert np.array_equal(depth(mask).flatten(0, 1).numpy(), expected)
    assert depth(torch.ones(1, 1, 4, 5)).unique().tolist() == [9.0]


def test_a_single_pixel_is_drawn_around_as_in_the_source():
    target = torch.zeros(1, 1, 31, 61)
    target[..., 15, 30] = 1.0
    background, organ = draw_weights(target)[0]
    assert organ[15, 30].item() == pytest.approx(0.4 + 1 / 36)
    assert organ.count_nonzero() == 1
    assert background.count_nonzero() == 48
    for j, across in enumerate((1, 3, 6, 10, 15, 21), start=1):
        for down, right in ((j, 0), (-j, 0), (0, across), (0, -across), (j, across), (-j, across)):
            share = background[15 + down, 30 + right].item()
            assert share == pytest.approx(0.15 - 0.015 * (j - 1))
    assert sum(STEPS.values()) == pytest.approx(0.4 + 8 * (0.15 + 0.075) * 3)


def test_the_middle_of_a_target_is_drawn_and_what_lies_between_is_not():
    target = torch.zeros(1, 1, 160, 160)
    target[..., 30:130, 30:130] = 1.0
    background, organ = draw_weights(target)[0]
    middle = organ[50:110, 50:110]  # 0.6 of the way from the middle to each edge
    assert torch.all(middle > 0.02)
    assert organ[38, 60] == 0  # below the six rows around the boundary, above the middle
    assert organ[36, 60] > 0
    assert organ[35, 31] > 0.15
    assert background[23, 60] == 0
    assert background[24, 60] > 0
    assert background[60, 130 + 20] > 0
    assert background[60, 130 + 21] == 0


def drawn_from(target, pixels, seed=0):
    torch.manual_seed(seed)
    rows, columns = draw_pixels(target, pixels)
    assert rows.shape == columns.shape == (len(target), pixels)
    images = torch.arange(len(target))[:, None]
    return rows, columns, target[images, :, rows, columns]  # the last (B, n, K)


@pytest.mark.parametrize(("pixels", "on"), [(40, 20), (41, 21), (1, 1)])
def test_half_of_the_pixels_lie_on_the_target(pixels, on):
    rows, columns, values = drawn_from(blob(), pixels)
    assert values.sum() == on
    places = set(zip(rows[0].tolist(), columns[0].tolist(), strict=True))
    assert len(places) == pixels  # none twice


def test_the_background_is_drawn_near_the_boundary_only():
    rows, columns, values = drawn_from(blob(), 400)
    out = values[0, :, 0] == 0
    assert rows[0, out].min() >= 20 - 6
    assert rows[0, out].max() <= 39 + 6
    assert columns[0, out].min() >= 25 - 21
    assert columns[0, out].max() <= 54 + 21


def test_the_seed_decides_what_is_drawn():
    first, again, other = (drawn_from(blob(), 50, seed)[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_images_without_a_target_or_without_a_background_give_what_they_have():
    target = torch.cat([torch.zeros_like(blob()), blob(), torch.ones_like(blob())])
    rows, columns, values = drawn_from(target, 300)
    assert values.sum(dim=(1, 2)).tolist() == [0, 150, 300]
    for image in (0, 2):  # from everywhere
        assert rows[image].min() < 5
        assert rows[image].max() > 54
        assert columns[image].min() < 5
        assert columns[image].max() > 74


def test_too_few_pixels_are_drawn_again():
    target = torch.zeros(1, 1, 6, 6)
    target[..., 2, 3] = 1.0
    rows, columns, values = drawn_from(target, 200)
    on = values[0, :, 0] == 1
    assert on.sum() == 100
    assert rows[0, on].unique().tolist() == [2]
    assert columns[0, on].unique().tolist() == [3]
    assert drawn_from(torch.ones(1, 1, 1, 1), 5)[2].sum() == 5


def test_every_class_of_an_image_gets_the_same_share():
    target = torch.zeros(2, 3, 60, 80)
    target[:, 0, 20:40, 20:40] = 1.0
    target[:, 1, 20:40, 40:45] = 1.0
    target[1, 2, 50:52, 60:62] = 1.0  # not in the first image
    values = drawn_from(target, 90)[2]
    assert values.sum(dim=1).tolist() == [[30, 30, 0], [23, 23, 22]]  # of the second, 22 outside
    assert (values.sum(dim=2) == 0).sum(dim=1).tolist() == [30, 22]


def test_a_soft_target_is_on_from_one_half():
    values = drawn_from(blob() * 0.5, 40)[2]
    assert values.sum() == 20 * 0.5
    assert drawn_from(blob() * 0.4, 400)[0].min() < 10  # no target: from everywhere


# What training gets.


def test_the_loss_gets_the_drawn_pixels_logits_targets_and_taps(narrow):
    model = narrow(num_classes=2, pixels=11)
    target = torch.cat([blob(24, 30), blob(24, 30).flip(3)])
    target = torch.cat([target, target.roll(4, 2)], dim=1)  # (2, 2, 24, 30)
    image = torch.rand(2, 1, 24, 30)
    torch.manual_seed(5)
    outputs = model.forward_for_loss(image, target)
    torch.manual_seed(5)
    rows, columns = draw_pixels(target, 11)
    logits = model(image)
    assert outputs.logits.shape == outputs.target.shape == (2, 2, 11, 1)
    for b in range(2):
        expected = logits[b, :, rows[b], columns[b]]
        torch.testing.assert_close(outputs.logits[b, :, :, 0], expected, atol=1e-5, rtol=0)
        assert torch.equal(outputs.target[b, :, :, 0], target[b, :, rows[b], columns[b]])
    assert [tuple(tap.shape) for tap in outputs.taps] == [(22, 8, 19)] * 2
    assert (outputs.maps, outputs.sides, outputs.edge) == ([], (), None)


def test_every_parameter_gets_a_gradient():
    torch.manual_seed(0)
    model = CrossoverNet(num_classes=2, pixels=6).train()
    target = torch.cat([blob(), blob().roll(20, 3)], dim=1)
    outputs = model.forward_for_loss(torch.rand(1, 1, 60, 80), target)
    loss = nn.functional.binary_cross_entropy_with_logits(outputs.logits, outputs.target)
    (loss + crossover_loss(*outputs.taps)).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


# What every network promises.


def test_a_prediction_ignores_its_batch_mates(narrow):
    model = narrow()
    images = torch.rand(3, 1, 33, 47)
    torch.testing.assert_close(model(images)[1:2], model(images[1:2]), atol=1e-5, rtol=0)


def test_the_memory_layout_does_not_change_the_logits(narrow):
    model = narrow(in_channels=3)
    images = torch.rand(2, 3, 33, 47)
    expected = model(images)
    model = model.to(memory_format=torch.channels_last)
    found = model(images.to(memory_format=torch.channels_last))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("padding", ["reflect", "zero"])
def test_the_exported_network_agrees(narrow, padding):
    model = narrow(padding=padding, strip=20)
    image = torch.rand(1, 1, 33, 47)
    program = torch.export.export(model, (image,))
    torch.testing.assert_close(program.module()(image), model(image))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"variant": "smal"}, "did you mean 'small'"),
        ({"padding": "reflct"}, "did you mean 'reflect'"),
        ({"pixels": 0}, "at least 1"),
        ({"strip": 0}, "at least 1"),
    ],
)
def test_a_choice_that_does_not_exist_is_refused(options, words):
    with pytest.raises(UsageError, match=words):
        CrossoverNet(**options)


@pytest.mark.parametrize("shape", [(1, 2, 40, 40), (1, 40, 40), (1, 1, 0, 40)])
def test_what_is_no_image_of_its_channels_is_refused(narrow, shape):
    with pytest.raises(ShapeError, match=r"takes \(batch, 1, height, width\)"):
        narrow()(torch.rand(shape))


def test_image_and_target_of_two_sizes_are_refused(narrow):
    with pytest.raises(ShapeError, match=r"target \(1, 1, 60, 80\)"):
        narrow().forward_for_loss(torch.rand(1, 1, 60, 81), blob())
