# differs: patterns for names, a set of all that can be written, grown from the ends; definitions in another form

# %% nbgrader={"grade_id": "actions"}
import re


def actions(tools, mode, prefixes):
    """By a pattern."""
    if mode not in ("auto", "required", "specified") or type(prefixes) is str:
        raise MaskError("no restriction")
    if mode == "specified" and (prefixes in (None, [], [""]) or len(prefixes) != 1):
        raise MaskError("specify one group")
    patterns = [
        re.compile(re.escape(prefix)) for prefix in ([""] if prefixes is None else prefixes)
    ]
    for pattern in patterns:
        if not any(map(pattern.match, tools)):
            raise MaskError(f"{pattern.pattern} fits no tool")
    left = {name for name in tools for pattern in patterns if pattern.match(name)}
    if not left:
        raise MaskError("nothing is left")
    return sorted(left) if mode != "auto" else [None, *sorted(left)]


# %% nbgrader={"grade_id": "tool-states"}
from dataclasses import dataclass


@dataclass
class ToolStates:
    """Looks at each state once when it is made, and works its set out again whenever it is asked."""

    tools: list
    states: dict
    state: str

    def __post_init__(self):
        if self.state not in self.states:
            raise MaskError("no such state")
        for about in self.states.values():
            for prefix, target in about["then"].items():
                if target not in self.states:
                    raise MaskError(f"{target!r} is no state")
                if not any(str(name or "?").startswith(prefix) for name in self.of(about)):
                    raise MaskError(f"{prefix!r} never happens")
            self.of(about)

    def of(self, about):
        return actions(self.tools, about["mode"], about["prefixes"])

    def actions(self):
        return self.of(self.states[self.state])

    def step(self, action):
        if action not in self.actions():
            raise MaskError("not allowed")
        then = self.states[self.state]["then"]
        cuts = [] if action is None else [action[:size] for size in range(len(action), -1, -1)]
        self.state = next((then[cut] for cut in cuts if cut in then), self.state)
        return self.state


# %% nbgrader={"grade_id": "next-tokens"}
def next_tokens(vocabulary, texts, written):
    """Grows the set of beginnings from which an end can be reached until nothing is new."""
    ends = {text.encode() for text in texts}
    if any(written.startswith(end) for end in ends):
        return None
    begun = {end[:size] for end in ends for size in range(len(end))}
    good = set()

    def reaches(text):
        return text in good or any(text.startswith(end) for end in ends)

    known = -1
    while known != len(good):
        known = len(good)
        good |= {b for b in begun if any(token and reaches(b + token) for token in vocabulary)}
    ids = [n for n, token in enumerate(vocabulary) if token and reaches(written + token)]
    if not ids:
        raise MaskError("no token leads on")
    return ids


# %% nbgrader={"grade_id": "render"}
def render(definitions, messages, allowed):
    """Longest definitions first, with all letters as they are."""
    lines = [json.dumps(tool, sort_keys=True, ensure_ascii=False) for tool in definitions]
    lines.sort(key=lambda line: (-len(line), line))
    form = "<|im_start|>{}\n{}<|im_end|>\n".format
    told = [form("system", SYSTEM + "\n" + "\n".join(lines))]
    told += [form(message["role"], message["content"]) for message in messages]
    return "".join([*told, "<|im_start|>assistant\n"])
