import { expect, it } from 'vitest';
import type { LogBlock } from '../src/jobs/log';
import { LogSearch, MOST_MATCHES } from '../src/jobs/search';

const blocks = (...texts: string[]): LogBlock[] => texts.map((text, key) => ({ key, text }));

it('finds a text whatever its case, oldest first, and takes it literally', () => {
  const found = new LogSearch().find(blocks('Loss (x) = 1\nloss (X) = 2\n', 'LOSS [x]\n'), 'loss (x)');
  expect(found.matches).toEqual([
    { key: 0, start: 0, end: 8 },
    { key: 0, start: 13, end: 21 }
  ]);
  expect(found.more).toBe(false);
});

it.each(['a.b', 'a*b', 'a\\b', 'a[0]', '^a$', 'a|b', '{a}', 'a-b', '(?a)', 'ÄÖ', 'a/b'])(
  'finds %s as it is',
  needle => {
    const found = new LogSearch().find(blocks(`before ${needle} after`), needle);
    expect(found.matches).toEqual([{ key: 0, start: 7, end: 7 + needle.length }]);
  }
);

it('finds in what is shown, without escape sequences and overwritten lines', () => {
  const found = new LogSearch().find(blocks('1% err\r\x1b[31merr\x1b[0mor\n'), 'error');
  expect(found.matches).toEqual([{ key: 0, start: 0, end: 5 }]);
});

it('finds nothing of an empty text', () => {
  expect(new LogSearch().find(blocks('text'), '').matches).toEqual([]);
});

it('finds the newest ones of very many, in little time', () => {
  const many = blocks(...Array.from({ length: 125 }, () => 'e'.repeat(32_000)));
  const began = performance.now();
  const found = new LogSearch().find(many, 'e');
  expect(performance.now() - began).toBeLessThan(500);
  expect(found.more).toBe(true);
  expect(found.matches).toHaveLength(MOST_MATCHES);
  expect(found.matches.at(-1)).toEqual({ key: 124, start: 31_999, end: 32_000 });
  expect([...found.inBlocks.keys()]).toEqual([124]);
});

it('gives the very same matches for blocks that did not change', () => {
  const search = new LogSearch();
  const before = search.find(blocks('one error\n', 'an err'), 'error');
  const after = search.find(blocks('one error\n', 'an error\n'), 'error');
  expect(after.inBlocks.get(0)).toBe(before.inBlocks.get(0));
  expect(after.matches).toHaveLength(2);
});
