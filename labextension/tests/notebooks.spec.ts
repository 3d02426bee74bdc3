import { ServerConnection } from '@jupyterlab/services';
import { expect, it } from 'vitest';
import { JobNotebooks, notebookPath } from '../src/jobs/notebooks';
import { FakeServer, job } from './fakes';

const drive = (server = new FakeServer(job(1))) => new JobNotebooks(server, ServerConnection.makeSettings());

it('gives every notebook a path of its own, whatever the name of the job', () => {
  expect(notebookPath('job-1', 'a/b: c')).toBe('jupyter-ext-jobs:job-1/a-b- c.ipynb');
});

it('shows an executed notebook as a document that can only be read', async () => {
  const server = new FakeServer(job(1));
  const model = await drive(server).get('job-0001/train.ipynb');
  expect(model).toMatchObject({ type: 'notebook', format: 'json', name: 'train.ipynb', writable: false });
  expect(model.content).toMatchObject({ cells: [], nbformat: 4, metadata: { language_info: { name: 'python' } } });
  expect(server.calls).toEqual(['notebook job-0001']);
});

it('asks for no content that is not wanted, and changes nothing', async () => {
  const server = new FakeServer(job(1));
  expect((await drive(server).get('job-0001/train.ipynb', { content: false })).content).toBeNull();
  expect(server.calls).toEqual([]);
  await expect(drive().save()).rejects.toThrow('can only be read');
});
