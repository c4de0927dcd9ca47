"""A learner's answers, to be looked at: `learn.interpret()`."""

import copy
from dataclasses import replace
from typing import TYPE_CHECKING

from kit.errors import DataError
from kit.interpret.images import images_of_pack
from kit.interpret.interpretation import Interpretation
from kit.interpret.networks import Networks

if TYPE_CHECKING:
    from kit.learner.answering import Answering


def interpretation_of(learn: "Answering") -> Interpretation:
    """Return the interpretation of what the present weights answer to the held-out images.

    The network is copied: what is trained afterwards changes neither the answers nor where the network looked.

    Args:
        learn: the learner.

    Raises:
        DataError: nothing is held out. Test images are not looked at instead: whoever changes something because of what
            is seen there has chosen on the test.
    """
    held_out = learn.data.valid
    if held_out is None or held_out.empty:
        raise DataError(
            "Nothing is held out, so there is no image to interpret that the network has not learned from. Load the "
            "data with folds=5 (kit.load) or valid_pct=0.2 (kit.from_folder and the like), and train on that."
        )
    network = replace(learn.network, module=copy.deepcopy(learn.network.module))
    return Interpretation(
        learn.answers("valid"),
        images_of_pack(learn.data.pack),
        networks=Networks(
            of_fold=lambda fold: network,  # one network has answered all held-out folds
            image_size=learn.recipe.input.image_size,
            test_crop=learn.recipe.input.test_crop,
            device=learn.device,
        ),
        groups=dict(zip(held_out["image_id"], held_out["group"], strict=True)),
    )
