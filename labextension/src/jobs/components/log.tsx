import { closeIcon, downloadIcon, searchIcon } from '@jupyterlab/ui-components';
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';
import { ErrorNotice, IconButton, useModel, useTrans } from '../../common/components';
import { bytes } from '../../common/format';
import { nextIcon, previousIcon } from '../../icons';
import { type LogModel, type LogState, plainText } from '../log';
import { type Found, LogSearch, type Match, MOST_MATCHES, type Range } from '../search';

/** Nearer to the end than this counts as being at the end (pixels). */
const AT_END = 24;

interface LogProps {
  readonly log: LogModel;
  readonly onSave: () => void;
}

/** The end of a log, which stays in view while it grows unless the reader scrolls up. Ctrl F or Cmd F finds in it. */
export function LogView({ log, onSave }: LogProps): React.ReactElement {
  const trans = useTrans();
  const state = useModel(log);
  const { blocks, size, error } = state;
  const [follow, setFollow] = React.useState(true);
  const [finding, setFinding] = React.useState(false);
  const box = React.useRef<HTMLDivElement>(null);
  const { found, at, ...find } = useFind(state, finding, box, () => setFollow(false));
  useSteadyScroll(box, blocks[0]?.key ?? 0);
  React.useLayoutEffect(() => {
    if (follow && box.current) {
      box.current.scrollTop = box.current.scrollHeight;
    }
  }, [blocks, follow]);
  const top = React.useRef(0);
  const onScroll = ({ currentTarget }: React.UIEvent): void => {
    const { scrollTop, scrollHeight, clientHeight } = currentTarget;
    if (scrollHeight - scrollTop - clientHeight < AT_END) {
      setFollow(true);
    } else if (scrollTop < top.current) {
      setFollow(false);
    }
    top.current = scrollTop;
  };
  const onKeyDown = (event: React.KeyboardEvent): void => {
    if (event.key.toLowerCase() === 'f' && (event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey) {
      event.preventDefault();
      event.stopPropagation();
      setFinding(true);
    }
  };
  const close = (): void => {
    setFinding(false);
    box.current?.focus();
  };
  const empty = blocks.every(block => !block.text);
  return (
    <div className="jpx-Log" onKeyDown={onKeyDown}>
      <div className="jpx-Log-bar">
        <label>
          <input type="checkbox" checked={follow} onChange={event => setFollow(event.target.checked)} />
          {trans.__('Follow')}
        </label>
        <span className="jpx-Log-size">{empty ? '' : bytes(size)}</span>
        <IconButton
          icon={searchIcon}
          label={trans.__('Find in the log (Ctrl F)')}
          pressed={finding}
          disabled={empty}
          onClick={() => (finding ? close() : setFinding(true))}
        />
        <IconButton icon={downloadIcon} label={trans.__('Save the whole log')} disabled={empty} onClick={onSave} />
      </div>
      {finding && <FindBar {...find} found={found} at={at} onClose={close} />}
      {error && <ErrorNotice error={error} onRetry={() => void log.read(0, false)} />}
      {state.start > 0 && (
        <p className="jpx-Log-earlier">
          {finding
            ? trans.__('Not loaded and not searched: the first %1.', bytes(state.start))
            : trans.__('Not loaded: the first %1.', bytes(state.start))}{' '}
          {state.earlier === 'none' ? (
            trans.__('Save the whole log to read it.')
          ) : (
            <button
              type="button"
              className="jpx-Link"
              aria-disabled={state.earlier === 'loading'}
              onClick={() => {
                setFollow(false);
                void log.loadEarlier();
              }}
            >
              {state.earlier === 'loading' ? trans.__('Loading…') : trans.__('Load earlier lines')}
            </button>
          )}
        </p>
      )}
      <div
        ref={box}
        className="jpx-Log-text"
        role="log"
        aria-live="off"
        aria-label={trans.__('Log')}
        tabIndex={0}
        onScroll={onScroll}
      >
        {empty ? (
          <span className="jpx-Log-empty">{trans.__('Nothing written yet.')}</span>
        ) : (
          blocks.map(({ key, text }) => (
            <Block key={key} text={text} ranges={found.inBlocks.get(key)} at={at?.key === key ? at.start : undefined} />
          ))
        )}
      </div>
    </div>
  );
}

interface Find {
  readonly needle: string;
  readonly onNeedle: (needle: string) => void;
  /** Go to the match so many after the current one, or before it. */
  readonly onGo: (by: number) => void;
  /** What was found, for those who hear it: told when they search, and not whenever the log grows. */
  readonly said: string;
}

/** Find a text in a log, and go from match to match. */
function useFind(
  { blocks }: LogState,
  finding: boolean,
  box: React.RefObject<HTMLElement>,
  onGone: () => void
): Find & { readonly found: Found; readonly at: Match | undefined } {
  const trans = useTrans();
  const [needle, setNeedle] = React.useState('');
  const [current, setCurrent] = React.useState<Match | null>(null);
  const [said, setSaid] = React.useState('');
  const [search] = React.useState(() => new LogSearch());
  // At once, so that Enter goes on from what was typed last; as much as a page keeps takes some milliseconds.
  const searched = finding ? needle : '';
  const found = React.useMemo(() => search.find(blocks, searched), [search, blocks, searched]);
  const index = indexOf(found, current);
  const at = found.matches[index];
  const say = React.useRef<() => void>(() => undefined);
  say.current = () => setSaid(searched ? countLabel(found, index, trans) : '');
  // A new search begins at its newest match.
  React.useEffect(() => {
    setCurrent(null);
    say.current();
  }, [searched]);
  const shown = at && `${at.key} ${at.start}`;
  React.useEffect(() => {
    const mark = shown && box.current?.querySelector('[aria-current]');
    if (box.current && mark) {
      // Not by `scrollIntoView`, which moves the whole panel too.
      const [inner, outer] = [mark.getBoundingClientRect(), box.current.getBoundingClientRect()];
      if (inner.top < outer.top || inner.bottom > outer.bottom) {
        box.current.scrollTop += inner.top - outer.top - outer.height / 2;
      }
    }
  }, [box, shown]);
  const onGo = (by: number): void => {
    const count = found.matches.length;
    if (count) {
      const next = (index + by + count) % count;
      setCurrent(found.matches[next]!);
      setSaid(countLabel(found, next, trans));
      onGone();
    }
  };
  const onNeedle = (typed: string): void => {
    setNeedle(typed);
    onGone();
  };
  return { needle, onNeedle, onGo, said, found, at };
}

function indexOf({ matches }: Found, current: Match | null): number {
  const same = matches.findIndex(match => match.key === current?.key && match.start === current.start);
  return same < 0 ? matches.length - 1 : same;
}

function countLabel({ matches, more }: Found, index: number, trans: TranslationBundle): string {
  if (!matches.length) {
    return trans.__('No match');
  }
  return more
    ? trans.__('%1 of the last %2', index + 1, MOST_MATCHES)
    : trans.__('%1 of %2', index + 1, matches.length);
}

interface FindBarProps extends Find {
  readonly found: Found;
  readonly at: Match | undefined;
  readonly onClose: () => void;
}

function FindBar({ needle, onNeedle, onGo, said, found, at, onClose }: FindBarProps): React.ReactElement {
  const trans = useTrans();
  const index = at ? found.matches.indexOf(at) : -1;
  const field = React.useRef<HTMLInputElement>(null);
  React.useEffect(() => field.current?.focus(), []);
  const onKeyDown = (event: React.KeyboardEvent): void => {
    if (event.key === 'Escape') {
      onClose();
    } else if (event.key === 'Enter' && event.target === field.current) {
      onGo(event.shiftKey ? -1 : 1);
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  };
  return (
    <div className="jpx-Find" role="search" aria-label={trans.__('Find in the log')} onKeyDown={onKeyDown}>
      <input
        ref={field}
        type="text"
        className="jpx-Field"
        placeholder={trans.__('Find')}
        aria-label={trans.__('Find in the log')}
        value={needle}
        onChange={event => onNeedle(event.target.value)}
      />
      <span className="jpx-Find-count" aria-hidden="true" title={needle && countLabel(found, index, trans)}>
        {needle && `${index + 1}/${found.matches.length}${found.more ? '+' : ''}`}
      </span>
      <span className="jpx-Hidden" role="status">
        {said}
      </span>
      <IconButton
        icon={previousIcon}
        label={trans.__('Previous match (Shift Enter)')}
        disabled={!at}
        onClick={() => onGo(-1)}
      />
      <IconButton icon={nextIcon} label={trans.__('Next match (Enter)')} disabled={!at} onClick={() => onGo(1)} />
      <IconButton icon={closeIcon} label={trans.__('Close the search (Escape)')} onClick={onClose} />
    </div>
  );
}

/** Keep the lines in view where they are when earlier ones are put before them. */
function useSteadyScroll(box: React.RefObject<HTMLElement>, firstKey: number): void {
  const before = React.useRef({ key: firstKey, height: 0 });
  React.useLayoutEffect(() => {
    if (box.current) {
      const { scrollHeight } = box.current;
      if (firstKey < before.current.key) {
        box.current.scrollTop += scrollHeight - before.current.height;
      }
      before.current = { key: firstKey, height: scrollHeight };
    }
  });
}

interface BlockProps {
  readonly text: string;
  readonly ranges: readonly Range[] | undefined;
  /** Where the current match begins, if it is in this block. */
  readonly at: number | undefined;
}

const Block = React.memo(function Block({ text, ranges = [], at }: BlockProps): React.ReactElement {
  const plain = React.useMemo(() => plainText(text), [text]);
  return (
    <pre>
      {ranges.map(({ start, end }, index) => (
        <React.Fragment key={start}>
          {plain.slice(ranges[index - 1]?.end ?? 0, start)}
          <mark aria-current={start === at ? 'true' : undefined}>{plain.slice(start, end)}</mark>
        </React.Fragment>
      ))}
      {plain.slice(ranges.at(-1)?.end ?? 0)}
    </pre>
  );
});
