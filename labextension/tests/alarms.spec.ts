import { Notification } from '@jupyterlab/apputils';
import { nullTranslator } from '@jupyterlab/translation';
import { afterEach, expect, test } from 'vitest';
import { type IMonitorEvent, tellAlarms } from '../src/monitors/alarms';

const trans = nullTranslator.load('jupyter_ext');

function told(event: Partial<IMonitorEvent>): [string, string][] {
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
