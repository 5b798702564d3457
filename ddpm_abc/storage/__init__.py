"""Files that hold networks: whole or not there at all, the same bits back, and no stranger's code."""

from ddpm_abc.storage.atomic import clean_temporary, lock_folder, write_atomically
from ddpm_abc.storage.checkpoint import (
    Average,
    checkpoint_path,
    checkpoints,
    keep_last,
    load_checkpoint,
    newest_checkpoint,
    save_checkpoint,
)
from ddpm_abc.storage.format import Metadata, read_metadata
from ddpm_abc.storage.weights import (
    LARGEST_SIZE,
    NETWORKS,
    PRETRAINED_SHA256,
    Pretrained,
    load_weights,
    outline,
    pretrained,
    save_weights,
    unwrap,
)

__all__ = [
    "LARGEST_SIZE",
    "NETWORKS",
    "PRETRAINED_SHA256",
    "Average",
    "Metadata",
    "Pretrained",
    "checkpoint_path",
    "checkpoints",
    "clean_temporary",
    "keep_last",
    "load_checkpoint",
    "load_weights",
    "lock_folder",
    "newest_checkpoint",
    "outline",
    "pretrained",
    "read_metadata",
    "save_checkpoint",
    "save_weights",
    "unwrap",
    "write_atomically",
]
