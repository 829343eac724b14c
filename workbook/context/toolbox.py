"""Tools of an office agent, six groups of four, and for each a request that only it fulfils.

They are definitions, with nothing behind them: what they are for is to fill a context, to be masked by group, and to be
chosen among. No request names its tool.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Sample:
    """A tool, and what somebody says who needs it.

    Attributes:
        name: the tool's name; its group is what stands before the first underscore.
        description: what it does, as its definition says.
        takes: the names of its arguments, all of them texts.
        request: what somebody says who needs this tool and no other one of these.
    """

    name: str
    description: str
    takes: tuple[str, ...]
    request: str

    @property
    def group(self) -> str:
        """The beginning that the names of its group have in common."""
        return self.name.partition("_")[0] + "_"

    def definition(self) -> dict[str, Any]:
        """Returns the tool as a context takes it."""
        properties = {name: {"type": "string", "maxLength": 40} for name in self.takes}
        parameters = {"type": "object", "properties": properties, "required": list(self.takes)}
        return {"name": self.name, "description": self.description, "parameters": parameters}


SAMPLES = (
    Sample("browser_open", "Opens a web page.", ("url",), "Go to example.org."),
    Sample("browser_search", "Searches the web.", ("query",), "Look on the internet for cheap bicycles."),
    Sample("browser_back", "Returns to the page before.", (), "Leave this page for the one I was on before."),
    Sample("browser_click", "Clicks a link on the page.", ("link",), "Follow the link that says Contact."),
    Sample("calendar_add", "Adds an appointment.", ("title", "time"), "I meet Ana on Friday at noon: note it."),
    Sample("calendar_list", "Lists the appointments of a day.", ("day",), "What are my appointments on Monday?"),
    Sample("calendar_move", "Moves an appointment.", ("title", "time"), "Shift the dentist to Tuesday."),
    Sample("calendar_cancel", "Cancels an appointment.", ("title",), "I will not see the dentist after all."),
    Sample("database_query", "Runs a SELECT on the database.", ("sql",), "How many rows has the table of orders?"),
    Sample("database_insert", "Inserts a row into a table.", ("table", "row"), "Put a new customer into the table."),
    Sample("database_tables", "Lists the tables of the database.", (), "What does the database hold, table by table?"),
    Sample("database_backup", "Makes a backup of the database.", (), "Keep a safe copy of the database."),
    Sample("file_read", "Reads a file.", ("path",), "Show me what is in notes.txt."),
    Sample("file_write", "Writes a file.", ("path", "text"), "Save the word hello in hello.txt."),
    Sample("file_list", "Lists a folder.", ("path",), "Which files are in the folder reports?"),
    Sample("file_delete", "Deletes a file.", ("path",), "Remove old.txt for good."),
    Sample("mail_send", "Sends an email.", ("to", "text"), "Write to Ben that I am late."),
    Sample("mail_inbox", "Lists the emails that came in.", (), "Did anybody write to me?"),
    Sample("mail_archive", "Archives an email.", ("id",), "Put message 17 away, I am done with it."),
    Sample("mail_forward", "Forwards an email.", ("id", "to"), "Let Cora have message 17 too."),
    Sample("shell_run", "Runs a shell command.", ("command",), "Execute make test."),
    Sample("shell_kill", "Ends a process.", ("pid",), "Process 4711 hangs: end it."),
    Sample("shell_processes", "Lists the running processes.", (), "What is running on this machine?"),
    Sample("shell_install", "Installs a package.", ("package",), "I need the package numpy on this machine."),
)
"""All of them, group by group."""

DEFINITIONS = [sample.definition() for sample in SAMPLES]
"""Their definitions."""
