"""A group of processes that ends when it is destroyed.

The first step of an optimizer of torch imports ``torch.distributed.nn.functional``, through ``torch._dynamo``. This module has
the default group of that moment in the signatures of its functions, so that a group that was there before outlives
``destroy_process_group()``. A thread of gloo may then release the tensors of the last call while Python ends, and the process
ends with "terminate called without an active exception". Imported before there is a group, the module holds none.
"""

from __future__ import annotations

import torch.distributed as dist

if dist.is_available():
    import torch.distributed.nn.functional  # noqa: F401
