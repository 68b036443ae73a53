"""Hypothesis strategies: pairs of small masks with a spacing, in 2D and 3D."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

unhurried = settings(deadline=None)  # a busy machine is no finding
SPACINGS = st.sampled_from((0.4, 0.7031, 1.0, 1.5, 5.0))


@st.composite
def pairs(draw, empty=True):
    """(pred, target, spacing); without ``empty`` both masks hold at least one pixel."""
    shape = draw(
        st.one_of(
            st.tuples(st.integers(1, 9), st.integers(1, 9)),
            st.tuples(st.integers(2, 5), st.integers(1, 6), st.integers(1, 6)),
        )
    )
    masks = []
    for _ in range(2):
        mask = draw(arrays(bool, shape, elements=st.booleans(), fill=st.booleans()))
        if not empty and not mask.any():
            mask[tuple(draw(st.integers(0, n - 1)) for n in shape)] = True
        masks.append(mask)
    spacing = tuple(draw(SPACINGS) for _ in shape)
    return masks[0], masks[1], spacing
