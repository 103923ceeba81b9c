"""Where and in which precision models run: the launcher says where, the hardware says how."""

import os
import sys
from collections.abc import Sequence

import torch

from sds_hf.clip.kinds import DTypeName
from sds_hf.clip.launcher import current_rank, local_rank

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_PARENT = os.getpid()
_rank: int | None = None  # of this process among the workers of `Dataset.map`


def use_rank(extra: Sequence[object]) -> None:
    """Note the rank among the extra arguments of a `map` call, if there is one; `with_rank` puts it last."""
    global _rank
    if extra and isinstance(extra[-1], int):
        _rank = extra[-1]


def current_device() -> torch.device:
    """The device of this process: that of its local rank, or under `Dataset.map(with_rank=True)` the rank's own GPU.

    A device that Accelerate has assigned in this process is taken. It is not asked to: under `torchrun` it would open a
    process group and wait for processes that may never ask, and in the way of the script's own.

    Raises:
        RuntimeError: in a process forked after CUDA was used, where a model would hang.
    """
    # A try to use CUDA where there is none spoils forks as well; only one that worked would make a model hang.
    if torch.cuda._is_in_bad_fork() and torch.cuda._initialized:
        raise RuntimeError(
            "a GPU score cannot run in a forked worker: drop num_proc, start processes with `accelerate launch`, or "
            'call multiprocess.set_start_method("spawn") first'
        )
    # What Accelerate gave this process, if the script has asked it.
    state = getattr(getattr(sys.modules.get("accelerate.state"), "PartialState", None), "_shared_state", {})
    device: torch.device = state.get("device") or _own_device()
    processes = state.get("num_processes") or current_rank().count
    if device.type == "cuda" and processes == 1 and _rank is not None:
        return torch.device("cuda", _rank % torch.cuda.device_count())
    return device


def _own_device() -> torch.device:
    """The device by the variables of `torchrun`, Accelerate and Slurm."""
    if name := os.environ.get("ACCELERATE_TORCH_DEVICE"):
        return torch.device(name)
    if os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes", "y", "on"):
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda", local_rank() % torch.cuda.device_count())
    if torch.backends.mps.is_available():
        return torch.device("mps")
    if torch.xpu.is_available():
        return torch.device("xpu", local_rank() % torch.xpu.device_count())
    return torch.device("cpu")


def default_batch_size() -> int:
    """Rows at a time that keep this process's device busy: 32 on a CPU, 256 on a GPU."""
    return 32 if current_device().type == "cpu" else 256


def resolve_dtype(name: DTypeName, device: torch.device) -> torch.dtype:
    """`auto` is bf16 on CUDA and on CPUs that compute in it, fp32 elsewhere."""
    if name != "auto":
        return DTYPES[name]
    fast = _cpu_has_bf16() if device.type == "cpu" else device.type == "cuda" and torch.cuda.is_bf16_supported()
    return torch.bfloat16 if fast else torch.float32


def dtype_name(dtype: torch.dtype) -> str:
    """The short name of a dtype: `fp32`, `bf16` or `fp16`."""
    return next(name for name, value in DTYPES.items() if value == dtype)


def limit_threads_in_worker() -> None:
    """Use one thread in a forked worker: OpenMP hangs in a process forked after its parent used it."""
    if os.getpid() != _PARENT and torch.get_num_threads() > 1:
        torch.set_num_threads(1)


def _cpu_has_bf16() -> bool:
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, check, lambda: False)() for check in checks)
