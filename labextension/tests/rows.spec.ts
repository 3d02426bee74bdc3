import { expect, it } from 'vitest';
import { ServerError } from '../src/api/request';
import type { JobsState } from '../src/jobs/model';
import { rowsOf } from '../src/jobs/rows';
import { job } from './fakes';

const state = (change: Partial<JobsState>): JobsState => ({
  jobs: [],
  filter: 'all',
  name: '',
  loading: false,
  error: null,
  hasMore: false,
  families: new Map(),
  ...change
});
const sweep = job(2, { kind: 'sweep' });
const children = [job(4, { parent_id: sweep.id }), job(3, { parent_id: sweep.id })];
const rows = (family: JobsState | null) =>
  rowsOf(state({ jobs: [sweep, job(1)], families: new Map(family ? [[sweep.id, family]] : []) }));
const ids = (family: JobsState) => rows(family).map(row => row.id);

it('shows a sweep as one line that can be opened', () => {
  expect(rows(null).map(row => row.kind === 'job' && row.open)).toEqual([false, null]);
});

it('puts the children below their open sweep', () => {
  const family = state({ jobs: children });
  expect(ids(family)).toEqual(['job-0002', 'job-0004', 'job-0003', 'job-0001']);
  expect(rows(family)[0]).toMatchObject({ open: true });
});

it('says in a line of its own that children are being loaded, that there are more, or that they cannot be had', () => {
  const rest = 'rest of job-0002';
  expect(ids(state({ loading: true }))).toEqual(['job-0002', rest, 'job-0001']);
  expect(ids(state({ jobs: children, hasMore: true }))[3]).toBe(rest);
  expect(ids(state({ jobs: children, error: new ServerError('No.', 503, 'unavailable') }))[3]).toBe(rest);
});
