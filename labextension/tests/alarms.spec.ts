import { Notification } from '@jupyterlab/apputils';
import { nullTranslator } from '@jupyterlab/translation';
import { afterEach, expect, test } from 'vitest';
import type { MonitorEvent } from '../src/api/monitors';
import { tellAlarms } from '../src/monitors/alarms';

const trans = nullTranslator.load('jupyter_ext');

const shown: string[] = [];

function told(event: Partial<MonitorEvent>): [string, string][] {
  tellAlarms(
    {
      what: 'evaluation',
      name: 'daily',
      model: 'churn/3',
      owner: 'ada',
      fired: [],
      resolved: [],
      notify: true,
      ...event
    },
    id => shown.push(id),
    trans
  );
  return Notification.manager.notifications.map(({ type, message }) => [type, message]);
}

afterEach(() => Notification.manager.dismiss());

test('what fired stays until it is closed', () => {
  expect(told({ fired: ["'age' drifted."] })).toEqual([['warning', "Monitor “daily” of churn/3: 'age' drifted."]]);
  expect(Notification.manager.notifications[0]?.options.autoClose).toBe(false);
});

test('of many alarms some are written out', () => {
  expect(told({ model: null, fired: ['a.', 'b.', 'c.', 'd.', 'e.'] })).toEqual([
    ['warning', 'Monitor “daily”: a. b. c. And 2 more.']
  ]);
});

test('what was resolved is told too', () => {
  expect(told({ resolved: ["'age' drifted."] })).toEqual([
    ['success', "Monitor “daily” of churn/3: resolved. 'age' drifted."]
  ]);
});

test('quiet windows, reports and monitors that tell others say nothing', () => {
  expect(told({})).toEqual([]);
  expect(told({ what: 'report', fired: ['a.'] })).toEqual([]);
  expect(told({ notify: false, fired: ['a.'] })).toEqual([]);
});

test('an alarm has a way to its monitor', () => {
  told({ monitor_id: 'monitor-1', fired: ['a.'], resolved: ['b.'] });
  const actions = Notification.manager.notifications.map(({ options }) => options.actions);
  expect(actions.map(those => those?.map(({ label }) => label))).toEqual([['Show'], ['Show']]);
  actions[0]?.[0]?.callback(new MouseEvent('click'));
  expect(shown).toEqual(['monitor-1']);
});
