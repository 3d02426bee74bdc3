import { nullTranslator } from '@jupyterlab/translation';
import { expect, it, vi } from 'vitest';
import type { Attempt } from '../src/api/jobs';
import { age, bytes, duration, edgeLabels, number } from '../src/common/format';
import {
  amountsLabel,
  attemptCosts,
  attemptSentences,
  fraction,
  parametersLabel,
  priorityLabel,
  rowLabel,
  rowNote,
  stateLabel,
  usageLabels,
  useLabel,
  wantedLabels
} from '../src/jobs/format';
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

it.each([
  [1, '1st in the queue'],
  [2, '2nd in the queue'],
  [3, '3rd in the queue'],
  [11, '11th in the queue'],
  [112, '112th in the queue'],
  [121, '121st in the queue']
])('tells place %d of the queue as %s', (position, text) => {
  expect(rowNote(job(1, { position }), trans)).toBe(text);
});

it('tells why a job waits and how a sweep is, and repeats no state', () => {
  const message = 'Waiting for CPU: 1 of 2 in use, 2 asked for.';
  expect(rowNote(job(1, { position: 2, message }), trans)).toBe(`2nd in the queue · ${message}`);
  expect(rowNote(job(1, { state: 'running', message: 'Running.' }), trans)).toBe('');
  const sweep = job(1, { kind: 'sweep', state: 'running', message: '3 of 12 jobs done, 1 failed.' });
  expect(rowNote(sweep, trans)).toBe('3 of 12 jobs done, 1 failed.');
  expect(rowNote({ ...sweep, state: 'succeeded', message: 'Done.' }, trans)).toBe('');
});

it('tells a priority only where it is not that of all', () => {
  expect(priorityLabel(job(1), trans)).toBe('');
  expect(priorityLabel(job(1, { priority: -5 }), trans)).toBe('priority -5');
});

it('tells a pause from a cancel, which take the same way', () => {
  expect(stateLabel('cancelling', trans, 'paused')).toBe('Pausing');
  expect(stateLabel('cancelling', trans, 'cancelled')).toBe('Cancelling');
  expect(stateLabel('paused', trans, 'paused')).toBe('Paused');
});

it('writes parameters as they were given', () => {
  const parameters = { lr: 0.1, layers: [8, 4], optimizer: 'adam', warm: true };
  expect(parametersLabel(job(1, { parameters }))).toBe('lr=0.1, layers=[8,4], optimizer=adam, warm=true');
});

const attempt: Attempt = {
  number: 3,
  state: 'running',
  started_at: '2026-01-01T00:00:00Z',
  ended_at: null,
  resumed_step: 1200,
  durable_step: 1300,
  cpu_seconds: 0,
  gpu_seconds: 0,
  peak_memory_bytes: null,
  reason: null,
  message: 'Attempt 3 resumed at step 1200; 14 steps redone.'
};

it('tells an attempt in sentences', () => {
  const saved = 'Its last checkpoint is of step 1300.';
  expect(attemptSentences(attempt, trans)).toEqual(['Attempt 3 resumed at step 1200; 14 steps redone.', saved]);
  const ended: Attempt = { ...attempt, state: 'failed', ended_at: '2026-01-01T00:01:30Z', message: 'ValueError: no.' };
  expect(attemptSentences(ended, trans)).toEqual(['It resumed at step 1200.', 'ValueError: no.', saved]);
  expect(attemptSentences({ ...ended, resumed_step: null, durable_step: null, message: '' }, trans)).toEqual([
    'It began from nothing.'
  ]);
  expect(attemptSentences({ ...attempt, started_at: null, message: '' }, trans)).toEqual(['Not started yet.']);
});

it('tells what an attempt took', () => {
  vi.useFakeTimers({ now: Date.UTC(2026, 0, 1, 0, 1) });
  expect(attemptCosts(attempt, trans)).toBe('1 min 0 s');
  const ended = { ...attempt, ended_at: '2026-01-01T00:01:30Z', cpu_seconds: 180, gpu_seconds: 90.04 };
  expect(attemptCosts({ ...ended, peak_memory_bytes: 1_250_000_000 }, trans)).toBe(
    '1 min 30 s · 180 CPU-seconds · 90 GPU-seconds · at most 1.25 GB of memory'
  );
  expect(attemptCosts({ ...attempt, started_at: null }, trans)).toBe('');
});

it('tells what was used of clusters', () => {
  vi.useFakeTimers({ now: Date.UTC(2026, 0, 31) });
  const usage = { since: '2026-01-01T00:00:00Z', cpu_seconds: 4_500, gpu_seconds: 36 };
  expect(usageLabels(usage, trans)).toEqual(['Last 30 days:', '1.25 CPU-hours,', '0.01 GPU-hours']);
});

it('tells resources, and leaves out the marks that Ray puts among them', () => {
  const total = { memory: 4e9, GPU: 2, CPU: 4, 'node:10.0.0.1': 1, object_store_memory: 1e9, tpu: 1 };
  expect(amountsLabel(total, trans)).toBe('4 CPU, 2 GPU, 4 GB memory, 1 tpu');
  expect(useLabel({ CPU: 1.5, GPU: 0, memory: 1e9 }, total, trans)).toBe(
    '1.5 of 4 CPU · 0 of 2 GPU · 1 GB of 4 GB memory · 1 tpu'
  );
  expect(wantedLabels([{ GPU: 1 }, { CPU: 2 }, { GPU: 1 }, {}], trans)).toEqual(['2 × 1 GPU', '2 CPU']);
});

it.each([
  ['2026-05-01T10:00:00', '2026-05-01T12:30:00', ['10:00 AM', '12:30 PM']],
  ['2026-05-01T10:00:00', '2026-05-11T12:30:00', ['May 1', 'May 11']],
  ['2025-12-31T10:00:00', '2026-01-01T12:30:00', ['Dec 31, 2025', 'Jan 1, 2026']]
])('tells %s from %s in few characters', (from, to, expected) => {
  expect(edgeLabels(from, to).map(label => label.replace('\u202f', ' '))).toEqual(expected);
});
