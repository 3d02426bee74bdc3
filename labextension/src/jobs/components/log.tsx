import { downloadIcon } from '@jupyterlab/ui-components';
import * as React from 'react';
import { bytes } from '../format';
import { type LogModel, plainText } from '../log';
import { ErrorNotice, IconButton, useModel, useTrans } from './common';

/** Nearer to the end than this counts as being at the end (pixels). */
const AT_END = 24;

interface LogProps {
  readonly log: LogModel;
  readonly onSave: () => void;
}

/** The end of a log, which stays in view while it grows unless the reader scrolls up. */
export function LogView({ log, onSave }: LogProps): React.ReactElement {
  const trans = useTrans();
  const { blocks, cut, size, error } = useModel(log);
  const [follow, setFollow] = React.useState(true);
  const box = React.useRef<HTMLDivElement>(null);
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
  const empty = blocks.every(block => !block.text);
  return (
    <div className="jpx-Log">
      <div className="jpx-Log-bar">
        <label>
          <input type="checkbox" checked={follow} onChange={event => setFollow(event.target.checked)} />
          {trans.__('Follow')}
        </label>
        <span className="jpx-Log-size">
          {cut ? trans.__('the last part of %1', bytes(size)) : empty ? '' : bytes(size)}
        </span>
        <IconButton icon={downloadIcon} label={trans.__('Save the whole log')} disabled={empty} onClick={onSave} />
      </div>
      {error && <ErrorNotice error={error} onRetry={() => void log.read(0, false)} />}
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
          blocks.map(block => <Block key={block.key} text={block.text} />)
        )}
      </div>
    </div>
  );
}

const Block = React.memo(function Block({ text }: { text: string }): React.ReactElement {
  return <pre>{plainText(text)}</pre>;
});
