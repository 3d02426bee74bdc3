import { act, fireEvent, render, screen, within } from '@testing-library/react';
import * as React from 'react';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Monitor, MonitorEvent } from '../src/api/monitors';
import { ServerError } from '../src/api/request';
import { Detail } from '../src/monitors/components/detail';
import { MonitorDetail } from '../src/monitors/detail';
import { MonitorsModel } from '../src/monitors/model';
import { FakeEvents } from './fakes';
import { alarm, delivery, FakeMonitors, judged, judgedWindow, measured, monitor } from './fakes-monitors';

const ID = 'monitor-0001';
let server: FakeMonitors;
let events: FakeEvents<MonitorEvent>;
let model: MonitorsModel;
let detail: MonitorDetail;
const asked: string[] = [];
const settle = (milliseconds = 200) => act(() => vi.advanceTimersByTimeAsync(milliseconds));

async function show(change: Partial<Monitor> = {}, fill: (server: FakeMonitors) => void = () => undefined) {
  server = new FakeMonitors(monitor(1, change));
  fill(server);
  events = new FakeEvents<MonitorEvent>();
  model = new MonitorsModel(server, events);
  await model.start();
  detail = new MonitorDetail(ID, model);
  const did = (what: string) => () => void asked.push(what);
  render(
    <Detail
      model={detail}
      onBack={did('back')}
      onPause={did('pause')}
      onResume={did('resume')}
      onDelete={did('delete')}
      onCopyCode={did('copy')}
    />
  );
  await settle();
}

/** A part of the monitor, be it open or closed. */
const part = (title: string) => {
  const found = [...document.querySelectorAll('details')].find(one =>
    one.querySelector('summary')?.textContent.startsWith(title)
  );
  return found ?? expect.fail(`There is no ${title}.`);
};
const firing = (fake: FakeMonitors): void => {
  fake.alarmsOf = [alarm(1)];
  fake.windowsOf = [
    judgedWindow(2, {
      breached: 1,
      judged: [measured(2, { breached: true })],
      fired: [alarm(1)],
      resolved: [alarm(2, { feature: 'plan', message: "'plan' was odd." })]
    }),
    judgedWindow(1, { n_rows: 7, number: null, skipped: 'It has 7 rows, and the monitor judges from 30 on.' })
  ];
  fake.measuredOf = [
    measured(2, { value: 1e-9, breached: true }),
    measured(2, { feature: 'income' }),
    measured(1),
    measured(1, { feature: 'income', value: null, note: 'No rows.' })
  ];
};

beforeEach(() => {
  vi.useFakeTimers();
  asked.length = 0;
});

afterEach(() => {
  detail.dispose();
  model.dispose();
});

it('takes the focus to its name, and says what it watches and compares with', async () => {
  await show({ firing: 1, description: 'Told to the team.' });
  expect(document.activeElement).toBe(screen.getByRole('heading', { name: 'daily 1' }));
  const summary = document.querySelector('.jpx-Summary')!;
  expect(summary.textContent).toContain('1 firing');
  expect(summary.textContent).toContain('Told to the team.');
  expect(summary.textContent).toContain('Watcheschurn/3');
  expect(summary.textContent).toContain('profile training of 5000 rows');
  expect(summary.textContent).toContain('Judged3 windows');
});

it('has an active alarm’s sentence, since when it is and in how many windows', async () => {
  await show({ firing: 1 }, firing);
  const items = within(part('Alarms')).getAllByRole('listitem');
  expect(items.map(item => item.textContent)).toEqual([
    expect.stringMatching(
      /^drift: age'age' drifted: distance 0.3, .*Firing since Jan 3, 2026, .* · in 2 windows in a row$/
    )
  ]);
});

it('tells what a window broke, made fire or was skipped for', async () => {
  await show({ firing: 1 }, firing);
  const [broken, skipped] = [...part('Last windows').querySelectorAll('li')].map(item => item.textContent);
  expect(broken).toMatch(
    /1,?200 rows1 breach\. drift: ageFired: 'age' drifted: distance 0\.3.*Resolved: 'plan' was odd\.$/
  );
  expect(skipped).toMatch(/7 rowsSkipped: It has 7 rows, and the monitor judges from 30 on\.$/);
});

it('has past alarms apart', async () => {
  await show({}, fake => {
    fake.alarmsOf = [alarm(1, { state: 'resolved', breaches: 1, resolved_at: '2026-01-05T00:00:00Z' })];
  });
  expect(part('Alarms').textContent).toContain('No rule is broken.');
  expect(part('Past alarms').textContent).toMatch(/Jan 2.*Jan 5.* · in 1 window$/);
});

it('says what became of messages', async () => {
  await show({ routes: [{ kind: 'webhook', url: 'https://chat.example/hook' }] }, fake => {
    fake.deliveriesOf = [
      delivery(2, { state: 'failed', attempts: 3, status: 500, error: 'Internal Server Error' }),
      delivery(1, { event: 'resolved' })
    ];
  });
  const [failed, done] = [...part('Messages').querySelectorAll('li')].map(item => item.textContent);
  expect(failed).toContain('1 alarm fired · 3 attempts · answer 500');
  expect(failed).toContain('Internal Server Error');
  expect(done).toContain('Delivered');
  expect(done).toContain('1 alarm resolved · 1 attempt · answer 200Webhook https://chat.example/hook');
});

it('says what a monitor without windows is to be given', async () => {
  await show({ last_end: null, evaluations: 0 });
  expect(part('Last windows').textContent).toContain('No window was judged yet. In a notebook: monitor.check(frame)');
  expect(part('Timeline').textContent).toContain('Nothing was measured yet.');
  expect(part('Messages').textContent).toContain('This monitor tells in JupyterLab only.');
});

describe('the timeline', () => {
  it('is a picture that says what it shows, and a table with the same', async () => {
    await show({ firing: 1 }, firing);
    const picture = screen.getByRole('img');
    expect(picture.getAttribute('aria-label')).toMatch(
      /^drift: age\. 2 windows, 1 breach\. Last: .*: 9, a breach \(threshold 2\)\.$/
    );
    expect(picture.querySelectorAll('.jpx-Chart-breach')).toHaveLength(1);
    expect(picture.querySelectorAll('.jpx-Chart-point')).toHaveLength(1);
    expect(part('Timeline').textContent).toContain('−log10 of the q-value: on the line and above is a breach.');
    fireEvent.click(screen.getByRole('button', { name: 'Table' }));
    const cells = screen.getAllByRole('row').map(line => [...line.children].slice(1).map(cell => cell.textContent));
    expect(cells).toEqual([
      ['Measured', 'Threshold'],
      ['9, breach', '2'],
      ['1', '2']
    ]);
  });

  it('offers what was measured, alarms first, and keeps the choice when windows come', async () => {
    await show({ firing: 1 }, firing);
    const menu = screen.getByRole<HTMLSelectElement>('combobox', { name: 'What to show' });
    expect([...menu.options].map(({ text }) => text)).toEqual(['age', 'income']);
    fireEvent.change(menu, { target: { value: menu.options[1]!.value } });
    await settle();
    expect(screen.getByRole('img').getAttribute('aria-label')).toMatch(/^drift: income\. 2 windows, 0 breaches\./);
    // What could not be measured is a gap in the picture, and its reason stands in the table.
    expect(screen.getByRole('img').querySelectorAll('.jpx-Chart-point')).toHaveLength(1);
    fireEvent.click(screen.getByRole('button', { name: 'Table' }));
    expect(screen.getByRole('table').textContent).toContain('No rows.');
    events.received.emit(judged(server.set(ID, { firing: 2 })));
    await settle();
    expect(menu.selectedOptions[0]!.text).toBe('income');
  });
});

it('has what it does in words', async () => {
  await show({ period: 'D', timestamp: 'at' });
  expect(part('Checks and settings').textContent).toContain('Rows are cut into windows of 1 day by the time in “at”');
  expect(part('Checks and settings').textContent).toContain('Corrected by Benjamini–Hochberg.');
});

it('goes back by Escape, and asks for what its buttons say', async () => {
  await show();
  fireEvent.keyDown(document.activeElement!, { key: 'Escape' });
  ['Pause the monitor', 'Delete the monitor…', 'Copy a line of Python that opens the monitor'].forEach(name =>
    fireEvent.click(screen.getByRole('button', { name }))
  );
  await act(() => model.pause(ID));
  fireEvent.click(screen.getByRole('button', { name: 'Resume the monitor' }));
  expect(asked).toEqual(['back', 'pause', 'delete', 'copy', 'resume']);
  expect(document.querySelector('.jpx-Summary')!.textContent).toContain('Paused');
});

describe('kept true', () => {
  it('asks again when its monitor judges a window, and not when another does', async () => {
    await show();
    const before = server.count('windows');
    events.received.emit(judged(monitor(2)));
    await settle();
    expect(server.count('windows')).toBe(before);
    firing(server);
    events.received.emit(judged(server.set(ID, { firing: 1 })));
    await settle();
    expect(server.count('windows')).toBe(before + 1);
    expect(within(part('Alarms')).getAllByRole('listitem')).toHaveLength(1);
  });

  it('does not poll while events arrive, and does while they don’t', async () => {
    await show();
    const before = server.calls.length;
    await settle(120_000);
    expect(server.calls).toHaveLength(before);
    events.setConnected(false);
    await settle(25_000);
    expect(server.count('windows')).toBe(3);
    events.setConnected(true);
    await settle(60_000);
    expect(server.count('windows')).toBe(4);
  });

  it('looks at a message after its moment, ever more seldom, until it is delivered', async () => {
    const next_at = new Date(Date.now() + 10_000).toISOString();
    await show({}, fake => {
      fake.deliveriesOf = [delivery(1, { state: 'waiting', next_at, status: null })];
    });
    await settle(11_000);
    expect(server.count('deliveries')).toBe(1);
    await settle(1_500);
    expect(server.count('deliveries')).toBe(2);
    await settle(60_000);
    expect(server.count('deliveries')).toBe(6);
    server.deliveriesOf = [delivery(1)];
    await settle(120_000);
    expect(server.count('deliveries')).toBe(7);
    expect(part('Messages').textContent).toContain('Delivered');
  });

  it('says why it cannot be shown, and tries again when asked to', async () => {
    await show({}, fake => (fake.windows = () => Promise.reject(new ServerError('No database.', 503, 'unavailable'))));
    expect(screen.getByRole('alert').textContent).toContain('No database.');
    server.windows = async () => ({ items: [], next_cursor: null });
    fireEvent.click(screen.getByRole('button', { name: 'Retry' }));
    await settle();
    expect(screen.queryByRole('alert')).toBeNull();
    expect(part('Alarms')).toBeTruthy();
  });
});
