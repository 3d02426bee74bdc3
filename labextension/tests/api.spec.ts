import { ServerConnection } from '@jupyterlab/services';
import { expect, it, vi } from 'vitest';
import { clustersApi } from '../src/api/clusters';
import { jobsApi } from '../src/api/jobs';
import { monitorsApi } from '../src/api/monitors';
import { request, type ServerError } from '../src/api/request';

function connection(answer: () => Promise<Response> | Response, baseUrl = 'http://host/user/a%40b/') {
  const asked: Request[] = [];
  const settings = ServerConnection.makeSettings({
    baseUrl,
    fetch: vi.fn(async (input: RequestInfo | URL) => {
      asked.push(input as Request);
      return answer();
    })
  });
  return { settings, asked };
}

const json = (body: unknown, status = 200) => new Response(JSON.stringify(body), { status });
const failure = async (answer: () => Promise<Response> | Response): Promise<ServerError> => {
  const { settings } = connection(answer);
  return request(settings, ['jobs']).then(
    () => expect.fail('This had to fail.'),
    (error: unknown) => error as ServerError
  );
};

it.each([
  ['http://host/user/a%40b/', 'http://host/user/a%40b/jupyter-ext/api/v1/jobs/job-1'],
  ['http://host/@/space%20word/', 'http://host/@/space%20word/jupyter-ext/api/v1/jobs/job-1'],
  ['http://host/', 'http://host/jupyter-ext/api/v1/jobs/job-1'],
  ['http://host/user/%C3%A9%2Bx', 'http://host/user/%C3%A9%2Bx/jupyter-ext/api/v1/jobs/job-1']
])('keeps the base URL %s as it is', async (baseUrl, expected) => {
  const { settings, asked } = connection(() => json({}), baseUrl);
  await jobsApi(settings).get('job-1');
  expect(asked[0]?.url.split('?')[0]).toBe(expected);
});

it('encodes what it puts into the path', async () => {
  const { settings, asked } = connection(() => json({}));
  await jobsApi(settings).get('../a b');
  expect(asked[0]?.url).toContain('/jobs/..%2Fa%20b');
});

it('reads without being activity, and cancels as activity', async () => {
  const { settings, asked } = connection(() => json({ items: [], next_cursor: null }));
  const api = jobsApi(settings);
  await api.list({ limit: 50, cursor: undefined, state: 'live' });
  await api.log('job-1', 7, 100);
  await api.cancel('job-1');
  const queries = asked.map(item => Object.fromEntries(new URL(item.url).searchParams));
  expect(queries[0]).toMatchObject({ limit: '50', state: 'live', no_track_activity: '1' });
  expect(queries[0]).not.toHaveProperty('cursor');
  expect(queries[1]).toMatchObject({ offset: '7', limit: '100', no_track_activity: '1' });
  expect(queries[2]).not.toHaveProperty('no_track_activity');
  expect(asked.map(item => item.method)).toEqual(['GET', 'GET', 'POST']);
});

it('knows where everything else lives', async () => {
  const { settings, asked } = connection(() => json({ items: [], next_cursor: null }));
  const api = jobsApi(settings);
  await api.list({ limit: 50, parent: 'job-1' });
  await api.pause('job-1');
  await api.resume('job-1');
  await api.notebook('job-1');
  await api.usage();
  const clusters = clustersApi(settings);
  await clusters.list();
  await clusters.get('a b');
  await clusters.start('default');
  await clusters.stop('default');
  await clusters.resize('default', { gpu: 2 });
  const paths = asked.map(({ method, url }) => `${method} ${new URL(url).pathname.split('/v1/')[1]}`);
  expect(new URL(asked[0]!.url).searchParams.get('parent')).toBe('job-1');
  expect(paths).toEqual([
    'GET jobs',
    'POST jobs/job-1/pause',
    'POST jobs/job-1/resume',
    'GET jobs/job-1/notebook',
    'GET jobs/usage',
    'GET clusters',
    'GET clusters/a%20b',
    'POST clusters/default/start',
    'POST clusters/default/stop',
    'PUT clusters/default/size'
  ]);
  expect(await asked.at(-1)!.json()).toEqual({ limits: { gpu: 2 } });
});

it('knows where monitors live, and what is an act of the user’s', async () => {
  const { settings, asked } = connection(() => json({ items: [], next_cursor: null }));
  const api = monitorsApi(settings);
  await api.list();
  await api.get('monitor-1');
  await api.alarms('monitor-1', 'active', 50);
  await api.windows('monitor-1', 30);
  const rule = { check: 'drift', feature: 'a b', aspect: 'missing' } as const;
  await api.measurements('monitor-1', 100, rule);
  await api.measurements('monitor-1', 100, { check: 'outliers', feature: '' });
  await api.deliveries('monitor-1', 30);
  await api.profile('profile-1');
  await api.profiles();
  await api.datasets();
  await api.setEnabled('monitor-1', false);
  await api.delete('monitor-1');
  const paths = asked.map(({ method, url }) => `${method} ${new URL(url).pathname.split('/v1/')[1]}`);
  expect(paths).toEqual([
    'GET monitors',
    'GET monitors/monitor-1',
    'GET monitors/alarms',
    'GET monitors/monitor-1/evaluations',
    'GET monitors/monitor-1/measurements',
    'GET monitors/monitor-1/measurements',
    'GET monitors/monitor-1/deliveries',
    'GET monitors/profiles/profile-1',
    'GET monitors/profiles',
    'GET datasets',
    'PATCH monitors/monitor-1',
    'DELETE monitors/monitor-1'
  ]);
  const queries = asked.map(item => Object.fromEntries(new URL(item.url).searchParams));
  expect(queries[2]).toMatchObject({ monitor_id: 'monitor-1', state: 'active', limit: '50', no_track_activity: '1' });
  expect(queries[4]).toMatchObject({ limit: '100', check: 'drift', feature: 'a b' });
  expect(queries[5]).toMatchObject({ check: 'outliers', feature: '' });
  expect(queries[4]).not.toHaveProperty('aspect');
  expect(queries.slice(-2).some(query => 'no_track_activity' in query)).toBe(false);
  expect(await asked.at(-2)!.json()).toEqual({ enabled: false });
});

it('takes an answer without content', async () => {
  const { settings } = connection(() => new Response(null, { status: 204 }));
  await expect(monitorsApi(settings).delete('monitor-1')).resolves.toBeUndefined();
});

it('hands on the server’s own sentence', async () => {
  const error = await failure(() => json({ message: 'You may not read jobs.', reason: 'forbidden', details: {} }, 403));
  expect(error).toMatchObject({ message: 'You may not read jobs.', status: 403, reason: 'forbidden' });
  expect(error.extensionMissing).toBe(false);
});

it('knows a missing extension from a missing job', async () => {
  const missing = await failure(() => new Response('<html>404</html>', { status: 404, statusText: 'Not Found' }));
  expect(missing).toMatchObject({ message: '404 Not Found', extensionMissing: true });
  const jupyters = await failure(() => json({ message: 'Not Found', reason: null }, 404));
  expect(jupyters.extensionMissing).toBe(true);
  const ours = await failure(() => json({ message: 'There is no job.', reason: 'not_found', details: {} }, 404));
  expect(ours.extensionMissing).toBe(false);
});

it('says when the server cannot be reached', async () => {
  const error = await failure(() => Promise.reject(new TypeError('Failed to fetch')));
  expect(error).toMatchObject({ status: 0, reason: 'unreachable', message: 'Failed to fetch' });
});
