import { beforeEach, describe, expect, it, vi } from 'vitest';
import type { Monitor, MonitorEvent } from '../src/api/monitors';
import { ServerError } from '../src/api/request';
import { MonitorsModel } from '../src/monitors/model';
import { FakeEvents } from './fakes';
import { FakeMonitors, judged, monitor } from './fakes-monitors';

let server: FakeMonitors;
let events: FakeEvents<MonitorEvent>;
let model: MonitorsModel;

async function start(...monitors: Monitor[]): Promise<void> {
  server = new FakeMonitors(...monitors);
  events = new FakeEvents<MonitorEvent>();
  model = new MonitorsModel(server, events);
  await model.start();
}

const names = () => model.state.monitors.map(({ name }) => name);
const settle = (milliseconds = 200) => vi.advanceTimersByTimeAsync(milliseconds);
const down = new ServerError('The database does not answer.', 503, 'unavailable');

beforeEach(() => {
  vi.useFakeTimers();
  return () => model.dispose();
});

it('lists those that fire first, then those that may, then the newest; and counts alarms', async () => {
  await start(
    monitor(1, { firing: 2, pending: 1 }),
    monitor(2),
    monitor(3, { pending: 1 }),
    monitor(4),
    monitor(5, { firing: 1, enabled: false })
  );
  expect(names()).toEqual(['daily 5', 'daily 1', 'daily 3', 'daily 4', 'daily 2']);
  expect(model.state).toMatchObject({ firing: 3, pending: 2, loading: false, error: null, more: false });
});

it('reads all pages, within reason', async () => {
  server = new FakeMonitors(...Array.from({ length: 9 }, (_, index) => monitor(index)));
  server.page = 2;
  model = new MonitorsModel(server, new FakeEvents<MonitorEvent>());
  await model.start();
  expect(names()).toHaveLength(8);
  expect(model.state.more).toBe(true);
});

it('searches by name, and counts all alarms nevertheless', async () => {
  await start(monitor(1, { name: 'Churn', firing: 1 }), monitor(2, { name: 'fraud' }));
  model.search('FRA');
  expect(names()).toEqual(['fraud']);
  expect(model.state.firing).toBe(1);
});

it('names what is watched, asking once', async () => {
  const watching = { model: null, profile_id: 'profile-1' };
  await start(monitor(1, watching), monitor(2, { ...watching, dataset_id: 'dataset-1' }), monitor(3, watching));
  await settle();
  expect(Object.fromEntries(model.state.names)).toEqual({ 'profile-1': 'training', 'dataset-1': 'people/2' });
  await model.refresh();
  await settle();
  expect([server.count('profiles'), server.count('datasets')]).toEqual([1, 1]);
});

it('says why nothing could be loaded, and keeps what it has', async () => {
  await start(monitor(1));
  server.failure = down;
  await model.refresh();
  expect(model.state.error).toBe(down);
  expect(names()).toEqual(['daily 1']);
  server.failure = null;
  await model.refresh();
  expect(model.state.error).toBeNull();
});

describe('kept true by events', () => {
  it('asks for a monitor that has judged a window, and for no other', async () => {
    await start(monitor(1), monitor(2));
    events.received.emit(judged(server.set('monitor-0001', { firing: 1 })));
    events.received.emit(judged(server.set('monitor-0001', { firing: 2 })));
    await settle();
    expect(server.calls).toEqual(['list', 'get monitor-0001']);
    expect(model.state.monitors[0]).toMatchObject({ name: 'daily 1', firing: 2 });
  });

  it('tells that a monitor changed, and how it was before', async () => {
    await start(monitor(1));
    const changes: [number, number][] = [];
    model.monitorChanged.connect((_, { monitor: now, before }) => changes.push([before.firing, now.firing]));
    events.received.emit(judged(server.set('monitor-0001', { firing: 1 })));
    await settle();
    expect(changes).toEqual([[0, 1]]);
  });

  it('finds a new monitor by its first window', async () => {
    await start();
    server.monitors.set('monitor-0001', monitor(1));
    events.received.emit(judged(monitor(1)));
    await settle();
    expect(names()).toEqual(['daily 1']);
  });

  it('asks for the list when many have judged', async () => {
    const many = Array.from({ length: 9 }, (_, index) => monitor(index));
    await start(...many);
    many.forEach(one => events.received.emit(judged(one)));
    await settle();
    expect(server.calls).toEqual(['list', 'list']);
  });

  it('asks once for what is not ours to see, and not at all about reports', async () => {
    await start();
    events.received.emit(judged(monitor(7)));
    await settle();
    events.received.emit(judged(monitor(7)));
    events.received.emit({ what: 'report', name: 'daily', model: null, owner: 'ann' });
    await settle();
    expect(server.calls).toEqual(['list', 'get monitor-0007']);
    expect(model.state.error).toBeNull();
  });

  it('does not poll while events arrive, polls while they don’t, and begins anew when they do again', async () => {
    await start(monitor(1));
    await settle(60_000);
    expect(server.count('list')).toBe(1);
    events.setConnected(false);
    await settle(20_000);
    const polled = server.count('list');
    expect(polled).toBeGreaterThan(2);
    server.set('monitor-0001', { firing: 1 });
    events.setConnected(true);
    await settle(60_000);
    expect(server.count('list')).toBe(polled + 1);
    expect(model.state.firing).toBe(1);
  });

  it('takes no answer that was overtaken', async () => {
    await start(monitor(1));
    const late = server.list();
    vi.spyOn(server, 'list').mockImplementationOnce(async () => {
      await new Promise(resolve => setTimeout(resolve, 1_000));
      return late;
    });
    const listed = model.refresh();
    events.received.emit(judged(server.set('monitor-0001', { firing: 1 })));
    await settle();
    expect(model.state.firing).toBe(1);
    await settle(1_000);
    await listed;
    expect(model.state.firing).toBe(1);
  });
});

describe('what people do', () => {
  it('pauses and resumes, and shows the answer', async () => {
    await start(monitor(1));
    await model.pause('monitor-0001');
    expect(model.state.monitors[0]?.enabled).toBe(false);
    await model.resume('monitor-0001');
    expect(model.state.monitors[0]?.enabled).toBe(true);
  });

  it('deletes, tells so, and asks no more about it', async () => {
    await start(monitor(1), monitor(2));
    const removed: string[] = [];
    model.removed.connect((_, { name }) => removed.push(name));
    await model.delete('monitor-0001');
    events.received.emit(judged(monitor(1)));
    await settle();
    expect(names()).toEqual(['daily 2']);
    expect(removed).toEqual(['daily 1']);
    expect(server.calls).toEqual(['list', 'delete monitor-0001']);
  });

  it('drops what was deleted elsewhere when it asks for the list, and tells so', async () => {
    await start(monitor(1), monitor(2));
    const removed: string[] = [];
    model.removed.connect((_, { name }) => removed.push(name));
    server.monitors.delete('monitor-0002');
    await model.refresh();
    expect(names()).toEqual(['daily 1']);
    expect(removed).toEqual(['daily 2']);
  });

  it('leaves a refusal to whoever asked', async () => {
    await start(monitor(1));
    server.failure = new ServerError('You may not change monitors.', 403, 'forbidden');
    await expect(model.pause('monitor-0001')).rejects.toThrow('You may not change monitors.');
    await expect(model.delete('monitor-0001')).rejects.toThrow('You may not change monitors.');
    expect(names()).toEqual(['daily 1']);
  });
});
