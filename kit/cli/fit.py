"""The command that says what a network takes of memory: fit."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from kit.cli import complete
from kit.cli.terminal import print_json, say

if TYPE_CHECKING:
    from kit.fit.report import FitReport


def fit(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="A network of timm's, or FILE.py:function.", autocompletion=complete.networks
        ),
    ],
    size: Annotated[int, typer.Option("--size", metavar="N", help="Side of the images, pixels.")] = 224,
    memory: Annotated[
        str | None,
        typer.Option("--memory", metavar="BYTES", help="The limit, e.g. 11GiB; default: what is free."),
    ] = None,
    device: Annotated[
        str,
        typer.Option(
            "--device", metavar="D", help="auto, cpu or cuda; a GPU need not be here.", autocompletion=complete.devices
        ),
    ] = "auto",
    amp: Annotated[
        Literal["auto", "none", "bf16", "fp16"], typer.Option("--amp", help="Autocast; auto: as the trainer does.")
    ] = "auto",
    frozen: Annotated[bool, typer.Option("--frozen", help="Only the head learns.")] = False,
    optimizer: Annotated[
        Literal["adamw", "adam", "sgd"], typer.Option("--optimizer", help="The trainer's is AdamW; sgd: with momentum.")
    ] = "adamw",
    batch_size: Annotated[
        int, typer.Option("--batch-size", metavar="N", min=1, help="Images per optimizer step that are wanted.")
    ] = 64,
    classes: Annotated[int, typer.Option("--classes", metavar="N", min=1, help="Classes.")] = 37,
    ema: Annotated[bool, typer.Option("--ema", help="A moving average of the weights is kept.")] = False,
    checkpointing: Annotated[
        bool, typer.Option("--checkpointing", help="Activations are made anew in the backward pass.")
    ] = False,
    measure: Annotated[
        bool, typer.Option("--measure", help="Take three real steps here, and keep what they tell.")
    ] = False,
    images: Annotated[int | None, typer.Option("--images", metavar="N", min=1, help="Images of an epoch.")] = None,
    rate: Annotated[
        float | None, typer.Option("--rate", metavar="R", min=1e-6, help="Images a second, where they are known.")
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print one JSON object: model, image_size, frozen, precision, optimizer, device, limit, parts, "
            "process, margin, correction, largest_batch, batch_size, micro_batch, num_portions, total, whole, "
            "epoch_seconds.",
        ),
    ] = False,
) -> None:
    """Say what a batch takes of memory before anything is trained, and which batch fits; no GPU is needed."""
    from kit.fit.limits import parse_memory
    from kit.fit.report import report_of

    report = report_of(
        model,
        image_size=size,
        memory=parse_memory(memory) if memory is not None else None,
        device=device,
        amp=amp,
        frozen=frozen,
        optimizer=optimizer,
        batch_size=batch_size,
        num_classes=classes,
        average=ema,
        checkpointing=checkpointing,
        num_images=images,
        rate=rate,
        measured=measure,
        say=say,
    )
    if as_json:
        print_json(report.as_dict())
    else:
        show_fit(report)


def show_fit(report: "FitReport") -> None:
    """Print a report as a table and a sentence."""
    from kit.fit.limits import printed
    from kit.fit.report import MEANING

    at = f"{report.micro_batch} images"
    print(f"{'':12}{'fixed':>10}{'an image':>12}{at:>12}")
    for name, (fixed, per_image) in report.parts.items():
        amounts = (fixed, per_image, fixed + per_image * report.micro_batch)
        shown = "".join(
            f"{printed(one) if one >= 1 else '-':>{width}}" for one, width in zip(amounts, (10, 12, 12), strict=True)
        )
        print(f"{name:12}{shown}  {MEANING[name]}")
    print(f"{'at once':12}{printed(report.total):>34}  the most of all this that is there at the same time\n")
    print(report.sentence)
    if report.epoch_seconds is not None:
        print(f"An epoch takes about {report.epoch_seconds:,.0f} s, looks at held-out images apart.")


COMMANDS = (fit,)
