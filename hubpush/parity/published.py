"""The published side: the folder as transformers loads it, run on the probes."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Collection, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hubpush.architectures import Logits, ModelClass
from hubpush.errors import HubpushError, ParityError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import numpy.typing as npt

Attention = Literal["eager", "sdpa"]

_JUDGED_BY_OUTPUTS = {"hidden_act", "layer_norm_eps"}
_INERT: Mapping[str, tuple[Any, ...]] = {
    "gradient_checkpointing": (False,),
    "position_embedding_type": ("absolute",),
    "problem_type": ("single_label_classification",),
}
"""What older versions of transformers wrote into every config, and what is the default anyway."""

_EXPECTED_FILES = frozenset(
    {
        *("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt", "hubpush.json"),
        # transformers of other versions writes these; what they do to the tokenizer is compared.
        *("special_tokens_map.json", "added_tokens.json", "generation_config.json"),
    }
)
_LOADABLE = re.compile(
    r"\.(json|py|safetensors|bin|pt|pth|ckpt|h5|keras|msgpack|ot|onnx|gguf|pkl|pickle|jinja|model)$", re.IGNORECASE
)
_OF_NO_MATTER = {"_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype"}


class Published:
    """A model folder, loaded with the class that its config.json names.

    Args:
        folder: config.json, model.safetensors and the tokenizer's files.
        heads: Groups beyond the required ones that the folder must hold.
        model_class: The class that has been published; `logits` are what its heads compute.
        as_named: Whether config.json has to name that class; else the folder is loaded by it whatever it says, as
            another repo's may.
        attention: transformers' implementation of attention. Both compute the same function.

    Attributes:
        tokenizer: What AutoTokenizer loads.
        loading: Missing and unexpected keys that transformers reported.
        config: What AutoConfig loads.

    Raises:
        ParityError: transformers cannot load the folder, or its Auto classes take it for another model than its class.
    """

    def __init__(
        self,
        folder: Path,
        heads: frozenset[str],
        model_class: ModelClass,
        *,
        as_named: bool = True,
        attention: Attention = "eager",
    ) -> None:
        with quiet(), loading(folder):
            import torch
            import transformers

            name = model_class.name
            if as_named:
                name = named_class(folder)
            kind: Any = getattr(transformers, name, None)
            is_model = isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel)
            if not is_model:
                raise ParityError(f"config.json names {name}, which is no model class of transformers", hint=_HINT)
            config = load_config(folder)
            if not isinstance(config, kind.config_class):
                raise _other_model(name, f"they find a {type(config).__name__}")
            # A bare encoder builds a pooler unless told not to; without one in the checkpoint it would be random.
            is_optional = "add_pooling_layer" in inspect.signature(kind).parameters
            options = {"add_pooling_layer": "pooler" in heads} if is_optional else {}
            # No dtype is asked for: what is loaded is what people get, and weights that it rounds show.
            model, info = kind.from_pretrained(
                folder,
                attn_implementation=attention,
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
        self._logits: tuple[Logits, ...] = model_class.logits
        self._torch = torch
        self._model = model.eval()

    def require_sizes(self, expected: Mapping[str, Any], whose: str) -> None:
        """Check that the folder is of some sizes, before anything of another shape is computed.

        Args:
            expected: Sizes by their keys in a config.
            whose: Whose sizes they are.

        Raises:
            ParityError: It is of others.
        """
        found = {key: getattr(self.config, key, None) for key in expected}
        odd = [f"{key} {found[key]} and {expected[key]}" for key in expected if found[key] != expected[key]]
        if odd:
            raise ParityError(
                f"it is another shape than {whose}: {', '.join(odd)}", hint="is it made from this very checkpoint?"
            )

    def run(self, inputs: Mapping[str, npt.NDArray[np.int32]], dtype: str) -> dict[str, npt.NDArray[Any]]:
        """Outputs by the names that the reference uses, computed in `float64` or `float32`."""
        torch = self._torch
        # One model serves both: float64 holds every float32 number, so going there and back changes no weight.
        self._model.to(getattr(torch, dtype))
        hooks, hooked = [], dict[str, Any]()

        def keep(output: str) -> Any:
            return lambda *args: hooked.__setitem__(output, args[2])

        for name, module in self._model.named_modules():
            if found := re.search(r"\blayer\.(\d+)\.attention\.self\.key$", name):
                hooks.append(module.register_forward_hook(keep(f"layer {int(found[1]) + 1} keys")))
        if (pooler := getattr(self._model.base_model, "pooler", None)) is not None:
            hooks.append(pooler.register_forward_hook(keep("pooled_output")))
        try:
            with torch.inference_mode():
                got = self._model(
                    **{name: torch.from_numpy(array).long() for name, array in inputs.items()},
                    output_hidden_states=True,
                )
        finally:
            for hook in hooks:
                hook.remove()
        outputs = {"embeddings": got.hidden_states[0]}
        for n, state in enumerate(got.hidden_states[1:], 1):
            outputs |= {name: hooked[name] for name in [f"layer {n} keys"] if name in hooked}
            outputs[f"layer {n}"] = state
        outputs["sequence_output"] = got.hidden_states[-1]
        if "pooled_output" in hooked:
            outputs["pooled_output"] = hooked["pooled_output"]
        for logits in self._logits:
            found_logits: list[Any] = [getattr(got, attribute, None) for attribute in logits.attributes]
            if all(tensor is not None for tensor in found_logits):
                # One score a token comes without an axis of its own.
                is_flat = logits.per_token and found_logits[0].ndim == 2
                outputs[logits.name] = torch.stack(found_logits, dim=-1) if is_flat else found_logits[0]
        return {name: tensor.numpy() for name, tensor in outputs.items()}

    def release(self) -> None:
        """Let the weights go; `tokenizer`, `config` and `loading` stay."""
        del self._model

    def tensors(self) -> dict[str, Any]:
        """The loaded tensors by the names of the class, as torch has them."""
        return dict(self._model.state_dict())


def named_class(folder: Path) -> str:
    """The transformers class that config.json names in `architectures`.

    Raises:
        ParityError: There is no config.json, or it names none.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        names = config.get("architectures") if isinstance(config, dict) else None
    except (OSError, ValueError, RecursionError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error).splitlines()[0]
        raise ParityError(
            f"config.json of {folder.name} cannot be read: {why}",
            hint="is it a model folder? `hubpush convert SOURCE OUT` makes one",
        ) from None
    if not (isinstance(names, list) and names and isinstance(names[0], str)):
        raise ParityError(
            f"config.json of {folder.name} names no class",
            hint='`architectures` has to say which class the weights are for, as ["BertForPreTraining"] does',
        )
    return names[0]


def load_config(folder: Path) -> Any:
    """What AutoConfig makes of a folder.

    Raises:
        ParityError: It finds a model that transformers does not know.
    """
    import transformers

    try:
        return transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
    except (ValueError, KeyError) as error:
        raise _other_model(named_class(folder), str(error).splitlines()[0]) from None


def strangers(names: Iterable[str], known: Collection[str] = _EXPECTED_FILES) -> list[str]:
    """Files that somebody's loader reads, other weights, code, adapters, and that nothing here looks at.

    Args:
        names: Paths in a folder or repo.
        known: What is looked at.
    """
    return sorted(name for name in names if name not in known and _LOADABLE.search(name))


def config_differences(
    folder: Path, config: Any, expected: Mapping[str, Any], ignored: Collection[str] = ()
) -> tuple[str, ...]:
    """What config.json says otherwise than it ought to, key by key, in words; what outputs judge is left to them.

    Args:
        folder: The model folder.
        config: What AutoConfig loaded from it.
        expected: The config that the checkpoint asks for.
        ignored: Keys that the original code reads nowhere.
    """
    own = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    wanted = type(config)(**{k: v for k, v in expected.items() if k != "architectures"}).to_dict()
    found = config.to_dict() | {key: value for key, value in own.items() if key not in config.to_dict()}
    skipped = _JUDGED_BY_OUTPUTS | _OF_NO_MATTER | set(ignored)
    wrong = [
        f"{key} is {_short(found.get(key))} instead of {_short(wanted.get(key))}"
        for key in sorted(found.keys() | wanted.keys())
        if key not in skipped and not is_alike(key, found.get(key), wanted.get(key))
    ]
    dtype = own.get("dtype", own.get("torch_dtype", "float32"))
    return (*wrong, *([f"dtype is {_short(dtype)} instead of 'float32'"] if dtype != "float32" else []))


def is_alike(key: str, one: object, other: object) -> bool:
    """Whether two values of a config's key mean the same, an absent one being what it is by default."""
    return one == other or {repr(one), repr(other)} <= {"None", *map(repr, _INERT.get(key, ()))}


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


_HINT = "is it the folder that was meant? nothing was pushed"


@contextmanager
def loading(folder: Path) -> Iterator[None]:
    """What transformers and its libraries raise over a folder, as an error of parity."""
    try:
        yield
    except HubpushError:
        raise
    # tokenizers raises a plain Exception, pickle and protobuf their own, and what an odd config makes of a model is
    # any error of Python's: what other people's libraries raise over a folder has no narrower name.
    except Exception as error:  # noqa: BLE001
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise ParityError(
            f"transformers cannot load or run {folder.name}: {why.replace(str(folder), folder.name)}", hint=_HINT
        ) from None


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
