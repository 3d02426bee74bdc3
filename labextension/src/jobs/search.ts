import { type LogBlock, plainText } from './log';

/** Where a match lies in the plain text of its block. */
export interface Range {
  readonly start: number;
  readonly end: number;
}

export interface Match extends Range {
  /** The key of its block. */
  readonly key: number;
}

/** What was found, oldest first. */
export interface Found {
  readonly matches: readonly Match[];
  /** The same by block; a block that did not change has the very same array, so that it is not drawn anew. */
  readonly inBlocks: ReadonlyMap<number, readonly Range[]>;
  /** Whether there are older matches than these. */
  readonly more: boolean;
}

/** So many matches are found and marked, the newest ones: more would help nobody, and hold up the page. */
export const MOST_MATCHES = 1_000;

const NOTHING: Found = { matches: [], inBlocks: new Map(), more: false };

/** Finds a text in a log, whatever its case. It remembers what it found in blocks that have not changed. */
export class LogSearch {
  find(blocks: readonly LogBlock[], needle: string): Found {
    if (needle !== this._needle) {
      this._needle = needle;
      this._known = new Map();
    }
    if (!needle) {
      return NOTHING;
    }
    const pattern = new RegExp(needle.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&'), 'gi');
    const found: [number, readonly Range[]][] = [];
    const known: typeof this._known = new Map();
    let count = 0;
    let more = false;
    for (let at = blocks.length - 1; at >= 0 && !more; at--) {
      const block = blocks[at]!;
      const before = this._known.get(block.key);
      const ranges = before?.text === block.text ? before.ranges : rangesOf(block.text, pattern);
      known.set(block.key, { text: block.text, ranges });
      more = count + ranges.length > MOST_MATCHES;
      const taken = more ? ranges.slice(ranges.length - (MOST_MATCHES - count)) : ranges;
      if (taken.length) {
        found.unshift([block.key, taken]);
        count += taken.length;
      }
    }
    this._known = known;
    const matches = found.flatMap(([key, ranges]) => ranges.map(range => ({ key, ...range })));
    return { matches, inBlocks: new Map(found), more };
  }

  private _needle = '';
  private _known = new Map<number, { readonly text: string; readonly ranges: readonly Range[] }>();
}

function rangesOf(text: string, pattern: RegExp): readonly Range[] {
  return [...plainText(text).matchAll(pattern)].map(({ index, 0: { length } }) => ({
    start: index,
    end: index + length
  }));
}
