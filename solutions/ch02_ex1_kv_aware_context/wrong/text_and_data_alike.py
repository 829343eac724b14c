# mistake: keeps no kind: data, and text that looks like it, have one name
# killed_by: names-come-from-contents

# %% nbgrader={"grade_id": "store"}
class Store:
    """Contents without a kind."""

    def __init__(self, write, read):
        self._write, self._read = write, read

    def put(self, obs):
        if isinstance(obs, bytes):
            data = obs
        elif isinstance(obs, str):
            data = obs.encode()
        else:
            data = canonical(obs).encode()
        ref = hashlib.sha256(data).hexdigest()[:16]
        self._write(ref, data)
        return ref

    def restore(self, ref):
        data = self._read(ref)
        if data is None:
            raise KeyError(ref)
        try:
            text = data.decode()
        except UnicodeDecodeError:
            return data
        try:
            return json.loads(text)
        except ValueError:
            return text

    def retrieve(self, ref, contains):
        obs = self.restore(ref)
        text = obs if isinstance(obs, str) else json.dumps(obs, indent=1, ensure_ascii=False)
        found = []
        for line in text.split("\n"):
            place = line.find(contains)
            if place >= 0:
                found.append(line[max(0, place - 150) : place + len(contains) + 150])
        return "\n".join(found).encode()[:2000].decode(errors="ignore")
