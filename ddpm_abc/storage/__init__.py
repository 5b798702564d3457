"""Files that hold networks: whole or not there at all, the same bits back, and no stranger's code."""

from ddpm_abc.storage.atomic import clean_temporary, lock_folder, write_atomically
from ddpm_abc.storage.format import Metadata, read_metadata
from ddpm_abc.storage.weights import PRETRAINED_SHA256, Pretrained, load_weights, pretrained, save_weights

__all__ = [
    "PRETRAINED_SHA256",
    "Metadata",
    "Pretrained",
    "clean_temporary",
    "load_weights",
    "lock_folder",
    "pretrained",
    "read_metadata",
    "save_weights",
    "write_atomically",
]
