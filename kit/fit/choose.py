"""The choice of a batch: the most images that there is memory for, known before the first step."""

from dataclasses import replace

from kit.config import Recipe
from kit.fit.check import known_cost
from kit.fit.limits import Limit, memory_limit, printed, resident_bytes
from kit.progress import Say
from kit.train.model import choose_device

# Images of an automatic batch, the best first. One cycle learns no better from more than 64, and each epoch has fewer
# steps; below 8, gradients and BatchNorm's statistics are noise, and portions add up to 8 instead.
BATCHES = (64, 32, 16, 8)


def resolved(
    recipe: Recipe, *, num_classes: int, limit: Limit | None = None, say: Say = print, several: bool = False
) -> Recipe:
    """Return the recipe with numbers where it left the size of batches to the memory there is.

    An automatic `schedule.batch_size` becomes the largest of BATCHES that fits. One that does not fit at once, be it
    the smallest of them or the recipe's own, gets a `schedule.micro_batch` that does; a micro-batch that the recipe
    states stays.

    Args:
        recipe: how to train.
        num_classes: C.
        limit: what the process may take; None: what the device has free.
        say: takes a line on what was chosen, and why.
        several: an image may have any number of labels.

    Raises:
        ConfigError: not even the smallest portions fit.
    """
    device = choose_device(recipe.device)
    limit = limit or memory_limit(device)
    cost = known_cost(recipe, num_classes=num_classes, device=device, several=several)
    if device.type != "cuda":  # tables and images of this process count as well
        most = max(cost.surroundings.standing, resident_bytes())
        cost = replace(cost, surroundings=replace(cost.surroundings, standing=most))
    plan = recipe.schedule
    if plan.batch_size and plan.micro_batch > 0:
        return recipe
    fitting = [size for size in BATCHES if cost.fits(size, limit.num_bytes)]
    batch_size = plan.batch_size or (fitting[0] if fitting else BATCHES[-1])
    images, num_portions = cost.split(batch_size, limit.num_bytes)
    total = cost.total(images, num_portions=num_portions)
    say(
        f"batches of {batch_size} images"
        + (f", {images} at once" if num_portions > 1 else "")
        + f": {printed(total)} in all, and {cost.margin:.0%} kept free, of {printed(limit.num_bytes)} ({limit.source})"
        + (f"; BatchNorm sees {images} images" if num_portions > 1 else "")
    )
    return replace(recipe, schedule=replace(plan, batch_size=batch_size, micro_batch=images if num_portions > 1 else 0))
