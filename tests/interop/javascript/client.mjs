// The JavaScript SDK's client against the agent at the URL given: every operation, and how its errors arrive.
// Prints a line for each step; the first that fails is named, with what was seen, and ends the program with 1.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';

import { Role, TaskState } from '@a2a-js/sdk';
import { ClientFactory, DefaultAgentCardResolver } from '@a2a-js/sdk/client';
import { isJsonRpcError } from '@a2a-js/sdk/errors';

const MISSING = '00000000-0000-0000-0000-000000000000';
const RUNNING = [TaskState.TASK_STATE_SUBMITTED, TaskState.TASK_STATE_WORKING];

const text = (value) => ({ content: { $case: 'text', value }, metadata: undefined, filename: '', mediaType: '' });
const value = (part) => part.content.value;

function request(parts, { taskId = '', contextId = '', ...configuration } = {}) {
  const message = {
    messageId: randomUUID(),
    role: Role.ROLE_USER,
    parts: parts.map((part) => (typeof part === 'string' ? text(part) : part)),
    taskId,
    contextId,
    metadata: undefined,
    extensions: [],
    referenceTaskIds: [],
  };
  return {
    tenant: '',
    message,
    configuration: {
      acceptedOutputModes: [],
      taskPushNotificationConfig: undefined,
      returnImmediately: false,
      ...configuration,
    },
    metadata: undefined,
  };
}

const pushConfig = (url, more) => ({
  tenant: '',
  id: '',
  taskId: '',
  url,
  token: '',
  authentication: undefined,
  ...more,
});

async function fails(code, call) {
  try {
    assert.fail(`expected the error ${code}, got ${JSON.stringify(await call)}`);
  } catch (error) {
    if (error instanceof assert.AssertionError) throw error;
    assert.ok(isJsonRpcError(error), `expected the error ${code}, got ${error.stack}`);
    assert.equal(error.envelopeCode, code, error.message);
  }
}

async function all(stream) {
  const events = [];
  for await (const event of stream) events.push(event.payload);
  return events;
}

// Keeps what is posted to it.
class Webhook {
  got = [];

  async listen() {
    this.server = createServer((incoming, outgoing) => {
      let body = '';
      incoming.on('data', (chunk) => (body += chunk));
      incoming.on('end', () => {
        this.got.push({ headers: incoming.headers, body: JSON.parse(body) });
        outgoing.writeHead(204).end();
      });
    });
    await new Promise((resolve) => this.server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${this.server.address().port}/hook`;
  }

  async completed() {
    for (let i = 0; i < 300; i += 1) {
      const end = this.got.find(
        ({ body }) => (body.statusUpdate ?? body.task)?.status?.state === 'TASK_STATE_COMPLETED',
      );
      if (end) {
        this.server.close();
        return end.headers;
      }
      await pause(100);
    }
    throw new Error(`the webhook never heard of the end; it got ${JSON.stringify(this.got)}`);
  }
}

const steps = {
  async sendBlocking(send) {
    const task = await send.task(['tck-complete-task from JavaScript']);
    assert.equal(task.status.state, TaskState.TASK_STATE_COMPLETED);
    assert.ok(task.id && task.contextId);
  },

  async sendImmediately(send) {
    let task = await send.task(['tck-long-running'], { returnImmediately: true });
    assert.ok(RUNNING.includes(task.status.state), `state ${task.status.state}`);
    for (let i = 0; i < 300 && task.status.state !== TaskState.TASK_STATE_COMPLETED; i += 1) {
      await pause(100);
      task = await send.client.getTask({ tenant: '', id: task.id });
    }
    assert.equal(task.status.state, TaskState.TASK_STATE_COMPLETED);
    assert.equal(task.artifacts.length, 1);
  },

  async answeredWithAMessage(send) {
    const answer = await send.client.sendMessage(request(['tck-message-response']));
    assert.equal(answer.role, Role.ROLE_AGENT);
    const events = await all(send.client.sendMessageStream(request(['tck-message-response'])));
    assert.deepEqual(
      events.map((event) => event.$case),
      ['message'],
    );
  },

  async artifactsOfEveryKind(send) {
    const only = async (name) => (await send.task([name])).artifacts[0].parts[0];
    assert.equal(value(await only('tck-artifact-text')), 'Generated text content');
    const file = await only('tck-artifact-file');
    assert.equal(Buffer.from(value(file)).toString(), 'tck');
    assert.deepEqual([file.filename, file.mediaType], ['output.txt', 'text/plain']);
    assert.equal(value(await only('tck-artifact-file-url')), 'https://example.com/output.txt');
    assert.deepEqual(value(await only('tck-artifact-data')), { key: 'value', count: 42 });
  },

  async skillOfOurMesh(send) {
    if (!send.card.skills.some((skill) => skill.id === 'echo')) return;
    const call = { skill: 'echo', input: { text: 'hello' } };
    const task = await send.task([{ ...text(''), content: { $case: 'data', value: call } }]);
    assert.deepEqual(value(task.artifacts[0].parts[0]), { text: 'hello' });
  },

  async streamInChunks(send) {
    const events = await all(send.client.sendMessageStream(request(['tck-stream-chunked'])));
    assert.equal(events[0].$case, 'task');
    const chunks = events.filter((event) => event.$case === 'artifactUpdate').map((event) => event.value);
    assert.equal(chunks.map((chunk) => value(chunk.artifact.parts[0])).join(''), 'chunk-1 chunk-2');
    assert.deepEqual(
      chunks.map((chunk) => [chunk.append, chunk.lastChunk]),
      [
        [false, false],
        [true, true],
      ],
    );
    assert.equal(events.at(-1).value.status.state, TaskState.TASK_STATE_COMPLETED);
  },

  async subscribe(send) {
    const task = await send.task(['tck-long-running'], { returnImmediately: true });
    const events = await all(send.client.resubscribeTask({ tenant: '', id: task.id }));
    assert.equal(events[0].value.id, task.id);
    assert.equal(events.at(-1).value.status.state, TaskState.TASK_STATE_COMPLETED);
  },

  async historyAndTurns(send) {
    const first = await send.task(['tck-multi-turn begin']);
    assert.equal(first.status.state, TaskState.TASK_STATE_INPUT_REQUIRED);
    const second = await send.task(['more'], { taskId: first.id, contextId: first.contextId });
    assert.equal(second.status.state, TaskState.TASK_STATE_INPUT_REQUIRED);
    const third = await send.task(['done'], { taskId: first.id, contextId: first.contextId });
    assert.equal(third.status.state, TaskState.TASK_STATE_COMPLETED);
    const { history } = await send.client.getTask({ tenant: '', id: first.id });
    const said = history.filter((message) => message.role === Role.ROLE_USER).map((one) => value(one.parts[0]));
    assert.deepEqual(said, ['tck-multi-turn begin', 'more', 'done']);
    const none = await send.client.getTask({ tenant: '', id: first.id, historyLength: 0 });
    assert.equal(none.history.length, 0);
  },

  async listInPages(send) {
    const first = await send.task(['tck-complete-task one']);
    const { contextId } = first;
    await send.task(['tck-complete-task two'], { contextId });
    await send.task(['tck-complete-task three'], { contextId });
    const seen = [];
    let pageToken = '';
    do {
      const page = await send.client.listTasks({ tenant: '', contextId, status: 0, pageSize: 2, pageToken });
      assert.equal(page.totalSize, 3);
      seen.push(...page.tasks.map((task) => task.id));
      pageToken = page.nextPageToken;
    } while (pageToken);
    assert.equal(new Set(seen).size, 3);
    assert.equal(seen.at(-1), first.id);
  },

  async cancel(send) {
    const task = await send.task(['tck-cancel'], { returnImmediately: true });
    assert.ok(RUNNING.includes(task.status.state), `state ${task.status.state}`);
    const after = await send.client.cancelTask({ tenant: '', id: task.id, metadata: undefined });
    assert.equal(after.status.state, TaskState.TASK_STATE_CANCELED);
  },

  async pushConfigurations(send) {
    const { id: taskId } = await send.task(['tck-cancel'], { returnImmediately: true });
    const url = 'http://127.0.0.1:1/hook';
    const { client } = send;
    const { id } = await client.createTaskPushNotificationConfig(pushConfig(url, { taskId }));
    assert.ok(id);
    const named = { tenant: '', taskId, id };
    assert.equal((await client.getTaskPushNotificationConfig(named)).url, url);
    const listed = await client.listTaskPushNotificationConfig({ tenant: '', taskId, pageSize: 0, pageToken: '' });
    assert.deepEqual(
      listed.configs.map((config) => config.id),
      [id],
    );
    await client.deleteTaskPushNotificationConfig(named);
    await client.deleteTaskPushNotificationConfig(named);
    await fails(-32001, client.getTaskPushNotificationConfig(named));
    await client.cancelTask({ tenant: '', id: taskId, metadata: undefined });
  },

  async pushDelivery(send) {
    const webhook = new Webhook();
    const authentication = { scheme: 'Bearer', credentials: 'my-secret' };
    const config = pushConfig(await webhook.listen(), { token: 'my-token', authentication });
    await send.task(['tck-long-running'], { returnImmediately: true, taskPushNotificationConfig: config });
    const headers = await webhook.completed();
    assert.equal(headers.authorization, 'Bearer my-secret');
    assert.equal(headers['x-a2a-notification-token'], 'my-token');
  },

  async errors(send) {
    const { client } = send;
    const { id } = await send.task(['tck-complete-task']);
    await fails(-32001, client.getTask({ tenant: '', id: MISSING }));
    await fails(-32001, client.sendMessage(request(['hello'], { taskId: MISSING })));
    await fails(-32002, client.cancelTask({ tenant: '', id, metadata: undefined }));
    await fails(-32004, client.sendMessage(request(['again'], { taskId: id })));
    await fails(-32005, client.sendMessage(request([{ ...text('x'), mediaType: 'application/x-unsupported-type' }])));
    await fails(-32602, client.listTasks({ tenant: '', contextId: '', status: 0, pageSize: 1000, pageToken: '' }));
    await fails(-32602, client.sendMessage(request([])));
    await fails(-32004, all(client.resubscribeTask({ tenant: '', id })));
  },
};

const card = await new DefaultAgentCardResolver().resolve(process.argv[2]);
assert.ok(card.name && card.skills.length && card.capabilities.streaming, JSON.stringify(card));
const client = await new ClientFactory().createFromAgentCard(card);
console.log('step card: ok');
const send = {
  card,
  client,
  async task(parts, more) {
    const answer = await client.sendMessage(request(parts, more));
    assert.ok('status' in answer, `no task came but ${JSON.stringify(answer)}`);
    return answer;
  },
};
for (const [name, step] of Object.entries(steps)) {
  try {
    await Promise.race([
      step(send),
      pause(60_000, undefined, { ref: false }).then(() => assert.fail('it takes more than a minute')),
    ]);
  } catch (error) {
    console.log(`step ${name}: FAILED: ${error.stack}`);
    process.exit(1);
  }
  console.log(`step ${name}: ok`);
}
process.exit(0);
