"""ONNX: a network from stored pixels to probabilities as one file, and its answers. Needs competition-kit[onnx]."""

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kit.errors import ConfigError, WeightsError
from kit.train.inference import Classify
from kit.train.loss import Activation, probabilities_of
from kit.train.model import InputSpec, Network, normalise

LARGEST_DIFFERENCE = 1e-4  # of a probability, between PyTorch's answer and ONNX Runtime's
INPUT, OUTPUT = "images", "probabilities"


class _FromPixels(nn.Module):
    """(B, S, S, 3) uint8 RGB to (B, C) float32 probabilities."""

    def __init__(self, module: nn.Module, spec: InputSpec, activation: Activation) -> None:
        super().__init__()
        self.module, self.spec, self.activation = module, spec, activation

    def forward(self, images: Tensor) -> Tensor:
        return probabilities_of(self.module(normalise(images, self.spec)), activation=self.activation)


def write_onnx(path: Path, network: Network, *, activation: Activation, image_size: int) -> float:
    """Write `network` to `path`: input "images" (B, S, S, 3) uint8 RGB, any B; output "probabilities" (B, C) float32.

    Args:
        path: of one file, weights included.
        network: trained; it stays as it is.
        activation: what makes probabilities of its logits.
        image_size: S, pixels.

    Returns:
        the largest difference between a probability by PyTorch and by ONNX Runtime, on generated images.

    Raises:
        ConfigError: the extra is not installed.
        WeightsError: the network cannot be written, or answers differ by `LARGEST_DIFFERENCE` or more; nothing is left.
    """
    _packages()
    module = copy.deepcopy(network.module).to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    whole = _FromPixels(module, network.input, activation).eval()
    images = _generated_images(image_size)
    with torch.no_grad():
        expected = whole(images)  # before the exporter's stand-ins for tensors: `normalise` keeps what it first makes
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _quiet(), torch.no_grad():
            torch.onnx.export(
                whole,
                (images,),
                path,
                dynamo=True,
                verbose=False,
                external_data=False,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
            )
    except Exception as error:  # the exporter raises classes of its own, of torch.export's and plain ones
        path.unlink(missing_ok=True)
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightsError(
            f"The network cannot be written as ONNX: {reason} Export it without --onnx, or choose another one."
        ) from error
    answered = open_onnx(path)
    # One image, then all of them: a batch dimension that was fixed in the file would show.
    found = torch.cat([answered(images[:1]), answered(images)])
    difference = float((found - torch.cat([expected[:1], expected])).abs().max())
    if not difference < LARGEST_DIFFERENCE:  # NaN too
        path.unlink()
        raise WeightsError(
            f"As ONNX the network answers differently: a probability of generated images differs by {difference:.2g}, "
            f"and less than {LARGEST_DIFFERENCE:g} is accepted. Export it without --onnx."
        )
    return difference


def open_onnx(path: Path) -> Classify:
    """Return a function that answers by ONNX Runtime on the CPU: (B, S, S, 3) uint8 to (B, C) float32.

    Raises:
        ConfigError: the extra is not installed.
        WeightsError: not an ONNX file of the kit's form, or one that wants other files to be read.
    """
    onnx, runtime = _packages()
    try:
        described = onnx.load(path, load_external_data=False)
        # Such a tensor names a file of its maker's choice, which would be read.
        outside = [one.name for one in _tensors(onnx, described) if onnx.external_data_helper.uses_external_data(one)]
        if outside:
            raise WeightsError(f"{path} wants tensors from other files, first {outside[0]!r}. Only one file is read.")
        options = runtime.SessionOptions()
        options.log_severity_level = 4  # fatal only: what is wrong is said by our error
        session = runtime.InferenceSession(
            described.SerializeToString(), sess_options=options, providers=["CPUExecutionProvider"]
        )
        names = [one.name for one in session.get_inputs()], [one.name for one in session.get_outputs()]
        if names != ([INPUT], [OUTPUT]):
            raise WeightsError(f"{path} has inputs and outputs {names}, expected {INPUT!r} and {OUTPUT!r}.")
    except WeightsError:
        raise
    except Exception as error:  # protobuf and the runtime have many classes, and no common one
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightsError(f"{path} cannot be read as ONNX: {reason}. Export it again.") from error

    def classify(images: Tensor) -> Tensor:
        (probabilities,) = session.run([OUTPUT], {INPUT: images.cpu().numpy()})
        return torch.from_numpy(probabilities)

    return classify


def _tensors(onnx: Any, described: Any) -> Iterator[Any]:
    """Yield every tensor of a model, in its graph, inner graphs, functions and attributes."""
    graphs = [described.graph]
    nodes = [node for function in described.functions for node in function.node]
    while graphs or nodes:
        if graphs:
            graph = graphs.pop()
            yield from graph.initializer
            for sparse in graph.sparse_initializer:
                yield from (sparse.values, sparse.indices)
            nodes.extend(graph.node)
            continue
        for attribute in nodes.pop().attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            graphs.extend([attribute.g, *attribute.graphs])


def _generated_images(image_size: int) -> Tensor:
    """Return (4, S, S, 3) uint8: noise, and noise that was enlarged, which has the low frequencies of pictures."""
    import cv2

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, size=(4, image_size, image_size, 3), dtype=np.uint8)
    for k in (2, 3):
        images[k] = cv2.resize(images[k, :8, :8].copy(), (image_size, image_size), interpolation=cv2.INTER_LINEAR)
    return torch.from_numpy(images)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep to itself what the exporter prints, logs and warns of: progress, and deprecations inside of libraries."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _packages() -> tuple[Any, Any]:
    try:
        import onnx
        import onnxruntime
        import onnxscript as _exporter  # torch.onnx needs it
    except ImportError as error:
        raise ConfigError(
            f"ONNX needs the optional extra: pip install 'competition-kit[onnx]' ({error.name} is missing)."
        ) from error
    del _exporter
    return onnx, onnxruntime
