# mistake: asks again after a failure and does not say what was wrong
# killed_by: solve-carries-on

# %% nbgrader={"grade_id": "agent"}
class MaxStepsError(RuntimeError):
    """The model has not answered within the steps that it had."""


class Agent(Toolbox):
    """A machine for a language model: a kernel, files, tools, and the loop that uses them."""

    def solve(self, task: str, llm: Callable[..., str], max_steps: int = 8) -> str:
        """Asks `llm(messages)` until it answers; returns the answer. Raises MaxStepsError."""
        tools = "\n".join(f"- {name}: {json.dumps(self.tools[name][1])}" for name in self.tools)
        form = 'Reply with one JSON object: {"tool": name, "arguments": {…}} or {"answer": text}.'
        system = f"{form} The tools and their arguments:\n{tools}"
        messages = [{"role": "system", "content": system}, {"role": "user", "content": task}]
        for _ in range(max_steps):
            reply = llm(messages)
            answer, observation = self.act(reply)
            if answer is not None:
                return answer
            if "Error:" in observation:
                continue
            messages.append({"role": "assistant", "content": reply})
            messages.append({"role": "user", "content": observation})
        raise MaxStepsError(f"no answer in {max_steps} steps")

    def act(self, reply: str) -> tuple[str | None, str]:
        """Carries out what the model wrote; returns its answer if it is one, and what came of it."""
        try:
            action = json.loads(reply)
        except (ValueError, RecursionError) as error:
            return None, f"Error: the reply is not JSON: {error}"
        match action:
            case {"answer": str(answer)}:
                return answer, ""
            case {"tool": str(name), "arguments": arguments}:
                result = {"tool": name, "result": self.call_tool(name, arguments)}
                return None, json.dumps(result, ensure_ascii=False)
        return None, "Error: the reply is neither a tool call with arguments nor an answer"
