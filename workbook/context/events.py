"""What happened, as events under OpenTelemetry's names for generative AI, so that any backend can show them.

Names come from `opentelemetry-semantic-conventions` where it has one. What it has no name for (the end of a run,
retries, files) is under `workbook.`; the constants here say which is which. An event is flat: a dict that `json.dumps`
takes, and a log is a list of them, in any order.

| attribute | whose name | on | meaning |
|---|---|---|---|
| `gen_ai.operation.name` | OpenTelemetry | all | "chat", "execute_tool", "invoke_agent" |
| `gen_ai.conversation.id` | OpenTelemetry | all | the run |
| `gen_ai.usage.input_tokens` | OpenTelemetry | chat | all tokens of the prompt, cached ones included |
| `gen_ai.usage.cache_read.input_tokens` | OpenTelemetry | chat | those read from the prefix cache |
| `gen_ai.usage.cache_creation.input_tokens` | OpenTelemetry | chat | those written to it |
| `gen_ai.usage.output_tokens` | OpenTelemetry | chat | tokens generated |
| `gen_ai.request.model` | OpenTelemetry | chat | who was asked |
| `gen_ai.tool.name`, `gen_ai.tool.call.id` | OpenTelemetry | execute_tool | the tool, and the call it was |
| `server.address` | OpenTelemetry | chat | the instance that answered |
| `error.type` | OpenTelemetry | all | what went wrong; absent where nothing did |
| `workbook.event.id` | ours | all | an event that is delivered twice has the same one; unlike others of its operation |
| `workbook.time`, `workbook.seconds` | ours | all | when it began, and how long it took |
| `workbook.retry_of` | ours | chat | the first attempt at the same request |
| `workbook.outcome` | ours | invoke_agent | "done", or why the run was given up |
| `workbook.files` | ours | execute_tool | the files that were used, as "how path" |

(In OpenTelemetry begin and duration are a span's own; a flat log needs names for them.)
"""

from collections.abc import Iterable
from typing import Any

from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as gen_ai
from opentelemetry.semconv.attributes import error_attributes, server_attributes

from workbook.context.trace import End, Record, Request, Response, Run, Tool

OPERATION = gen_ai.GEN_AI_OPERATION_NAME
RUN = gen_ai.GEN_AI_CONVERSATION_ID
INPUT_TOKENS = gen_ai.GEN_AI_USAGE_INPUT_TOKENS
CACHED_TOKENS = gen_ai.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS
WRITTEN_TOKENS = gen_ai.GEN_AI_USAGE_CACHE_CREATION_INPUT_TOKENS
OUTPUT_TOKENS = gen_ai.GEN_AI_USAGE_OUTPUT_TOKENS
MODEL = gen_ai.GEN_AI_REQUEST_MODEL
TOOL = gen_ai.GEN_AI_TOOL_NAME
CALL = gen_ai.GEN_AI_TOOL_CALL_ID
SERVER = server_attributes.SERVER_ADDRESS
ERROR = error_attributes.ERROR_TYPE

ID = "workbook.event.id"
TIME = "workbook.time"
SECONDS = "workbook.seconds"
RETRY_OF = "workbook.retry_of"
OUTCOME = "workbook.outcome"
FILES = "workbook.files"

CHAT = gen_ai.GenAiOperationNameValues.CHAT.value
EXECUTE_TOOL = gen_ai.GenAiOperationNameValues.EXECUTE_TOOL.value
INVOKE_AGENT = gen_ai.GenAiOperationNameValues.INVOKE_AGENT.value

Event = dict[str, Any]


def to_events(records: Iterable[Record]) -> list[Event]:
    """Returns the events of a trace's records, in the order in which they ended.

    A request that nothing came back for is no event: it may still be at work. A run is one when it ends.
    """
    events = list[Event]()
    requests, runs = dict[str, Request](), dict[str, Run]()
    for record in records:
        match record:
            case Run():
                runs[record.run] = record
            case Request():
                requests[record.id] = record
            case Response():
                events.append(_chat(requests[record.request], record))
            case Tool():
                events.append(_tool(record))
            case End():
                began = runs[record.run].time if record.run in runs else record.time
                lasted = record.time - began
                events.append(_event(INVOKE_AGENT, record.run, record.run, began, lasted, **{OUTCOME: record.outcome}))
    return events


def _chat(request: Request, response: Response) -> Event:
    usage = response.usage
    counted = {
        INPUT_TOKENS: usage and usage.input_tokens,
        CACHED_TOKENS: usage and usage.cached_tokens,
        WRITTEN_TOKENS: usage and usage.written_tokens,
        OUTPUT_TOKENS: usage and usage.output_tokens,
    }
    more = {
        MODEL: request.model or None,
        SERVER: request.server or None,
        RETRY_OF: request.retry_of,
        ERROR: _type(response.error),
    }
    return _event(CHAT, request.id, request.run, request.time, response.seconds, **counted, **more)


def _tool(tool: Tool) -> Event:
    more = {
        TOOL: tool.name,
        CALL: tool.call or None,
        ERROR: _type(tool.error),
        FILES: [f"{file.how} {file.path}" for file in tool.files] or None,
    }
    return _event(EXECUTE_TOOL, tool.id, tool.run, tool.time, tool.seconds, **more)


def _event(operation: str, name: str, run: str, time: float, seconds: float, **more: Any) -> Event:
    event = {OPERATION: operation, ID: name, RUN: run, TIME: time, SECONDS: seconds, **more}
    return {key: value for key, value in event.items() if value is not None}


def _type(error: str | None) -> str | None:
    return None if error is None else error.partition(":")[0].strip() or "_OTHER"
