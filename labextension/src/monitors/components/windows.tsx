import * as React from 'react';
import type { Evaluation } from '../../api/monitors';
import { Section, useTrans } from '../../common/components';
import { moment, number } from '../../common/format';
import { breachesLabel, windowLabel } from '../format';

/** For a notebook, so in no language. */
const CHECK = 'monitor.check(frame)';

/** The last judged windows, newest first. */
export function Windows({ windows }: { windows: readonly Evaluation[] }): React.ReactElement {
  const trans = useTrans();
  return (
    <Section title={trans.__('Last windows')} count={windows.length}>
      {windows.length === 0 ? (
        <p className="jpx-Section-empty">{trans.__('No window was judged yet. In a notebook: %1', CHECK)}</p>
      ) : (
        <ol className="jpx-Entries">
          {windows.map(window => (
            <Window key={window.id} window={window} />
          ))}
        </ol>
      )}
    </Section>
  );
}

function Window({ window }: { window: Evaluation }): React.ReactElement {
  const trans = useTrans();
  const { n_rows, breached, skipped, fired, resolved } = window;
  return (
    <li className="jpx-Window">
      <span className="jpx-Entries-head">
        <time dateTime={window.end} title={moment(window.end)}>
          {windowLabel(window)}
        </time>
        <span className="jpx-Window-rows">{trans._n('%2 row', '%2 rows', n_rows, number(n_rows, 9))}</span>
      </span>
      {skipped && <p>{trans.__('Skipped: %1', skipped)}</p>}
      {breached > 0 && <p>{trans._n('%1 breach. %2', '%1 breaches. %2', breached, breachesLabel(window, trans))}</p>}
      {breached === 0 && !skipped && <p>{trans.__('No breach.')}</p>}
      {fired.map(({ id, message }) => (
        <p key={id} className="jpx-Window-moved">
          {trans.__('Fired: %1', message)}
        </p>
      ))}
      {resolved.map(({ id, message }) => (
        <p key={id} className="jpx-Window-moved">
          {trans.__('Resolved: %1', message)}
        </p>
      ))}
    </li>
  );
}
