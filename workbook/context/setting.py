"""Where drawn workloads play: what the agent is told, its tools, and the words that its world is made of."""

from typing import Any

SYSTEM = (
    "You look after services. You are given a task, and tools to look at files, logs, tables and pages.\n"
    "Think in one or two sentences, then call one tool, as a JSON object with the keys tool and arguments. "
    "Read before you write. Never guess a value that you can look up: say where you have it from. "
    "When a call fails, read the error, and do not make the same call again. "
    "What you have seen may have been moved to a file; its reference says where it came from, and memory_retrieve "
    "gives it back.\n"
    "When all is done, answer with a report of at most ten lines."
)


def _tool(name: str, description: str, **properties: str) -> dict[str, Any]:
    return {
        "name": name,
        "description": description,
        "parameters": {
            "type": "object",
            "properties": {
                key: {"type": "integer" if about.startswith("How many") else "string", "description": about}
                for key, about in properties.items()
            },
            "required": list(properties),
            "additionalProperties": False,
        },
    }


TOOLS = (
    _tool("web_search", "Searches the web and returns titles, addresses and snippets.", query="What to look for."),
    _tool("file_read", "Reads a text file from its first line to its last.", path="The file's absolute path."),
    _tool("web_fetch", "Fetches a page and returns it as Markdown.", url="The page's address."),
    _tool("file_list", "Lists a folder with the sizes of its files.", path="The folder's absolute path."),
    _tool("sql_query", "Sends a query to the read-only copy of the database.", query="One SELECT statement."),
    _tool("log_read", "Returns the last lines of a log.", path="The log's path.", last="How many lines, at most 200."),
    _tool("shell_run", "Runs a command in the service's container, for 10 s at most.", command="The command line."),
    _tool("file_write", "Writes a file below notes/.", path="Where.", text="The whole text of the file."),
    _tool("web_download", "Downloads a file and returns its bytes.", url="The file's address."),
    _tool(
        "memory_retrieve",
        "Returns the lines of a moved observation that hold a text.",
        ref="The observation's reference.",
        contains="The text to find.",
    ),
)
STEPS = (
    "find where requests fail",
    "read the logs of that hour",
    "compare with the last release",
    "ask the database for affected hosts",
    "look the error up",
    "write the report",
    "vérifier la configuration",
)
ENDINGS = (".py", ".yaml", ".md", ".toml", ".json")
KEYS = ("checksum", "ticket", "release id", "clé d'accès", "batch number", "序列号", "rollback tag")
NAMES = ("kestrel", "heron", "plover", "wren", "siskin", "dunlin", "avocet", "küstenseeschwalbe", "curlew", "godwit")
WORDS = (
    "request",
    "timeout",
    "cache",
    "replica",
    "deploy",
    "queue",
    "worker",
    "latency",
    "token",
    "shard",
    "retry",
    "backlog",
    "schema",
    "index",
    "lease",
    "quota",
    "naïve",
    "größe",
    "再試行",
    "stream",
    "buffer",
    "route",
    "handler",
    "session",
)
