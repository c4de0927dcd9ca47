"""The batches of a run where the recipe leaves them to the memory there is: chosen once, kept, and learnt from."""

import contextlib
import json
import os
from collections.abc import Sequence
from dataclasses import replace

from kit.config import Recipe
from kit.errors import ConfigError
from kit.fit.limits import Limit, memory_limit
from kit.home import family, fingerprint, write_json
from kit.progress import Say
from kit.train.distributed import is_joint
from kit.train.models import ModelFolder, device_name


def limit_of(recipe: Recipe, *, asked: int | None) -> Limit | None:
    """Return the memory that each process of a training may take, or None where nobody asked and nothing depends on it.

    Args:
        recipe: its device, and whether it leaves batches to the memory.
        asked: bytes; None: `KIT_MEMORY` decides, or what the device has free.

    Raises:
        ConfigError: KIT_MEMORY is no amount of memory.
    """
    if asked is None and not recipe.schedule.is_automatic and not os.environ.get("KIT_MEMORY", "").strip():
        return None
    from kit.train.model import choose_device  # torch takes seconds, which most commands need not spend

    return memory_limit(choose_device(recipe.device), asked)


def with_numbers(recipe: Recipe, limit: Limit, *, num_classes: int, several: bool, say: Say) -> Recipe:
    """Return the recipe with batches that fit the limit, where it says "auto".

    What was chosen is kept: free memory comes and goes, and the same command is to find the same run again.

    Args:
        recipe: how to train.
        limit: memory of each process.
        num_classes: C.
        several: an image may have any number of labels.
        say: takes a line on what was chosen.

    Raises:
        ConfigError: not even the smallest portions fit.
    """
    from kit.fit.choose import resolved
    from kit.train.model import choose_device

    plain = json.dumps({**recipe.as_dict(), "name": ""}, sort_keys=True)
    asked = str(limit.num_bytes) if limit.asked else device_name(str(choose_device(recipe.device)))
    path = family("fit") / "chosen" / f"{fingerprint(plain, repr((num_classes, several)), asked)[:16]}.json"
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        schedule = replace(recipe.schedule, batch_size=kept["batch_size"], micro_batch=kept["micro_batch"])
        at_once = f", {schedule.micro_batch} images at once" if schedule.micro_batch else ""
        say(f"batches of {schedule.batch_size} images{at_once}, as they were chosen before ({path})")
    except (OSError, ValueError, TypeError, KeyError, ConfigError):
        schedule = resolved(recipe, num_classes=num_classes, limit=limit, say=say, several=several).schedule
        write_json(path, {"batch_size": schedule.batch_size, "micro_batch": schedule.micro_batch})
    num_processes = int(os.environ["WORLD_SIZE"]) if is_joint() else 1
    fits = schedule.micro_batch >= schedule.batch_size // num_processes  # the part of the batch that a process gets
    return replace(recipe, schedule=replace(schedule, micro_batch=0) if fits else schedule)


def learn_from(
    models: Sequence[ModelFolder], recipe: Recipe, *, classes: Sequence[str], several: bool, limit: Limit | None
) -> None:
    """Keep it for later predictions if memory ran out while models were trained.

    Args:
        models: trained.
        recipe: how.
        classes: of the images.
        several: an image may have any number of labels.
        limit: that was asked for; None: there was what the device has.
    """
    failed = [many for model in models if (many := model.history.get("too_many"))]  # models of before have none
    if not failed:
        return
    from kit.fit.check import known_cost, learn
    from kit.train.model import choose_device

    device = choose_device(recipe.device)
    name = device_name(str(device))
    with contextlib.suppress(ConfigError):  # a network that cannot be looked at without running it
        cost = known_cost(recipe, num_classes=len(classes), device=device, several=several)
        learn(cost, device_name=name, batch=min(failed), limit=limit or memory_limit(device))
