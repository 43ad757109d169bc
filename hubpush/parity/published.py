"""The published side: the folder as transformers loads it, run on the probes."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hubpush.architectures import Logits
from hubpush.errors import ParityError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import numpy.typing as npt


class Published:
    """A model folder, loaded with the class that its config.json names.

    Args:
        folder: config.json, model.safetensors and the tokenizer's files.
        heads: Groups beyond the required ones that the folder must hold.
        logits: What the heads compute.

    Attributes:
        tokenizer: What AutoTokenizer loads.
        loading: Missing and unexpected keys that transformers reported.
        config: What AutoConfig loads.

    Raises:
        ParityError: transformers' Auto classes take the folder for another model than its class.
    """

    def __init__(self, folder: Path, heads: frozenset[str], logits: tuple[Logits, ...]) -> None:
        with quiet():
            import torch
            import transformers

            name = json.loads((folder / "config.json").read_text(encoding="utf-8"))["architectures"][0]
            model_class = getattr(transformers, name)
            try:
                config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
            except ValueError as error:
                raise _other_model(name, str(error).splitlines()[0]) from None
            if not isinstance(config, model_class.config_class):
                raise _other_model(name, f"they find a {type(config).__name__}")
            # A bare encoder builds a pooler unless told not to; without one in the checkpoint it would be random.
            is_optional = "add_pooling_layer" in inspect.signature(model_class).parameters
            options = {"add_pooling_layer": "pooler" in heads} if is_optional else {}
            # No dtype is asked for: what is loaded is what people get, and weights that it rounds show.
            model, info = model_class.from_pretrained(
                folder,
                attn_implementation="eager",
                output_loading_info=True,
                local_files_only=True,
                **options,
            )
            self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self.loading = {
            "missing": sorted(info["missing_keys"]),
            "unexpected": sorted(info["unexpected_keys"]),
            "mismatched": sorted(str(key) for key in info["mismatched_keys"]),
        }
        self.config = config
        self._logits = logits
        self._torch = torch
        self._model = model.eval()

    def run(self, inputs: Mapping[str, npt.NDArray[np.int32]], dtype: str) -> dict[str, npt.NDArray[Any]]:
        """Outputs by the names that the reference uses, computed in `float64` or `float32`."""
        torch, pooled = self._torch, []
        # One model serves both: float64 holds every float32 number, so going there and back changes no weight.
        self._model.to(getattr(torch, dtype))
        pooler = getattr(self._model.base_model, "pooler", None)
        hook = pooler.register_forward_hook(lambda *args: pooled.append(args[2])) if pooler is not None else None
        try:
            with torch.inference_mode():
                got = self._model(
                    **{name: torch.from_numpy(array).long() for name, array in inputs.items()},
                    output_hidden_states=True,
                )
        finally:
            if hook is not None:
                hook.remove()
        states = got.hidden_states
        outputs = {"embeddings": states[0]}
        outputs |= {f"layer {n}": state for n, state in enumerate(states[1:], 1)}
        outputs["sequence_output"] = states[-1]
        if pooled:
            outputs["pooled_output"] = pooled[0]
        for logits in self._logits:
            found: list[Any] = [getattr(got, attribute, None) for attribute in logits.attributes]
            if all(tensor is not None for tensor in found):
                # One score a token comes without an axis of its own.
                is_flat = logits.per_token and found[0].ndim == 2
                outputs[logits.name] = torch.stack(found, dim=-1) if is_flat else found[0]
        return {name: tensor.numpy() for name, tensor in outputs.items()}


def _other_model(name: str, why: str) -> ParityError:
    return ParityError(
        f"config.json names the class {name}, but transformers' Auto classes load something else: {why}",
        hint="is `model_type` right? nothing was pushed",
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Transformers reports and draws bars while it loads; what it reports is read from its loading info instead."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
