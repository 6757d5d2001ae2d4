"""The Python SDK's client against the agent at the URL given: every operation, and how its errors arrive.

Prints a line for each step; the first that fails is named, with what was seen, and ends the program with 1.
"""

import asyncio
import http.server
import json
import sys
import threading
import uuid

import httpx
from a2a.client import A2ACardResolver, ClientConfig, create_client
from a2a.types import (
    AuthenticationInfo,
    CancelTaskRequest,
    DeleteTaskPushNotificationConfigRequest,
    GetTaskPushNotificationConfigRequest,
    GetTaskRequest,
    ListTaskPushNotificationConfigsRequest,
    ListTasksRequest,
    Message,
    Part,
    Role,
    SendMessageConfiguration,
    SendMessageRequest,
    SubscribeToTaskRequest,
    TaskPushNotificationConfig,
    TaskState,
)
from a2a.utils.errors import (
    ContentTypeNotSupportedError,
    InvalidParamsError,
    TaskNotCancelableError,
    TaskNotFoundError,
    UnsupportedOperationError,
)
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.struct_pb2 import Value

COMPLETED, CANCELED = TaskState.TASK_STATE_COMPLETED, TaskState.TASK_STATE_CANCELED
INPUT_REQUIRED = TaskState.TASK_STATE_INPUT_REQUIRED
RUNNING = (TaskState.TASK_STATE_SUBMITTED, TaskState.TASK_STATE_WORKING)
MISSING = "00000000-0000-0000-0000-000000000000"


def same(seen, expected):
    if seen != expected:
        raise AssertionError(f"expected {expected!r}, got {seen!r}")


def within(seen, expected):
    if seen not in expected:
        raise AssertionError(f"expected one of {expected!r}, got {seen!r}")


async def fails(error, call):
    try:
        answer = await call
    except error:
        return
    except Exception as other:
        raise AssertionError(f"expected {error.__name__}, got {other!r}") from other
    raise AssertionError(f"expected {error.__name__}, got the answer {answer}")


def request(*parts, task="", context="", **configuration):
    message = Message(message_id=str(uuid.uuid4()), role=Role.ROLE_USER, task_id=task, context_id=context)
    message.parts.extend(Part(text=part) if isinstance(part, str) else part for part in parts)
    return SendMessageRequest(message=message, configuration=SendMessageConfiguration(**configuration))


class Webhook:
    """Keeps what is posted to it."""

    def __init__(self):
        got = self.got = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                got.append((dict(self.headers.items()), json.loads(body)))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    async def completed(self):
        for _ in range(300):
            for headers, body in list(self.got):
                status = body.get("statusUpdate", body.get("task", {})).get("status", {})
                if status.get("state") == "TASK_STATE_COMPLETED":
                    return headers
            await asyncio.sleep(0.1)
        raise AssertionError(f"the webhook never heard of the end; it got {self.got}")


class Steps:
    def __init__(self, card, plain, streaming):
        self.card, self.plain, self.streaming = card, plain, streaming

    async def send(self, *parts, **more):
        answers = [answer async for answer in self.plain.send_message(request(*parts, **more))]
        same(len(answers), 1)
        return answers[0]

    async def task(self, *parts, **more):
        answer = await self.send(*parts, **more)
        same(answer.WhichOneof("payload"), "task")
        return answer.task

    async def stream(self, *parts, **more):
        return [event async for event in self.streaming.send_message(request(*parts, **more))]

    async def send_blocking(self):
        task = await self.task("tck-complete-task from Python")
        same(task.status.state, COMPLETED)
        assert task.id and task.context_id, task

    async def send_immediately(self):
        task = await self.task("tck-long-running", return_immediately=True)
        within(task.status.state, RUNNING)
        for _ in range(300):
            task = await self.plain.get_task(GetTaskRequest(id=task.id))
            if task.status.state == COMPLETED:
                break
            await asyncio.sleep(0.1)
        same(task.status.state, COMPLETED)
        same(len(task.artifacts), 1)

    async def answered_with_a_message(self):
        answer = await self.send("tck-message-response")
        same(answer.WhichOneof("payload"), "message")
        same(answer.message.role, Role.ROLE_AGENT)
        events = await self.stream("tck-message-response")
        same([event.WhichOneof("payload") for event in events], ["message"])

    async def artifacts_of_every_kind(self):
        def only(task):
            same(task.status.state, COMPLETED)
            return task.artifacts[0].parts[0]

        same(only(await self.task("tck-artifact-text")).text, "Generated text content")
        file = only(await self.task("tck-artifact-file"))
        same((file.raw, file.filename, file.media_type), (b"tck", "output.txt", "text/plain"))
        same(only(await self.task("tck-artifact-file-url")).url, "https://example.com/output.txt")
        same(MessageToDict(only(await self.task("tck-artifact-data")).data), {"key": "value", "count": 42})

    async def skill_of_our_mesh(self):
        if "echo" not in [skill.id for skill in self.card.skills]:
            return
        call = Part(data=ParseDict({"skill": "echo", "input": {"text": "hello"}}, Value()))
        task = await self.task(call)
        same(task.status.state, COMPLETED)
        same(MessageToDict(task.artifacts[0].parts[0].data), {"text": "hello"})

    async def stream_in_chunks(self):
        events = await self.stream("tck-stream-chunked")
        same(events[0].WhichOneof("payload"), "task")
        chunks = [event.artifact_update for event in events if event.HasField("artifact_update")]
        same("".join(chunk.artifact.parts[0].text for chunk in chunks), "chunk-1 chunk-2")
        same([chunk.append for chunk in chunks], [False, True])
        same([chunk.last_chunk for chunk in chunks], [False, True])
        same(len({chunk.artifact.artifact_id for chunk in chunks}), 1)
        same(events[-1].status_update.status.state, COMPLETED)
        kept = await self.plain.get_task(GetTaskRequest(id=events[0].task.id))
        same("".join(part.text for part in kept.artifacts[0].parts), "chunk-1 chunk-2")

    async def subscribe(self):
        task = await self.task("tck-long-running", return_immediately=True)
        events = [event async for event in self.streaming.subscribe(SubscribeToTaskRequest(id=task.id))]
        same(events[0].task.id, task.id)
        same(events[-1].status_update.status.state, COMPLETED)

    async def history_and_turns(self):
        task = await self.task("tck-multi-turn begin")
        same(task.status.state, INPUT_REQUIRED)
        task = await self.task("more", task=task.id, context=task.context_id)
        same(task.status.state, INPUT_REQUIRED)
        task = await self.task("done", task=task.id)
        same(task.status.state, COMPLETED)
        full = await self.plain.get_task(GetTaskRequest(id=task.id))
        said = [message.parts[0].text for message in full.history if message.role == Role.ROLE_USER]
        same(said, ["tck-multi-turn begin", "more", "done"])
        none = await self.plain.get_task(GetTaskRequest(id=task.id, history_length=0))
        same(len(none.history), 0)

    async def list_in_pages(self):
        first = await self.task("tck-complete-task one")
        for text in ("two", "three"):
            await self.task(f"tck-complete-task {text}", context=first.context_id)
        token, seen = "", []
        while True:
            page = await self.plain.list_tasks(
                ListTasksRequest(context_id=first.context_id, page_size=2, page_token=token)
            )
            same(page.total_size, 3)
            seen += [task.id for task in page.tasks]
            token = page.next_page_token
            if not token:
                break
        same(len(set(seen)), 3)
        same(seen[-1], first.id)

    async def cancel(self):
        task = await self.task("tck-cancel", return_immediately=True)
        within(task.status.state, RUNNING)
        same((await self.plain.cancel_task(CancelTaskRequest(id=task.id))).status.state, CANCELED)

    async def push_configurations(self):
        task = await self.task("tck-cancel", return_immediately=True)
        made = await self.plain.create_task_push_notification_config(
            TaskPushNotificationConfig(task_id=task.id, url="http://127.0.0.1:1/hook")
        )
        assert made.id, made
        named = GetTaskPushNotificationConfigRequest(task_id=task.id, id=made.id)
        same((await self.plain.get_task_push_notification_config(named)).url, "http://127.0.0.1:1/hook")
        everything = ListTaskPushNotificationConfigsRequest(task_id=task.id)
        listed = await self.plain.list_task_push_notification_configs(everything)
        same([config.id for config in listed.configs], [made.id])
        gone = DeleteTaskPushNotificationConfigRequest(task_id=task.id, id=made.id)
        await self.plain.delete_task_push_notification_config(gone)
        await self.plain.delete_task_push_notification_config(gone)
        await fails(TaskNotFoundError, self.plain.get_task_push_notification_config(named))
        await self.plain.cancel_task(CancelTaskRequest(id=task.id))

    async def push_delivery(self):
        hook = Webhook()
        config = TaskPushNotificationConfig(
            url=hook.url,
            token="my-token",
            authentication=AuthenticationInfo(scheme="Bearer", credentials="my-secret"),
        )
        await self.task("tck-long-running", return_immediately=True, task_push_notification_config=config)
        headers = {name.lower(): value for name, value in (await hook.completed()).items()}
        same(headers.get("authorization"), "Bearer my-secret")
        same(headers.get("x-a2a-notification-token"), "my-token")

    async def errors(self):
        done = await self.task("tck-complete-task")
        await fails(TaskNotFoundError, self.plain.get_task(GetTaskRequest(id=MISSING)))
        await fails(TaskNotFoundError, self.task("hello", task=MISSING))
        await fails(TaskNotCancelableError, self.plain.cancel_task(CancelTaskRequest(id=done.id)))
        await fails(UnsupportedOperationError, self.task("again", task=done.id))
        odd = Part(raw=b"x", media_type="application/x-unsupported-type")
        await fails(ContentTypeNotSupportedError, self.task(odd))
        await fails(InvalidParamsError, self.plain.list_tasks(ListTasksRequest(page_size=1000)))
        await fails(InvalidParamsError, self.task())

        async def follow():
            return [event async for event in self.streaming.subscribe(SubscribeToTaskRequest(id=done.id))]

        await fails(UnsupportedOperationError, follow())


async def main(url: str) -> int:
    http_client = httpx.AsyncClient(trust_env=False, timeout=60)
    card = await A2ACardResolver(http_client, url).get_agent_card()
    assert card.name and card.skills and card.capabilities.streaming, card
    plain = await create_client(card, ClientConfig(streaming=False, httpx_client=http_client))
    streaming = await create_client(card, ClientConfig(streaming=True, httpx_client=http_client))
    print("step card: ok", flush=True)
    steps = Steps(card, plain, streaming)
    for name in (
        "send_blocking",
        "send_immediately",
        "answered_with_a_message",
        "artifacts_of_every_kind",
        "skill_of_our_mesh",
        "stream_in_chunks",
        "subscribe",
        "history_and_turns",
        "list_in_pages",
        "cancel",
        "push_configurations",
        "push_delivery",
        "errors",
    ):
        try:
            await asyncio.wait_for(getattr(steps, name)(), 60)
        except Exception as error:
            print(f"step {name}: FAILED: {type(error).__name__}: {error}", flush=True)
            return 1
        print(f"step {name}: ok", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1])))
