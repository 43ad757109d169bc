#!/usr/bin/env bash
# What a person would write to carry BERT checkpoints to the Hub, with the tools that there were:
#
#     release.sh MIRROR WORK OWNER NAME...
#
# MIRROR/NAME.zip is fetched, converted by `transformers-cli convert` of transformers 4.47.1, finished and checked by
# finish.py, and sent by `hf upload` to OWNER/NAME. PEER is the venv of transformers 4.47.1, KERAS_2 a directory with
# tf_keras, which its TensorFlow models need; HF_ENDPOINT and HF_TOKEN say where to.
set -euo pipefail
mirror=$1 work=$2 owner=$3
shift 3
here=$(dirname "$0")

for name in "$@"; do
  checkpoint=$work/checkpoints/$name model=$work/models/$name
  mkdir -p "$checkpoint" "$model"
  curl -fsS -o "$work/$name.zip" "$mirror/$name.zip"
  unzip -q "$work/$name.zip" -d "$checkpoint"
  "$PEER/bin/transformers-cli" convert --model_type bert \
    --tf_checkpoint "$checkpoint/bert_model.ckpt" --config "$checkpoint/bert_config.json" \
    --pytorch_dump_output "$model/pytorch_model.bin"
  cp "$checkpoint/bert_config.json" "$model/config.json"
  cp "$checkpoint/vocab.txt" "$model/vocab.txt"
done

# One process for all of them: its imports are paid once.
PYTHONPATH=$KERAS_2 "$PEER/bin/python" "$here/finish.py" "$work"/models/*

for name in "$@"; do
  hf upload "$owner/$name" "$work/models/$name" .
done
