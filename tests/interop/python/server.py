"""An agent made with the Python SDK: what our client has to get along with, and what the conformance runner is tried on.

The text of a message says what to do: see `behave`. Prints `ready URL` once it listens.
"""

import asyncio
import re
import socket
import sys

import httpx
import uvicorn
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes
from a2a.server.tasks import (
    BasePushNotificationSender,
    InMemoryPushNotificationConfigStore,
    InMemoryTaskStore,
    TaskUpdater,
)
from a2a.types import (
    AgentCapabilities,
    AgentCard,
    AgentInterface,
    AgentSkill,
    Message,
    Part,
    Role,
    Task,
    TaskState,
    TaskStatus,
)
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Value
from starlette.applications import Starlette


def said(message: Message) -> str:
    return message.parts[0].text if message.parts else ""


def artifact(name: str) -> Part:
    """The part that an artifact behaviour yields."""
    if name == "tck-artifact-file":
        return Part(raw=b"tck", media_type="text/plain", filename="output.txt")
    if name == "tck-artifact-file-url":
        return Part(url="https://example.com/output.txt", media_type="text/plain", filename="output.txt")
    if name == "tck-artifact-data":
        return Part(data=ParseDict({"key": "value", "count": 42}, Value()))
    return Part(text="Generated text content")


class Executor(AgentExecutor):
    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        opening = context.current_task.history[0] if context.current_task else context.message
        name = re.match(r"(tck-[a-z0-9]+(?:-[a-z0-9]+)*)?", said(opening)).group(0)
        if name == "tck-message-response":
            await event_queue.enqueue_event(
                Message(message_id=f"answer-{context.message.message_id}", role=Role.ROLE_AGENT, parts=[Part(text="Direct message response")])
            )
            return
        if not context.current_task:
            await event_queue.enqueue_event(
                Task(
                    id=context.task_id,
                    context_id=context.context_id,
                    status=TaskStatus(state=TaskState.TASK_STATE_SUBMITTED),
                    history=[context.message],
                )
            )
        await self.behave(name, said(context.message), TaskUpdater(event_queue, context.task_id, context.context_id))

    async def behave(self, name: str, text: str, task: TaskUpdater) -> None:
        def words(content: str) -> Message:
            return task.new_agent_message([Part(text=content)])

        if name.startswith("tck-artifact"):
            await task.add_artifact([artifact(name)])
            await task.complete()
        elif name == "tck-multi-turn" and not text.startswith("done"):
            await task.requires_input(words("more?"))
        elif name == "tck-input-required":
            await task.requires_input(words("which one?"))
        elif name == "tck-auth-required":
            await task.requires_auth(words("sign in at the desk"))
        elif name == "tck-task-failure":
            await task.failed(words("could not"))
        elif name == "tck-reject-task":
            await task.reject(words("rejected"))
        elif name == "tck-cancel":
            await task.start_work()
            await asyncio.Event().wait()
        elif name in ("tck-long-running", "tck-stream-basic", "tck-stream-chunked"):
            await self.work(name, task)
        else:
            await task.complete(words("Hello from Python"))

    async def work(self, name: str, task: TaskUpdater) -> None:
        await task.start_work()
        if name == "tck-long-running":
            await asyncio.sleep(1)
        if name == "tck-stream-chunked":
            await task.add_artifact([Part(text="chunk-1 ")], artifact_id="chunks", append=False, last_chunk=False)
            await task.add_artifact([Part(text="chunk-2")], artifact_id="chunks", append=True, last_chunk=True)
        else:
            await task.add_artifact([Part(text="Streamed content")])
        await task.complete()

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        await TaskUpdater(event_queue, context.task_id, context.context_id).cancel()


def card(url: str, capable: bool) -> AgentCard:
    return AgentCard(
        name="python-agent",
        description="An agent made with the Python SDK",
        version="1.0.0",
        supported_interfaces=[AgentInterface(url=url, protocol_binding="JSONRPC", protocol_version="1.0")],
        capabilities=AgentCapabilities(streaming=capable, push_notifications=capable, extended_agent_card=False),
        default_input_modes=["text/plain", "application/json"],
        default_output_modes=["text/plain", "application/json"],
        skills=[AgentSkill(id="behave", name="Behave", description="Does what the text says", tags=["test"])],
    )


def main() -> None:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    mine = card(url, capable="reduced" not in sys.argv[1:])
    pushes = InMemoryPushNotificationConfigStore()
    handler = DefaultRequestHandler(
        agent_executor=Executor(),
        task_store=InMemoryTaskStore(),
        agent_card=mine,
        push_config_store=pushes,
        push_sender=BasePushNotificationSender(httpx.AsyncClient(trust_env=False), pushes),
        validate_input_modes=True,
    )
    routes = create_agent_card_routes(mine, cache_control="public, max-age=60") + create_jsonrpc_routes(handler, "/")
    server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), log_level="warning"))
    print("ready", url, flush=True)
    listener.listen()
    asyncio.run(server.serve(sockets=[listener]))


if __name__ == "__main__":
    main()
