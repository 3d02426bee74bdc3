import { ServerConnection } from '@jupyterlab/services';
import { beforeEach, expect, it, vi } from 'vitest';
import { eventSchema, ServerEvents } from '../src/api/events';

/** A socket that a test opens, closes and fills. */
class FakeSocket extends EventTarget {
  static made: FakeSocket[] = [];
  onmessage: ((message: { data: string }) => void) | null = null;
  onclose: (() => void) | null = null;
  closed = false;

  constructor(readonly url: string) {
    super();
    FakeSocket.made.push(this);
  }

  open(): void {
    this.dispatchEvent(new Event('open'));
  }

  lose(): void {
    this.dispatchEvent(new Event('close'));
    this.onclose?.();
  }

  say(data: object): void {
    this.onmessage?.({ data: JSON.stringify(data) });
  }

  close(): void {
    this.closed = true;
  }
}

beforeEach(() => {
  FakeSocket.made = [];
  vi.useFakeTimers();
});

async function listen() {
  const settings = ServerConnection.makeSettings({
    wsUrl: 'ws://host/user/a%40b/',
    WebSocket: FakeSocket as unknown as typeof WebSocket
  });
  const made = new ServerEvents(settings);
  await vi.advanceTimersByTimeAsync(0);
  return made;
}

it('subscribes under an odd base URL, and knows when it is connected', async () => {
  const server = await listen();
  const events = server.stream('job');
  const changes: boolean[] = [];
  events.connectedChanged.connect((_, connected) => changes.push(connected));
  expect(FakeSocket.made[0]?.url).toContain('ws://host/user/a%40b/api/events/subscribe');
  expect(events.connected).toBe(false);
  FakeSocket.made[0]!.open();
  expect(events.connected).toBe(true);
  FakeSocket.made[0]!.lose();
  await vi.advanceTimersByTimeAsync(30_000);
  expect(FakeSocket.made).toHaveLength(2);
  FakeSocket.made[1]!.open();
  expect(changes).toEqual([true, false, true]);
  expect(server.stream('cluster').connected).toBe(true);
  server.dispose();
});

it('hands each noun its own events, on one socket', async () => {
  const server = await listen();
  const seen: string[] = [];
  server.stream<{ job_id: string }>('job').received.connect((_, event) => seen.push(event.job_id));
  server.stream<{ name: string }>('cluster').received.connect((_, event) => seen.push(event.name));
  const [socket] = FakeSocket.made;
  socket!.open();
  socket!.say({ schema_id: eventSchema('job'), job_id: 'job-1' });
  socket!.say({ schema_id: eventSchema('model'), name: 'churn' });
  socket!.say({ schema_id: 'https://events.jupyter.org/jupyter_server/contents_service/v1', action: 'get' });
  socket!.say({ schema_id: eventSchema('cluster'), name: 'default' });
  expect(seen).toEqual(['job-1', 'default']);
  expect(FakeSocket.made).toHaveLength(1);
  server.dispose();
  expect(socket!.closed).toBe(true);
});
