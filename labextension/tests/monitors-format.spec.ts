import { nullTranslator } from '@jupyterlab/translation';
import { describe, expect, it } from 'vitest';
import type { Check, Measurement, Monitor } from '../src/api/monitors';
import {
  alarmSpan,
  breachesLabel,
  codeOf,
  deliveryNote,
  routeLabel,
  ruleLabel,
  stateLabel,
  unitLabel,
  valueLabel,
  watchedLabel
} from '../src/monitors/format';
import { rulesOf } from '../src/monitors/order';
import { checkSentences, monitorSentences } from '../src/monitors/settings';
import { timelineOf } from '../src/monitors/timeline';
import { alarm, delivery, judgedWindow, measured, monitor } from './fakes-monitors';

const trans = nullTranslator.load('');
const drift = monitor(1).checks[0]!;
const quality: Check = {
  kind: 'quality',
  name: 'quality',
  ranges: { age: [0, 120], income: [0, null], debt: [null, 9] },
  categories: { plan: ['a', 'b', 'c', 'd', 'e', 'f', 'g'] },
  missing: { age: 0.05 },
  learned: true,
  share: 0.01
};
const outliers: Check = { kind: 'outliers', name: 'odd', level: 0.01, alpha: 0.05, features: ['age'], anytime: false };
const metric: Check = {
  kind: 'metric',
  name: 'metric',
  model: 'plausibility/3',
  over: 'mean',
  comparator: '<',
  threshold: 0.8
};

it.each<[Partial<Monitor>, string]>([
  [{}, 'Quiet'],
  [{ last_end: null }, 'No window yet'],
  [{ firing: 2 }, '2 firing'],
  [{ firing: 1, pending: 3 }, '1 firing, 3 pending'],
  [{ enabled: false }, 'Paused'],
  [{ enabled: false, pending: 1 }, 'Paused, 1 pending']
])('says of %o that it is %s', (change, label) => {
  expect(stateLabel(monitor(1, change), trans)).toBe(label);
});

it('calls what is watched by its name, or else by its id', () => {
  const names = new Map([['dataset-1', 'people/2']]);
  expect(watchedLabel(monitor(1), names, trans)).toBe('churn/3');
  expect(watchedLabel(monitor(1, { model: null, dataset_id: 'dataset-1' }), names, trans)).toBe('data set people/2');
  expect(watchedLabel(monitor(1, { model: null }), names, trans)).toBe('profile profile-1');
});

it('writes Python that opens a monitor', () => {
  expect(codeOf('people daily')).toBe('workspace.monitors.get("people daily")');
});

it('calls a rule by its feature and what is wrong with it', () => {
  expect(ruleLabel(alarm(1), trans)).toBe('age');
  expect(ruleLabel(alarm(1, { feature: '' }), trans)).toBe('all columns');
  expect(ruleLabel(alarm(1, { aspect: 'missing' }), trans)).toBe('age, missing');
});

it('says how far an alarm is', () => {
  const of = monitor(1);
  expect(alarmSpan(alarm(1, { state: 'pending', breaches: 1 }), of, trans)).toMatch(
    /^Pending since .* · in 1 window · fires after 2$/
  );
  expect(alarmSpan(alarm(1, { calm: 1 }), of, trans)).toMatch(/ · 1 of 2 windows without, then resolved$/);
});

it('names some of many breaches', () => {
  const judged = Array.from({ length: 7 }, (_, index) => measured(1, { feature: `f${index}`, breached: true }));
  expect(breachesLabel(judgedWindow(1, { breached: 7, judged }), trans)).toBe(
    'drift: f0; drift: f1; drift: f2; drift: f3; drift: f4; and 2 more'
  );
});

it('says where a message goes, how often it was tried and when again', () => {
  expect(routeLabel({ kind: 'alertmanager', url: 'http://am', labels: { team: 'risk' } }, trans)).toBe(
    'Alertmanager http://am (team=risk)'
  );
  const waiting = delivery(1, { state: 'waiting', attempts: 2, status: null, next_at: '2026-01-03T00:00:30Z' });
  expect(deliveryNote(waiting, trans)).toMatch(/^1 alarm fired · 2 attempts · again at Jan /);
  expect(deliveryNote(delivery(1, { state: 'waiting', attempts: 0, status: null }), trans)).toBe(
    '1 alarm fired · not tried yet'
  );
});

it('offers rules with alarms first, then those that were broken, then the rest; each once', () => {
  const rules = rulesOf(
    [alarm(1, { feature: 'b', state: 'pending' }), alarm(2), alarm(3, { feature: 'gone', state: 'resolved' })],
    [measured(1, { feature: 'd' }), measured(1, { feature: 'c', breached: true }), measured(1)]
  );
  expect(rules.map(({ feature }) => feature)).toEqual(['age', 'b', 'c', 'd', 'gone']);
});

describe('a timeline', () => {
  const newest: Measurement[] = [measured(2, { value: 0, breached: true }), measured(1, { value: 1 })];

  it('is oldest first, with q-values as -log10, as history() has them', () => {
    const timeline = timelineOf(newest, drift);
    expect(timeline).toMatchObject({ unit: 'q', comparator: '>=', low: 0 });
    expect(timeline.points.map(({ value, threshold }) => [value, threshold])).toEqual([
      [0, 2],
      [300, 2]
    ]);
    expect(Object.is(timeline.points[0]?.value, 0)).toBe(true);
    expect(timeline.high).toBe(300);
    expect(unitLabel(timeline, drift, trans)).toBe('−log10 of the q-value: on the line and above is a breach.');
    expect(timelineOf(newest, outliers).unit).toBe('p');
  });

  it('has shares in per cent and numbers as they are', () => {
    const shares = timelineOf([measured(1, { value: 0.5, comparator: '>', threshold: 0.01 })], quality);
    expect(valueLabel(shares.points[0]!.value!, shares)).toBe('50%');
    expect(unitLabel(shares, quality, trans)).toBe('Share of the rows: above the line is a breach.');
    const numbers = timelineOf([measured(1, { value: 0.7, comparator: '<', threshold: 0.8 })], metric);
    expect(numbers).toMatchObject({ low: 0.7, high: 0.8 });
    expect(unitLabel(numbers, metric, trans)).toBe('The mean of plausibility/3: below the line is a breach.');
  });

  it('holds one value that is its threshold, and none', () => {
    const [one, none] = [timelineOf([measured(1, { value: 5, threshold: 5 })], metric), timelineOf([], metric)];
    expect([one, none].every(({ low, high }) => high > low)).toBe(true);
  });
});

describe('settings in words', () => {
  it('says what each check is', () => {
    expect(checkSentences(drift, trans)).toEqual([
      "A breach is a feature's q-value at or below a level that shrinks with each window, 0.05 for all of them together.",
      'Corrected by Benjamini–Hochberg.'
    ]);
    expect(checkSentences({ ...drift, methods: { age: 'psi' }, features: ['age'] } as Check, trans).slice(2)).toEqual([
      'Methods: age: psi.',
      'Only of age.'
    ]);
    expect(checkSentences(quality, trans)).toEqual([
      'A breach is more than 1% of the rows outside of a range, in no known category, or missing beyond what is allowed.',
      'What is not named is learned from the reference.',
      'age: from 0 to 120.',
      'income: 0 or more.',
      'debt: 9 or less.',
      'plan: a, b, c, d, e and 2 more.',
      'age: at most 5% missing.'
    ]);
    expect(checkSentences(outliers, trans)[1]).toBe(
      'A breach is so many of them that chance explains them at or below 0.05, in each window.'
    );
    expect(checkSentences(metric, trans)).toEqual(['A breach is when the mean of plausibility/3 is below 0.8.']);
  });

  it('says how windows are cut and when alarms fire', () => {
    expect(monitorSentences(monitor(1, { fire_after: 1 }), trans)).toEqual([
      'What is given to check() is one window.',
      'A window is judged from 30 rows on.',
      'An alarm fires at the first breach.',
      'It is resolved after 2 windows without.'
    ]);
    const cut = (period: string) => monitorSentences(monitor(1, { timestamp: 'at', period }), trans)[0];
    expect(cut('15min')).toBe('Rows are cut into windows of 15 minutes by the time in “at”, in UTC.');
    expect(cut('W-SUN')).toBe('Rows are cut into windows of W-SUN by the time in “at”, in UTC.');
  });
});
