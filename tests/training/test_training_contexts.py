"""Training where gradients are switched off, in inference mode, in a forked process and in a loader's worker."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from typing import Any

import pytest
import torch
from limit_support import OPTIONS, X, Y, plain, variational
from support import ANYTHING, refuses

from pyro_vd import fine_tune, fit


def test_training_where_gradients_are_switched_off_is_the_same() -> None:
    def trained(context: Any) -> list[Any]:
        torch.manual_seed(0)
        pair = variational()
        with context:
            fit(pair[1], (X * 1, Y * 1), (X + 0, Y + 0), **OPTIONS)
        return [tensor.tolist() for module in pair for tensor in module.state_dict().values()]

    expected = trained(torch.enable_grad())
    assert trained(torch.no_grad()) == expected
    assert trained(torch.inference_mode()) == expected


def test_what_inference_mode_has_made_cannot_be_trained() -> None:
    with torch.inference_mode():
        _model, guide = variational()
        net = plain()
    with refuses("net.0.bias", ANYTHING, "torch.inference_mode"):
        fit(guide, (X, Y), **OPTIONS)
    with refuses("0.weight", ANYTHING, "torch.inference_mode"):
        fine_tune(net, (X, Y), **OPTIONS)


def _train(queue: Any, threads: int) -> None:
    torch.set_num_threads(threads)
    try:
        queue.put(len(fit(variational()[1], (X, Y), **OPTIONS).history))
    except Exception as error:
        queue.put(f"{type(error).__name__}: {error}")


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")  # Python 3.12 says so
@pytest.mark.parametrize(("threads", "expected"), [(1, 2), (2, "InputError: this process was forked and has 2 threads")])
def test_a_forked_process_trains_with_one_thread_and_is_refused_with_more(threads: int, expected: int | str) -> None:
    """With more it would wait for ever for threads that only its parent has."""
    fit(variational()[1], (X, Y), **OPTIONS)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=_train, args=(queue, threads))
    process.start()
    found = queue.get(timeout=60)
    process.join()
    assert found == expected or str(found).startswith(str(expected))


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_loader_s_worker_trains() -> None:
    class Training(torch.utils.data.Dataset[int]):
        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> int:
            return len(fit(variational()[1], (X, Y), **OPTIONS).history)

    assert [batch.item() for batch in torch.utils.data.DataLoader(Training(), num_workers=1)] == [2]


AFTER_COMPACTION = """
import os, torch
from pyro_vd import compact
torch.set_num_threads(1)
compact(torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2)))
if not (child := os.fork()):
    torch.zeros(1, requires_grad=True).sum().backward()
    os._exit(0)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(torch.cuda.is_available(), reason="autograd has a thread for each GPU")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_process_whose_first_task_was_a_compaction_can_train_in_forks() -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", AFTER_COMPACTION], capture_output=True, text=True, timeout=120
    )
    assert (ended.returncode, ended.stderr) == (0, "")
