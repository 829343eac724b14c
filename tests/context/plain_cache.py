"""vLLM's prefix cache written down as plainly as its rules are said: lists, and tuples of tokens for keys.

Slow, and obviously right; `PrefixCache` is compared with it.
"""


class PlainCache:
    """The free list, the tokens that each block is known by, and who holds it."""

    def __init__(self, block_size: int, blocks: int) -> None:
        self.size = block_size
        self.free = list(range(1, blocks))
        # Each known block and its name, in the order in which they became known.
        self.known: list[tuple[tuple[object, ...], int]] = []
        self.held: dict[str, list[int]] = {}
        self.evicted = 0

    def find(self, tokens: list[int], salt: str) -> list[int]:
        found: list[int] = []
        while (len(found) + 1) * self.size < len(tokens):  # one token is left to compute
            name = (salt, *tokens[: (len(found) + 1) * self.size])
            same = [block for other, block in self.known if other == name]
            if not same:
                break
            found.append(same[0])
        return found

    def take(self, name: str, count: int) -> bool:
        if count > len(self.free):
            return False
        for _ in range(count):
            block = self.free.pop(0)
            before = len(self.known)
            self.known = [(tokens, other) for tokens, other in self.known if other != block]
            self.evicted += before - len(self.known)
            self.held[name].append(block)
        return True

    def start(self, name: str, tokens: list[int], salt: str, upto: int) -> int | None:
        found = self.find(tokens, salt)
        needed = max(-(-upto // self.size) - len(found), 0)
        if needed > len([block for block in self.free if block not in found]):
            return None
        self.free = [block for block in self.free if block not in found]
        self.held[name] = list(found)
        self.take(name, needed)
        self.publish(name, tokens, salt, upto)
        return len(found) * self.size

    def grow(self, name: str, tokens: list[int], salt: str, upto: int) -> bool:
        if not self.take(name, max(-(-upto // self.size) - len(self.held[name]), 0)):
            return False
        self.publish(name, tokens, salt, upto)
        return True

    def publish(self, name: str, tokens: list[int], salt: str, upto: int) -> None:
        for index in range(min(upto, len(tokens)) // self.size):
            block = self.held[name][index]
            if all(other != block for _, other in self.known):
                self.known.append(((salt, *tokens[: (index + 1) * self.size]), block))

    def end(self, name: str) -> None:
        blocks = self.held.pop(name)[::-1]
        still = {block for others in self.held.values() for block in others}
        known = {block for _, block in self.known}
        freed = [block for block in blocks if block not in still]
        self.free = [b for b in freed if b not in known] + self.free + [b for b in freed if b in known]
