import { beforeEach, describe, expect, it, vi } from 'vitest';
import { ServerError } from '../src/api/request';
import { KEPT, LogModel, plainText, wholeLog } from '../src/jobs/log';
import { FakeServer, job } from './fakes';

const ID = 'job-0001';
const line = (index: number) => `line ${String(index).padStart(6, '0')}\n`;
const lines = (count: number) => Array.from({ length: count }, (_, index) => line(index)).join('');
const shown = (log: LogModel) => log.state.blocks.map(block => block.text).join('');

let server: FakeServer;
const write = (text: string) => {
  server.logs.set(ID, (server.logs.get(ID) ?? '') + text);
  server.set(ID, { log_size: new TextEncoder().encode(server.logs.get(ID)).length });
  return server.jobs.get(ID)!.log_size;
};

beforeEach(() => {
  vi.useFakeTimers();
  server = new FakeServer(job(1, { state: 'running' }));
});

describe('a log', () => {
  it('is read on from where it ended, each byte once', async () => {
    const log = new LogModel(server, ID, write('one\n'));
    await log.read(4, false);
    await log.read(write('zwölf\n'), false);
    await log.read(write('three\n'), false);
    expect(shown(log)).toBe('one\nzwölf\nthree\n');
    expect(server.count('log')).toBe(3);
  });

  it('is read to its end and then no more', async () => {
    const log = new LogModel(server, ID, write(lines(10)));
    server.set(ID, { state: 'succeeded' });
    await log.read(0, true);
    expect(log.state.complete).toBe(true);
    await log.read(0, true);
    expect(server.count('log')).toBe(1);
  });

  it('waits a while for last lines that reach the storage after the end', async () => {
    const log = new LogModel(server, ID, write('one\n'));
    await log.read(4, true);
    expect(log.state.complete).toBe(false);
    write('last words\n');
    server.set(ID, { state: 'failed' });
    await vi.advanceTimersByTimeAsync(2_000);
    expect(shown(log)).toBe('one\nlast words\n');
    expect(log.state.complete).toBe(true);
  });

  it('of many megabytes is read and kept only near its end', async () => {
    const text = lines(300_000);
    const log = new LogModel(server, ID, write(text));
    await log.read(text.length, false);
    expect(log.state).toMatchObject({ earlier: 'more', size: text.length });
    expect(log.state.start).toBe(text.length - shown(log).length);
    expect(shown(log).length).toBeLessThanOrEqual(KEPT);
    expect(shown(log).startsWith('line ')).toBe(true);
    expect(shown(log).endsWith(line(299_999))).toBe(true);
    expect(server.count('log')).toBeLessThan(5);
  });

  it('drops the oldest blocks as it grows, and leaves finished ones as they are', async () => {
    const log = new LogModel(server, ID, write(lines(1_000)));
    await log.read(0, false);
    const first = log.state.blocks[0];
    await log.read(write(lines(1_000)), false);
    expect(log.state.blocks[0]).toEqual(first);
    for (let round = 0; round < 20; round++) {
      await log.read(write(lines(5_000)), false);
    }
    expect(shown(log).length).toBeLessThanOrEqual(KEPT);
    expect(log.state.start).toBe(server.jobs.get(ID)!.log_size - shown(log).length);
    expect(new Set(log.state.blocks.map(block => block.key)).size).toBe(log.state.blocks.length);
  });

  it('loads what is earlier piece by piece, without a gap, also where characters take some bytes', async () => {
    const text = lines(100_000).replaceAll('line', 'žlutý');
    const log = new LogModel(server, ID, write(text));
    await log.read(text.length, false);
    const blocks = log.state.blocks;
    const { start } = log.state;
    await log.loadEarlier();
    expect(log.state.start).toBeLessThan(start);
    expect(log.state.blocks.slice(-blocks.length)).toEqual(blocks);
    expect(new Set(log.state.blocks.map(block => block.key)).size).toBe(log.state.blocks.length);
    while (log.state.earlier === 'more') {
      await log.loadEarlier();
    }
    expect(log.state).toMatchObject({ start: 0, earlier: 'none' });
    expect(shown(log)).toBe(text);
    await log.read(write('the end\n'), false);
    expect(shown(log)).toBe(`${text}the end\n`);
  });

  it('does not load more earlier text than a page can hold', async () => {
    const text = lines(800_000);
    const log = new LogModel(server, ID, write(text));
    await log.read(text.length, false);
    for (let round = 0; round < 20; round++) {
      await log.loadEarlier();
    }
    expect(log.state.earlier).toBe('none');
    expect(log.state.start).toBeGreaterThan(0);
    expect(shown(log).length).toBeLessThanOrEqual(8 * KEPT);
    expect(text.endsWith(shown(log))).toBe(true);
  });

  it('says when what is earlier cannot be loaded, and can be asked again', async () => {
    const log = new LogModel(server, ID, write(lines(100_000)));
    await log.read(0, false);
    server.failure = new ServerError('The storage does not answer.', 503, 'unavailable');
    await log.loadEarlier();
    expect(log.state).toMatchObject({ earlier: 'more', error: { message: 'The storage does not answer.' } });
  });

  it('without line ends is cut into blocks too', async () => {
    const text = 'x'.repeat(100_000);
    const log = new LogModel(server, ID, write(text));
    await log.read(0, false);
    expect(shown(log)).toBe(text);
    expect(Math.max(...log.state.blocks.map(block => block.text.length))).toBeLessThanOrEqual(32_000);
  });

  it('says when it cannot be read, and goes on when it can', async () => {
    const log = new LogModel(server, ID, write('one\n'));
    server.failure = new ServerError('The storage does not answer.', 503, 'unavailable');
    await log.read(4, false);
    expect(log.state.error?.message).toBe('The storage does not answer.');
    server.failure = null;
    await log.read(4, false);
    expect(log.state.error).toBeNull();
    expect(shown(log)).toBe('one\n');
  });

  it('can be had whole', async () => {
    const text = lines(200_000);
    write(text);
    server.set(ID, { state: 'succeeded' });
    expect(await wholeLog(server, ID)).toBe(text);
  });
});

describe('plainText', () => {
  it.each([
    ['\x1b[36m(pid=1)\x1b[0m hello', '(pid=1) hello'],
    ['\x1b]8;;http://x\x07link\x1b]8;;\x07', 'link'],
    ['10%\r50%\r100%\nnext', '100%\nnext'],
    ['windows\r\nends\r\n', 'windows\nends\n'],
    ['working 50%\r', 'working 50%'],
    ['a\n1%\r2%\nb\n3%\r4%', 'a\n2%\nb\n4%']
  ])('leaves %j as %j', (raw, plain) => {
    expect(plainText(raw)).toBe(plain);
  });
});
