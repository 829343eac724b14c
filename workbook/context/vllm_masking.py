"""A reply from vLLM under a mask, in each of the three ways, with the tokens that its prefix cache gave.

with serving.load(engine="vllm", logits_processors=[PROCESSOR]) as llm:
    view = TokenView(context, llm.vllm.get_tokenizer())
    reply = complete(llm, view, context.mask, by="processor")
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workbook.context.masking import Mask
from workbook.context.token_view import TokenView

PROCESSOR = "workbook.context.processor:BeginningsProcessor"
"""What `serving.load(engine="vllm", logits_processors=[PROCESSOR])` loads."""

KEY = "begin_with"
"""Where a request's `extra_args` has its alternatives."""

WAYS = ("prefill", "schema", "processor")


@dataclass(frozen=True)
class MaskedReply:
    """What the model said under a mask, and what that took.

    Attributes:
        text: the reply, the prefill included.
        prompt_tokens: length of the prompt, the prefill included.
        cached_tokens: how many of these came from the prefix cache.
        completion_tokens: tokens generated.
        finished: whether the model ended by itself.
        seconds: from the call until the reply was complete.
    """

    text: str
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    finished: bool
    seconds: float

    @property
    def action(self) -> str | None:
        """The tool that is called, also where the reply was cut in its arguments; None for an answer.

        Raises:
            ValueError: The reply is neither a call nor an answer.
        """
        decoder, text = json.JSONDecoder(), self.text.lstrip()
        for key in ("tool", "answer"):
            start = text[1:].lstrip()
            if text.startswith("{") and start.startswith(f'"{key}"'):
                rest = start[len(key) + 2 :].lstrip().removeprefix(":").lstrip()
                return str(decoder.raw_decode(rest)[0]) if key == "tool" else None
        raise ValueError(f"neither a call nor an answer: {self.text[:80]!r}")


def request(mask: Mask) -> dict[str, Any]:
    """Returns the `extra_args` of a request that the processor holds to a mask."""
    return {KEY: mask.alternatives()}


def complete(
    llm: Any,
    view: TokenView,
    mask: Mask,
    *,
    by: str,
    definitions: Sequence[Mapping[str, Any]] = (),
    max_tokens: int = 32,
) -> MaskedReply:
    """Asks a vLLM engine for one reply under a mask, greedily.

    Args:
        llm: what `serving.load(engine="vllm", …)` returned; for "processor" opened with `PROCESSOR`.
        view: the context.
        mask: what the reply may be.
        by: "prefill", "schema" or "processor".
        definitions: tools with their parameters, for the schema.
        max_tokens: at most this many tokens are generated.

    Raises:
        MaskError: No prefill says this mask.
        ValueError: There is no such way.
    """
    from vllm import SamplingParams
    from vllm.inputs import TokensPrompt
    from vllm.sampling_params import StructuredOutputsParams

    if by not in WAYS:
        raise ValueError(f"no way to mask is called {by!r}: choose one of {', '.join(WAYS)}")
    prefill = mask.prefill() if by == "prefill" else ""
    schema = StructuredOutputsParams(json=mask.schema(definitions)) if by == "schema" else None
    parameters = SamplingParams(
        temperature=0.0,
        max_tokens=max_tokens,
        structured_outputs=schema,
        extra_args=request(mask) if by == "processor" else None,
    )
    start = time.perf_counter()
    prompt = TokensPrompt(prompt_token_ids=view.ids(prefill))
    output = llm.vllm.generate([prompt], parameters, use_tqdm=False)[0]
    completion = output.outputs[0]
    return MaskedReply(
        text=prefill + completion.text,
        prompt_tokens=len(output.prompt_token_ids),
        cached_tokens=output.num_cached_tokens or 0,
        completion_tokens=len(completion.token_ids),
        finished=completion.finish_reason == "stop",
        seconds=time.perf_counter() - start,
    )
