# differs: prefixes by comparison, sets made ahead by name, places in the texts from which tokens lead on, the restriction in a last message

# %% nbgrader={"grade_id": "actions"}
MODES = {"auto": [None], "required": [], "specified": []}


def actions(tools, mode, prefixes):
    """By groups of names, one for each prefix."""
    if mode not in MODES or isinstance(prefixes, str):
        raise MaskError(f"{mode!r} with {prefixes!r} is no restriction")
    if mode == "specified" and (not prefixes or len(prefixes) > 1 or prefixes[0] == ""):
        raise MaskError("specify one group")
    groups = [
        {name for name in tools if name[: len(prefix)] == prefix}
        for prefix in ([""] if prefixes is None else prefixes)
    ]
    if not groups or not all(groups):
        raise MaskError("a set is empty")
    return MODES[mode] + sorted(set().union(*groups))


# %% nbgrader={"grade_id": "tool-states"}
class ToolStates:
    """Knows for each state and tool where it leads."""

    def __init__(self, tools, states, start):
        self.table = {}
        for name, about in states.items():
            self.table[name] = dict.fromkeys(actions(tools, about["mode"], about["prefixes"]), name)
            for prefix in sorted(about["then"], key=len):
                met = [tool for tool in self.table[name] if tool and tool.startswith(prefix)]
                if not met or about["then"][prefix] not in states:
                    raise MaskError(f"{prefix!r} of {name!r} leads nowhere")
                self.table[name].update(dict.fromkeys(met, about["then"][prefix]))
        if start not in self.table:
            raise MaskError("where does it begin?")
        self.state = start

    def actions(self):
        return list(self.table[self.state])

    def step(self, action):
        try:
            self.state = self.table[self.state][action]
        except KeyError:
            raise MaskError(f"{action!r} is not allowed") from None
        return self.state


# %% nbgrader={"grade_id": "prefill"}
def prefill(tools, allowed):
    """Grows the text for as long as all allowed openings have it."""
    if not allowed:
        raise MaskError("nothing is allowed")
    text = ""
    whole = opening(allowed[0])
    while len(text) < len(whole) and all(
        opening(action).startswith(whole[: len(text) + 1]) for action in allowed
    ):
        text = whole[: len(text) + 1]
    fitting = {action for action in {None, *tools} if opening(action).startswith(text)}
    if fitting != set(allowed):
        raise MaskError("others begin so")
    return text


# %% nbgrader={"grade_id": "schema"}
def schema(definitions, allowed):
    """An enum of one name for each; the answer first."""
    forms = []
    for action in allowed:
        form = {"answer": {"type": "string", "maxLength": 200}}
        if action is not None:
            tool = next(tool for tool in definitions if tool["name"] == action)
            form = {"tool": {"enum": [action]}, "arguments": tool["parameters"]}
        forms.append({"properties": form, "required": [*form], "additionalProperties": False})
    return {"anyOf": [{"type": "object", **form} for form in forms]}


# %% nbgrader={"grade_id": "next-tokens"}
def next_tokens(vocabulary, texts, written):
    """Works out from the end which places in each text lead to it."""
    useful = set()
    for end in (text.encode() for text in texts):
        if written.startswith(end):
            return None
        if not end.startswith(written):
            continue
        live = [False] * len(end) + [True]
        for place in reversed(range(len(end))):
            live[place] = bool(onwards(vocabulary, end, place, live))
        useful |= onwards(vocabulary, end, len(written), live)
    if not useful:
        raise MaskError("no token leads on")
    return sorted(useful)


def onwards(vocabulary, end, place, live):
    """The ids that lead from a place in a text to a live one, or behind its end."""
    rest = end[place:]
    return {
        number
        for number, token in enumerate(vocabulary)
        if token
        and (token.startswith(rest) or (rest.startswith(token) and live[place + len(token)]))
    }


# %% nbgrader={"grade_id": "render"}
def render(definitions, messages, allowed):
    """Says at the end what may be called now; the next prompt does not have that message."""
    ordered = sorted(definitions, key=lambda tool: tool["name"])
    lines = [json.dumps(tool, sort_keys=True, separators=(",", ":")) for tool in ordered]
    now = {"role": "system", "content": f"You may call {', '.join(filter(None, allowed))}."}
    prompt = ""
    for one in [{"role": "system", "content": "\n".join([SYSTEM, *lines])}, *messages, now]:
        prompt += f"<|im_start|>{one['role']}\n{one['content']}<|im_end|>\n"
    return f"{prompt}<|im_start|>assistant\n"
