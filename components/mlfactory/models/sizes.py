"""Rules between the sizes of a network, checked where it is made and not in the middle of a run."""

from mlfactory.common.errors import InputError


def fit_in_window(steps: int, **sizes: int) -> None:
    """Check that a window is at least as long as what slides over it.

    Raises:
        InputError: names the first size that is longer than the window.
    """
    for name, size in sizes.items():
        if size > steps:
            raise InputError(
                f"windows have {steps} steps, shorter than the {name} of {size}: "
                f"lengthen the window or shorten the {name}"
            )


def split_evenly(hidden: int, heads: int) -> None:
    """Check that every attention head gets the same share of the width.

    Raises:
        InputError: ``hidden`` is no multiple of ``heads``.
    """
    if hidden % heads:
        raise InputError(f"hidden is {hidden}: expected a multiple of heads, which is {heads}")
