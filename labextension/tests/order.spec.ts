import { describe, expect, it } from 'vitest';
import type { JobState } from '../src/api/jobs';
import { applyEvent, isLater, mergeAnswer, newestFirst } from '../src/jobs/order';
import { event, job } from './fakes';

const LIFE: [JobState, number][] = [
  ['queued', 1],
  ['admitted', 1],
  ['starting', 1],
  ['running', 1],
  ['interrupted', 1],
  ['queued', 1],
  ['admitted', 2],
  ['starting', 2],
  ['running', 2],
  ['cancelling', 2],
  ['cancelled', 2]
];

describe('isLater', () => {
  it('follows a whole life with a second attempt', () => {
    for (let index = 1; index < LIFE.length; index++) {
      const [[state, attempt], [nextState, nextAttempt]] = [LIFE[index - 1]!, LIFE[index]!];
      expect(isLater({ state, attempt }, { state: nextState, attempt: nextAttempt })).toBe(true);
    }
  });

  it('never leaves a final state, whatever comes', () => {
    for (const state of ['succeeded', 'failed', 'cancelled'] as const) {
      for (const [next, attempt] of LIFE) {
        expect(isLater({ state, attempt: 1 }, { state: next, attempt })).toBe(false);
      }
    }
  });

  it('goes back into the queue from a pause, and never leaves it otherwise', () => {
    const paused = { state: 'paused', attempt: 1 } as const;
    expect(isLater({ state: 'cancelling', attempt: 1 }, paused)).toBe(true);
    expect(isLater({ state: 'queued', attempt: 1 }, paused)).toBe(true);
    expect(isLater(paused, { state: 'queued', attempt: 1 })).toBe(true);
    expect(isLater(paused, { state: 'admitted', attempt: 1 })).toBe(true);
    expect(isLater(paused, { state: 'starting', attempt: 2 })).toBe(true);
    expect(isLater(paused, { state: 'running', attempt: 1 })).toBe(false);
    expect(isLater(paused, { state: 'cancelling', attempt: 1 })).toBe(false);
  });

  it('takes neither the same moment twice nor an older one', () => {
    expect(isLater({ state: 'running', attempt: 1 }, { state: 'running', attempt: 1 })).toBe(false);
    expect(isLater({ state: 'running', attempt: 1 }, { state: 'starting', attempt: 1 })).toBe(false);
    expect(isLater({ state: 'queued', attempt: 2 }, { state: 'running', attempt: 1 })).toBe(false);
  });
});

describe('applyEvent', () => {
  const running = job(1, { state: 'running', progress: { step: 3, total: 10, metrics: { loss: 0.5 } }, log_size: 100 });

  it('takes state, message, progress and size from a newer event', () => {
    const after = applyEvent(
      running,
      event(running, 'state', {
        state: 'succeeded',
        message: 'Done.',
        progress: { step: 10, total: 10, metrics: { loss: 0.1 } },
        log_size: 250
      })
    );
    expect(after).toMatchObject({ state: 'succeeded', message: 'Done.', log_size: 250, progress: { step: 10 } });
  });

  it('gives back the very same job for a duplicate, so that nothing is drawn again', () => {
    expect(applyEvent(running, event(running, 'progress'))).toBe(running);
  });

  it('does not go back when events come out of order', () => {
    const late = event(running, 'progress', {
      state: 'starting',
      log_size: 50,
      progress: { step: 2, total: 10, metrics: {} }
    });
    expect(applyEvent(running, late)).toBe(running);
  });

  it('takes another sentence on why a job waits, and forgets its place when it leaves the queue', () => {
    const queued = job(1, { position: 3, message: 'Waiting in the queue.' });
    const said = applyEvent(queued, event(queued, 'state', { message: 'Waiting for CPU: 2 of 2 in use.' }));
    expect(said).toMatchObject({ position: 3, message: 'Waiting for CPU: 2 of 2 in use.' });
    expect(applyEvent(said, event(said, 'state', { state: 'admitted' })).position).toBeNull();
  });

  it('starts counting steps anew with the next attempt', () => {
    const resumed = event(running, 'progress', { attempt: 2, progress: { step: 1, total: 10, metrics: {} } });
    expect(applyEvent(running, resumed)).toMatchObject({ attempt: 2, progress: { step: 1 } });
  });
});

describe('mergeAnswer', () => {
  it('takes an answer that is up to date as it is', () => {
    const answer = job(1, { state: 'running', started_at: '2026-01-01T00:00:00Z' });
    expect(mergeAnswer(job(1), answer)).toEqual(answer);
  });

  it('keeps what events told while the answer was under way', () => {
    const known = job(1, { state: 'succeeded', message: 'Done.', log_size: 9 });
    const answer = job(1, { state: 'running', message: 'Running.', started_at: '2026-01-01T00:00:00Z', log_size: 5 });
    expect(mergeAnswer(known, answer)).toMatchObject({
      state: 'succeeded',
      message: 'Done.',
      log_size: 9,
      started_at: '2026-01-01T00:00:00Z'
    });
  });
});

it('sorts newest first, and by id within the same instant', () => {
  const same = { created_at: '2026-01-01T00:00:00Z' };
  const sorted = [job(1, same), job(9), job(2, same)].sort(newestFirst).map(item => item.id);
  expect(sorted).toEqual(['job-0009', 'job-0002', 'job-0001']);
});
