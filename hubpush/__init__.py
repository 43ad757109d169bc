"""hubpush carries released TensorFlow checkpoints to the Hugging Face Hub.

The modules, in the order in which the data flows:

- `catalog`: what can be carried: families and their releases.
- `source`: where an archive is, whether it is the pinned one, which of its files are the checkpoint; `download`,
  `zipball`, `tarball`: fetched and opened without trusting it.
- `checkpoint`: the variables of a TensorFlow checkpoint, read lazily, without TensorFlow.
- `mapping`: what becomes of each variable, every name accounted for.
- `model`: variables to config.json and model.safetensors.
- `tokenizer`: vocab.txt to a fast tokenizer, every line checked.
- `digests`: SHA-256 of files, or beside the work that needs the bytes anyway.
- `parity`: does the published folder compute what the original computes? Measured first, then judged.
- `manifest`: hubpush.json: what went in, what came out, with digests.
- `conversion`: one checkpoint to a model folder, and the record of it; what `hubpush convert` needs.
- `metadata`, `chart`, `card`: recorded facts and results to README.md and its picture.
- `client`, `upload`: the Hub's HTTP client and its uploads, bounded, and what their errors mean.
- `remote`: what stands on the Hub, read; `rights`: what a token may; `planning`: the next commit and its version.
- `publish`: push, tag, look again.
- `saved`: a plan in a file; `amend`: rollback, yank, the end of a hold.
- `job`: what is asked for one release, and what came of it.
- `pipeline`: the whole path of one release as one function.
- `workers`: where releases are carried: here, in processes, on a Dask cluster; `run`: a family over them.
- `matrix`: what changed of a family, in even shares for GitHub Actions.
- `proof`: folders that stand already, against their checkpoint or their record; `reproof`: all versions of a family.
- `report`, `issues`: what a scheduled run came to, for people on GitHub; `starter`: a repository of one's own.
- `doctor`: what would fail, before it does; `show`: what people and programs see of it.
- `cli`: the command line.

`architectures` holds what differs between model architectures, `localhub` the embedded Hub.
"""

__version__ = "0.1.0"
