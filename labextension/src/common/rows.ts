import * as React from 'react';

/** Rows that PageUp and PageDown skip. */
const PAGE_ROWS = 10;

/** The place in a list of `count` rows to which a key goes from the row `at`; undefined for every other key. */
export function placeAfter(key: string, at: number, count: number): number | undefined {
  const steps: Record<string, number> = {
    ArrowDown: at + 1,
    ArrowUp: at - 1,
    Home: 0,
    End: count - 1,
    PageDown: at + PAGE_ROWS,
    PageUp: at - PAGE_ROWS
  };
  const to = steps[key];
  return to === undefined ? undefined : Math.min(count - 1, Math.max(0, to));
}

/** The id of the row that an event is about. */
export function rowIdOf(event: { readonly target: EventTarget }): string | undefined {
  return (event.target as HTMLElement).dataset['rowId'];
}

/** Give the focus to the row of an id. */
export function focusRow(list: HTMLElement | null, id: string | null | undefined): void {
  const row = [...(list?.children ?? [])].find(item => (item as HTMLElement).dataset['rowId'] === id);
  (row as HTMLElement | undefined)?.focus();
}

/**
 * Give the focus to the current row when somebody comes back to a list, and when the row that had it is gone.
 *
 * @param root - What holds the list.
 * @param takeFocus - Whether the list is drawn first because something was closed.
 */
export function useListFocus(root: React.RefObject<HTMLElement>, takeFocus: boolean): void {
  const cameBack = React.useRef(takeFocus);
  // Asked before the list is drawn: afterwards, what had the focus may be gone.
  const held = root.current?.contains(document.activeElement) ?? false;
  React.useEffect(() => {
    if (document.activeElement !== document.body) {
      cameBack.current = false;
    } else if (cameBack.current || held) {
      const row = root.current?.querySelector<HTMLElement>('[data-row-id][tabindex="0"]');
      (row ?? (held ? root.current?.querySelector<HTMLElement>('input') : null))?.focus();
    }
  });
}
