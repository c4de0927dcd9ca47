"""The command that shows images: look."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kit.cli.stages import on_a_plan
from kit.cli.terminal import say

if TYPE_CHECKING:
    from kit.plan import RunPlan


@on_a_plan
def look(
    plan: "RunPlan",
    classes: Annotated[
        int,
        typer.Option("--classes", metavar="N", min=1, max=400, help="Show at most so many classes, spread over all."),
    ] = 40,
    per_class: Annotated[
        int, typer.Option("--per-class", metavar="N", min=1, max=20, help="Images of each class.")
    ] = 1,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where the sheet goes; default: in KIT_HOME.")
    ] = None,
) -> None:
    """Show what the network sees, before and after augmentation: a sheet of pictures and a page."""
    from kit.data.augment import check_augmentation
    from kit.data.look import Views, write_look
    from kit.home import family
    from kit.plan import pack_for

    recipe, slug = plan.recipe, plan.competition.slug
    check_augmentation(recipe.augment, image_size=recipe.input.image_size)
    views = Views(
        augment=recipe.augment,
        image_size=recipe.input.image_size,
        crop_share=recipe.input.test_crop or _own_crop(recipe.model.name),
        seed=recipe.seed,
    )
    sheet, page = write_look(
        plan.samples,
        pack_for(plan, say=say),
        title=f"{plan.competition.title}: what {recipe.model.name} sees, recipe {recipe.name}",
        views=views,
        folder=out or family("board") / f"{slug}-look",
        num_classes=classes,
        per_class=per_class,
    )
    print(f"sheet  {sheet}")
    print(f"page   {page}")


def _own_crop(name: str) -> float:
    """Return the share of the shorter side that evaluation of this network sees by its own configuration."""
    import timm

    config = timm.get_pretrained_cfg(name)
    return float(config.crop_pct) if config is not None else 0.875  # timm's own default


COMMANDS = (look,)
