import { nullTranslator } from '@jupyterlab/translation';
import { expect, it, vi } from 'vitest';
import type { Attempt } from '../src/api/jobs';
import { age, attemptSentence, bytes, duration, fraction, number, rowLabel } from '../src/jobs/format';
import { job } from './fakes';

const trans = nullTranslator.load('');

it.each([
  [0, '0 B'],
  [999, '999 B'],
  [1_000, '1 kB'],
  [1_234_567, '1.23 MB'],
  [5e15, '5,000 TB']
])('writes %d bytes as %s', (size, text) => {
  expect(bytes(size)).toBe(text);
});

it.each([
  [400, '0 s'],
  [59_000, '59 s'],
  [61_000, '1 min 1 s'],
  [3_660_000, '1 h 1 min'],
  [90_000_000, '1 d 1 h'],
  [-5, '0 s']
])('writes %d ms as %s', (span, text) => {
  expect(duration(span, trans)).toBe(text);
});

it.each([
  [0, '0'],
  [0.98765, '0.9877'],
  [1.2e-7, '1.2E-7'],
  [12345678901, '1.235E10']
])('writes %d as %s', (value, text) => {
  expect(number(value)).toBe(text);
});

it('never puts a job into the future', () => {
  vi.useFakeTimers({ now: Date.UTC(2026, 0, 1) });
  expect(age('2026-01-01T00:05:00Z')).toBe('now');
  expect(age('2025-12-31T23:57:00Z')).toBe('3 min. ago');
});

it('tells a fraction only of a known total', () => {
  const progress = { step: 3, total: 4, metrics: {} };
  expect(fraction(job(1))).toBeNull();
  expect(fraction(job(1, { progress: { ...progress, total: null } }))).toBeNull();
  expect(fraction(job(1, { progress }))).toBe(0.75);
  expect(fraction(job(1, { progress: { ...progress, step: 9 } }))).toBe(1);
});

it('says all of a row in words', () => {
  vi.useFakeTimers({ now: Date.UTC(2026, 0, 1, 0, 5) });
  const progress = { step: 3, total: 4, metrics: {} };
  expect(rowLabel(job(1, { state: 'running', attempt: 2, progress }), trans)).toBe(
    'train 1, Running, 3 of 4, attempt 2, 4 min. ago'
  );
});

it('tells an attempt in a sentence', () => {
  const attempt: Attempt = {
    number: 2,
    state: 'failed',
    started_at: '2026-01-01T00:00:00Z',
    ended_at: '2026-01-01T00:01:30Z',
    resumed_step: 7,
    durable_step: 9,
    reason: null,
    message: ''
  };
  expect(attemptSentence(attempt, trans)).toBe('Went on from the checkpoint of step 7, ran for 1 min 30 s.');
  expect(attemptSentence({ ...attempt, resumed_step: null }, trans)).toBe('Began from nothing, ran for 1 min 30 s.');
  expect(attemptSentence({ ...attempt, started_at: null }, trans)).toBe('Not started yet.');
});
