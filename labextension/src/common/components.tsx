import type { LabIcon } from '@jupyterlab/ui-components';
import { nullTranslator, type TranslationBundle } from '@jupyterlab/translation';
import type { ISignal } from '@lumino/signaling';
import * as React from 'react';
import type { ServerError } from '../api/request';

/** The strings of a panel. */
export const Trans = React.createContext<TranslationBundle>(nullTranslator.load(''));

export function useTrans(): TranslationBundle {
  return React.useContext(Trans);
}

/** A model that tells of changes of an immutable state. */
interface Observable<T> {
  readonly state: T;
  readonly changed: ISignal<unknown, T>;
}

/** Draw anew whenever the model's state is another one. */
export function useModel<T>(model: Observable<T>): T {
  const subscribe = React.useCallback(
    (changed: () => void) => {
      model.changed.connect(changed);
      return () => void model.changed.disconnect(changed);
    },
    [model]
  );
  return React.useSyncExternalStore(subscribe, () => model.state);
}

/** Draw anew now and then, because ages grow. */
export function useTick(milliseconds: number): void {
  const [, tick] = React.useReducer((count: number) => count + 1, 0);
  React.useEffect(() => {
    const timer = setInterval(tick, milliseconds);
    return () => clearInterval(timer);
  }, [milliseconds]);
}

interface ChipProps {
  readonly state: string;
  readonly icon: LabIcon;
  readonly label: string;
}

/** A state as icon and word. */
export function Chip({ state, icon, label }: ChipProps): React.ReactElement {
  return (
    <span className="jpx-StateChip" data-state={state}>
      <icon.react className="jpx-StateChip-icon" tag="span" aria-hidden="true" />
      {label}
    </span>
  );
}

interface IconButtonProps {
  readonly icon: LabIcon;
  readonly label: string;
  readonly onClick: () => void;
  readonly pressed?: boolean;
  readonly disabled?: boolean;
}

/** A button that shows an icon and says its label. It keeps the focus when it is disabled, so that no key is lost. */
export function IconButton({ icon, label, onClick, pressed, disabled }: IconButtonProps): React.ReactElement {
  return (
    <button
      type="button"
      className="jpx-IconButton"
      title={label}
      aria-label={label}
      aria-pressed={pressed}
      aria-disabled={disabled}
      onClick={() => {
        if (!disabled) {
          onClick();
        }
      }}
    >
      <icon.react tag="span" aria-hidden="true" />
    </button>
  );
}

interface SectionProps {
  readonly title: string;
  readonly count?: number;
  readonly open?: boolean;
  /** What is to be seen although the section is closed. */
  readonly aside?: React.ReactNode;
  readonly onToggle?: (open: boolean) => void;
  readonly children: React.ReactNode;
}

/** A part that opens and closes. */
export function Section({ title, count, open = false, aside, onToggle, children }: SectionProps): React.ReactElement {
  return (
    <details className="jpx-Section" open={open} onToggle={event => onToggle?.(event.currentTarget.open)}>
      <summary>
        {title}
        {count !== undefined && <span className="jpx-Section-count">{count}</span>}
        {aside}
      </summary>
      <div className="jpx-Section-body">{children}</div>
    </details>
  );
}

/** For a terminal, so in no language. */
const INSTALLATION = 'pip install jupyter-ext\njupyter server extension enable jupyter_ext';

/** Why something could not be shown, and what to do. */
export function ErrorNotice({ error, onRetry }: { error: ServerError; onRetry: () => void }): React.ReactElement {
  const trans = useTrans();
  return (
    <div className="jpx-Notice" role="alert">
      {error.extensionMissing ? (
        <>
          <h3>{trans.__('The jupyter-ext server extension is not running')}</h3>
          <p>
            {trans.__(
              'What is shown here lives in the Jupyter server. In the environment that the server runs in, install and enable the extension, then restart the server:'
            )}
          </p>
          <pre>{INSTALLATION}</pre>
        </>
      ) : (
        <>
          <h3>{error.status ? trans.__('The server could not do this') : trans.__('The server cannot be reached')}</h3>
          <p>{error.message}</p>
        </>
      )}
      <button type="button" className="jpx-Button" onClick={onRetry}>
        {trans.__('Retry')}
      </button>
    </div>
  );
}
