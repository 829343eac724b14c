"""From conversations to token ids, for the engines that run in this process."""

from typing import Any

from workbook.serving.interface import PromptTooLongError


class Prompts:
    """A model's tokenizer and chat template, and the room that its engine has.

    Args:
        tokenizer: A transformers tokenizer with a chat template.
        max_model_len: Tokens that a prompt and its reply may have together.
    """

    def __init__(self, tokenizer: Any, max_model_len: int) -> None:
        self._tokenizer = tokenizer
        self._max_model_len = max_model_len

    def encode(self, messages: list[dict[str, str]]) -> list[int]:
        """Returns a conversation as the model reads it, up to where the reply begins."""
        ids = self._tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        return list(ids)

    def count(self, prompt: str | list[dict[str, str]]) -> int:
        """Counts the tokens of a bare text, or of a conversation with its template."""
        if isinstance(prompt, str):
            return len(self._tokenizer.encode(prompt, add_special_tokens=False))
        return len(self.encode(prompt))

    def room(self, tokens: int) -> int:
        """Returns how many tokens a reply to a prompt of this many may have.

        Raises:
            PromptTooLongError: None.
        """
        if tokens >= self._max_model_len:
            raise PromptTooLongError(tokens, self._max_model_len)
        return self._max_model_len - tokens
