// An agent made with the JavaScript SDK. The text of a message says what to do: see `behave`.
// Prints `ready URL` once it listens.

import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';

import { Role, TaskState } from '@a2a-js/sdk';
import {
  AgentEvent,
  DefaultPushNotificationSender,
  DefaultRequestHandler,
  InMemoryPushNotificationStore,
  InMemoryTaskStore,
} from '@a2a-js/sdk/server';
import { UserBuilder, agentCardHandler, jsonRpcHandler } from '@a2a-js/sdk/server/express';
import express from 'express';

const text = (value) => ({ content: { $case: 'text', value }, metadata: undefined, filename: '', mediaType: '' });
const file = (content) => ({ content, metadata: undefined, filename: 'output.txt', mediaType: 'text/plain' });
const said = (message) => (message?.parts[0]?.content?.$case === 'text' ? message.parts[0].content.value : '');

const PARTS = {
  'tck-artifact-text': text('Generated text content'),
  'tck-artifact-file': file({ $case: 'raw', value: Buffer.from('tck') }),
  'tck-artifact-file-url': file({ $case: 'url', value: 'https://example.com/output.txt' }),
  'tck-artifact-data': { ...text(''), content: { $case: 'data', value: { key: 'value', count: 42 } } },
};

function words(content, taskId, contextId) {
  return {
    messageId: randomUUID(),
    role: Role.ROLE_AGENT,
    parts: [text(content)],
    taskId,
    contextId,
    metadata: undefined,
    extensions: [],
    referenceTaskIds: [],
  };
}

// What a task does to its event bus.
class Task {
  constructor(taskId, contextId, bus) {
    Object.assign(this, { taskId, contextId, bus });
  }

  status(state, content) {
    const message = content && words(content, this.taskId, this.contextId);
    const status = { state, message, timestamp: new Date().toISOString() };
    const { taskId, contextId } = this;
    this.bus.publish(AgentEvent.statusUpdate({ taskId, contextId, status, metadata: undefined }));
  }

  artifact(part, artifactId = randomUUID(), append = false, lastChunk = true) {
    const artifact = { artifactId, name: '', description: '', parts: [part], metadata: undefined, extensions: [] };
    const { taskId, contextId } = this;
    this.bus.publish(
      AgentEvent.artifactUpdate({ taskId, contextId, artifact, append, lastChunk, metadata: undefined }),
    );
  }
}

class Executor {
  canceled = new Map();

  execute = async (context, bus) => {
    const opening = context.task?.history[0] ?? context.userMessage;
    const name = /^(?:tck-[a-z0-9]+(?:-[a-z0-9]+)*)?/.exec(said(opening))[0];
    if (name === 'tck-message-response') {
      bus.publish(AgentEvent.message(words('Direct message response', '', context.contextId)));
      bus.finished();
      return;
    }
    if (!context.task) {
      const status = { state: TaskState.TASK_STATE_SUBMITTED, message: undefined, timestamp: new Date().toISOString() };
      const { taskId: id, contextId } = context;
      const history = [context.userMessage];
      bus.publish(AgentEvent.task({ id, contextId, status, artifacts: [], history, metadata: undefined }));
    }
    await this.behave(name, said(context.userMessage), new Task(context.taskId, context.contextId, bus));
    bus.finished();
  };

  async behave(name, content, task) {
    if (PARTS[name]) {
      task.artifact(PARTS[name]);
      task.status(TaskState.TASK_STATE_COMPLETED);
    } else if (name === 'tck-multi-turn' && !content.startsWith('done')) {
      task.status(TaskState.TASK_STATE_INPUT_REQUIRED, 'more?');
    } else if (name === 'tck-task-failure') {
      task.status(TaskState.TASK_STATE_FAILED, 'could not');
    } else if (name === 'tck-reject-task') {
      task.status(TaskState.TASK_STATE_REJECTED, 'rejected');
    } else if (name === 'tck-cancel') {
      task.status(TaskState.TASK_STATE_WORKING);
      await new Promise((resolve) => this.canceled.set(task.taskId, resolve));
      task.status(TaskState.TASK_STATE_CANCELED);
    } else if (['tck-long-running', 'tck-stream-basic', 'tck-stream-chunked'].includes(name)) {
      await this.work(name, task);
    } else {
      task.status(TaskState.TASK_STATE_COMPLETED, 'Hello from JavaScript');
    }
  }

  async work(name, task) {
    task.status(TaskState.TASK_STATE_WORKING);
    if (name === 'tck-long-running') await pause(1000);
    if (name === 'tck-stream-chunked') {
      task.artifact(text('chunk-1 '), 'chunks', false, false);
      task.artifact(text('chunk-2'), 'chunks', true, true);
    } else {
      task.artifact(text('Streamed content'));
    }
    task.status(TaskState.TASK_STATE_COMPLETED);
  }

  cancelTask = async (taskId) => this.canceled.get(taskId)?.();
}

function card(url) {
  return {
    name: 'javascript-agent',
    description: 'An agent made with the JavaScript SDK',
    version: '1.0.0',
    supportedInterfaces: [{ url, protocolBinding: 'JSONRPC', protocolVersion: '1.0', tenant: '' }],
    capabilities: { streaming: true, pushNotifications: true, extensions: [], extendedAgentCard: false },
    provider: undefined,
    securitySchemes: {},
    securityRequirements: [],
    defaultInputModes: ['text/plain', 'application/json'],
    defaultOutputModes: ['text/plain', 'application/json'],
    skills: [
      {
        id: 'behave',
        name: 'Behave',
        description: 'Does what the text says',
        tags: ['test'],
        examples: [],
        inputModes: [],
        outputModes: [],
        securityRequirements: [],
      },
    ],
    signatures: [],
  };
}

const app = express();
const server = app.listen(0, '127.0.0.1', () => {
  const url = `http://127.0.0.1:${server.address().port}/`;
  const pushes = new InMemoryPushNotificationStore();
  const requestHandler = new DefaultRequestHandler(
    card(url),
    new InMemoryTaskStore(),
    new Executor(),
    undefined,
    pushes,
    new DefaultPushNotificationSender(pushes),
    undefined,
    undefined,
    { validateInputModes: true },
  );
  app.use('/.well-known/agent-card.json', agentCardHandler({ agentCardProvider: requestHandler }));
  app.use('/', jsonRpcHandler({ requestHandler, userBuilder: UserBuilder.noAuthentication }));
  console.log('ready', url);
});
